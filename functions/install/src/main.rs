//! The `install` Lambda function.

use keysteward::runtime::{assemble, lambda, log, settings};
use keysteward_install::respond;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    let install = &lambda::started(assemble::install(&settings::environment)).await?;
    lambda::run_http(|request| respond(install, request)).await?;
    Ok(())
}
