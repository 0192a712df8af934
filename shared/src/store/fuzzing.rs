//! What must hold of rows, should somebody else have written them.
#![expect(clippy::expect_used, reason = "only fuzzing and tests have this")]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

use super::keys;
use super::rows::{self, Item, Loaded, Written};
use crate::domain::account::{Account, Change, RowName};
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::id::AccountId;
use crate::domain::orders::Orders;
use crate::domain::plan::plan;
use crate::domain::policy::{Choice, Policy};
use crate::domain::slot::{AccountRef, Mode};
use crate::domain::time::Timestamp;

/// Rows in DynamoDB's JSON, as one account's working set. An account that is read is written and read back
/// as the same, can be planned for at any time, and can be changed.
pub(crate) fn stored_account(data: &[u8]) {
    let Ok(rows) = serde_json::from_slice::<Vec<Value>>(data) else { return };
    let id = AccountId::parse("acct_1").expect("an id");
    let at = AccountRef::new(Mode::Test, id);
    let items = rows.into_iter().filter_map(item).collect();
    let Ok(Loaded::Whole(account)) = rows::account(&at, items) else { return };
    let again = rows::account(&at, written(&account));
    assert!(
        matches!(&again, Ok(Loaded::Whole(again)) if *again == account),
        "{account:?} was read back as {again:?}"
    );
    let policy = Policy::new(Choice::default()).expect("the default policy");
    for days in [0, 20_000, 20_600, 2_932_896] {
        let now = Timestamp::EPOCH.plus(Duration::from_secs(days * 86_400));
        let planned = plan(now, &policy, &Orders::default(), &account);
        assert!(planned.wake_at.is_none_or(|at| at > now));
        let mut change = Change::of((*account).clone(), now, Actor::Sweep);
        change.claim();
        change.note(Action::Notice, Phase::Note, None, None);
        assert!(change.account().head.fence > account.head.fence);
        assert!(change.account().head.audit.sequence > account.head.audit.sequence);
        assert!(account.head.version < super::LAST_SEQUENCE);
    }
}

/// One row, as an event and as an audit entry: what is read is where it belongs.
pub(crate) fn stored_row(data: &[u8]) {
    let Some(item) = serde_json::from_slice::<Value>(data).ok().and_then(item) else { return };
    if let Some((pk, sk)) = rows::key_of(&item) {
        keys_of_rows(pk);
        keys_of_rows(sk);
    }
    if let Ok(standing) = rows::standing(item.clone()) {
        let again = rows::of_standing(&standing).and_then(rows::standing).ok();
        assert_eq!(again.as_ref(), Some(&standing));
        let mut standing = standing;
        assert!(standing.recognise("another", Timestamp::EPOCH) || standing.table_id.is_some());
        assert!(standing.version < super::LAST_SEQUENCE);
    }
    if let Ok(event) = rows::event(item.clone()) {
        let row = rows::of_event(&event.notification, event.notification.created).ok();
        let again = row.and_then(|row| rows::event(row).ok());
        assert_eq!(again.map(|event| event.notification), Some(event.notification));
    }
    if let Ok(entry) = rows::entry(item.clone()) {
        let at = rows::key_of(&item).and_then(|(pk, _)| keys::parse_partition(pk));
        let Some(at) = at else { return };
        let again = rows::of_entry(&at, &entry).and_then(rows::entry).ok();
        assert_eq!(again, Some(entry));
    }
}

/// One text as every part of a row's key: what names a row names it in one way.
pub(crate) fn keys_of_rows(text: &str) {
    if let Some(at) = keys::parse_partition(text) {
        assert_eq!(keys::partition(&at), text);
        assert!(keys::shard(&at) < super::SHARDS);
    }
    if let Some(name) = keys::parse_row(text) {
        assert_eq!(keys::row(&name), text);
    }
    if let Some(sequence) = keys::parse_audit(text) {
        assert_eq!(keys::audit(sequence), text);
    }
    if let Some(event) = keys::parse_stream_key("ACCOUNT#test#acct_1", text) {
        assert_eq!(keys::event(&event), text);
    }
}

fn written(account: &Account) -> Vec<Item> {
    let version = account.head.version;
    let slots = account.slots.keys().cloned().map(RowName::Slot);
    let generations = account.generations.keys().cloned();
    let generations = generations.map(|(slot, generation)| RowName::Key(slot, generation));
    let pairs = account.pairs.keys().cloned().map(RowName::Pair);
    let names = slots.chain(generations).chain(pairs);
    let head = rows::of_head(&account.at, &account.head, &Written::default()).ok();
    let rows = names.filter_map(|name| rows::of_row(account, &name, version).ok().flatten());
    head.into_iter().chain(rows).collect()
}

fn item(row: Value) -> Option<Item> {
    let Value::Object(row) = row else { return None };
    row.into_iter().map(|(name, value)| Some((name, attribute(value)?))).collect()
}

/// DynamoDB's JSON as the SDK would read it.
fn attribute(value: Value) -> Option<AttributeValue> {
    let Value::Object(object) = value else { return None };
    let (kind, value) = object.into_iter().next()?;
    Some(match (kind.as_str(), value) {
        ("S", Value::String(text)) => AttributeValue::S(text),
        ("N", Value::String(text)) => AttributeValue::N(text),
        ("B", Value::String(text)) => AttributeValue::B(text.into_bytes().into()),
        ("BOOL", Value::Bool(bool)) => AttributeValue::Bool(bool),
        ("NULL", Value::Bool(bool)) => AttributeValue::Null(bool),
        ("L", Value::Array(list)) => {
            AttributeValue::L(list.into_iter().map(attribute).collect::<Option<_>>()?)
        }
        ("SS", Value::Array(list)) => AttributeValue::Ss(texts(list)?),
        ("NS", Value::Array(list)) => AttributeValue::Ns(texts(list)?),
        ("M", Value::Object(map)) => {
            let map = map.into_iter().map(|(name, value)| Some((name, attribute(value)?)));
            AttributeValue::M(map.collect::<Option<HashMap<_, _>>>()?)
        }
        _ => return None,
    })
}

fn texts(list: Vec<Value>) -> Option<Vec<String>> {
    list.into_iter().map(|text| text.as_str().map(str::to_owned)).collect()
}
