//! The store against an embedded DynamoDB engine, and its rows on their own.
//!
//! `tests/referee/run` repeats them against AWS's own DynamoDB Local: where the two disagree, it is right.

mod damage;
mod events;
mod races;
mod round_trip;
mod samples;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Store;
use super::rows::{Item, string};
use crate::domain::slot::AccountRef;
use crate::runtime::aws::Aws;
use crate::runtime::clock::draw;
use crate::runtime::settings::environment;

/// A store over a table of its own, which is gone with the test's runtime or with the referee.
pub(crate) async fn embedded() -> Store {
    embedded_at().await.0
}

/// The same, with the engine's endpoint.
async fn embedded_at() -> (Store, String) {
    let (endpoint, table) = match environment("KEYSTEWARD_TEST_DYNAMODB_ENDPOINT") {
        // One engine for all tests, so that each needs a name of its own.
        Some(referee) => (referee, format!("keysteward-{:016x}", draw())),
        None => (engine().await, "keysteward".to_owned()),
    };
    let store = Store::new(&Aws::local(&endpoint).unwrap(), &table);
    store.create_table().await.unwrap();
    (store, endpoint)
}

async fn engine() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_with_shutdown(
        listener,
        database,
        std::future::pending::<()>(),
    ));
    endpoint
}

/// Every row of the table as it is stored, sorted by key, with what is random in it named.
async fn rows_of(store: &Store) -> Vec<Value> {
    let found = store.client().scan().table_name(&store.table).send().await.unwrap();
    let mut rows: Vec<Value> = found.items.unwrap().into_iter().map(json_of).collect();
    rows.sort_by_key(|row| (row["pk"].to_string(), row["sk"].to_string()));
    rows
}

fn json_of(item: Item) -> Value {
    let sorted: BTreeMap<String, Value> = item
        .into_iter()
        .map(|(name, value)| {
            let value = if name == "write_id" { json!("<random>") } else { wire_form(&value) };
            (name, value)
        })
        .collect();
    json!(sorted)
}

/// The value as DynamoDB's JSON writes it.
fn wire_form(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(bool) => json!({ "BOOL": bool }),
        AttributeValue::Null(_) => json!({ "NULL": true }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(wire_form).collect::<Vec<_>>() }),
        AttributeValue::M(map) => {
            let map: BTreeMap<_, _> = map.iter().map(|(k, v)| (k, wire_form(v))).collect();
            json!({ "M": map })
        }
        other => panic!("no row holds {other:?}"),
    }
}

/// Writes one attribute of one row behind the store's back.
async fn overwrite(store: &Store, at: &AccountRef, sk: &str, name: &str, value: AttributeValue) {
    store
        .client()
        .update_item()
        .table_name(&store.table)
        .key("pk", string(super::keys::partition(at)))
        .key("sk", string(sk))
        .update_expression("SET #name = :value")
        .expression_attribute_names("#name", name)
        .expression_attribute_values(":value", value)
        .send()
        .await
        .unwrap();
}

/// Writes an account's rows as they are, without a change.
async fn seed(store: &Store, account: &crate::domain::account::Account) {
    let version = account.head.version;
    let written = super::rows::Written::default();
    let mut items = vec![super::rows::of_head(&account.at, &account.head, &written).unwrap()];
    for name in samples::names(account) {
        items.push(super::rows::of_row(account, &name, version).unwrap().unwrap());
    }
    for item in items {
        let put = store.client().put_item().table_name(&store.table).set_item(Some(item));
        put.send().await.unwrap();
    }
}
