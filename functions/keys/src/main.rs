//! The `keys` Lambda function.

use keysteward::runtime::{assemble, lambda, log, settings};
use keysteward_keys::respond;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    let service = &lambda::started(assemble::keys(&settings::environment)).await?;
    lambda::run_http(|request| respond(service, request)).await?;
    Ok(())
}
