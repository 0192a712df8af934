//! The one clock of a [`FakeStripe`](crate::FakeStripe): every lifetime, deadline, signature and rate
//! window is counted on it, so that a test can let weeks pass without sleeping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

type Source = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Milliseconds since the Unix epoch, from the system, from a closure, or moved by hand.
///
/// Clones share their offset: advancing one advances all. [`advance`](Self::advance) and
/// [`set`](Self::set) work on every kind, which lets a demo on the system clock skip ahead.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The computer's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the double's own time source; tests pass a manual clock"
            )]
            let now = std::time::SystemTime::now();
            now.duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that stands at `ms` until it is moved.
    #[must_use]
    pub fn manual(ms: i64) -> Self {
        let clock = Self::from_fn(|| 0);
        clock.set(ms);
        clock
    }

    /// A clock that reads `now_ms` (milliseconds since the epoch) each time it is asked.
    #[must_use]
    pub fn from_fn(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(now_ms), offset_ms: Arc::new(AtomicI64::new(0)) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.source)().saturating_add(self.offset_ms.load(Ordering::SeqCst))
    }

    /// Moves the clock forward by `ms` (backward if negative).
    pub fn advance(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Makes the clock read `ms` now.
    pub fn set(&self, ms: i64) {
        self.offset_ms.store(ms.saturating_sub((self.source)()), Ordering::SeqCst);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now_ms", &self.now_ms()).finish()
    }
}

/// A v2 timestamp: RFC 3339 in UTC with exactly three decimals, as every example of the spec has it.
pub(crate) fn iso(ms: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// Reads an RFC 3339 timestamp into milliseconds; `None` if it is not one.
pub(crate) fn parse_iso(text: &str) -> Option<i64> {
    let at =
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_with_three_decimals_and_read_back() {
        assert_eq!(iso(1_765_395_776_000), "2025-12-10T19:42:56.000Z");
        assert_eq!(parse_iso("2025-12-10T19:42:56.897Z"), Some(1_765_395_776_897));
        assert_eq!(parse_iso("yesterday"), None);
    }

    #[test]
    fn clones_of_a_clock_move_together() {
        let clock = Clock::manual(10);
        let other = clock.clone();
        other.advance(5);
        assert_eq!(clock.now_ms(), 15);
        clock.set(3);
        assert_eq!(other.now_ms(), 3);
    }
}
