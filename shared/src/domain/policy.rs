//! How long keys live, and what happens to them when a user acts. Bounds are refused by name.

use std::time::Duration;

use super::time::Timestamp;

/// The rules that the plan follows. Only [`Policy::new`] makes one, so every value is within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rotate_every: Duration,
    overlap_minutes: u32,
    strategy: Strategy,
    on_user_expire: OnUserExpire,
    on_uninstall: OnUninstall,
    on_drift: OnDrift,
}

/// What an operator chooses; `Policy::new` checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `KEYSTEWARD_ROTATE_EVERY_DAYS`, 1 to 365.
    pub rotate_every_days: u32,
    /// `KEYSTEWARD_OVERLAP_MINUTES`, up to Stripe's 10080.
    pub overlap_minutes: u32,
    /// `KEYSTEWARD_ROTATION_STRATEGY`.
    pub strategy: Strategy,
    /// `KEYSTEWARD_ON_USER_EXPIRE`.
    pub on_user_expire: OnUserExpire,
    /// `KEYSTEWARD_ON_UNINSTALL`.
    pub on_uninstall: OnUninstall,
    /// `KEYSTEWARD_ON_DRIFT`.
    pub on_drift: OnDrift,
}

impl Default for Choice {
    /// Monthly rotation with a day of overlap: a consumer has hours, not minutes, to notice an outage.
    fn default() -> Self {
        Self {
            rotate_every_days: 30,
            overlap_minutes: 1440,
            strategy: Strategy::Rotate,
            on_user_expire: OnUserExpire::Hold,
            on_uninstall: OnUninstall::Keep,
            on_drift: OnDrift::Report,
        }
    }
}

/// How a key is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// `POST …/rotate` with an explicit overlap: Stripe itself ends the old key.
    Rotate,
    /// Create the new key, then expire the old one when the overlap is over.
    CreateThenExpire,
}

/// What follows when a user ends a key in Stripe's Dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUserExpire {
    /// Serve nothing and wait: the user may have had a reason.
    Hold,
    /// Mint another.
    Reissue,
}

/// What follows when a user uninstalls the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUninstall {
    /// Leave the keys to the user's own choice in the Dashboard.
    Keep,
    /// Also try to expire them, as far as Stripe still lets us.
    Expire,
}

/// What follows when Stripe's list and the table differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// Say so.
    Report,
    /// Set it right: orphans are retired after a whole overlap.
    Apply,
}

/// A policy that could lose a key, refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Rotation more often than daily or less often than yearly.
    #[error("KEYSTEWARD_ROTATE_EVERY_DAYS must be between 1 and 365")]
    RotateEvery,
    /// Stripe allows no longer overlap.
    #[error("KEYSTEWARD_OVERLAP_MINUTES must be at most 10080, Stripe's limit")]
    OverlapTooLong,
    /// A crash right after a rotation could not be healed before the old key dies.
    #[error(
        "KEYSTEWARD_OVERLAP_MINUTES is shorter than two sweep intervals plus the stall time (4 minutes)"
    )]
    OverlapShorterThanRecovery,
    /// A consumer could hold the old key in its cache past its death.
    #[error("KEYSTEWARD_OVERLAP_MINUTES is shorter than twice the consumers' cache (10 minutes)")]
    OverlapShorterThanCache,
    /// Two overlaps would run at once.
    #[error("KEYSTEWARD_OVERLAP_MINUTES is longer than half of KEYSTEWARD_ROTATE_EVERY_DAYS")]
    OverlapOutlastsRotation,
}

impl Policy {
    /// How often the schedule runs the sweep.
    pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
    /// How long a process may hold an account before another takes over: the lease.
    pub const STALL: Duration = Duration::from_secs(120);
    /// The longest that a consumer is told to cache a key.
    pub const CONSUMER_CACHE: Duration = Duration::from_secs(300);
    /// How often Stripe is asked whether a current key still stands: an event may never have come.
    pub const LOOK_EVERY: Duration = Duration::from_secs(DAY);
    /// How often Stripe's list is held against an account.
    pub const RECONCILE_EVERY: Duration = Duration::from_secs(DAY);
    /// A rotation that is held back is thought of again after this while.
    pub const HELD_BACK: Duration = Duration::from_secs(600);
    /// How soon Stripe is asked again after a look that learned nothing.
    pub const LOOK_AGAIN: Duration = Duration::from_secs(3600);
    /// How often an account that waits for an operator is counted again.
    pub const REMIND_EVERY: Duration = Duration::from_secs(DAY);
    /// A key pair older than this is not used for new keys.
    pub const PAIR_AGE: Duration = Duration::from_secs(90 * DAY);
    /// How long an ended generation stays in the working set.
    pub const ENDED_RETENTION: Duration = Duration::from_secs(30 * DAY);
    /// How long after an uninstall the wrapped private keys are kept.
    pub const UNINSTALL_GRACE: Duration = Duration::from_secs(7 * DAY);
    /// The longest overlap that Stripe gives a rotated key.
    pub const LONGEST_OVERLAP: Duration = minutes(10_080);
    /// How often a call is repeated before a person is needed: with the backoff, about two days.
    pub const ATTEMPTS: u32 = 200;

    /// The shortest overlap that no choice and no order goes below, in minutes: within it a sweep that stalls is
    /// made up for, and whoever cached a key reads the next one.
    pub const LEAST_OVERLAP_MINUTES: u32 = 10;

    /// Checks a choice against every bound.
    pub fn new(choice: Choice) -> Result<Self, Refused> {
        let Choice {
            rotate_every_days,
            overlap_minutes,
            strategy,
            on_user_expire,
            on_uninstall,
            on_drift,
        } = choice;
        if !(1..=365).contains(&rotate_every_days) {
            return Err(Refused::RotateEvery);
        }
        let overlap = minutes(overlap_minutes);
        if overlap > Self::LONGEST_OVERLAP {
            return Err(Refused::OverlapTooLong);
        }
        let rotate_every = Duration::from_secs(u64::from(rotate_every_days) * DAY);
        if overlap < Self::SWEEP_INTERVAL * 2 + Self::STALL {
            return Err(Refused::OverlapShorterThanRecovery);
        }
        if overlap_minutes < Self::LEAST_OVERLAP_MINUTES {
            return Err(Refused::OverlapShorterThanCache);
        }
        if overlap * 2 > rotate_every {
            return Err(Refused::OverlapOutlastsRotation);
        }
        Ok(Self { rotate_every, overlap_minutes, strategy, on_user_expire, on_uninstall, on_drift })
    }

    /// How long an old key outlives its replacement, in minutes as Stripe takes it.
    pub fn overlap_minutes(&self) -> u32 {
        self.overlap_minutes
    }

    /// How long an old key outlives its replacement.
    pub fn overlap(&self) -> Duration {
        minutes(self.overlap_minutes)
    }

    /// How a key is replaced.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// What follows when a user ends a key.
    pub fn on_user_expire(&self) -> OnUserExpire {
        self.on_user_expire
    }

    /// What follows when a user uninstalls the app.
    pub fn on_uninstall(&self) -> OnUninstall {
        self.on_uninstall
    }

    /// What follows when Stripe's list and the table differ.
    pub fn on_drift(&self) -> OnDrift {
        self.on_drift
    }

    /// When a key that became current at `from` is to be replaced.
    ///
    /// `draw` is a random number, drawn once and stored with the result: up to a tenth of the period is
    /// taken off, so that accounts installed together do not come due together.
    pub fn rotates_at(&self, from: Timestamp, draw: u64) -> Timestamp {
        from.plus(self.rotate_every - self.jitter(draw))
    }

    /// When a key that became current at `from` is to be replaced if what was stored of it is too late for this
    /// policy: as if it had been the policy then, or soon, where that is past. `draw` as for
    /// [`Policy::rotates_at`].
    pub fn brought_forward(&self, from: Timestamp, now: Timestamp, draw: u64) -> Timestamp {
        self.rotates_at(from, draw).max(now.plus(self.jitter(draw)))
    }

    /// Until when a key that became current at `from` is to be replaced at the latest: a rotation that was brought
    /// forward at `now` is never later.
    pub fn rotates_by(&self, from: Timestamp, now: Timestamp) -> Timestamp {
        from.plus(self.rotate_every).max(now.plus(self.rotate_every / 10))
    }

    fn jitter(&self, draw: u64) -> Duration {
        (self.rotate_every / 10).mul_f64((draw % 10_000) as f64 / 10_000.0)
    }

    /// The `max-age` of a served key: always below half the overlap, so that a cache can never hold a
    /// key past its death.
    pub fn max_age(&self) -> Duration {
        Self::CONSUMER_CACHE.min(self.overlap() / 2 - Duration::from_secs(1))
    }

    /// How long to wait after the n-th attempt without an outcome: 5 s, doubling to 15 minutes.
    pub fn backoff(attempts: u32) -> Duration {
        Duration::from_secs(5 << attempts.min(8)).min(Duration::from_secs(900))
    }
}

const fn minutes(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 60)
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_could_lose_a_key_is_refused_by_name() {
        for (days, overlap, outcome) in [
            (30, 1440, Ok(())),
            (365, 10_080, Ok(())),
            (1, 720, Ok(())),
            (30, 10, Ok(())),
            (0, 60, Err(Refused::RotateEvery)),
            (366, 60, Err(Refused::RotateEvery)),
            (30, 10_081, Err(Refused::OverlapTooLong)),
            (30, 3, Err(Refused::OverlapShorterThanRecovery)),
            (30, 9, Err(Refused::OverlapShorterThanCache)),
            (1, 721, Err(Refused::OverlapOutlastsRotation)),
        ] {
            let choice =
                Choice { rotate_every_days: days, overlap_minutes: overlap, ..Choice::default() };
            assert_eq!(Policy::new(choice).map(|_| ()), outcome, "{days} days, {overlap} minutes");
        }
    }

    #[test]
    fn a_cache_never_outlives_half_the_overlap() {
        for overlap_minutes in [10, 11, 60, 10_080] {
            let policy = Policy::new(Choice { overlap_minutes, ..Choice::default() }).unwrap();
            assert!(policy.max_age() * 2 < policy.overlap(), "{overlap_minutes}");
        }
    }

    #[test]
    fn the_least_overlap_is_twice_the_consumers_cache() {
        assert_eq!(minutes(Policy::LEAST_OVERLAP_MINUTES), Policy::CONSUMER_CACHE * 2);
    }

    #[test]
    fn jitter_only_brings_a_rotation_forward_and_by_a_tenth_at_most() {
        let policy = Policy::new(Choice::default()).unwrap();
        let latest = Timestamp::EPOCH.plus(Duration::from_secs(30 * DAY));
        let earliest = Timestamp::EPOCH.plus(Duration::from_secs(27 * DAY));
        for draw in [0, 1, 9_999, 10_000, u64::MAX] {
            let at = policy.rotates_at(Timestamp::EPOCH, draw);
            assert!(at >= earliest && at <= latest, "{draw}");
        }
    }

    #[test]
    fn a_rotation_is_brought_forward_to_where_it_would_have_been_or_into_the_next_days() {
        let policy = Policy::new(Choice::default()).unwrap();
        let day = |n: u64| Timestamp::EPOCH.plus(Duration::from_secs(n * DAY));
        let issued = day(0);
        for draw in [0, 1, 5_000, 9_999] {
            let young = policy.brought_forward(issued, day(10), draw);
            assert_eq!(young, policy.rotates_at(issued, draw));
            let old = policy.brought_forward(issued, day(100), draw);
            assert!(old >= day(100) && old < day(103), "spread over a tenth of the period: {draw}");
            for (now, at) in [(day(10), young), (day(100), old)] {
                assert!(at <= policy.rotates_by(issued, now), "not found a second time: {draw}");
            }
        }
        let (one, other) = (policy.brought_forward(issued, day(100), 1), day(100));
        assert_ne!(one, other, "not all at once");
    }
}
