//! Which slots wait for a person, since when, and when that is said again.

use std::time::Duration;

use super::account::{Account, Head, Status};
use super::lifecycle::State;
use super::policy::Policy;
use super::slot::Slot;
use super::time::Timestamp;

/// Whether something in the account waits for an operator and its daily reminder fell due after `from`, by `now`: whoever
/// asks once for every instant counts each such account once a day.
pub fn is_reminder_due(account: &Account, from: Timestamp, now: Timestamp) -> bool {
    matches!(account.head.status, Status::Installed { .. })
        && account
            .slots
            .keys()
            .filter_map(|slot| stuck_since(account, slot))
            .chain(out_of_reach(&account.head))
            .min()
            .is_some_and(|since| since <= now && last_reminder(since, now) >= from)
}

/// The last instant by `now` that is a whole number of days after `since`.
fn last_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = now.since(since).as_secs() / Policy::REMIND_EVERY.as_secs();
    since.plus(Duration::from_secs(days * Policy::REMIND_EVERY.as_secs()))
}

/// When what asks a person since `since` is next counted.
pub(super) fn next_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    if since > now { since } else { last_reminder(since, now).plus(Policy::REMIND_EVERY) }
}

/// A slot makes no other key, and waits for a person, after one generation that nothing could be done for, or two that
/// do not open: since when it does. What came before the current key says nothing of what comes next.
pub fn needs_operator(account: &Account, slot: &Slot) -> Option<Timestamp> {
    let current = account.current(slot).map(|(current, _)| current);
    let mut undecryptable = 0;
    for (_, state) in account.generations_of(slot).filter(|(it, _)| Some(*it) > current) {
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

/// Since when a slot has a generation that only a person can end, also where it stands in nobody's way: its key may
/// well be alive, and nobody can use it.
pub fn stuck_since(account: &Account, slot: &Slot) -> Option<Timestamp> {
    let since = account.generations_of(slot).filter_map(|(_, state)| match state {
        State::NeedsOperator { at, .. } | State::Undecryptable { at, .. } => Some(*at),
        State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Retiring { .. }
        | State::Ended { .. } => None,
    });
    since.min()
}

/// Since when an account counts as out of reach: Stripe has refused to list its keys for a day, again and again.
/// The app was uninstalled and nobody told us, or it lost a permission. Which of the two, no refusal says; so
/// nothing is ended, and a person is asked.
pub fn out_of_reach(head: &Head) -> Option<Timestamp> {
    let refused = head.refused.filter(|refused| refused.times >= LEAST_REFUSALS)?;
    Some(refused.since.plus(Policy::REMIND_EVERY))
}

/// Fewer refusals than this are somebody's bad hour.
const LEAST_REFUSALS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Refused;
    use crate::domain::id::AccountId;
    use crate::domain::slot::{AccountRef, Mode};

    fn hour(hours: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn an_account_is_out_of_reach_after_a_day_of_refusals_and_is_counted_once_a_day() {
        let at = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
        let mut account = Account::new(at, hour(0));
        let reminders = |account: &Account| {
            let due = |now: &i64| is_reminder_due(account, hour(now - 1).plus(SECOND), hour(*now));
            (0..=73).filter(due).collect::<Vec<i64>>()
        };
        account.head.refused = Some(Refused { since: hour(1), times: 2 });
        assert!(reminders(&account).is_empty());
        account.head.refused = Some(Refused { since: hour(1), times: 3 });
        assert_eq!(reminders(&account), [25, 49, 73]);
        account.head.status = Status::Uninstalled { at: hour(2) };
        assert!(reminders(&account).is_empty(), "what is known to be uninstalled asks nobody");
    }

    const SECOND: Duration = Duration::from_secs(1);
}
