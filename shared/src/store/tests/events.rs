//! Events and the due index.

use super::samples::*;
use super::{embedded, rows_of};
use crate::domain::account::{Account, Change};
use crate::domain::audit::Actor;
use crate::store::keys::{partition, shard};
use crate::store::rows::{number, string};
use crate::store::{Due, Error, EventRef, Recorded, SHARDS, Store};

async fn due(store: &Store, seconds: u64) -> Vec<Due> {
    store.due(shard(&at()), later(seconds), 100).await.unwrap()
}

fn named(id: &str) -> Due {
    Due::Event((&event(id)).into())
}

#[tokio::test]
async fn an_event_is_recorded_once_however_often_it_arrives() {
    let store = embedded().await;
    let event = event("evt_1");
    assert_eq!(store.put_event(&event, now()).await.unwrap(), Recorded::New);
    assert_eq!(store.put_event(&event, later(9)).await.unwrap(), Recorded::Duplicate);
    let stored = store.event(&(&event).into()).await.unwrap().unwrap();
    assert_eq!((stored.notification, stored.open), (event.clone(), true));

    store.close_event(&event, later(10)).await.unwrap();
    assert_eq!(store.put_event(&event, later(20)).await.unwrap(), Recorded::Duplicate);
    assert!(!store.event(&(&event).into()).await.unwrap().unwrap().open, "done stays done");
}

#[tokio::test]
async fn an_event_is_due_after_the_stream_had_its_chance_and_until_it_is_done() {
    let store = embedded().await;
    store.put_event(&event("evt_1"), now()).await.unwrap();
    assert_eq!(due(&store, 59).await, []);
    assert_eq!(due(&store, 60).await, [named("evt_1")]);

    store.close_event(&event("evt_1"), later(600)).await.unwrap();
    assert_eq!(due(&store, 9_999).await, [], "what is done is not due");
    let unknown = store.close_event(&event("evt_2"), now()).await;
    assert!(matches!(unknown, Err(Error::NoSuchEvent)));
}

#[tokio::test]
async fn a_change_marks_its_event_done_or_does_not_happen() {
    let store = embedded().await;
    store.put_event(&event("evt_1"), now()).await.unwrap();
    let mut change = provisioning(Account::new(at(), now()));
    change.finish(&event("evt_1"));
    let account = store.record(change).await.unwrap();
    let stored = store.event(&(&event("evt_1")).into()).await.unwrap().unwrap();
    assert!(!stored.open);

    for done_or_unknown in ["evt_1", "evt_unknown"] {
        let mut change = Change::of(account.clone(), later(1), Actor::Event);
        change.release(None);
        change.finish(&event(done_or_unknown));
        assert!(matches!(store.record(change).await, Err(Error::Conflict)), "{done_or_unknown}");
    }
    assert_eq!(store.load(&at()).await.unwrap(), Some(account));
}

#[tokio::test]
async fn only_what_waits_for_something_is_in_the_index() {
    let store = embedded().await;
    let account = store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    store.put_event(&event("evt_1"), now()).await.unwrap();
    assert_eq!(due(&store, 120).await, [named("evt_1"), Due::Account(at())], "longest first");

    let mut change = Change::of(account, later(1), Actor::Sweep);
    change.release(None);
    store.record(change).await.unwrap();
    assert_eq!(due(&store, 9_999).await, [named("evt_1")], "nothing waits in the account");
    let indexed: Vec<_> = rows_of(&store)
        .await
        .into_iter()
        .filter(|row| row.get("due_shard").is_some() || row.get("due_at").is_some())
        .map(|row| row["sk"]["S"].clone())
        .collect();
    assert_eq!(indexed, ["EVENT#2026-04-22T10:00:00.123Z#evt_1"]);
}

#[tokio::test]
async fn every_account_is_in_one_shard_and_every_shard_gives_only_its_own() {
    let store = embedded().await;
    let mut recorded: Vec<_> = (0..40).map(|n| account_ref(&format!("acct_{n}"))).collect();
    for at in &recorded {
        let mut change = Change::of(Account::new(at.clone(), now()), now(), Actor::Install);
        change.claim();
        store.record(change).await.unwrap();
    }
    let mut found = vec![];
    for shard in 0..SHARDS {
        for due in store.due(shard, later(120), 100).await.unwrap() {
            let Due::Account(at) = due else { panic!("no event is recorded") };
            found.push(at);
        }
    }
    found.sort();
    recorded.sort();
    assert_eq!(found, recorded);
}

#[tokio::test]
async fn a_due_row_that_cannot_be_named_or_dealt_with_does_not_stop_a_sweep() {
    let store = embedded().await;
    for n in 0..3 {
        let put = store
            .client()
            .put_item()
            .table_name(&store.table)
            .item("pk", string(if n == 0 { "nonsense".into() } else { partition(&at()) }))
            .item("sk", string(format!("EVENT#nonsense{n}")))
            .item("due_shard", number(shard(&at())))
            .item("due_at", number(n));
        put.send().await.unwrap();
    }
    store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    let limited = store.due(shard(&at()), later(120), 1).await.unwrap();
    assert_eq!(limited, [Due::Account(at())], "what has no name does not count");

    let account = Due::Account(at());
    store.set_aside(&account, later(120), later(900)).await.unwrap();
    assert_eq!(due(&store, 899).await, []);
    store.set_aside(&account, later(120), later(2_000)).await.unwrap();
    assert_eq!(due(&store, 900).await, [account], "what is not due any more is left alone");
    let unchanged = store.load(&at()).await.unwrap().unwrap();
    assert_eq!(unchanged.head.version, 1);
}

#[tokio::test]
async fn an_accounts_events_are_read_newest_first() {
    let store = embedded().await;
    for n in 0..5 {
        let mut event = event(&format!("evt_{n}"));
        event.created = later(n);
        store.put_event(&event, now()).await.unwrap();
    }
    let newest = store.events(&at(), 2).await.unwrap();
    let ids: Vec<_> = newest.iter().map(|stored| stored.notification.id.as_str()).collect();
    assert_eq!(ids, ["evt_4", "evt_3"]);
    assert_eq!(store.events(&at(), 0).await.unwrap(), []);
    let missing = EventRef { created: later(77), ..(&event("evt_1")).into() };
    assert_eq!(store.event(&missing).await.unwrap(), None);
}
