//! The `rotate` Lambda function.

use keysteward::runtime::{assemble, lambda, log, settings};
use keysteward_rotate::run;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    let steward = &lambda::started(assemble::steward(&settings::environment)).await?;
    lambda::run_schedule(|deadline| run(steward, deadline)).await?;
    Ok(())
}
