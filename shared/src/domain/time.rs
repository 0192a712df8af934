//! Instants in milliseconds, the precision of Stripe's v2 timestamps.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant, in milliseconds since the Unix epoch. Never before it, never past the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Timestamp(i64);

/// The text or number is not an instant between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an instant between 1970 and 9999")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// Milliseconds since the epoch, refused outside 1970 to 9999.
    pub fn from_millis(millis: i64) -> Result<Self, InvalidTimestamp> {
        if (0..=MAX_MILLIS).contains(&millis) { Ok(Self(millis)) } else { Err(InvalidTimestamp) }
    }

    /// Whole seconds since the epoch, as v1 events and signatures write them.
    pub fn from_seconds(seconds: i64) -> Result<Self, InvalidTimestamp> {
        Self::from_millis(seconds.checked_mul(1000).ok_or(InvalidTimestamp)?)
    }

    /// RFC 3339 with any fraction of a second; what is finer than a millisecond is cut off.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let instant = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let millis = instant.unix_timestamp_nanos().div_euclid(1_000_000);
        Self::from_millis(i64::try_from(millis).map_err(|_| InvalidTimestamp)?)
    }

    /// Milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0 / 1000
    }

    /// This instant moved forward; stops at the year 9999.
    pub fn plus(self, by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(MAX_MILLIS);
        Self(self.0.saturating_add(millis).min(MAX_MILLIS))
    }

    /// This instant moved back; stops at the epoch.
    pub fn minus(self, by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(MAX_MILLIS);
        Self(self.0.saturating_sub(millis).max(0))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with exactly three digits of fraction, so that texts sort like instants.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at =
            OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).map_err(|_| fmt::Error)?;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.rem_euclid(1000)
        )
    }
}

impl TryFrom<i64> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(millis: i64) -> Result<Self, InvalidTimestamp> {
        Self::from_millis(millis)
    }
}

impl From<Timestamp> for i64 {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}

/// 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write.
const MAX_MILLIS: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_so_that_texts_sort_like_them() {
        for (text, written) in [
            ("2025-12-10T19:42:56.897Z", "2025-12-10T19:42:56.897Z"),
            ("2025-10-04T15:13:32.232083866Z", "2025-10-04T15:13:32.232Z"),
            ("2025-10-04T17:13:32+02:00", "2025-10-04T15:13:32.000Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_not_an_instant_is_refused() {
        for text in ["", "yesterday", "1969-12-31T23:59:59Z", "2025-13-01T00:00:00Z", "2025-01-01"]
        {
            assert_eq!(Timestamp::parse(text), Err(InvalidTimestamp), "{text}");
        }
        assert!(Timestamp::from_millis(-1).is_err());
        assert!(Timestamp::from_seconds(i64::MAX).is_err());
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let last = Timestamp::from_millis(MAX_MILLIS).unwrap();
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(Timestamp::EPOCH.since(last), Duration::ZERO);
    }
}
