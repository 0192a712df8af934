//! One pace for all calls with the app's keys: below Stripe's limits, which are learnt from its refusals.
//!
//! Own code, on purpose: `governor` and its like keep a rate that is configured, hand out no turn for later
//! (so nothing is first come, first served, and a turn past a deadline cannot be declined), and cannot be told
//! that the rate was wrong. The bucket itself is ten lines; the learning is what there is to write.
//!
//! One process, one pace: two processes together meet at Stripe's 429, and each learns its share.

mod at_once;
mod bucket;
mod endpoint;
mod kept;
mod learned;
mod measures;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use self::endpoint::Endpoint;
use self::kept::{Gate, Kept};
pub use self::measures::{EndpointMeasures, Measures};
use super::error::LimitReason;

/// Hands out turns: of the endpoint first, then of all calls, then a place among those under way. Each of the
/// three is first come, first served.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    kept: Mutex<Kept>,
    places: Semaphore,
    waits: bool,
}

/// A turn that was handed out; dropped when the call is over.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    endpoint: Endpoint,
    at: Duration,
    place: Option<SemaphorePermit<'a>>,
}

/// There is no turn before it would be too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLate;

impl Pace {
    pub(super) fn new(max_rps: u32) -> Self {
        let kept = Kept::new(max_rps);
        let places = Semaphore::new(kept.at_once.places());
        Self { started: Instant::now(), kept: Mutex::new(kept), places, waits: true }
    }

    /// From now on every turn is at once. What is counted and learnt stays the same.
    pub(super) fn wait_for_nobody(&mut self) {
        self.waits = false;
    }

    /// Waits for a turn, unless there is none until `latest`. A caller that stops waiting has used its turn up
    /// all the same.
    pub(super) async fn turn(
        &self,
        endpoint: Endpoint,
        latest: Option<Instant>,
    ) -> Result<Turn<'_>, TooLate> {
        let end = latest.map(|latest| latest.saturating_duration_since(self.started));
        self.wait(Gate::Endpoint(endpoint), end).await?;
        let at = self.wait(Gate::All, end).await?;
        let acquired = match latest {
            Some(latest) => timeout_at(latest, self.places.acquire()).await,
            None => Ok(self.places.acquire().await),
        };
        // The semaphore is never closed, so the only failure is that it took too long.
        let Ok(Ok(place)) = acquired else {
            self.lock().turned_away();
            return Err(TooLate);
        };
        self.lock().sent(endpoint);
        Ok(Turn { pace: self, endpoint, at, place: Some(place) })
    }

    /// What was counted since the last time, and the rates as they are.
    pub(super) fn take_measures(&self) -> Measures {
        let now = self.started.elapsed();
        self.lock().take_measures(now)
    }

    /// Takes a turn at one gate and waits for it. A gate that was closed meanwhile, or whose rate fell, is asked
    /// again, so that a pause that Stripe asks for holds also for those who were waiting already.
    async fn wait(&self, gate: Gate, latest: Option<Duration>) -> Result<Duration, TooLate> {
        loop {
            let now = self.started.elapsed();
            if !self.waits {
                return self.at_once(now, latest);
            }
            let taken = self.lock().take(gate, now, latest);
            let at = taken.ok_or(TooLate)?;
            if at > now {
                sleep_until(self.started + at).await;
            }
            if self.lock().is_open(gate, now, at) {
                return Ok(at);
            }
        }
    }

    fn at_once(&self, now: Duration, latest: Option<Duration>) -> Result<Duration, TooLate> {
        if latest.is_some_and(|latest| now > latest) {
            self.lock().turned_away();
            return Err(TooLate);
        }
        Ok(now)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here panics, and what is kept is whole after every statement.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Says that Stripe refused the call for its limits. `retry_after` is what it asks for, if it does.
    pub(super) fn refused(&self, reason: LimitReason, retry_after: Option<Duration>) {
        let now = self.pace.started.elapsed();
        self.pace.lock().refused(now, self.endpoint, self.at, reason, retry_after);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = self.pace.started.elapsed();
        let mut kept = self.pace.lock();
        if kept.at_once.gives_up_a_place() {
            if let Some(place) = self.place.take() {
                place.forget();
            }
        } else {
            self.pace.places.add_permits(kept.at_once.takes_new_places(now));
        }
    }
}
