//! What is still to be read of Stripe's own record of one account's events, window by window.
//!
//! In which order Stripe lists events is not documented. Only a window that was read whole moves the cursor;
//! one that holds more than fits is narrowed and read again. So the cursor never passes an event that was not
//! seen, whether the oldest or the newest come first.

use std::time::Duration;

use super::account::{Head, Status};
use super::time::Timestamp;

/// A span of time, `from` included, `to` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// What of the record is unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    from: Timestamp,
    now: Timestamp,
    width: Duration,
}

impl Backlog {
    /// All since the cursor, as far back as Stripe keeps events.
    pub fn since(read_to: Option<Timestamp>, now: Timestamp) -> Self {
        let oldest = now.minus(KEPT);
        let from = read_to.unwrap_or(oldest).max(oldest).min(now);
        Self { from, now, width: now.since(from) }
    }

    /// What to read next; `None` when all is read.
    pub fn window(&self) -> Option<Window> {
        let to = self.from.plus(self.width).min(self.now);
        (to > self.from).then_some(Window { from: self.from, to })
    }

    /// How many events of a window to read at most. The narrowest is read to its end.
    pub fn limit(window: Window) -> usize {
        if window.to.since(window.from) > NARROWEST { EVENTS_AT_ONCE } else { usize::MAX }
    }

    /// Goes on behind a window that was read whole; tries the beginning of one that was not.
    pub fn read(&mut self, window: Window, is_whole: bool) {
        let width = window.to.since(window.from);
        if is_whole {
            self.from = window.to;
            self.width = width.saturating_mul(STEP);
        } else {
            self.width = (width / STEP).max(NARROWEST);
        }
    }

    /// Where the cursor belongs. What is younger than [`LATE`] is read again next time: lists are eventually
    /// consistent, so an event may come into one that was read already.
    pub fn read_to(&self) -> Timestamp {
        self.from.min(self.now.minus(LATE))
    }
}

/// How far behind the cursor of an account is; `None` for one that is not read for.
pub fn age(head: &Head, now: Timestamp) -> Option<Duration> {
    match head.status {
        Status::Installed { .. } => Some(behind(head.events_read_to, now)),
        Status::Uninstalled { .. } => None,
    }
}

/// How far behind a cursor is. One that never moved is as far behind as Stripe's record goes back.
pub fn behind(read_to: Option<Timestamp>, now: Timestamp) -> Duration {
    read_to.map_or(KEPT, |read_to| now.since(read_to))
}

/// How long Stripe keeps events (ADR 19).
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How late an event may come into the list.
pub const LATE: Duration = Duration::from_secs(3600);
/// How many events are read of one window: a few pages.
pub const EVENTS_AT_ONCE: usize = 300;
/// A window that wide is read whole, however much is in it.
const NARROWEST: Duration = Duration::from_secs(1);
/// How much narrower or wider the next window is. From 30 days to a second are eight steps, so that a few
/// windows always get somewhere.
const STEP: u32 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::account::Account;
    use crate::domain::id::AccountId;
    use crate::domain::slot::{AccountRef, Mode};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_day_is_one_window_and_its_last_hour_is_read_again() {
        let mut backlog = Backlog::since(Some(at(0)), at(86_400));
        let window = backlog.window().unwrap();
        assert_eq!(window, Window { from: at(0), to: at(86_400) });
        backlog.read(window, true);
        assert_eq!(backlog.window(), None);
        assert_eq!(backlog.read_to(), at(86_400 - 3600));
    }

    #[test]
    fn without_a_cursor_or_with_an_older_one_it_begins_where_stripe_does() {
        let oldest = at(0);
        let now = oldest.plus(KEPT);
        for read_to in [None, Some(at(-5)), Some(oldest)] {
            assert_eq!(
                Backlog::since(read_to, now).window(),
                Some(Window { from: oldest, to: now })
            );
        }
        assert_eq!(
            Backlog::since(Some(now.plus(LATE)), now).window(),
            None,
            "a clock that was ahead"
        );
    }

    #[test]
    fn a_window_that_does_not_fit_leaves_the_cursor_where_it_is() {
        let mut backlog = Backlog::since(Some(at(0)), at(86_400));
        let window = backlog.window().unwrap();
        backlog.read(window, false);
        assert_eq!(backlog.read_to(), at(0));
        assert_eq!(backlog.window(), Some(Window { from: at(0), to: at(10_800) }));
    }

    #[test]
    fn the_age_is_that_of_the_cursor_and_nobody_reads_for_an_uninstalled_account() {
        let id = AccountId::parse("acct_1").unwrap();
        let mut head = Account::new(AccountRef::new(Mode::Test, id), at(0)).head;
        assert_eq!(age(&head, at(90)), Some(Duration::from_secs(90)));
        head.events_read_to = None;
        assert_eq!(age(&head, at(90)), Some(KEPT), "never read");
        head.status = Status::Uninstalled { at: at(0) };
        assert_eq!(age(&head, at(90)), None);
    }

    /// Lists what a window holds, as Stripe may: either end first, cut off at the limit.
    fn list(events: &[i64], window: Window, newest_first: bool) -> (Vec<i64>, bool) {
        let limit = Backlog::limit(window);
        let mut found: Vec<i64> = events
            .iter()
            .copied()
            .filter(|event| (window.from..window.to).contains(&at(*event)))
            .collect();
        found.sort_unstable();
        if newest_first {
            found.reverse();
        }
        found.truncate(limit);
        let is_whole = found.len() < limit;
        (found, is_whole)
    }

    proptest! {
        #[test]
        fn nothing_before_the_cursor_is_unseen_whatever_the_order(
            mut events in proptest::collection::vec(0..100_000_i64, 0..2000),
            burst in 0..100_000_i64,
            newest_first: bool,
        ) {
            // One second in which more happened than fits into a window.
            events.extend(std::iter::repeat_n(burst, EVENTS_AT_ONCE + 50));
            let mut backlog = Backlog::since(Some(at(0)), at(100_000));
            let mut seen = std::collections::BTreeSet::new();
            let mut windows = 0;
            while let Some(window) = backlog.window() {
                let (found, is_whole) = list(&events, window, newest_first);
                seen.extend(found);
                backlog.read(window, is_whole);
                let read_to = backlog.read_to();
                for event in &events {
                    prop_assert!(at(*event) >= read_to || seen.contains(event));
                }
                windows += 1;
                prop_assert!(windows < 500, "it comes to an end");
            }
            prop_assert_eq!(backlog.read_to(), at(100_000 - 3600));
        }
    }
}
