//! Keeps calls below Stripe's limit on requests a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket that hands out turns in the order in which they are asked for.
///
/// One process, one bucket: it keeps one sweep below the limit, not two processes together. Those meet at
/// Stripe's 429, which is an answer like any other.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    bucket: Mutex<Bucket>,
}

impl Pace {
    pub(super) fn new(max_rps: u32) -> Self {
        Self { started: Instant::now(), bucket: Mutex::new(Bucket::new(max_rps)) }
    }

    /// Waits for a turn. A caller that stops waiting has used its turn up all the same.
    pub(super) async fn turn(&self) {
        let wait = {
            // Nothing in here panics, and a bucket is whole after every statement.
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.reserve(self.started.elapsed())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The bucket, kept as the instant at which it will be full again: a turn moves that instant on by one gap.
#[derive(Debug)]
struct Bucket {
    gap: Duration,
    /// How far ahead of the present that instant may be without waiting.
    burst: Duration,
    full_at: Duration,
}

impl Bucket {
    fn new(max_rps: u32) -> Self {
        let gap = Duration::from_secs(1) / max_rps.max(1);
        let turns = (max_rps / BURST_SHARE).max(1);
        Self { gap, burst: gap * (turns - 1), full_at: Duration::ZERO }
    }

    /// Takes the next turn and says how long after `now` it is.
    fn reserve(&mut self, now: Duration) -> Duration {
        let taken_at = self.full_at.max(now);
        self.full_at = taken_at.saturating_add(self.gap);
        taken_at.saturating_sub(self.burst).saturating_sub(now)
    }
}

/// A fifth of a second's turns may go at once. A whole second's worth would make the first second twice as
/// full as Stripe allows.
const BURST_SHARE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(bucket: &mut Bucket, now_ms: u64, turns: usize) -> Vec<u128> {
        let now = Duration::from_millis(now_ms);
        (0..turns).map(|_| bucket.reserve(now).as_millis()).collect()
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(10);
        assert_eq!(waits(&mut bucket, 0, 5), [0, 0, 100, 200, 300]);
        assert_eq!(waits(&mut bucket, 400, 2), [0, 100], "the debt is paid off by time");
        assert_eq!(
            waits(&mut bucket, 60_000, 3),
            [0, 0, 100],
            "a long rest fills one burst, not more"
        );
    }

    #[test]
    fn a_slow_pace_has_no_burst() {
        assert_eq!(waits(&mut Bucket::new(1), 0, 3), [0, 1000, 2000]);
        assert_eq!(waits(&mut Bucket::new(0), 0, 2), [0, 1000]);
    }

    #[test]
    fn no_second_holds_more_than_the_rate_and_one_burst() {
        for rps in [1, 3, 25, 100] {
            let mut bucket = Bucket::new(rps);
            let starts: Vec<Duration> = (0..1000).map(|_| bucket.reserve(Duration::ZERO)).collect();
            for start in &starts {
                let within =
                    |at: &&Duration| **at >= *start && **at < *start + Duration::from_secs(1);
                let busy = starts.iter().filter(within).count();
                assert!(busy <= (rps + rps / BURST_SHARE + 1) as usize, "{rps}: {busy}");
            }
        }
    }

    #[tokio::test]
    async fn a_turn_waits_as_long_as_the_bucket_says() {
        let pace = Pace::new(20);
        let start = Instant::now();
        for _ in 0..6 {
            pace.turn().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(90), "four at once, two more 50 ms apart");
    }
}
