//! A bucket of turns, evenly spaced at a learnt rate.

use std::time::Duration;

use super::learned::Learned;

/// Turns are handed out for later, in the order in which they are asked for. None are saved up: Stripe's own
/// way of counting a second is not known, and turns that are evenly spaced fit into any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    learned: Learned,
    next: Duration,
    closed_until: Duration,
    /// Turns that were asked for until then are void: they were spaced at a rate that fell.
    void_until: Option<Duration>,
    /// Since when no turn went by unused.
    full_since: Duration,
}

impl Bucket {
    pub(super) fn new(learned: Learned) -> Self {
        Self {
            learned,
            next: Duration::ZERO,
            closed_until: Duration::ZERO,
            void_until: None,
            full_since: Duration::ZERO,
        }
    }

    /// Takes the next turn and says when it is; `None`, and nothing is taken, when that is after `latest`.
    pub(super) fn take(&mut self, now: Duration, latest: Option<Duration>) -> Option<Duration> {
        let at = self.next.max(self.closed_until).max(now);
        if latest.is_some_and(|latest| at > latest) {
            return None;
        }
        if at > self.next {
            self.full_since = at;
        }
        // Stripe counts by the second: less than a full one says nothing about the limit.
        let is_used_up = at.saturating_sub(self.full_since) >= SECOND;
        let rate = if is_used_up { self.learned.rate_in_use(at) } else { self.learned.rate(at) };
        self.next = at.saturating_add(Duration::from_secs_f64(1.0 / rate));
        Some(at)
    }

    /// Whether a turn at `at` that was asked for at `asked` holds, or was overtaken by a pause or a refusal.
    pub(super) fn is_open(&self, asked: Duration, at: Duration) -> bool {
        at >= self.closed_until && self.void_until.is_none_or(|void_until| asked > void_until)
    }

    /// The rate at `now`, calls a second.
    pub(super) fn rate(&mut self, now: Duration) -> f64 {
        self.learned.rate(now)
    }

    /// A call whose turn was at `turn` was refused for this bucket's rate.
    pub(super) fn refused(&mut self, now: Duration, turn: Duration) {
        if self.learned.refused(now, turn) {
            self.void_until = Some(now);
            self.next = now;
            // What is sent within the same second is refused as well.
            self.close(now.saturating_add(SECOND));
        }
    }

    /// Hands out no turn before `until`.
    pub(super) fn close(&mut self, until: Duration) {
        self.closed_until = self.closed_until.max(until);
    }
}

const SECOND: Duration = Duration::from_secs(1);
