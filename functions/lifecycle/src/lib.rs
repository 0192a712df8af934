//! `lifecycle`: applies the event rows that `webhook` put down.

use keysteward::Class;
use keysteward::domain::time::Timestamp;
use keysteward::ingest::Ingested;
use keysteward::runtime::lambda::Put;
use keysteward::runtime::log::chain;
use keysteward::runtime::metrics::{Line, Metered, Metric};
use keysteward::steward::{Error, Steward};

/// Applies a batch in its order and answers the records that have to come again.
///
/// After a failure that may pass, the rest of the batch is handed back too: the stream repeats from the
/// first record that failed. A failure that will not pass is logged and left to the sweep, which finds
/// the row open, so that one event cannot stop a shard.
pub async fn apply(steward: &Steward, puts: Vec<Put>, deadline: Timestamp) -> Metered<Vec<String>> {
    let mut line = Line::default();
    let mut again = Vec::new();
    for (done, put) in puts.iter().enumerate() {
        let comes_again = if steward.clock.now() >= deadline {
            true
        } else {
            let ingested = steward.ingest(&put.event, deadline).await;
            count(&mut line, &ingested);
            match ingested {
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
        if comes_again {
            again = puts[done..].iter().map(|put| put.sequence.clone()).collect();
            line.add(Metric::EventsDeferred, again.len() as u64);
            break;
        }
    }
    line.absorb(steward.counts());
    Metered { answer: again, line }
}

fn count(line: &mut Line, ingested: &Result<Ingested, Error>) {
    match ingested {
        Ok(Ingested::Applied | Ingested::Nothing) => line.add(Metric::EventsApplied, 1),
        Ok(Ingested::Deferred) => line.add(Metric::EventsDeferred, 1),
        Err(error) => {
            line.add(Metric::EventsFailed, 1);
            line.fault(error.fault());
            if error.class() == Class::Fault {
                line.add(Metric::EventFaults, 1);
            }
        }
    }
}
