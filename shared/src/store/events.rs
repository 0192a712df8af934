//! What Stripe told us, row by row, and what is due.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::put_item::{PutItem, PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};

use super::rows::{Item, number, string};
use super::{Error, EventRef, Store, error, keys, page_size, rows};
use crate::domain::event::Notification;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;

/// Whether an event was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is stored now, open.
    New,
    /// It was stored before, and stays as it is: open or done.
    Duplicate,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// What Stripe said.
    pub notification: Notification,
    /// Whether it still has to be applied.
    pub open: bool,
}

/// Something whose time has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// An account with a deadline in it.
    Account(AccountRef),
    /// An event that nobody has applied yet.
    Event(EventRef),
}

impl Due {
    /// Whose it is.
    pub fn account(&self) -> &AccountRef {
        match self {
            Self::Account(at) => at,
            Self::Event(event) => &event.account,
        }
    }
}

/// What waits in one shard of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The longest waiting first, each with the instant since when it is due.
    pub waiting: Vec<(Due, Timestamp)>,
    /// How many rows have a key that names nothing this version knows; they are passed over.
    pub unknown: u32,
}

impl Store {
    /// Records an event unless it is recorded already. It is due after a minute: the stream, which is
    /// faster, gets its chance first.
    ///
    /// A repeat of the SDK's after a lost answer reads as [`Recorded::Duplicate`], which is as good.
    pub async fn put_event(&self, event: &Notification, now: Timestamp) -> Result<Recorded, Error> {
        let put = PutItemInput::builder()
            .table_name(&self.table)
            .set_item(Some(rows::of_event(event, now.plus(STREAM_CHANCE))?))
            .condition_expression(super::IS_NEW)
            .build()
            .map_err(|missing| Error::unwritable("event", missing))?;
        let put = self.calls.call::<_, PutItemOutput, PutItemError>(PutItem::new(), put).await;
        match put {
            Ok(_) => Ok(Recorded::New),
            Err(failed) if is_failed_condition(failed.code()) => Ok(Recorded::Duplicate),
            Err(failed) => Err(error::of_call(failed)),
        }
    }

    /// Reads one event; `None` when it is not recorded. One that outlived its `ttl` and is still there is
    /// returned: applying it twice is harmless, losing it is not.
    pub async fn event(&self, event: &EventRef) -> Result<Option<StoredEvent>, Error> {
        let found = self
            .client()
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .key("pk", string(keys::partition(&event.account)))
            .key("sk", string(keys::event(event)))
            .send()
            .await
            .map_err(error::of_call)?;
        found.item.map(rows::event).transpose()
    }

    /// Marks an event done without a change to an account: one for an account that is not known here.
    /// [`Error::NoSuchEvent`] when it is not recorded.
    pub async fn close_event(&self, event: &Notification, now: Timestamp) -> Result<(), Error> {
        let closed = self
            .client()
            .update_item()
            .table_name(&self.table)
            .key("pk", string(keys::partition(&event.account)))
            .key("sk", string(keys::event(&event.into())))
            .condition_expression(EXISTS)
            .update_expression(DONE)
            .expression_attribute_values(":now", number(now.millis()))
            .send()
            .await;
        match closed {
            Ok(_) => Ok(()),
            Err(failed) if is_failed_condition(failed.code()) => Err(Error::NoSuchEvent),
            Err(failed) => Err(error::of_call(failed)),
        }
    }

    /// Sets aside something due that cannot be dealt with, so that it does not stand at the head of every
    /// sweep: it is due again at `until`. Leaves alone what is done or was put off meanwhile, and needs
    /// neither to read the row nor to know the account's version. An event that waits does not expire.
    pub async fn set_aside(
        &self,
        due: &Due,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        let (pk, sk) = match due {
            Due::Account(at) => (keys::partition(at), keys::HEAD.to_owned()),
            Due::Event(event) => (keys::partition(&event.account), keys::event(event)),
        };
        let put_off = self
            .client()
            .update_item()
            .table_name(&self.table)
            .key("pk", string(pk))
            .key("sk", string(sk))
            .condition_expression("attribute_exists(due_shard) AND due_at <= :now")
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":until", number(until.millis()));
        let put_off = match due {
            Due::Account(_) => put_off.update_expression("SET due_at = :until"),
            Due::Event(_) => put_off
                .update_expression("SET due_at = :until, #ttl = :ttl")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":ttl", number(rows::event_ttl(until))),
        };
        match put_off.send().await {
            Ok(_) => Ok(()),
            Err(failed) if is_failed_condition(failed.code()) => Ok(()),
            Err(failed) => Err(error::of_call(failed)),
        }
    }

    /// As [`Store::queue`], what is due alone.
    pub async fn due(&self, shard: u8, now: Timestamp, limit: u32) -> Result<Vec<Due>, Error> {
        let queue = self.queue(shard, now, limit).await?;
        Ok(queue.waiting.into_iter().map(|(due, _)| due).collect())
    }

    /// Reads what is due by `now` in one shard (0 to [`super::SHARDS`] - 1), the longest waiting first, at
    /// most `limit`.
    ///
    /// The index is written a moment after the table: what is missing now is found by the next sweep, and
    /// what is found may be done already. A row whose key names nothing is logged and passed over.
    pub async fn queue(&self, shard: u8, now: Timestamp, limit: u32) -> Result<Queue, Error> {
        let mut queue = Queue::default();
        if limit == 0 {
            return Ok(queue);
        }
        let mut from = None;
        loop {
            let page = self
                .client()
                .query()
                .table_name(&self.table)
                .index_name(super::table::DEFINITION.index.name)
                .key_condition_expression("due_shard = :shard AND due_at <= :now")
                .expression_attribute_values(":shard", number(shard))
                .expression_attribute_values(":now", number(now.millis()))
                .limit(page_size(limit, queue.waiting.len()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(error::of_call)?;
            for item in page.items.unwrap_or_default() {
                if let Some(due) = due_of(&item) {
                    queue.waiting.push((due, rows::due_at(&item).unwrap_or(now)));
                } else {
                    queue.unknown += 1;
                    let (pk, sk) = rows::key_of(&item).unwrap_or_default();
                    tracing::error!(row.pk = pk, row.sk = sk, "a due row has no key that is known");
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() || queue.waiting.len() >= limit as usize {
                return Ok(queue);
            }
        }
    }

    /// Reads an account's events, the newest first, at most `limit`.
    pub async fn events(&self, at: &AccountRef, limit: u32) -> Result<Vec<StoredEvent>, Error> {
        let mut events = Vec::new();
        if limit == 0 {
            return Ok(events);
        }
        let mut from = None;
        loop {
            let page = self
                .client()
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND begins_with(sk, :events)")
                .expression_attribute_values(":pk", string(keys::partition(at)))
                .expression_attribute_values(":events", string(keys::EVENTS))
                .scan_index_forward(false)
                .limit(page_size(limit, events.len()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(error::of_call)?;
            for item in page.items.unwrap_or_default() {
                events.push(rows::event(item)?);
            }
            from = page.last_evaluated_key;
            if from.is_none() || events.len() >= limit as usize {
                return Ok(events);
            }
        }
    }

    /// The part of a change's transaction that marks its event done; an event is applied once.
    pub(super) fn mark_done(
        &self,
        event: &EventRef,
        now: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", string(keys::partition(&event.account)))
            .key("sk", string(keys::event(event)))
            .condition_expression(OPEN)
            .update_expression(DONE)
            .expression_attribute_values(":now", number(now.millis()))
            .build()
            .map_err(|refused| Error::unwritable("event row", refused))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

fn due_of(item: &Item) -> Option<Due> {
    let (pk, sk) = rows::key_of(item)?;
    if sk == keys::HEAD {
        keys::parse_partition(pk).map(Due::Account)
    } else {
        keys::parse_stream_key(pk, sk).map(Due::Event)
    }
}

pub(super) fn is_failed_condition(code: Option<&str>) -> bool {
    code == Some("ConditionalCheckFailedException")
}

/// How long an event waits for the stream before a sweep takes it.
const STREAM_CHANCE: Duration = Duration::from_secs(60);
const EXISTS: &str = "attribute_exists(pk)";
const OPEN: &str = "attribute_exists(due_shard)";
const DONE: &str = "REMOVE due_shard, due_at SET done_at = :now";
