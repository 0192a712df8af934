//! What is stored is what is loaded, and looks the way it is written down.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::KeySchemaElement;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::samples::*;
use super::{embedded, rows_of, seed};
use crate::domain::account::{Account, Change, SlotState, Status};
use crate::domain::audit::{self, Action, Actor, Phase};
use crate::domain::id::Kid;
use crate::domain::lifecycle::{Ending, Happened, State};
use crate::domain::sealed::{KeyPair, Material, Sealed, Wrapped};
use crate::domain::slot::{Generation, Kind, Slot, SlotName};
use crate::domain::time::Timestamp;
use crate::store::LAST_SEQUENCE;
use crate::store::rows::{self, Loaded, Written};
use crate::store::table::{Attribute, DEFINITION, Definition};

#[tokio::test]
async fn an_account_with_a_state_of_every_kind_is_loaded_as_it_was_stored() {
    let store = embedded().await;
    let mut account = full_account();
    account.head.version = 7;
    seed(&store, &account).await;
    assert_eq!(store.load(&at()).await.unwrap(), Some(account));
    assert_eq!(store.load(&account_ref("acct_2")).await.unwrap(), None);
}

#[tokio::test]
async fn rows_look_the_way_they_are_written_down() {
    let store = embedded().await;
    seed(&store, &full_account()).await;
    insta::assert_json_snapshot!("working_set", rows_of(&store).await);

    let store = embedded().await;
    store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    store.put_event(&event("evt_open"), now()).await.unwrap();
    store.put_event(&event("evt_done"), now()).await.unwrap();
    store.close_event(&event("evt_done"), later(5)).await.unwrap();
    insta::assert_json_snapshot!("first_change_and_events", rows_of(&store).await);
}

#[tokio::test]
async fn a_key_is_followed_from_its_intent_to_its_end() {
    let store = embedded().await;
    let account = store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    assert_eq!(account.head.version, 1);

    let mut change = Change::of(account, later(1), Actor::Sweep);
    let answered = Happened::Answered {
        key: key(1),
        material: sealed(),
        at: later(1),
        predecessor_dies_at: None,
    };
    for happened in
        [answered, Happened::Proved, Happened::Promoted { rotates_at: None, look_at: now() }]
    {
        change.apply(&slot(), Generation::FIRST, happened, None).unwrap();
    }
    change.release(Some(later(60)));
    let account = store.record(change).await.unwrap();
    assert_eq!(store.load(&at()).await.unwrap(), Some(account.clone()), "returned as stored");

    let mut change = Change::of(account, later(2), Actor::Event);
    let ended = Happened::Ended { at: later(2), why: Ending::RevokedByUser };
    change.apply(&slot(), Generation::FIRST, ended, None).unwrap();
    change.forget(&slot(), Generation::FIRST);
    change.shred_pair(&kid());
    change.release(None);
    let account = store.record(change).await.unwrap();
    assert!(account.generations.is_empty() && account.pairs.is_empty());
    assert_eq!(store.load(&at()).await.unwrap(), Some(account.clone()));

    let keys: Vec<String> =
        rows_of(&store).await.iter().map(|row| row["sk"]["S"].as_str().unwrap().into()).collect();
    assert_eq!(
        keys,
        [
            "AUDIT#000000000001",
            "AUDIT#000000000002",
            "AUDIT#000000000003",
            "STATE#ACCOUNT",
            "STATE#SLOT#secret#default",
        ],
        "nothing is left of the key and its pair but their story"
    );
    let trail = store.trail(&at(), 0, 100).await.unwrap();
    assert_eq!(audit::verify(&trail, &account.head.audit), Ok(()));
}

#[tokio::test]
async fn a_trail_is_read_in_pages_that_meet() {
    let store = embedded().await;
    let mut change = Change::of(Account::new(at(), now()), now(), Actor::Operator);
    for _ in 0..25 {
        change.note(Action::Request, Phase::Note, None, None);
    }
    let account = store.record(change).await.unwrap();
    let mut entries = store.trail(&at(), 0, 10).await.unwrap();
    assert_eq!(entries.len(), 10);
    entries.extend(store.trail(&at(), 10, 10).await.unwrap());
    entries.extend(store.trail(&at(), 20, 10).await.unwrap());
    assert_eq!(audit::verify(&entries, &account.head.audit), Ok(()));
    assert_eq!(store.trail(&at(), 25, 10).await.unwrap(), []);
    assert_eq!(store.trail(&at(), u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.trail(&at(), 0, 0).await.unwrap(), []);
}

#[tokio::test]
async fn an_account_larger_than_a_page_is_loaded_whole() {
    let store = embedded().await;
    let mut account = full_account();
    account.head.version = 1;
    for number in 20..40 {
        let compact = "x".repeat(100_000);
        let material = Material::Sealed(Sealed { kid: kid(), compact });
        let state = State::Issued {
            key: key(number),
            material,
            issued_at: now(),
            predecessor_dies_at: None,
        };
        account.generations.insert((slot(), generation(number)), state);
    }
    seed(&store, &account).await;
    assert_eq!(store.load(&at()).await.unwrap(), Some(account));
}

#[tokio::test]
async fn the_table_is_created_once_as_it_is_defined_and_found_the_second_time() {
    let store = embedded().await;
    store.create_table().await.unwrap();
    let table = store.client().describe_table().table_name(&store.table).send().await.unwrap();
    let table = table.table.unwrap();
    let Definition { partition_key, sort_key, index, .. } = DEFINITION;
    assert_eq!(schema(table.key_schema()), schema_of(partition_key, sort_key));
    let [created] = table.global_secondary_indexes() else { panic!("not one index") };
    assert_eq!(created.index_name(), Some(index.name));
    assert_eq!(schema(created.key_schema()), schema_of(index.partition_key, index.sort_key));
    let projection = created.projection().unwrap().projection_type().unwrap();
    assert_eq!(projection.as_str(), index.projection);
    let attributes: BTreeSet<_> = table
        .attribute_definitions()
        .iter()
        .map(|attribute| (attribute.attribute_name(), attribute.attribute_type().as_str()))
        .collect();
    let defined = [partition_key, sort_key, index.partition_key, index.sort_key];
    assert_eq!(attributes, defined.map(|attribute| (attribute.name, attribute.kind)).into());
    let billing = table.billing_mode_summary().unwrap().billing_mode().unwrap();
    assert_eq!(billing.as_str(), DEFINITION.billing_mode);
    let stream = table.stream_specification().unwrap();
    assert!(stream.stream_enabled());
    assert_eq!(stream.stream_view_type().unwrap().as_str(), DEFINITION.stream_view);
    let ttl = store.client().describe_time_to_live().table_name(&store.table).send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();
    assert_eq!(ttl.attribute_name.as_deref(), Some(DEFINITION.ttl_attribute));
}

fn schema(created: &[KeySchemaElement]) -> Vec<(&str, &str)> {
    created.iter().map(|key| (key.attribute_name(), key.key_type().as_str())).collect()
}

fn schema_of(partition: Attribute, sort: Attribute) -> Vec<(&'static str, &'static str)> {
    vec![(partition.name, "HASH"), (sort.name, "RANGE")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_account_survives_its_rows(account in accounts(), version in 0..LAST_SEQUENCE) {
        let mut account = account;
        account.head.version = version;
        let mut items = vec![];
        let mut written = Written::default();
        for name in names(&account) {
            written.wrote.push(crate::store::keys::row(&name));
            items.push(rows::of_row(&account, &name, version).unwrap().unwrap());
        }
        items.push(rows::of_head(&account.at, &account.head, &written).unwrap());
        let Loaded::Whole(loaded) = rows::account(&account.at, items).unwrap() else {
            panic!("all of it is there")
        };
        prop_assert_eq!(*loaded, account);
    }
}

fn accounts() -> impl Strategy<Value = Account> {
    let opened = (slots(), timestamps(), 1..=u32::MAX).prop_map(|(slot, opened_at, next)| {
        let next = generation(next);
        (slot, SlotState { opened_at, next, hold: None, asked_at: None, epoch: 0 })
    });
    let keys = (slots(), 1..=u32::MAX, states_with_texts())
        .prop_map(|(slot, number, state)| ((slot, generation(number)), state));
    let pairs = ("kid_[A-Za-z0-9_]{1,40}", ".*", timestamps()).prop_map(|(kid, text, made_at)| {
        let kid = Kid::parse(&kid).unwrap();
        let wrapped = Wrapped(text.clone());
        (kid.clone(), KeyPair { kid, public_pem: text, wrapped, made_at })
    });
    let head =
        (option::of(timestamps()), option::of(timestamps()), 0..LAST_SEQUENCE, any::<bool>());
    (head, vec(opened, 0..4), vec(keys, 0..6), vec(pairs, 0..3)).prop_map(
        |((due_at, lease_until, fence, installed), slots, keys, pairs)| {
            let mut account = Account::new(at(), now());
            account.head.due_at = due_at;
            account.head.lease_until = lease_until;
            account.head.fence = fence;
            if !installed {
                account.head.status = Status::Uninstalled { at: now() };
            }
            account.slots = slots.into_iter().collect();
            account.generations = keys.into_iter().collect();
            account.pairs = pairs.into_iter().collect();
            account
        },
    )
}

fn slots() -> impl Strategy<Value = Slot> {
    let kinds = prop_oneof![Just(Kind::Secret), Just(Kind::Publishable)];
    (kinds, "[a-z0-9_-]{1,64}")
        .prop_map(|(kind, name)| Slot::new(kind, SlotName::parse(&name).unwrap()))
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (0..=253_402_300_799_999_i64).prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

/// Every kind of state, with any text where a text is kept and any instant where one is.
fn states_with_texts() -> impl Strategy<Value = State> {
    (0..states().len(), ".*", timestamps(), any::<u32>()).prop_map(|(which, text, at, count)| {
        let mut state = states().swap_remove(which);
        match &mut state {
            State::Requested { intent } => {
                intent.body = text;
                intent.attempts = count;
                intent.kid = None;
            }
            State::Issued { material, issued_at, .. }
            | State::Proven { material, issued_at, .. }
            | State::Current { material, issued_at, .. } => {
                *material = Material::Publishable(text);
                *issued_at = at;
            }
            State::Retiring { dies_at, attempts, .. } => {
                *dies_at = at;
                *attempts = count;
            }
            State::Ended { at: ended_at, .. } => *ended_at = at,
            State::Undecryptable { material, .. } => {
                *material = Material::Sealed(Sealed { kid: kid(), compact: text });
            }
            State::NeedsOperator { key: named, .. } => *named = Some(key(count)),
        }
        state
    })
}
