//! Two futures at once in an order that dice decide, so that a race repeats exactly.
//!
//! At every door a racing future stops once before and once after the effect (`step`); whose turn is next
//! is drawn there. Nothing but the draw decides, as long as all that the futures wait for is doors: the
//! harness answers in process, and a wait for time is the same in every run under a paused clock.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

thread_local! {
    static RACING: Cell<bool> = const { Cell::new(false) };
    static STEPPED: Cell<bool> = const { Cell::new(false) };
}

/// A point at which the other may overtake. Does nothing outside of [`race`].
pub(crate) async fn step() {
    let mut waited = !RACING.get();
    poll_fn(|_| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        STEPPED.set(true);
        Poll::Pending
    })
    .await;
}

/// Runs both to their ends; `draw` says before each step whether it is the first one's turn.
pub async fn race<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
    mut draw: impl FnMut() -> bool,
) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|context| {
        RACING.set(true);
        // Who waits for something else than a turn; when both do, so does the race.
        let (mut first_waits, mut second_waits) = (false, false);
        let outcome = loop {
            let may_first = a.is_none() && !first_waits;
            let may_second = b.is_none() && !second_waits;
            let is_first = match (may_first, may_second) {
                (true, true) => draw(),
                (true, false) => true,
                (false, true) => false,
                (false, false) => match (a.take(), b.take()) {
                    (Some(a), Some(b)) => break Poll::Ready((a, b)),
                    (done_a, done_b) => {
                        (a, b) = (done_a, done_b);
                        break Poll::Pending;
                    }
                },
            };
            STEPPED.set(false);
            let waits = if is_first { &mut first_waits } else { &mut second_waits };
            let polled = if is_first {
                first.as_mut().poll(context).map(|done| a = Some(done))
            } else {
                second.as_mut().poll(context).map(|done| b = Some(done))
            };
            *waits = polled.is_pending() && !STEPPED.get();
            if !*waits {
                // It got on, and may have let go what the other waits for.
                (first_waits, second_waits) = (false, false);
            }
        };
        RACING.set(false);
        outcome
    })
    .await
}
