//! The `lifecycle` Lambda function.

use keysteward::runtime::{assemble, lambda, log, settings};
use keysteward_lifecycle::apply;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    let steward = &lambda::started(assemble::steward(&settings::environment)).await?;
    lambda::run_stream(|puts, deadline| apply(steward, puts, deadline)).await?;
    Ok(())
}
