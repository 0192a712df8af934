//! The bundle's own row, and a walk through all accounts.

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;

use super::rows::{Item, number, string};
use super::{Error, Store, error, keys, rows};
use crate::domain::orders::Standing;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;

/// An account as the due index names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which account.
    pub account: AccountRef,
    /// When something is next due in it.
    pub due_at: Timestamp,
}

impl Store {
    /// AWS's name of this very table: another one for a table that was restored, also under the same name.
    pub async fn table_id(&self) -> Result<String, Error> {
        let described = self.client().describe_table().table_name(&self.table).send().await;
        let table = described.map_err(error::of_call)?.table;
        table
            .and_then(|table| {
                let made = table.creation_date_time.map(|at| at.secs().to_string());
                table.table_id.or(made)
            })
            .ok_or_else(|| Error::unreadable("description of the table"))
    }

    /// The bundle's own row; a new one when there is none.
    pub async fn standing(&self) -> Result<Standing, Error> {
        let found = self
            .client()
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .key("pk", string(keys::BUNDLE))
            .key("sk", string(keys::STANDING))
            .send()
            .await
            .map_err(error::of_call)?;
        Ok(found.item.map(rows::standing).transpose()?.unwrap_or_default())
    }

    /// Writes the bundle's own row as it follows on the one that was read; [`Error::Conflict`] when somebody
    /// else wrote meanwhile.
    pub async fn set_standing(&self, mut standing: Standing) -> Result<Standing, Error> {
        let read = standing.version;
        standing.version += 1;
        let put = self
            .client()
            .put_item()
            .table_name(&self.table)
            .set_item(Some(rows::of_standing(&standing)?));
        let put = if read == 0 {
            put.condition_expression(super::IS_NEW)
        } else {
            put.condition_expression(super::IS_AT_VERSION)
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":loaded", number(read))
        };
        put.send().await.map_err(error::of_call)?;
        Ok(standing)
    }

    /// Lists the accounts of one shard of the due index that are due after `after`, the earliest first, at
    /// most `limit`. Every installed account has a deadline, so every one is in the index.
    pub async fn listed(
        &self,
        shard: u8,
        after: Option<&Listed>,
        limit: u32,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut from: Option<Item> = after.map(|last| {
            [
                ("due_shard", number(shard)),
                ("due_at", number(last.due_at.millis())),
                ("pk", string(keys::partition(&last.account))),
                ("sk", string(keys::HEAD)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
        });
        while listed.len() < limit as usize {
            let page = self
                .client()
                .query()
                .table_name(&self.table)
                .index_name(super::table::DEFINITION.index.name)
                .key_condition_expression("due_shard = :shard")
                .expression_attribute_values(":shard", number(shard))
                .limit(super::page_size(limit, listed.len()))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(error::of_call)?;
            listed.extend(page.items.unwrap_or_default().iter().filter_map(rows::listed));
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(listed)
    }

    /// Makes an account due at `now` that is due later. One that is due before is left alone.
    pub async fn wake(&self, at: &AccountRef, now: Timestamp) -> Result<(), Error> {
        let woken = self
            .client()
            .update_item()
            .table_name(&self.table)
            .key("pk", string(keys::partition(at)))
            .key("sk", string(keys::HEAD))
            .condition_expression("attribute_exists(due_shard) AND due_at > :now")
            .update_expression("SET due_at = :now")
            .expression_attribute_values(":now", number(now.millis()))
            .send()
            .await;
        match woken {
            Ok(_) => Ok(()),
            Err(failed) if super::events::is_failed_condition(failed.code()) => Ok(()),
            Err(failed) => Err(error::of_call(failed)),
        }
    }
}
