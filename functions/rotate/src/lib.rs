//! `rotate`: the scheduled sweep. It takes no instructions from its event.

use keysteward::domain::time::Timestamp;
use keysteward::runtime::lambda::Failed;
use keysteward::steward::Steward;
use keysteward::sweep::Swept;

/// Sweeps once.
pub async fn run(steward: &Steward, deadline: Timestamp) -> Result<Swept, Failed> {
    let swept = steward.sweep(deadline).await;
    let swept = swept.map_err(|error| Failed::new(error.class(), &error))?;
    if !swept.is_empty() {
        tracing::info!(
            settled = swept.settled,
            events = swept.events,
            deferred = swept.deferred,
            failed = swept.failed,
            "swept"
        );
    }
    Ok(swept)
}
