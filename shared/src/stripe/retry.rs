//! When a call is made again within one run, and after how long.
//!
//! Source: what Stripe's SDKs do (stripe-node, stripe-go, stripe-python, stripe-ruby), narrowed where a repeat could do
//! harm.

use std::time::Duration;

use aws_lc_rs::rand;

/// What repeating a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it reads.
    Read,
    /// The same as making it once: it carries an idempotency key.
    Keyed,
    /// Not known.
    Once,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No connection: Stripe has not seen the request.
    NotReached,
    /// The connection broke after it was made.
    Interrupted,
    /// No answer in time.
    TimedOut,
    /// An answer.
    Answered {
        status: u16,
        code: Code,
        /// The header `Stripe-Should-Retry`.
        should_retry: Option<bool>,
    },
}

/// What the error code of an answer means for a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// An object is locked by another request, for a moment.
    LockTimeout,
    /// The idempotency key was used with another body; it always will have been.
    IdempotencyError,
    /// Any other, or none.
    Other,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Retry,
    Stop,
}

/// Decides after the attempt with this number, counted from 1.
///
/// A time-out of a call that changes something stops here, key or not: the caller has its intent recorded and
/// a lease to mind, and may prefer to answer first and let the sweep repeat the call.
pub(super) fn decide(attempt: u32, effect: Effect, outcome: Outcome) -> Decision {
    if attempt > MAX_RETRIES || effect == Effect::Once {
        return Decision::Stop;
    }
    let retry = match outcome {
        Outcome::NotReached | Outcome::Interrupted => true,
        Outcome::TimedOut => effect == Effect::Read,
        Outcome::Answered { status: 200..=299 | 400, .. } => false,
        Outcome::Answered { should_retry: Some(told), .. } => told,
        Outcome::Answered { status: 409, code, .. } => code != Code::IdempotencyError,
        Outcome::Answered { status: 429, code, .. } => code == Code::LockTimeout,
        Outcome::Answered { status, .. } => status >= 500,
    };
    if retry { Decision::Retry } else { Decision::Stop }
}

/// How long to rest before retries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// The longest rest before the first retry; it doubles with every further one.
    pub(super) first: Duration,
    /// No rest is longer.
    pub(super) longest: Duration,
}

impl Rest {
    /// What Stripe's SDKs use.
    pub(super) const STRIPE: Self =
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(5) };

    /// The rest after the attempt with this number: `min(first · 2^(attempt − 1), longest)`, times 0.5 to 1 as
    /// `draw` falls, so that callers that failed together do not come back together.
    pub(super) fn after(self, attempt: u32, draw: u16) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(0.5 + f64::from(draw) / f64::from(u16::MAX) / 2.0)
    }
}

/// A draw for [`Rest::after`].
pub(super) fn draw() -> u16 {
    let mut bytes = [0; 2];
    // Without entropy the rest is merely the shortest one.
    let _ = rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// Three attempts in all, as Stripe's SDKs make. What is still undone then is the sweep's.
pub(super) const MAX_RETRIES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, code: Code::Other, should_retry: None }
    }

    fn told(status: u16, should_retry: bool) -> Outcome {
        Outcome::Answered { status, code: Code::Other, should_retry: Some(should_retry) }
    }

    fn coded(status: u16, code: Code) -> Outcome {
        Outcome::Answered { status, code, should_retry: None }
    }

    #[test]
    fn the_policy_is_this_table() {
        use Decision::{Retry, Stop};
        for (outcome, read, keyed) in [
            (Outcome::NotReached, Retry, Retry),
            (Outcome::Interrupted, Retry, Retry),
            (Outcome::TimedOut, Retry, Stop),
            (answered(200), Stop, Stop),
            (answered(302), Stop, Stop),
            (answered(400), Stop, Stop),
            (answered(401), Stop, Stop),
            (answered(403), Stop, Stop),
            (answered(404), Stop, Stop),
            (answered(409), Retry, Retry),
            (coded(409, Code::IdempotencyError), Stop, Stop),
            (answered(429), Stop, Stop),
            (coded(429, Code::LockTimeout), Retry, Retry),
            (answered(500), Retry, Retry),
            (answered(503), Retry, Retry),
            (told(200, true), Stop, Stop),
            (told(400, true), Stop, Stop),
            (told(404, true), Retry, Retry),
            (told(409, false), Stop, Stop),
            (told(429, true), Retry, Retry),
            (told(500, false), Stop, Stop),
        ] {
            assert_eq!(decide(1, Effect::Read, outcome), read, "{outcome:?}");
            assert_eq!(decide(1, Effect::Keyed, outcome), keyed, "{outcome:?}");
            assert_eq!(decide(1, Effect::Once, outcome), Stop, "{outcome:?}");
            assert_eq!(decide(2, Effect::Read, outcome), read, "{outcome:?}");
            assert_eq!(decide(3, Effect::Read, outcome), Stop, "{outcome:?}");
            assert_eq!(decide(3, Effect::Keyed, outcome), Stop, "{outcome:?}");
        }
    }

    #[test]
    fn rests_double_up_to_five_seconds_and_are_at_least_half_as_long() {
        for (attempt, shortest, longest) in [
            (1, 250, 500),
            (2, 500, 1000),
            (3, 1000, 2000),
            (5, 2500, 5000),
            (u32::MAX, 2500, 5000),
        ] {
            assert_eq!(Rest::STRIPE.after(attempt, 0).as_millis(), shortest);
            assert_eq!(Rest::STRIPE.after(attempt, u16::MAX).as_millis(), longest);
        }
    }

    #[test]
    fn draws_differ() {
        let draws: std::collections::BTreeSet<u16> = (0..64).map(|_| draw()).collect();
        assert!(draws.len() > 8);
    }
}
