//! Back-fill: what Stripe recorded on an account and no webhook brought.
//!
//! Events are only put down here, as the webhook would have; the stream or the sweep applies them. One that
//! is there already stays as it is, so reading the same span twice changes nothing. The cursor moves in the
//! change that is recorded afterwards: a crash in between costs a repetition.

use super::{Error, Steward};
use crate::domain::account::Change;
use crate::domain::backlog::{Backlog, Window};
use crate::domain::event::{Notification, Topic};
use crate::domain::orders::Orders;
use crate::domain::policy::Policy;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;
use crate::runtime::log::chain;
use crate::stripe::EventQuery;

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
                    failed = true;
                    break;
                }
            }
        }
        change.events_read(backlog.read_to());
        if backlog.window().is_some() && !failed {
            change.put_off_reconciling(Policy::LOOK_AGAIN);
        }
    }

    /// Puts down what matters of one window; answers whether that was all of it.
    async fn read_window(
        &self,
        at: &AccountRef,
        window: Window,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let limit = Backlog::limit(window);
        let Window { from, to } = window;
        let query = EventQuery { types: &TYPES, from: Some(from), to: Some(to), limit };
        let events = self.stripe.events(at, &query).await.map_err(Error::Event)?;
        let is_whole = events.len() < limit;
        for event in events {
            let Some(topic) = Topic::of_type(&event.event_type) else { continue };
            let account = at.clone();
            let event = Notification { id: event.id, account, created: event.created, topic };
            self.store.put_event(&event, now).await?;
        }
        Ok(is_whole)
    }
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

/// How many lists one run reads: within the lease even where Stripe is slow. The rest follows in an hour.
const WINDOWS_A_RUN: usize = 12;
