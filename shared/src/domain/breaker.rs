//! Stops new rotations when too many of them fail: a fault that every account meets (a wrong version, a defect
//! of ours, a bad day at Stripe) is to be met by a few accounts and not by all of them.
//!
//! Only new rotations count and only they are stopped, those of an emergency with them: what every account is
//! refused brings no account another key. First keys go on, since an account without a key has nothing to lose; so
//! does every retirement, since a key that should be dead must die (I5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::AccountRef;
use super::time::Timestamp;

/// The outcomes of late, and whether new rotations are stopped. Serialisable, so that it outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    state: BreakerState,
    outcomes: VecDeque<Recorded>,
    /// What was let through after the pause.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    begun: VecDeque<Begun>,
}

/// Whether new rotations are stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BreakerState {
    /// They go on.
    #[default]
    Closed,
    /// They are stopped until then; from then on a few are let through.
    Open {
        /// Since when.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
        /// How many failed of those that made it open.
        failed: u32,
        /// How many those were.
        of: u32,
    },
}

/// How a rotation's call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a successor.
    Succeeded,
    /// There is none, for whatever reason, unknown outcomes included.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    at: Timestamp,
    account: AccountRef,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    at: Timestamp,
    account: AccountRef,
}

impl Breaker {
    /// Fewer outcomes than this say nothing.
    pub const LEAST_OUTCOMES: usize = 20;
    /// Failures of fewer accounts than this are those accounts' own.
    pub const LEAST_ACCOUNTS: usize = 5;
    /// Older outcomes do not count.
    pub const WINDOW: Duration = Duration::from_secs(3600);
    /// How long new rotations are stopped: far below the overlap and the jitter of a period.
    pub const PAUSE: Duration = Duration::from_secs(900);
    /// The outcomes of how many accounts decide after the pause.
    pub const TRIALS: usize = 5;
    /// How long one that was let through keeps its place without an outcome: it may have been moot.
    pub const TRIAL: Duration = Duration::from_secs(600);
    /// No more outcomes than this are kept, so that the row that holds them stays small.
    pub const MOST_OUTCOMES: usize = 200;

    /// Notes how a rotation's call ended. Answers whether this opened or closed it.
    pub fn record(&mut self, now: Timestamp, account: &AccountRef, outcome: Outcome) -> bool {
        self.forget(now);
        self.outcomes.push_back(Recorded { at: now, account: account.clone(), outcome });
        let before = self.state;
        match self.state {
            BreakerState::Closed => self.open_if_most_failed(now),
            // What was under way when it opened says nothing new.
            BreakerState::Open { until, .. } if now < until => {}
            BreakerState::Open { until, .. } => self.judge_trials(now, until),
        }
        self.state != before
    }

    /// How many rotations may begin before the outcomes of those are known; `None` for any number.
    pub fn trials_left(&self, now: Timestamp) -> Option<usize> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { until, .. } if now < until => Some(0),
            BreakerState::Open { until, .. } => {
                Some(Self::TRIALS.saturating_sub(self.places(now, until).len()))
            }
        }
    }

    /// Has a rotation begin, if it may: after the pause it takes one of the places, before its outcome is known.
    pub fn begin(&mut self, now: Timestamp, account: &AccountRef) -> bool {
        let BreakerState::Open { until, .. } = self.state else { return true };
        if now < until {
            return false;
        }
        let places = self.places(now, until);
        let may_begin = places.contains(account) || places.len() < Self::TRIALS;
        if may_begin {
            self.begun.retain(|one| one.account != *account && now.since(one.at) < Self::TRIAL);
            self.begun.push_back(Begun { at: now, account: account.clone() });
        }
        may_begin
    }

    /// The state, for the log, the metrics and the operator.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    fn open_if_most_failed(&mut self, now: Timestamp) {
        let of = self.outcomes.len();
        let failed = || self.outcomes.iter().filter(|one| one.outcome == Outcome::Failed);
        let accounts: BTreeSet<_> = failed().map(|one| &one.account).collect();
        if of >= Self::LEAST_OUTCOMES
            && accounts.len() >= Self::LEAST_ACCOUNTS
            && failed().count() * 2 > of
        {
            self.open(now, failed().count(), of);
        }
    }

    fn judge_trials(&mut self, now: Timestamp, until: Timestamp) {
        let trials = self.trials(until);
        let of = trials.len();
        let succeeded = trials.values().filter(|outcome| **outcome == Outcome::Succeeded).count();
        if succeeded * 2 > Self::TRIALS {
            self.state = BreakerState::Closed;
            self.outcomes.clear();
            self.begun.clear();
        } else if of >= Self::TRIALS {
            self.open(now, of - succeeded, of);
        }
    }

    fn open(&mut self, now: Timestamp, failed: usize, of: usize) {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let until = now.plus(Self::PAUSE);
        self.state = BreakerState::Open { since: now, until, failed: count(failed), of: count(of) };
        self.outcomes.clear();
        self.begun.clear();
    }

    /// The accounts that were let through since `until`: those whose outcome is known, and those that may have one.
    fn places(&self, now: Timestamp, until: Timestamp) -> BTreeSet<&AccountRef> {
        let under_way = self.begun.iter().filter(|one| now.since(one.at) < Self::TRIAL);
        let known = self.trials(until).into_keys();
        known.chain(under_way.map(|one| &one.account)).collect()
    }

    /// What came of the accounts that were let through since `until`, each counted once: one that fails again
    /// and again is one trial.
    fn trials(&self, until: Timestamp) -> BTreeMap<&AccountRef, Outcome> {
        let since = self.outcomes.iter().filter(|one| one.at >= until);
        since.map(|one| (&one.account, one.outcome)).collect()
    }

    fn forget(&mut self, now: Timestamp) {
        self.outcomes.retain(|one| now.since(one.at) < Self::WINDOW);
        while self.outcomes.len() >= Self::MOST_OUTCOMES {
            self.outcomes.pop_front();
        }
    }
}
