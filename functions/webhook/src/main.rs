//! The `webhook` Lambda function.

use keysteward::runtime::{assemble, lambda, log, settings};
use keysteward_webhook::{respond, take_from_bus};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    log::to_stdout();
    let webhook = &lambda::started(assemble::webhook(&settings::environment)).await?;
    lambda::run_http_or_partner(
        |request| respond(webhook, request),
        |envelope| take_from_bus(webhook, envelope),
    )
    .await?;
    Ok(())
}
