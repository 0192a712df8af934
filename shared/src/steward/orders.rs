//! The orders as the table has them, read again once they are a minute old.

use std::time::Duration;

use tokio::sync::Mutex;

use super::{Error, Steward};
use crate::class::Class;
use crate::domain::breaker::Breaker;
use crate::domain::orders::{Orders, Standing};
use crate::domain::time::Timestamp;
use crate::store::Store;

/// What a process knows of the orders. Starts empty: the first who asks reads them.
#[derive(Debug, Default)]
pub struct OrderBook(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    table_id: Option<String>,
    standing: Option<(Standing, Timestamp)>,
}

impl Steward {
    /// The orders, at most a minute old. Nothing is done without: an error here fails whatever asks.
    pub async fn orders(&self) -> Result<Orders, Error> {
        let mut known = self.orders.0.lock().await;
        let now = self.clock.now();
        let mut orders = match &known.standing {
            Some((standing, read_at)) if now.since(*read_at) < MAX_AGE => standing.orders(now),
            Some(_) | None => read(&mut known, &self.store, now).await?.orders(now),
        };
        orders.holds_rotations |= self.breaker().trials_left(now) == Some(0);
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

    /// Changes the bundle's own row; once more from the start whenever somebody else was faster.
    pub async fn give_order(
        &self,
        order: impl Fn(&mut Standing) + Send,
    ) -> Result<Standing, Error> {
        self.orders.give(&self.store, self.clock.now(), order).await
    }
}

impl OrderBook {
    /// Reads the bundle's own row now, and holds it against the table.
    pub async fn standing(&self, store: &Store, now: Timestamp) -> Result<Standing, Error> {
        let mut known = self.0.lock().await;
        read(&mut known, store, now).await
    }

    /// As [`Steward::give_order`], for who has a table and nothing else.
    pub async fn give(
        &self,
        store: &Store,
        now: Timestamp,
        order: impl Fn(&mut Standing) + Send,
    ) -> Result<Standing, Error> {
        let mut known = self.0.lock().await;
        loop {
            let mut standing = read(&mut known, store, now).await?;
            order(&mut standing);
            match store.set_standing(standing).await {
                Ok(standing) => {
                    known.standing = Some((standing.clone(), now));
                    return Ok(standing);
                }
                Err(error) if error.class() == Class::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads the row and holds it against the table: which table this is does not change while a process
/// lives, and is asked once.
async fn read(known: &mut Known, store: &Store, now: Timestamp) -> Result<Standing, Error> {
    loop {
        let (table_id, mut standing) = match known.table_id.clone() {
            Some(table_id) => (table_id, store.standing().await?),
            None => tokio::try_join!(store.table_id(), store.standing())?,
        };
        known.table_id = Some(table_id.clone());
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
        known.standing = Some((standing.clone(), now));
        return Ok(standing);
    }
}

/// How old the orders may be. The sweep reads them at each run.
const MAX_AGE: Duration = Duration::from_secs(60);
