//! Rows that are not as they were written.

use super::samples::*;
use super::{embedded, overwrite, seed};
use crate::class::Class;
use crate::domain::account::{Account, Change};
use crate::domain::audit::{Actor, Entry};
use crate::domain::intent::sha256_hex;
use crate::store::rows::{number, string};
use crate::store::{Error, Store};

const KEY: &str = "STATE#KEY#secret#default#0000000001";
const FIRST_ENTRY: &str = "AUDIT#000000000001";
const EVENT: &str = "EVENT#2026-04-22T10:00:00.123Z#evt_1";

async fn stored() -> Store {
    let store = embedded().await;
    store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    store.put_event(&event("evt_1"), now()).await.unwrap();
    store
}

async fn put(store: &Store, sk: &str) {
    let put = store
        .client()
        .put_item()
        .table_name(&store.table)
        .item("pk", string("ACCOUNT#test#acct_1"))
        .item("sk", string(sk))
        .item("schema", number(1));
    put.send().await.unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_and_stays() {
    for (sk, name, value) in [
        ("STATE#ACCOUNT", "status", string("installed")),
        ("STATE#ACCOUNT", "schema", string("1")),
        ("STATE#ACCOUNT", "version", number(-1)),
        ("STATE#ACCOUNT", "version", number(u64::MAX)),
        ("STATE#ACCOUNT", "fence", number(u64::MAX)),
        ("STATE#SLOT#secret#default", "next", string("two")),
        ("STATE#PAIR#kid_1", "kid", string("kid_2")),
        (KEY, "state", string("melted")),
        (KEY, "version", string("one")),
        (KEY, "intent", number(1)),
    ] {
        let store = stored().await;
        overwrite(&store, &at(), sk, name, value).await;
        let unreadable = store.load(&at()).await.unwrap_err();
        assert!(matches!(unreadable, Error::UnreadableRow { .. }), "{sk} {name}: {unreadable:?}");
        assert_eq!(unreadable.class(), Class::Fault);
    }
    let store = stored().await;
    put(&store, "STATE#SOMETHING#else").await;
    assert!(matches!(store.load(&at()).await, Err(Error::UnreadableRow { .. })));

    overwrite(&store, &at(), EVENT, "created", number(1)).await;
    let unreadable = store.event(&(&event("evt_1")).into()).await;
    assert!(matches!(unreadable, Err(Error::UnreadableRow { .. })), "it is not where it belongs");
    assert!(matches!(store.events(&at(), 10).await, Err(Error::UnreadableRow { .. })));
}

#[tokio::test]
async fn a_row_of_a_later_version_is_refused_and_an_unknown_attribute_is_not() {
    let store = stored().await;
    for sk in ["STATE#ACCOUNT", KEY, FIRST_ENTRY, EVENT] {
        overwrite(&store, &at(), sk, "invented_later", string("x")).await;
    }
    assert!(store.load(&at()).await.unwrap().is_some());
    assert!(store.event(&(&event("evt_1")).into()).await.unwrap().is_some());
    assert_eq!(store.trail(&at(), 0, 10).await.unwrap().len(), 1);

    overwrite(&store, &at(), FIRST_ENTRY, "schema", number(2)).await;
    assert!(matches!(store.trail(&at(), 0, 10).await, Err(Error::NewerSchema { .. })));
    overwrite(&store, &at(), EVENT, "schema", number(2)).await;
    assert!(matches!(store.events(&at(), 10).await, Err(Error::NewerSchema { .. })));
    for sk in [KEY, "STATE#ACCOUNT"] {
        overwrite(&store, &at(), sk, "schema", number(2)).await;
        assert!(matches!(store.load(&at()).await, Err(Error::NewerSchema { .. })), "{sk}");
        overwrite(&store, &at(), sk, "schema", number(1)).await;
    }
}

#[tokio::test]
async fn an_audit_entry_that_was_edited_is_named() {
    let store = stored().await;
    let entry = store.trail(&at(), 0, 1).await.unwrap().remove(0);
    let edited = Entry { outcome: Some("edited".into()), ..entry.clone() }.canonical();
    let spaced = entry.canonical().replace(':', ": ");
    let moved = Entry { sequence: 2, ..entry }.canonical();
    for (text, hash) in [
        (edited.clone(), None),
        (spaced.clone(), Some(sha256_hex(spaced.as_bytes()))),
        (moved.clone(), Some(sha256_hex(moved.as_bytes()))),
    ] {
        overwrite(&store, &at(), FIRST_ENTRY, "entry", string(text)).await;
        if let Some(hash) = hash {
            overwrite(&store, &at(), FIRST_ENTRY, "hash", string(hash)).await;
        }
        let tampered = store.trail(&at(), 0, 10).await;
        assert!(matches!(tampered, Err(Error::Tampered { sequence: 1 })), "{tampered:?}");
    }
    overwrite(&store, &at(), FIRST_ENTRY, "entry", string("no JSON")).await;
    overwrite(&store, &at(), FIRST_ENTRY, "hash", string(sha256_hex(b"no JSON"))).await;
    assert!(matches!(store.trail(&at(), 0, 10).await, Err(Error::UnreadableRow { .. })));
}

#[tokio::test]
async fn a_trail_that_is_longer_than_the_account_says_is_not_written_over() {
    let store = embedded().await;
    put(&store, FIRST_ENTRY).await;
    let diverged = store.record(provisioning(Account::new(at(), now()))).await;
    assert!(matches!(diverged, Err(Error::TrailDiverged)), "{diverged:?}");
    assert_eq!(store.load(&at()).await.unwrap(), None, "nothing of the change is written");
}

#[tokio::test]
async fn a_change_that_is_seen_in_part_is_not_believed() {
    // The account's own row is there and a row that was written with it is not yet.
    let store = stored().await;
    overwrite(&store, &at(), KEY, "version", number(0)).await;
    assert!(matches!(store.load(&at()).await, Err(Error::Torn)));
    assert_eq!(Error::Torn.class(), Class::Transient);

    // A row is newer than the account's own.
    overwrite(&store, &at(), KEY, "version", number(2)).await;
    assert!(matches!(store.load(&at()).await, Err(Error::Torn)));

    // A row that was deleted with it is still there.
    overwrite(&store, &at(), KEY, "version", number(1)).await;
    let account = store.load(&at()).await.unwrap().unwrap();
    let mut change = Change::of(account.clone(), now(), Actor::Sweep);
    change.shred_pair(&kid());
    store.record(change).await.unwrap();
    assert!(store.load(&at()).await.unwrap().is_some());
    put(&store, "STATE#PAIR#kid_1").await;
    for (name, value) in [("kid", "kid_1"), ("public_pem", ""), ("wrapped", "")] {
        overwrite(&store, &at(), "STATE#PAIR#kid_1", name, string(value)).await;
    }
    overwrite(&store, &at(), "STATE#PAIR#kid_1", "made_at", number(0)).await;
    assert!(matches!(store.load(&at()).await, Err(Error::Torn)));
}

#[tokio::test]
async fn a_read_that_was_torn_is_repeated_until_it_is_whole() {
    let store = stored().await;
    let whole = store.load(&at()).await.unwrap();
    overwrite(&store, &at(), KEY, "version", number(0)).await;
    let mending = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        overwrite(&store, &at(), KEY, "version", number(1)).await;
    };
    let account = at();
    let (loaded, ()) = tokio::join!(store.load(&account), mending);
    assert_eq!(loaded.unwrap(), whole);
}

#[tokio::test]
async fn rows_written_before_versions_were_kept_in_them_are_still_read() {
    let store = embedded().await;
    let account = full_account();
    seed(&store, &account).await;
    let names: Vec<_> = names(&account).iter().map(crate::store::keys::row).collect();
    for sk in names {
        let update = store
            .client()
            .update_item()
            .table_name(&store.table)
            .key("pk", string("ACCOUNT#test#acct_1"))
            .key("sk", string(sk))
            .update_expression("REMOVE #version")
            .expression_attribute_names("#version", "version");
        update.send().await.unwrap();
    }
    assert_eq!(store.load(&at()).await.unwrap(), Some(account));
}
