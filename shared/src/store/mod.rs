//! The table: one partition an account, one query to load it, one transaction to change it.
//!
//! A verb is one conditional write or one query; there is no reading and writing back in between that
//! somebody could come into. What the rows are called is in ARCHITECTURE.md ("The table"), what
//! the table is in [`table`]. No row can hold a secret in the clear: what holds one ([`crate::domain::secret`]) has no
//! form as a row.

mod error;
mod events;
mod examine;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod rows;
mod standing;
pub mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::rand;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use crate::domain::account::{Account, Change};
use crate::domain::audit::Entry;
use crate::domain::slot::AccountRef;
use crate::runtime::aws::{Aws, Calls};
use error::Role;
use rows::{Item, Loaded, Written, number, string};

pub use error::Error;
pub use events::{Due, Queue, Recorded, StoredEvent};
pub use examine::Examined;
pub use keys::{EventRef, parse_stream_key};
pub use standing::Listed;

/// The table. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Store {
    aws: Aws,
    calls: Calls,
    client: OnceLock<Client>,
    table: String,
}

impl Store {
    /// Speaks to `table`. Does not check that it is there.
    pub fn new(aws: &Aws, table: impl Into<String>) -> Self {
        let store = Self::for_events(aws, table);
        store.client();
        store
    }

    /// As [`Store::new`], for who puts events and does nothing else: it starts sooner, since the SDK's client is
    /// made only when another verb is used.
    pub fn for_events(aws: &Aws, table: impl Into<String>) -> Self {
        let (calls, client) = (aws.table(), OnceLock::new());
        Self { aws: aws.clone(), calls, client, table: table.into() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| self.aws.dynamodb())
    }

    /// Loads everything that a decision about an account needs: one consistent query over its working
    /// set, followed over pages. `None` when nothing is stored of it.
    ///
    /// A query may see a change that is being written in part; that is noticed and the query repeated.
    /// [`Error::Torn`] when that does not help, [`Error::UnreadableRow`] or [`Error::NewerSchema`] for a
    /// row that this program does not understand: an account is loaded whole or not at all.
    pub async fn load(&self, at: &AccountRef) -> Result<Option<Account>, Error> {
        let mut pauses = TORN_PAUSES.into_iter();
        loop {
            match rows::account(at, self.states(at).await?)? {
                Loaded::Absent => return Ok(None),
                Loaded::Whole(account) => return Ok(Some(*account)),
                Loaded::Torn => tokio::time::sleep(pauses.next().ok_or(Error::Torn)?).await,
            }
        }
    }

    /// Records a change, all of it or none of it, and returns the account with its new version.
    ///
    /// One transaction under the condition that the account is still at the version that the change was
    /// made from; [`Error::Conflict`] when it is not, also when two writers meet. The version moves with
    /// every write and a claim is a write, so whoever lost the fencing token fails here too (I8). A change
    /// of the account's own row alone is a plain conditional put: half the price, and claims are frequent.
    ///
    /// [`Error::Unavailable`] leaves open whether the change was recorded: load again, never repeat it.
    /// The SDK's own repeats are safe: of a transaction by its client token, which is drawn once a call
    /// and sent with each attempt; of a put by the write's random name in the row that is in the way.
    pub async fn record(&self, change: Change) -> Result<Account, Error> {
        let loaded = change.account().head.version;
        let version = loaded + 1;
        let mut head = change.account().head.clone();
        head.version = version;

        let mut written = Written { write_id: write_id()?, ..Written::default() };
        let mut writes = Vec::new();
        for name in change.touched() {
            let sk = keys::row(name);
            if let Some(item) = rows::of_row(change.account(), name, version)? {
                written.wrote.push(sk);
                writes.push((Role::Row, self.put(item)?));
            } else {
                writes.push((Role::Row, self.delete(&change.account().at, &sk)?));
                written.erased.push(sk);
            }
        }
        for entry in change.entries() {
            let item = rows::of_entry(&change.account().at, entry)?;
            writes.push((Role::Audit, self.put_new(item)?));
        }
        if let Some(event) = change.finished() {
            writes.push((Role::Event, self.mark_done(&event.into(), change.now())?));
        }

        let head_item = rows::of_head(&change.account().at, &head, &written)?;
        let mut account = change.into_account();
        account.head = head;
        if writes.is_empty() {
            self.put_head(head_item, loaded, &written.write_id).await?;
        } else {
            self.transact(self.put_head_after(head_item, loaded)?, writes).await?;
        }
        Ok(account)
    }

    /// Reads the audit trail in order, at most `limit` entries after `after_sequence` (0: from the first).
    ///
    /// Each entry is checked against the hash that was stored with it ([`Error::Tampered`]); that they
    /// chain, and end where the account says, is [`crate::domain::audit::verify`]'s to say.
    pub async fn trail(
        &self,
        at: &AccountRef,
        after_sequence: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        // DynamoDB refuses a limit of 0, and a range that ends before it begins.
        if limit == 0 || after_sequence >= LAST_SEQUENCE {
            return Ok(entries);
        }
        let mut from = None;
        loop {
            let page = self
                .client()
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":pk", string(keys::partition(at)))
                .expression_attribute_values(":first", string(keys::audit(after_sequence + 1)))
                .expression_attribute_values(":last", string(keys::audit(LAST_SEQUENCE)))
                .limit(page_size(limit, entries.len()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(error::of_call)?;
            for item in page.items.unwrap_or_default() {
                entries.push(rows::entry(item)?);
            }
            from = page.last_evaluated_key;
            if from.is_none() || entries.len() >= limit as usize {
                return Ok(entries);
            }
        }
    }

    async fn states(&self, at: &AccountRef) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let page = self
                .client()
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND begins_with(sk, :states)")
                .expression_attribute_values(":pk", string(keys::partition(at)))
                .expression_attribute_values(":states", string(keys::STATES))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(error::of_call)?;
            items.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    async fn put_head(&self, item: Item, loaded: u64, write_id: &str) -> Result<(), Error> {
        let put = self
            .client()
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = if loaded == 0 {
            put.condition_expression(IS_NEW)
        } else {
            put.condition_expression(IS_AT_VERSION)
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":loaded", number(loaded))
        };
        let Err(failed) = put.send().await else { return Ok(()) };
        if let Some(PutItemError::ConditionalCheckFailedException(found)) =
            failed.as_service_error()
            && let Some(AttributeValue::S(found)) =
                found.item.as_ref().and_then(|item| item.get("write_id"))
            && found == write_id
        {
            // Our own first attempt, whose answer was lost, is what the SDK's repeat ran into.
            return Ok(());
        }
        Err(error::of_call(failed))
    }

    async fn transact(
        &self,
        head: TransactWriteItem,
        writes: Vec<(Role, TransactWriteItem)>,
    ) -> Result<(), Error> {
        // The head is first, so that a lost race is seen as one.
        let (roles, items): (Vec<_>, Vec<_>) =
            std::iter::once((Role::Head, head)).chain(writes).unzip();
        if items.len() > error::MAX_ROWS {
            return Err(Error::TooManyRows { rows: items.len() });
        }
        self.client()
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await
            .map_err(|failed| error::of_transaction(failed, &roles))?;
        Ok(())
    }

    fn put_head_after(&self, item: Item, loaded: u64) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = if loaded == 0 {
            put.condition_expression(IS_NEW)
        } else {
            put.condition_expression(IS_AT_VERSION)
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":loaded", number(loaded))
        };
        let put = put.build().map_err(|refused| Error::unwritable("account row", refused))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put(&self, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
        let put = put.map_err(|refused| Error::unwritable("state row", refused))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put_new(&self, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(IS_NEW)
            .build()
            .map_err(|refused| Error::unwritable("audit row", refused))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn delete(&self, at: &AccountRef, sk: &str) -> Result<TransactWriteItem, Error> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key("pk", string(keys::partition(at)))
            .key("sk", string(sk))
            .build()
            .map_err(|refused| Error::unwritable("state row", refused))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("table", &self.table).finish_non_exhaustive()
    }
}

/// How many shards the due index has; a sweep asks each.
pub const SHARDS: u8 = 16;

/// 128 random bits as hex.
fn write_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|refused| Error::unwritable("account row", refused))?;
    Ok(hex::encode(bytes))
}

/// `Limit` of the next page: what is still wanted, never the 0 that DynamoDB refuses.
fn page_size(limit: u32, have: usize) -> i32 {
    let left = u64::from(limit).saturating_sub(have as u64);
    i32::try_from(left).unwrap_or(i32::MAX).max(1)
}

const IS_NEW: &str = "attribute_not_exists(pk)";
const IS_AT_VERSION: &str = "#version = :loaded";
/// The last that twelve digits can write.
const LAST_SEQUENCE: u64 = 999_999_999_999;
/// A change is in the middle of being written for milliseconds; the last pause waits out a slow one.
const TORN_PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];
