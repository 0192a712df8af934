//! `lifecycle`: applies the event rows that `webhook` put down.

use keysteward::domain::time::Timestamp;
use keysteward::runtime::lambda::Put;
use keysteward::runtime::log::chain;
use keysteward::steward::Steward;

/// Applies a batch in its order and answers the records that have to come again.
///
/// After a failure that may pass, the rest of the batch is handed back too: the stream repeats from the
/// first record that failed. A failure that will not pass is logged and left to the sweep, which finds
/// the row open, so that one event cannot stop a shard.
pub async fn apply(steward: &Steward, puts: Vec<Put>, deadline: Timestamp) -> Vec<String> {
    for (done, put) in puts.iter().enumerate() {
        let failed = if steward.clock.now() >= deadline {
            true
        } else {
            match steward.ingest(&put.event, deadline).await {
                Ok(_) => false,
                Err(error) => {
                    tracing::error!(
                        event.id = %put.event.id,
                        account.id = %put.event.account.id,
                        class = error.class().as_str(),
                        error = chain(&error),
                        "an event could not be applied"
                    );
                    error.class().is_retryable()
                }
            }
        };
        if failed {
            return puts[done..].iter().map(|put| put.sequence.clone()).collect();
        }
    }
    Vec::new()
}
