//! One clock for Keysteward and fake Stripe, so that a month can pass for both at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keysteward::domain::time::Timestamp;
use keysteward::runtime::clock::Clock;

/// The machine's clock, moved ahead by hand. Clones move together.
#[derive(Clone, Debug)]
pub struct PlayClock {
    system: Clock,
    ahead_ms: Arc<AtomicI64>,
}

impl PlayClock {
    /// The machine's clock, moved ahead.
    pub fn ahead_of_system(by: Duration) -> Self {
        Self { system: Clock::system(), ahead_ms: Arc::new(AtomicI64::new(millis(by))) }
    }

    /// What time it is played to be.
    pub fn now(&self) -> Timestamp {
        self.system.now().plus(self.ahead())
    }

    /// How far it is ahead of the machine's clock.
    pub fn ahead(&self) -> Duration {
        let ahead = self.ahead_ms.load(Ordering::SeqCst);
        Duration::from_millis(u64::try_from(ahead).unwrap_or(0))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// As the functions take it.
    pub fn for_keysteward(&self) -> Clock {
        let clock = self.clone();
        Clock::from_fn(move || clock.now())
    }

    /// As fake Stripe takes it.
    pub fn for_stripe(&self) -> fake_stripe::Clock {
        let clock = self.clone();
        fake_stripe::Clock::from_fn(move || clock.now().millis())
    }
}

fn millis(by: Duration) -> i64 {
    i64::try_from(by.as_millis()).unwrap_or(i64::MAX)
}
