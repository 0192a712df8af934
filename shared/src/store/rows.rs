//! Rows as items, and items as rows. Pure: nothing here speaks to the table.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::events::StoredEvent;
use super::standing::Listed;
use super::{Error, keys};
use crate::domain::account::{Account, Head, RowName};
use crate::domain::audit::Entry;
use crate::domain::event::Notification;
use crate::domain::intent::sha256_hex;
use crate::domain::lifecycle::State;
use crate::domain::orders::Standing;
use crate::domain::sealed::KeyPair;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;

pub(super) type Item = HashMap<String, AttributeValue>;

/// What the account's row says of the transaction that wrote it last.
///
/// A query may see one transaction in part (its isolation from `TransactWriteItems` is "read committed"),
/// so the row names what was written with it: only a partition that holds all of it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// The sort keys of the rows written with it; each carries the same `version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) wrote: Vec<String>,
    /// The sort keys of the rows deleted with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) erased: Vec<String>,
    /// A random name of the write, by which its writer knows it again.
    #[serde(default)]
    pub(super) write_id: String,
}

/// What a partition's working set turns out to be.
#[derive(Debug)]
pub(super) enum Loaded {
    /// No row at all.
    Absent,
    /// Part of a change, or of its account, is not there yet.
    Torn,
    /// The account.
    Whole(Box<Account>),
}

/// The account's own row.
pub(super) fn of_head(at: &AccountRef, head: &Head, written: &Written) -> Result<Item, Error> {
    let mut item = encode(at, keys::HEAD, head, ACCOUNT)?;
    item.extend(attributes(written, ACCOUNT)?);
    if head.due_at.is_some() {
        item.insert("due_shard".to_owned(), number(keys::shard(at)));
    }
    Ok(item)
}

/// A row of the working set as it is after `version`; `None` for one that the account no longer has.
pub(super) fn of_row(
    account: &Account,
    name: &RowName,
    version: u64,
) -> Result<Option<Item>, Error> {
    let at = &account.at;
    let sk = keys::row(name);
    let item = match name {
        RowName::Slot(slot) => account.slots.get(slot).map(|row| encode(at, &sk, row, SLOT)),
        RowName::Key(slot, generation) => account
            .generations
            .get(&(slot.clone(), *generation))
            .map(|row| encode(at, &sk, row, KEY)),
        RowName::Pair(kid) => account.pairs.get(kid).map(|row| encode(at, &sk, row, PAIR)),
    };
    let Some(mut item) = item.transpose()? else { return Ok(None) };
    item.insert("version".to_owned(), number(version));
    Ok(Some(item))
}

/// Puts an account together from everything that its partition holds under `STATE#`.
pub(super) fn account(at: &AccountRef, items: Vec<Item>) -> Result<Loaded, Error> {
    let mut head: Option<(Head, Written)> = None;
    let mut versions = BTreeMap::new();
    let mut account = Account::new(at.clone(), Timestamp::EPOCH);
    let is_empty = items.is_empty();
    for item in items {
        let sk = text(&item, "sk").ok_or_else(|| Error::unreadable(STATE))?.to_owned();
        if sk == keys::HEAD {
            head = Some((decode(item.clone(), ACCOUNT)?, decode(item, ACCOUNT)?));
            continue;
        }
        // A schema that is not known may well have rows that are not known: it is asked first.
        check_schema(&item, STATE)?;
        let name = keys::parse_row(&sk).ok_or_else(|| Error::unreadable(STATE))?;
        versions.insert(sk, version(&item)?);
        match name {
            RowName::Slot(slot) => {
                account.slots.insert(slot, decode(item, SLOT)?);
            }
            RowName::Key(slot, generation) => {
                account.generations.insert((slot, generation), decode::<State>(item, KEY)?);
            }
            RowName::Pair(kid) => {
                let pair: KeyPair = decode(item, PAIR)?;
                if pair.kid != kid {
                    return Err(Error::unreadable(PAIR));
                }
                account.pairs.insert(kid, pair);
            }
        }
    }
    let Some((head, written)) = head else {
        return Ok(if is_empty { Loaded::Absent } else { Loaded::Torn });
    };
    // What counts up by one from here must not be where counting ends.
    let counters = [head.version, head.fence, head.audit.sequence];
    if counters.iter().any(|counter| *counter >= super::LAST_SEQUENCE) {
        return Err(Error::unreadable(ACCOUNT));
    }
    // A row may already be newer than the head that was read before it: torn as well.
    let is_whole = versions.values().all(|version| *version <= head.version)
        && written.wrote.iter().all(|sk| versions.get(sk) == Some(&head.version))
        && !written.erased.iter().any(|sk| versions.contains_key(sk));
    if !is_whole {
        return Ok(Loaded::Torn);
    }
    account.head = head;
    Ok(Loaded::Whole(Box::new(account)))
}

/// An event's row, open and due at `due_at`.
pub(super) fn of_event(event: &Notification, due_at: Timestamp) -> Result<Item, Error> {
    let at = &event.account;
    let mut item = encode(at, &keys::event(&event.into()), event, EVENT)?;
    item.insert("due_shard".to_owned(), number(keys::shard(at)));
    item.insert("due_at".to_owned(), number(due_at.millis()));
    item.insert("ttl".to_owned(), number(event_ttl(event.created)));
    Ok(item)
}

/// When the table may drop an event's row about which nothing is due after `last`.
pub(super) fn event_ttl(last: Timestamp) -> i64 {
    last.plus(EVENT_RETENTION).seconds()
}

pub(super) fn event(item: Item) -> Result<StoredEvent, Error> {
    let key = key_of(&item).and_then(|(pk, sk)| keys::parse_stream_key(pk, sk));
    let open = item.contains_key("due_shard");
    let notification: Notification = decode(item, EVENT)?;
    if key != Some((&notification).into()) {
        return Err(Error::unreadable(EVENT));
    }
    Ok(StoredEvent { notification, open })
}

/// An entry's row: the text that is hashed, and the hash, so that neither can change alone.
pub(super) fn of_entry(at: &AccountRef, entry: &Entry) -> Result<Item, Error> {
    let row = EntryRow { entry: entry.canonical(), hash: entry.hash() };
    encode(at, &keys::audit(entry.sequence), &row, ENTRY)
}

pub(super) fn entry(item: Item) -> Result<Entry, Error> {
    let sequence = key_of(&item)
        .and_then(|(_, sk)| keys::parse_audit(sk))
        .ok_or_else(|| Error::unreadable(ENTRY))?;
    let row: EntryRow = decode(item, ENTRY)?;
    if sha256_hex(row.entry.as_bytes()) != row.hash {
        return Err(Error::Tampered { sequence });
    }
    let entry: Entry = serde_json::from_str(&row.entry)
        .map_err(|bad| Error::UnreadableRow { what: ENTRY, source: Some(Box::new(bad)) })?;
    // A text that says the same in other words, or an entry moved to another place, hashes well.
    if entry.sequence != sequence || entry.canonical() != row.entry {
        return Err(Error::Tampered { sequence });
    }
    Ok(entry)
}

/// The bundle's own row.
pub(super) fn of_standing(standing: &Standing) -> Result<Item, Error> {
    let mut item = attributes(standing, STANDING)?;
    item.insert("pk".to_owned(), string(keys::BUNDLE));
    item.insert("sk".to_owned(), string(keys::STANDING));
    item.insert("schema".to_owned(), number(SCHEMA));
    Ok(item)
}

pub(super) fn standing(item: Item) -> Result<Standing, Error> {
    let standing: Standing = decode(item, STANDING)?;
    if standing.version >= super::LAST_SEQUENCE || standing.epoch == u32::MAX {
        return Err(Error::unreadable(STANDING));
    }
    Ok(standing)
}

/// An account's entry in the due index; `None` for an event's, which names no account's row.
pub(super) fn listed(item: &Item) -> Option<Listed> {
    let (pk, sk) = key_of(item)?;
    let due_at = item.get("due_at")?.as_n().ok()?.parse().ok()?;
    (sk == keys::HEAD).then_some(())?;
    let account = keys::parse_partition(pk)?;
    Some(Listed { account, due_at: Timestamp::from_millis(due_at).ok()? })
}

/// The two parts of a row's key.
pub(super) fn key_of(item: &Item) -> Option<(&str, &str)> {
    Some((text(item, "pk")?, text(item, "sk")?))
}

/// Since when a row of the index is due.
pub(super) fn due_at(item: &Item) -> Option<Timestamp> {
    Timestamp::from_millis(item.get("due_at")?.as_n().ok()?.parse().ok()?).ok()
}

pub(super) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[derive(Serialize, Deserialize)]
struct EntryRow {
    entry: String,
    hash: String,
}

fn encode(
    at: &AccountRef,
    sk: &str,
    row: &impl Serialize,
    what: &'static str,
) -> Result<Item, Error> {
    let mut item = attributes(row, what)?;
    item.insert("pk".to_owned(), string(keys::partition(at)));
    item.insert("sk".to_owned(), string(sk));
    item.insert("schema".to_owned(), number(SCHEMA));
    Ok(item)
}

fn attributes(row: &impl Serialize, what: &'static str) -> Result<Item, Error> {
    let mut item: Item =
        serde_dynamo::to_item(row).map_err(|refused| Error::unwritable(what, refused))?;
    // An absent value is an absent attribute: an index key (`due_at`) must not be NULL.
    item.retain(|_, value| !value.is_null());
    Ok(item)
}

fn decode<T: DeserializeOwned>(item: Item, what: &'static str) -> Result<T, Error> {
    check_schema(&item, what)?;
    serde_dynamo::from_item(item)
        .map_err(|bad| Error::UnreadableRow { what, source: Some(Box::new(bad)) })
}

fn check_schema(item: &Item, what: &'static str) -> Result<(), Error> {
    let schema = item.get("schema").and_then(|value| value.as_n().ok()?.parse::<u32>().ok());
    match schema {
        Some(1..=SCHEMA) => Ok(()),
        Some(0) | None => Err(Error::unreadable(what)),
        Some(_) => Err(Error::NewerSchema { what }),
    }
}

/// The version of the account that a row was written with.
fn version(item: &Item) -> Result<u64, Error> {
    let Some(version) = item.get("version") else { return Ok(0) };
    let number = version.as_n().ok().and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::unreadable(STATE))
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The form of the rows that are written. One that needs another reading gets the next number.
const SCHEMA: u32 = 1;
/// How long an event's row outlives the event: longer than Stripe redelivers it or lists it.
const EVENT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

const ACCOUNT: &str = "account row";
const SLOT: &str = "slot row";
const KEY: &str = "key row";
const PAIR: &str = "pair row";
const STATE: &str = "state row";
const EVENT: &str = "event row";
const ENTRY: &str = "audit row";
const STANDING: &str = "bundle row";
