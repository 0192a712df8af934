//! What is stored in a world, seen and changed behind everybody's back.

use anyhow::Context as _;
use keysteward::domain::account::Account;
use keysteward::domain::slot::AccountRef;
use keysteward::steward::OrderBook;

use super::World;
use crate::table::{NAME, Table};

impl World {
    /// The account as it is stored.
    pub async fn account(&self, at: &AccountRef) -> anyhow::Result<Account> {
        self.steward().store.load(at).await?.context("the account is stored")
    }

    /// Carries on from a copy of the table's rows, in a table of its own, as after a point-in-time restore:
    /// Stripe, KMS and the clock are where they were, and every process is new.
    pub async fn restore(&mut self, rows: Vec<serde_json::Value>) -> anyhow::Result<()> {
        self.restore_under_warm_processes(rows).await?;
        self.install.steward.orders = OrderBook::default();
        Ok(())
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
        self.witness.watch(table.database());
        self.table = table;
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

    /// Every row of the table, the bundle's own with them.
    pub fn copy(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let scan = serde_json::json!({ "TableName": NAME });
        let answer = self.table.database().scan(serde_json::from_value(scan)?)?;
        let answer = serde_json::to_value(answer)?;
        Ok(answer["Items"].as_array().cloned().unwrap_or_default())
    }
}
