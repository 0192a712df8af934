//! Which slots wait for a person, since when, and when that is said again.

use std::time::Duration;

use super::account::{Account, Status};
use super::lifecycle::State;
use super::policy::Policy;
use super::slot::Slot;
use super::time::Timestamp;

/// Whether the account waits for an operator and its daily reminder fell due after `from`, by `now`: whoever
/// asks once for every instant counts each such account once a day.
pub fn is_reminder_due(account: &Account, from: Timestamp, now: Timestamp) -> bool {
    matches!(account.head.status, Status::Installed { .. })
        && account
            .slots
            .keys()
            .filter_map(|slot| needs_operator(account, slot))
            .min()
            .is_some_and(|since| since <= now && last_reminder(since, now) >= from)
}

/// The last instant by `now` that is a whole number of days after `since`.
pub(super) fn last_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = now.since(since).as_secs() / Policy::REMIND_EVERY.as_secs();
    since.plus(Duration::from_secs(days * Policy::REMIND_EVERY.as_secs()))
}

/// A slot asks a person after one generation that nothing could be done for, or two that do not open: since
/// when it does.
pub fn needs_operator(account: &Account, slot: &Slot) -> Option<Timestamp> {
    let mut undecryptable = 0;
    for (_, state) in account.generations_of(slot) {
        match state {
            State::NeedsOperator { at, .. } => return Some(*at),
            State::Undecryptable { at, .. } => {
                undecryptable += 1;
                if undecryptable >= 2 {
                    return Some(*at);
                }
            }
            State::Requested { .. }
            | State::Issued { .. }
            | State::Proven { .. }
            | State::Current { .. }
            | State::Retiring { .. }
            | State::Ended { .. } => {}
        }
    }
    None
}
