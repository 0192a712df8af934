//! Futures at once in an order that dice decide, so that a race repeats exactly.
//!
//! At every door a racing future stops once before and once after the effect (`step`); whose turn is next
//! is drawn there. Nothing but the draw decides, as long as all that the futures wait for is doors: the
//! harness answers in process, and a wait for time is the same in every run under a paused clock.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

thread_local! {
    static RACING: Cell<bool> = const { Cell::new(false) };
    static STEPPED: Cell<bool> = const { Cell::new(false) };
}

/// A point at which another may overtake. Does nothing outside of a race.
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

/// One of those who race.
pub type Racer<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

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

/// Runs all to their ends. `draw` says before each step whose turn it is, out of so many who may go on, and
/// is not asked where that is one alone.
pub async fn race_all<T>(
    mut racers: Vec<Racer<'_, T>>,
    mut draw: impl FnMut(usize) -> usize,
) -> Vec<T> {
    let mut done: Vec<Option<T>> = racers.iter().map(|_| None).collect();
    poll_fn(|context| {
        RACING.set(true);
        // Who waits for something else than a turn; when all do, so does the race.
        let mut waits = vec![false; racers.len()];
        loop {
            let may_go = |n: &usize| done[*n].is_none() && !waits[*n];
            let able: Vec<usize> = (0..racers.len()).filter(may_go).collect();
            let turn = match able.as_slice() {
                [] => break,
                [alone] => *alone,
                several => several[draw(several.len()) % several.len()],
            };
            STEPPED.set(false);
            match racers[turn].as_mut().poll(context) {
                Poll::Ready(outcome) => done[turn] = Some(outcome),
                Poll::Pending if !STEPPED.get() => {
                    waits[turn] = true;
                    continue;
                }
                Poll::Pending => {}
            }
            // It got on, and may have let go what the others wait for.
            waits.fill(false);
        }
        RACING.set(false);
        if done.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
    })
    .await
}
