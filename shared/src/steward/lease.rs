//! How long a step may take, and whether the account is held for as long (I8).
//!
//! A lease is dated from before the change that carries it is recorded, and whoever hands an account over may have
//! taken his time. Where it is too old for the step that follows, it is renewed, durably, before anything outside is
//! touched.

use std::time::Duration;

use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;

/// From now on, until when calls of a step may start.
pub(super) fn time_for_step(now: Timestamp, deadline: Timestamp) -> Duration {
    deadline.since(now).min(LONGEST_STEP)
}

/// Whether a lease that runs until `held_until` covers a step that begins at `now` and whose calls may start for
/// so long, to the end of the last of them.
pub(super) fn covers(held_until: Option<Timestamp>, now: Timestamp, time: Duration) -> bool {
    held_until.is_some_and(|until| now.plus(time + LONGEST_CALL) <= until)
}

/// No call to Stripe starts later than this after its step began, whatever it has to wait for.
const LONGEST_STEP: Duration = Duration::from_secs(90);
/// A call is over by then: its time-out is ten seconds.
const LONGEST_CALL: Duration = Duration::from_secs(15);
// A lease that was just taken covers the longest step.
const _: () = assert!(LONGEST_STEP.as_secs() + LONGEST_CALL.as_secs() < Policy::STALL.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_step_has_what_the_invocation_leaves_and_no_more_than_the_longest() {
        assert_eq!(time_for_step(second(0), second(600)), LONGEST_STEP);
        assert_eq!(time_for_step(second(570), second(600)), Duration::from_secs(30));
        assert_eq!(time_for_step(second(601), second(600)), Duration::ZERO);
    }

    #[test]
    fn a_lease_covers_a_step_to_the_end_of_its_last_call() {
        let leased_at_0 = Some(second(0).plus(Policy::STALL));
        for (now, seconds, is_covered) in [
            (0, 90, true),
            (15, 90, true),
            // As the step before may have left it.
            (16, 90, false),
            (95, 90, false),
            (95, 10, true),
            (95, 11, false),
            (120, 0, false),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(covers(leased_at_0, second(now), time), is_covered, "{now} {seconds}");
        }
        assert!(!covers(None, second(0), Duration::ZERO), "nobody holds it");
    }
}
