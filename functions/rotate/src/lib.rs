//! `rotate`: the scheduled sweep. It takes no instructions from its event.

use keysteward::domain::time::Timestamp;
use keysteward::runtime::lambda::Failed;
use keysteward::runtime::metrics::{Line, Metered, Metric};
use keysteward::steward::{Error, Steward};
use keysteward::sweep::Swept;

/// Sweeps once.
pub async fn run(steward: &Steward, deadline: Timestamp) -> Metered<Result<Swept, Failed>> {
    let swept = steward.sweep(deadline).await;
    let mut line = counts(&swept);
    line.absorb(steward.counts());
    Metered { answer: swept.map_err(|error| Failed::new(error.class(), &error)), line }
}

/// Zeros are written too: a level that is not reported is not known to be zero.
fn counts(swept: &Result<Swept, Error>) -> Line {
    let mut line = Line::default();
    match swept {
        Ok(swept) => {
            line.add(Metric::OldestOverdue, swept.oldest_overdue);
            line.add(Metric::SweepSettled, swept.settled.into());
            line.add(Metric::SweepEvents, swept.events.into());
            line.add(Metric::SweepDeferred, swept.deferred.into());
            line.add(Metric::SweepFailed, swept.failed.into());
            line.add(Metric::AccountsNeedOperator, swept.need_operator.into());
            line.add(Metric::UnknownRows, swept.unknown_rows.into());
            if let Some(age) = swept.oldest_cursor_seconds {
                line.add(Metric::EventCursorAge, age);
            }
        }
        Err(error) => line.fault(error.fault()),
    }
    line
}
