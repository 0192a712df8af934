//! What is stored in a world, seen and changed behind everybody's back.

use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use keysteward::domain::account::Account;
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward::steward::Steward;
use keysteward::store::SHARDS;

use super::{World, default_slot};
use crate::table::{NAME, Table};

impl World {
    /// The account as it is stored.
    pub async fn account(&self, at: &AccountRef) -> anyhow::Result<Account> {
        self.steward().store.load(at).await?.context("the account is stored")
    }

    /// Stripe's name of the current key of an installation's slot.
    pub async fn key(&self, at: &AccountRef, kind: Kind) -> anyhow::Result<String> {
        let stored = self.account(at).await?;
        let key = stored.current(&default_slot(kind)).and_then(|(_, state)| state.key());
        Ok(key.context("there is a current key")?.to_string())
    }

    /// Carries on from a copy of the table's rows, in a table of its own, as after a point-in-time restore:
    /// Stripe, KMS and the clock are where they were, and every process is new.
    pub async fn restore(&mut self, rows: Vec<serde_json::Value>) -> anyhow::Result<()> {
        self.restore_under_warm_processes(rows).await?;
        self.restart()
    }

    /// As [`World::restore`] where the copy has the name of the table that it was made of, and processes live on.
    pub async fn restore_under_warm_processes(
        &mut self,
        rows: Vec<serde_json::Value>,
    ) -> anyhow::Result<()> {
        let table = Table::behind(self.doors.clone()).await?.without_stream()?;
        for row in rows {
            let put = serde_json::json!({ "TableName": NAME, "Item": row });
            table.database().put_item(serde_json::from_value(put)?)?;
        }
        self.install.steward.store = table.store()?;
        self.webhook.store = table.store()?;
        self.service.store = table.store()?;
        self.origin.to_table = table.aws();
        self.witness.watch(table.database());
        self.table = table;
        Ok(())
    }

    /// Every process ends, and others take their places: nothing is remembered but what is stored.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let Steward { policy, shape, draw, .. } = self.steward();
        let steward = self.origin.steward(policy.clone(), shape.clone(), *draw)?;
        self.install.steward = steward;
        self.webhook.store = self.origin.store();
        self.service.store = self.origin.store();
        self.service.keyring = self.origin.keyring();
        Ok(())
    }

    /// Adds copies of an account's own row under these ids, with nothing due for a day: accounts without a
    /// key, as many as one likes.
    pub fn copy_head(&self, of: &AccountRef, to: &[AccountRef]) -> anyhow::Result<()> {
        let pk = format!("ACCOUNT#{}#{}", of.mode, of.id);
        let mut rows = self.rows()?.into_iter();
        let head = rows.find(|row| row["pk"]["S"] == pk && row["sk"]["S"] == "STATE#ACCOUNT");
        let mut head = head.context("the account is stored")?;
        let due_at = self.now().plus(Duration::from_secs(86_400)).millis();
        for at in to {
            head["pk"]["S"] = format!("ACCOUNT#{}#{}", at.mode, at.id).into();
            head["due_shard"]["N"] = shard_of(at.id.as_str()).to_string().into();
            head["due_at"]["N"] = due_at.to_string().into();
            let put = serde_json::json!({ "TableName": NAME, "Item": head });
            self.table.database().put_item(serde_json::from_value(put)?)?;
        }
        Ok(())
    }

    /// Changes one row behind everybody's back.
    pub fn tamper(
        &self,
        sort_key: &str,
        change: impl Fn(&mut serde_json::Value),
    ) -> anyhow::Result<()> {
        let row = self.rows()?.into_iter().find(|row| row["sk"]["S"] == sort_key);
        let mut row = row.context("the row is there")?;
        change(&mut row);
        let put = serde_json::json!({ "TableName": NAME, "Item": row });
        self.table.database().put_item(serde_json::from_value(put)?)?;
        Ok(())
    }

    /// Every row about an account, as the engine stores it.
    pub fn rows(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut rows = self.copy()?;
        rows.retain(|row| row["pk"]["S"] != "BUNDLE");
        Ok(rows)
    }

    /// The same without what is drawn anew in each run of a test, as texts in order.
    pub fn rows_without_chance(&self) -> anyhow::Result<Vec<String>> {
        let mut rows = self.rows()?;
        for row in &mut rows {
            forget_chance(row);
            row.sort_all_objects();
        }
        let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        rows.sort_unstable();
        Ok(rows)
    }

    /// Every row of the table, the bundle's own with them.
    pub fn copy(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let scan = serde_json::json!({ "TableName": NAME });
        let answer = self.table.database().scan(serde_json::from_value(scan)?)?;
        let answer = serde_json::to_value(answer)?;
        Ok(answer["Items"].as_array().cloned().unwrap_or_default())
    }
}

/// Names and halves of key pairs, what is sealed to them, and names of writes.
fn forget_chance(value: &mut serde_json::Value) {
    const DRAWN: [&str; 6] = ["kid", "public_pem", "wrapped", "compact", "body", "write_id"];
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !DRAWN.contains(&name.as_str()));
            fields.values_mut().for_each(forget_chance);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(forget_chance),
        serde_json::Value::String(text) if text.starts_with("STATE#PAIR#") => text.clear(),
        _ => {}
    }
}

/// The shard of the due index that an account is in.
pub fn shard_of(account: &str) -> u8 {
    digest(&SHA256, account.as_bytes()).as_ref()[0] % SHARDS
}
