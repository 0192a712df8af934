//! Instants and spans as people read them.

use std::time::Duration;

use keysteward::domain::time::Timestamp;

/// `2026-11-24 12:00:00`
pub(super) fn day_and_second(at: Timestamp) -> String {
    at.to_string().replace('T', " ").chars().take(19).collect()
}

/// Without its seconds, which would change under a reader's eyes.
pub(super) fn minute(text: &str) -> &str {
    text.get(..16).unwrap_or(text)
}

/// The largest unit that fits, rounded down; two of them where the first is small.
pub(super) fn span(of: Duration) -> String {
    let minutes = of.as_secs() / 60;
    let (hours, days) = (minutes / 60, minutes / 1440);
    match (days, hours, minutes) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days @ 1..=2, hours, _) => format!("{days} d {} h", hours % 24),
        (days, _, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_says_no_more_than_anybody_needs() {
        for (seconds, text) in [
            (0, "less than a minute"),
            (60, "1 min"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (31 * 86_400, "31 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
