//! Until when a call may start: what is around a piece of work says so once, and every call within keeps to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;

/// What became of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLeft {
    /// Every call could be made.
    Enough,
    /// A call was not made for want of time: whatever followed from that is not to be recorded.
    RanOut,
}

#[derive(Clone)]
struct Latest {
    at: Instant,
    ran_out: Arc<AtomicBool>,
}

tokio::task_local! {
    static LATEST: Latest;
}

/// Does `work` so that none of its calls to Stripe, and no repeat of one, starts later than in `left`. Waiting
/// for a turn counts: a turn that comes later is not waited for, and the call fails with [`Error::OutOfTime`].
pub async fn within<W: Future>(left: Duration, work: W) -> (W::Output, TimeLeft) {
    let ran_out = Arc::new(AtomicBool::new(false));
    let now = Instant::now();
    let at = now.checked_add(left.min(LONGEST)).unwrap_or(now);
    let output = LATEST.scope(Latest { at, ran_out: ran_out.clone() }, work).await;
    let left = if ran_out.load(Ordering::Relaxed) { TimeLeft::RanOut } else { TimeLeft::Enough };
    (output, left)
}

/// Does `work` within what is around it, and until the same instant. Where the time runs out in `work`, what came
/// before stands all the same.
pub async fn aside<W: Future>(work: W) -> W::Output {
    match latest() {
        Some(at) => LATEST.scope(Latest { at, ran_out: Arc::default() }, work).await,
        None => work.await,
    }
}

/// The latest instant at which a call may start; `None` when nobody set one.
pub(super) fn latest() -> Option<Instant> {
    LATEST.try_with(|latest| latest.at).ok()
}

/// Whether a call that starts after `wait` starts too late.
pub(super) fn is_shorter_than(wait: Duration) -> bool {
    latest().is_some_and(|latest| Instant::now() + wait > latest)
}

/// Notes that a call was not made.
pub(super) fn ran_out() -> Error {
    let _ = LATEST.try_with(|latest| latest.ran_out.store(true, Ordering::Relaxed));
    Error::OutOfTime
}

/// No invocation lasts as long.
const LONGEST: Duration = Duration::from_secs(86_400);
