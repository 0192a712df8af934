//! A function on Keysteward's own layer over Lambda that panics when it is told to. A shipped function has
//! no such path, so what it does with a panic is shown here, in a binary of the same profile and build.

use keysteward::http::{Reply, Request};
use keysteward::runtime::{lambda, log};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    lambda::run_http(|request: Request| {
        let path = request.uri().path().to_owned();
        panic_at(&path, "/panics/at-once");
        async move {
            tokio::task::yield_now().await;
            panic_at(&path, "/panics/later");
            Reply::new(b"calm".to_vec())
        }
    })
    .await?;
    Ok(())
}

#[expect(clippy::panic, reason = "this is what the program is for")]
fn panic_at(path: &str, here: &str) {
    if path == here {
        panic!("told to");
    }
}
