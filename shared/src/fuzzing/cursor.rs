//! The cursor of the back-fill, as a row may have it, and lists that hold more or less than fits.

use super::fields;
use crate::domain::backlog::Backlog;
use crate::domain::time::Timestamp;

/// A stored cursor (an instant, or nothing), the clock, and for each window in turn whether it was read
/// whole (`1`) or not. Windows lie between cursor and clock, join up, and come to an end; the cursor never
/// goes past what was read.
pub(super) fn cursor(data: &[u8]) {
    let [stored, clock, lists] = fields(data);
    let read = |text: &str| {
        let millis = || Timestamp::from_millis(text.parse().ok()?).ok();
        Timestamp::parse(text).ok().or_else(millis)
    };
    let Some(now) = read(&clock) else { return };
    let mut backlog = Backlog::since(read(&stored), now);
    // A list that does not fit costs a window, and from 30 days to a second are eight steps each way.
    let most = 20 + 2 * lists.len();
    let mut lists = lists.bytes();
    let mut read_up_to = backlog.window().map(|window| window.from);
    let mut windows = 0;
    while let Some(window) = backlog.window() {
        assert!(window.from < window.to && window.to <= now);
        assert_eq!(Some(window.from), read_up_to, "no gap between two windows");
        // The narrowest has no limit, so it is always read whole.
        let has_limit = Backlog::limit(window) < usize::MAX;
        let is_whole = !has_limit || lists.next().is_none_or(|list| list == b'1');
        backlog.read(window, is_whole);
        if is_whole {
            read_up_to = Some(window.to);
        }
        assert!(read_up_to.is_some_and(|read| backlog.read_to() <= read));
        windows += 1;
        assert!(windows <= most, "it comes to an end");
    }
    assert!(backlog.read_to() <= now);
}
