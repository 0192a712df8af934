//! The table as the engine stores it: for looking whether something is in it that should not be.

use std::collections::BTreeMap;

use anyhow::Result;
use dynoxide::Database;
use dynoxide::actions::get_records::{GetRecordsRequest, GetRecordsResponse};
use dynoxide::actions::scan::ScanRequest;
use serde_json::Value;

use crate::bundle::TABLE;
use crate::pump::beginning_of_stream;

/// Every row as JSON, in the order of its text.
pub(crate) fn all(database: &Database) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let mut from = None;
    loop {
        let page = database.scan(ScanRequest {
            table_name: TABLE.to_owned(),
            exclusive_start_key: from,
            ..ScanRequest::default()
        })?;
        for item in page.items.unwrap_or_default() {
            rows.push(sorted(serde_json::to_value(&item)?).to_string());
        }
        from = page.last_evaluated_key;
        if from.is_none() {
            rows.sort();
            return Ok(rows);
        }
    }
}

/// Everything that the stream still holds: each row as it once was.
pub(crate) fn history(database: &Database) -> Result<Vec<String>> {
    let mut records = Vec::new();
    let mut iterator = beginning_of_stream(database)?;
    while let Some(shard_iterator) = iterator {
        let page = database.get_records(GetRecordsRequest { shard_iterator, limit: None })?;
        let GetRecordsResponse { records: found, next_shard_iterator } = page;
        if found.is_empty() {
            break;
        }
        for record in found {
            records.push(serde_json::to_string(&record)?);
        }
        iterator = next_shard_iterator;
    }
    Ok(records)
}

/// The engine keeps attributes in hash maps: without this the same row reads differently each time.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
