//! Back-fill: what Stripe recorded on an account and no webhook brought.
//!
//! Events are only put down here, as the webhook would have; the stream or the sweep applies them. One that
//! is there already stays as it is, so reading the same span twice changes nothing. The cursor moves in the
//! change that is recorded afterwards: a crash in between costs a repetition.

use std::time::Duration;

use super::{Error, Steward};
use crate::domain::account::Change;
use crate::domain::backlog::{self, Backlog, Window};
use crate::domain::event::Notification;
use crate::domain::id::AccountId;
use crate::domain::orders::{Orders, OwnRecord, Standing};
use crate::domain::policy::Policy;
use crate::domain::slot::{AccountRef, Mode};
use crate::domain::time::Timestamp;
use crate::runtime::log::chain;
use crate::stripe::{self, EventQuery, FullEvent};

impl Steward {
    /// Reads Stripe's record of the account's events as far as one run may, and moves the cursor as far as
    /// was read. A failure leaves it where the last whole window ended, and stops nothing.
    pub(super) async fn back_fill(&self, change: &mut Change, orders: &Orders) {
        let head = &change.account().head;
        // After a restore, what keys came to is the reconciliation's to say: see `Steward::ingest`.
        if head.epoch < orders.epoch {
            return;
        }
        let (at, now) = (change.account().at.clone(), change.now());
        let mut backlog = Backlog::since(head.events_read_to, now);
        let mut failed = false;
        for _ in 0..WINDOWS_A_RUN {
            let Some(window) = backlog.window() else { break };
            match self.read_window(&at, window, now).await {
                Ok(is_whole) => backlog.read(window, is_whole),
                Err(error) => {
                    // Also what an account says that uninstalled the app unheard.
                    tracing::warn!(
                        account.id = %at.id,
                        account.mode = at.mode.as_str(),
                        class = error.class().as_str(),
                        error = chain(&error),
                        "the record of events could not be read to its end"
                    );
                    // For want of time alone, the rest is read as soon as that of a long record.
                    failed = !matches!(error, Error::Event(stripe::Error::OutOfTime));
                    break;
                }
            }
        }
        change.events_read(backlog.read_to());
        if backlog.window().is_some() && !failed {
            change.put_off_reconciling(Policy::LOOK_AGAIN);
        }
    }

    /// Reads the app's own record hourly: events of claimable sandboxes are in it, and in no account's. The
    /// cursor is in the bundle's own row. A failure leaves it where it is, and stops nothing.
    ///
    /// Answers how far behind the cursor is; `None` where nothing is read for want of an app key.
    pub(crate) async fn back_fill_own(
        &self,
        standing: &Standing,
    ) -> Result<Option<Duration>, Error> {
        let now = self.clock.now();
        let record = standing.own_record;
        // Sandboxes are test mode's, whatever becomes of them.
        if !self.stripe.serves(Mode::Test) {
            return Ok(None);
        }
        let Some(record) = record.filter(|record| record.next_at > now) else {
            return self.read_own_record(record, now).await.map(Some);
        };
        Ok(Some(backlog::behind(record.read_to, now)))
    }

    async fn read_own_record(
        &self,
        record: Option<OwnRecord>,
        now: Timestamp,
    ) -> Result<Duration, Error> {
        let mut backlog = Backlog::since(record.and_then(|record| record.read_to), now);
        for _ in 0..WINDOWS_A_RUN {
            let Some(window) = backlog.window() else { break };
            match self.read_own_window(window, now).await {
                Ok(is_whole) => backlog.read(window, is_whole),
                Err(error) => {
                    tracing::warn!(
                        class = error.class().as_str(),
                        error = chain(&error),
                        "the app's own record of events could not be read to its end"
                    );
                    break;
                }
            }
        }
        let (read_to, next_at) = (Some(backlog.read_to()), now.plus(Policy::LOOK_AGAIN));
        let order = |standing: &mut Standing| {
            let before = standing.own_record.and_then(|record| record.read_to);
            standing.own_record = Some(OwnRecord { read_to: before.max(read_to), next_at });
        };
        let standing = self.give_order(order).await?;
        Ok(backlog::behind(standing.own_record.and_then(|record| record.read_to), now))
    }

    /// Puts down what matters of one window; answers whether that was all of it.
    async fn read_window(
        &self,
        at: &AccountRef,
        window: Window,
        now: Timestamp,
    ) -> Result<bool, Error> {
        // An event of a sandbox may be its account's.
        let types = if at.mode == Mode::Test {
            [&TYPES[..], &OF_SANDBOXES].concat()
        } else {
            TYPES.to_vec()
        };
        let query = query(&types, window);
        let events = self.stripe.events(at, &query).await.map_err(Error::Event)?;
        let is_whole = events.len() < query.limit;
        for event in events {
            self.put_down(event, at.clone(), now).await?;
        }
        Ok(is_whole)
    }

    async fn read_own_window(&self, window: Window, now: Timestamp) -> Result<bool, Error> {
        let query = query(&OF_SANDBOXES, window);
        let events = self.stripe.own_events(Mode::Test, &query).await.map_err(Error::Event)?;
        let is_whole = events.len() < query.limit;
        for event in events {
            // As the webhook names it: the row is one and the same.
            let id = event.account.clone().unwrap_or_else(AccountId::own);
            self.put_down(event, AccountRef::new(Mode::Test, id), now).await?;
        }
        Ok(is_whole)
    }

    async fn put_down(
        &self,
        event: FullEvent,
        account: AccountRef,
        now: Timestamp,
    ) -> Result<(), Error> {
        if let Some(topic) = event.topic() {
            let event = Notification { id: event.id, account, created: event.created, topic };
            self.store.put_event(&event, now).await?;
        }
        Ok(())
    }
}

fn query<'a>(types: &'a [&'a str], window: Window) -> EventQuery<'a> {
    let Window { from, to } = window;
    EventQuery { types, from: Some(from), to: Some(to), limit: Backlog::limit(window) }
}

/// What is asked for: at most 20 types a query. v1 events have these names in their thin form; their
/// snapshots are in another list, which needs no reading for this.
const TYPES: [&str; 9] = [
    "v2.iam.api_key.created",
    "v2.iam.api_key.updated",
    "v2.iam.api_key.rotated",
    "v2.iam.api_key.expired",
    "v2.iam.api_key.permissions_updated",
    "v2.iam.api_key.default_secret_revealed",
    "v1.account.application.authorized",
    "v1.account.application.deauthorized",
    "v1.account.updated",
];

/// Events of claimable sandboxes.
const OF_SANDBOXES: [&str; 5] = [
    "v2.core.claimable_sandbox.created",
    "v2.core.claimable_sandbox.claimed",
    "v2.core.claimable_sandbox.updated",
    "v2.core.claimable_sandbox.expiring",
    "v2.core.claimable_sandbox.expired",
];

/// How many lists one run reads: within the lease even where Stripe is slow. The rest follows in an hour.
const WINDOWS_A_RUN: usize = 12;
