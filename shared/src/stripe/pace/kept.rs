//! What the pace knows: pure, with the time passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::at_once::AtOnce;
use super::bucket::Bucket;
use super::learned::Learned;
use super::{Endpoint, Measures};
use crate::stripe::error::LimitReason;

/// Every bucket, and what was counted. Instants are counted from the pace's start.
#[derive(Debug)]
pub(super) struct Kept {
    max_rps: f64,
    all: Bucket,
    endpoints: BTreeMap<Endpoint, Bucket>,
    pub(super) at_once: AtOnce,
    counted: Measures,
}

/// Where a turn is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gate {
    Endpoint(Endpoint),
    All,
}

impl Kept {
    pub(super) fn new(max_rps: u32) -> Self {
        let max_rps = f64::from(max_rps);
        Self {
            max_rps,
            all: Bucket::new(Learned::new(max_rps, max_rps)),
            endpoints: BTreeMap::new(),
            at_once: AtOnce::new(),
            counted: Measures::default(),
        }
    }

    fn bucket(&mut self, gate: Gate) -> &mut Bucket {
        let max_rps = self.max_rps;
        match gate {
            Gate::All => &mut self.all,
            Gate::Endpoint(endpoint) => self.endpoints.entry(endpoint).or_insert_with(|| {
                let wall = (max_rps / ENDPOINTS_SHARE).max(ENDPOINT_RPS).min(max_rps);
                Bucket::new(Learned::new(max_rps, wall))
            }),
        }
    }

    /// The next turn at a gate; `None` when it is after `latest`.
    pub(super) fn take(
        &mut self,
        gate: Gate,
        now: Duration,
        latest: Option<Duration>,
    ) -> Option<Duration> {
        let taken = self.bucket(gate).take(now, latest);
        if taken.is_none() {
            self.turned_away();
        }
        taken
    }

    /// Whether a turn at `at` that was asked for at `asked` still holds.
    pub(super) fn is_open(&mut self, gate: Gate, asked: Duration, at: Duration) -> bool {
        self.bucket(gate).is_open(asked, at)
    }

    pub(super) fn turned_away(&mut self) {
        self.counted.turned_away += 1;
    }

    /// An attempt is sent.
    pub(super) fn sent(&mut self, endpoint: Endpoint) {
        self.counted.calls += 1;
        self.counted.endpoints.entry(endpoint).or_default().calls += 1;
    }

    /// Stripe refused a call whose turn was at `turn`: what its reason names slows down.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        endpoint: Endpoint,
        turn: Duration,
        reason: LimitReason,
        retry_after: Option<Duration>,
    ) {
        *self.counted.refused.entry(reason).or_default() += 1;
        let gate = match reason {
            LimitReason::GlobalRate | LimitReason::GlobalConcurrency => Gate::All,
            LimitReason::EndpointRate
            | LimitReason::EndpointConcurrency
            | LimitReason::ResourceSpecific
            | LimitReason::Unnamed => Gate::Endpoint(endpoint),
        };
        match reason {
            // Without a reason it is the limit that is reached first.
            LimitReason::GlobalRate | LimitReason::EndpointRate | LimitReason::Unnamed => {
                self.bucket(gate).refused(now, turn);
            }
            LimitReason::GlobalConcurrency | LimitReason::EndpointConcurrency => {
                self.at_once.refused(now, turn);
            }
            // One object's limit says nothing about the pace of calls to others.
            LimitReason::ResourceSpecific => return,
        }
        if let Some(pause) = retry_after {
            self.bucket(gate).close(now.saturating_add(pause.min(LONGEST_PAUSE)));
        }
    }

    /// What was counted since the last time, and the rates at `now`.
    pub(super) fn take_measures(&mut self, now: Duration) -> Measures {
        let mut taken = std::mem::take(&mut self.counted);
        taken.allowed_rps = self.all.rate(now);
        taken.allowed_at_once = self.at_once.allowed();
        for (endpoint, bucket) in &mut self.endpoints {
            taken.endpoints.entry(*endpoint).or_default().allowed_rps = bucket.rate(now);
        }
        taken
    }
}

/// Stripe's default for an endpoint, calls a second.
const ENDPOINT_RPS: f64 = 25.0;
/// Where more was agreed with Stripe, an endpoint is expected to have the same part of it: 25 of 100.
const ENDPOINTS_SHARE: f64 = 4.0;
/// However long Stripe asks for; the sweep runs every minute and a function lives for minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
