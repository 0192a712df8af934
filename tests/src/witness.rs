//! Looks at the table's rows at the moment of every call that changes something at Stripe.
//!
//! What it sees is what another process would see if this one died now: the promises that are about the
//! order of things (I1, I2, I8) are checked where they can be broken, not afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dynoxide::Database;
use http::Method;
use keysteward::http::Request;
use serde_json::{Value, json};

use crate::table::NAME;

/// Collects what is wrong. Clones are the same witness.
#[derive(Clone)]
pub struct Witness(Arc<Mutex<Seen>>);

struct Seen {
    database: Database,
    complaints: Vec<String>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Witness")
    }
}

impl Witness {
    pub(crate) fn of(database: &Database) -> Self {
        let seen = Seen { database: database.clone(), complaints: Vec::new() };
        Self(Arc::new(Mutex::new(seen)))
    }

    pub(crate) fn watch(&self, database: &Database) {
        self.lock().database = database.clone();
    }

    /// Everything that was wrong so far.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    pub(crate) fn see(&self, request: &Request, now: i64) {
        let mut seen = self.lock();
        if let Err(complaint) = seen.check(request, now) {
            seen.complaints.push(format!("{complaint}: {} {}", request.method(), request.uri()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn check(&self, request: &Request, now: i64) -> Result<(), String> {
        let path = request.uri().path();
        if request.method() != Method::POST || !path.starts_with("/v2/iam/api_keys") {
            return Ok(());
        }
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let account = header("stripe-context").ok_or("a call names no account")?;
        let is_live = header("authorization").is_some_and(|key| key.contains("_live_"));
        let mode = if is_live { "live" } else { "test" };
        let rows = self.rows(&format!("ACCOUNT#{mode}#{account}"))?;

        let head = rows.iter().find(|row| row["sk"]["S"] == "STATE#ACCOUNT");
        let head = head.ok_or("I2: Stripe is asked for an account that is not stored")?;
        let lease = head["lease_until"]["N"].as_str().and_then(|until| until.parse::<i64>().ok());
        if lease.is_none_or(|until| until < now) {
            return Err(format!("I8: nobody holds the account, or no longer: {lease:?} at {now}"));
        }
        let parts: Vec<&str> = path.split('/').collect();
        if let ["", "v2", "iam", "api_keys", key, "expire"] = parts.as_slice() {
            let state =
                rows.iter().find(|row| row["key"]["S"] == *key).map(|row| &row["state"]["S"]);
            let is_in_use = state.is_some_and(|state| {
                ["current", "issued", "proven"].iter().any(|used| state == used)
            });
            // An uninstalled app's keys are taken back because the policy says so.
            let is_installed = head["status"]["S"] == "installed";
            return if is_in_use && is_installed {
                Err("I1: a key in use is ended".to_owned())
            } else {
                Ok(())
            };
        }
        let asked = header("idempotency-key").ok_or("I3: a call has no idempotency key")?;
        let is_recorded = |row: &Value| {
            let intent = &row["intent"]["M"];
            intent["idempotency_key"]["S"] == asked
                && intent["path"]["S"] == path
                && intent["body"]["S"].as_str().map(str::as_bytes) == Some(request.body())
        };
        if rows.iter().any(is_recorded) {
            Ok(())
        } else {
            Err("I2: no such intent is stored".to_owned())
        }
    }

    fn rows(&self, partition: &str) -> Result<Vec<Value>, String> {
        let query = json!({
            "TableName": NAME,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :states)",
            "ExpressionAttributeValues": {":pk": {"S": partition}, ":states": {"S": "STATE#"}},
        });
        let query = serde_json::from_value(query).map_err(|error| error.to_string())?;
        let rows = self.database.query(query).map_err(|error| error.to_string())?;
        let mut rows = serde_json::to_value(rows).map_err(|error| error.to_string())?;
        match rows["Items"].take() {
            Value::Array(rows) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }
}
