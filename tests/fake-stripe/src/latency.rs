//! How long calls are under way, in real time.

use std::time::Duration;

use crate::world::World;

impl World {
    /// How long a call takes to arrive, and its answer after its effect.
    pub(crate) fn draw_latency(&mut self) -> (Duration, Duration) {
        let (there, back) = (self.behaviour.arrives_after_ms, self.behaviour.answers_after_ms);
        (self.draw_between(there), self.draw_between(back))
    }

    fn draw_between(&mut self, (shortest, longest): (u64, u64)) -> Duration {
        // Nothing is drawn where there is nothing to choose, so that a seed still makes the same ids.
        let more = match longest.saturating_sub(shortest) {
            0 => 0,
            spread => self.random.next() % (spread + 1),
        };
        Duration::from_millis(shortest + more)
    }
}

/// Waits, unless there is nothing to wait for: then others do not get their turn in between either.
pub(crate) async fn under_way(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
