//! The orders as the table has them, read again once they are a minute old.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Error, Steward};
use crate::class::Class;
use crate::domain::breaker::Breaker;
use crate::domain::orders::{Orders, Standing};
use crate::domain::time::Timestamp;
use crate::store::{self, Store};

/// What a process knows of the orders. Starts empty: the first who asks reads them.
///
/// Never locked while the table is asked: where one call hangs, whoever else needs the orders asks for himself.
#[derive(Debug, Default)]
pub struct OrderBook(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    table_id: Option<String>,
    standing: Option<(Standing, Timestamp)>,
    /// The number of the asking that `standing` is of, and how many were begun.
    of: u64,
    begun: u64,
}

impl Steward {
    /// The orders, at most a minute old. Nothing is done without: an error here fails whatever asks.
    pub async fn orders(&self) -> Result<Orders, Error> {
        let now = self.clock.now();
        let mut orders = match self.orders.known(now) {
            Some(orders) => orders,
            None => self.orders.standing(&self.store, now).await?.orders(now),
        };
        orders.breaker_is_open |= self.breaker().trials_left(now) == Some(0);
        Ok(orders)
    }

    /// Takes up a breaker that another process left open.
    pub(crate) fn take_up_breaker(&self, standing: &Standing) {
        if self.breaker() == Breaker::default() {
            self.set_breaker(standing.breaker.clone());
        }
    }

    /// Leaves the breaker for other processes, when it opened or closed.
    pub(crate) async fn leave_breaker(&self, standing: &Standing) -> Result<(), Error> {
        let breaker = self.breaker();
        if breaker.state() != standing.breaker.state() {
            self.give_order(|standing| standing.breaker = breaker.clone()).await?;
        }
        Ok(())
    }

    /// Reads the bundle's own row now.
    pub async fn standing(&self) -> Result<Standing, Error> {
        self.orders.standing(&self.store, self.clock.now()).await
    }

    /// As [`Steward::standing`], and asks AWS anew which table this is: one that was deleted and restored under
    /// its own name looks the same from within.
    pub(crate) async fn recognise(&self) -> Result<Standing, Error> {
        self.orders.forget_table();
        self.standing().await
    }

    /// Changes the bundle's own row; once more from the start whenever somebody else was faster.
    pub async fn give_order(
        &self,
        order: impl Fn(&mut Standing) + Send,
    ) -> Result<Standing, Error> {
        self.orders.give(&self.store, self.clock.now(), order).await
    }
}

impl OrderBook {
    /// Reads the bundle's own row now, and holds it against the table. Which table this is, is asked once, and
    /// again when the row says otherwise or there was none for a while: then it was restored under its name.
    pub async fn standing(&self, store: &Store, now: Timestamp) -> Result<Standing, Error> {
        loop {
            let (number, table_id) = self.begin();
            let read = read(store, table_id).await;
            if matches!(read, Err(store::Error::NoTable(_))) {
                self.forget_table();
            }
            let (table_id, mut standing) = read?;
            self.lock().table_id = Some(table_id.clone());
            let before = standing.epoch;
            if standing.recognise(&table_id, now) {
                match store.set_standing(standing).await {
                    Ok(written) => standing = written,
                    Err(error) if error.class() == Class::Conflict => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            if standing.epoch != before {
                tracing::error!(
                    epoch = standing.epoch,
                    "the table was restored from a copy: nothing is changed at Stripe until an operator releases it"
                );
            }
            self.keep(number, &standing, now);
            return Ok(standing);
        }
    }

    /// As [`Steward::give_order`], for who has a table and nothing else.
    pub async fn give(
        &self,
        store: &Store,
        now: Timestamp,
        order: impl Fn(&mut Standing) + Send,
    ) -> Result<Standing, Error> {
        loop {
            let mut standing = self.standing(store, now).await?;
            order(&mut standing);
            match store.set_standing(standing).await {
                Ok(standing) => {
                    // Numbered only now: whoever began before may have read what this replaced.
                    let (number, _) = self.begin();
                    self.keep(number, &standing, now);
                    return Ok(standing);
                }
                Err(error) if error.class() == Class::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The orders at `now`, if they are known and young enough.
    fn known(&self, now: Timestamp) -> Option<Orders> {
        let known = self.lock();
        let (standing, read_at) = known.standing.as_ref()?;
        (now.since(*read_at) < MAX_AGE).then(|| standing.orders(now))
    }

    fn forget_table(&self) {
        self.lock().table_id = None;
    }

    fn begin(&self) -> (u64, Option<String>) {
        let mut known = self.lock();
        known.begun += 1;
        (known.begun, known.table_id.clone())
    }

    /// Keeps an answer, unless one that was asked for later is there already.
    fn keep(&self, number: u64, standing: &Standing, now: Timestamp) {
        let mut known = self.lock();
        if number > known.of {
            known.of = number;
            known.standing = Some((standing.clone(), now));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held, and every statement leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row, and which table it is in, as far as that is not known.
async fn read(store: &Store, known: Option<String>) -> Result<(String, Standing), store::Error> {
    let Some(known) = known else { return tokio::try_join!(store.table_id(), store.standing()) };
    let standing = store.standing().await?;
    match &standing.table_id {
        Some(of_row) if *of_row == known => Ok((known, standing)),
        Some(_) | None => Ok((store.table_id().await?, standing)),
    }
}

/// How old the orders may be. The sweep reads them at each run.
const MAX_AGE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds).unwrap()
    }

    fn paused(since: Option<Timestamp>) -> Standing {
        Standing { paused_since: since, ..Standing::default() }
    }

    fn holds(book: &OrderBook, now: Timestamp) -> Option<bool> {
        book.known(now).map(|orders| orders.is_paused)
    }

    #[test]
    fn orders_are_known_for_a_minute_and_then_asked_for_again() {
        let book = OrderBook::default();
        assert_eq!(holds(&book, second(0)), None, "nothing was asked yet");
        let (number, _) = book.begin();
        book.keep(number, &paused(Some(second(0))), second(0));
        assert_eq!(holds(&book, second(0)), Some(true));
        assert_eq!(holds(&book, second(59)), Some(true));
        assert_eq!(holds(&book, second(60)), None);
    }

    #[test]
    fn an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one() {
        let book = OrderBook::default();
        let ((first, _), (second_asked, _)) = (book.begin(), book.begin());
        book.keep(second_asked, &paused(Some(second(1))), second(1));
        book.keep(first, &paused(None), second(2));
        assert_eq!(holds(&book, second(3)), Some(true), "the slower answer is the older one");
        let (third, _) = book.begin();
        book.keep(third, &paused(None), second(3));
        assert_eq!(holds(&book, second(3)), Some(false));
    }

    #[test]
    fn two_askers_never_have_the_same_number() {
        let book = OrderBook::default();
        let numbers: Vec<u64> = (0..5).map(|_| book.begin().0).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }
}
