//! Accounts and events to store.

use std::time::Duration;

use crate::domain::account::{Account, Change, Hold, HoldReason, RowName, SlotState};
use crate::domain::audit::Actor;
use crate::domain::event::{Notification, Topic};
use crate::domain::id::{AccountId, EventId, KeyId, Kid};
use crate::domain::intent::{Asking, Intent, PublicKey, RequestShape};
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, State, Trouble};
use crate::domain::plan::Because;
use crate::domain::sealed::{KeyPair, Material, Sealed, Wrapped};
use crate::domain::slot::{AccountRef, Generation, Kind, Mode, Slot, SlotName};
use crate::domain::time::Timestamp;

pub(super) fn now() -> Timestamp {
    Timestamp::parse("2026-04-22T10:00:00.123Z").unwrap()
}

pub(super) fn later(seconds: u64) -> Timestamp {
    now().plus(Duration::from_secs(seconds))
}

pub(super) fn at() -> AccountRef {
    account_ref("acct_1")
}

pub(super) fn account_ref(id: &str) -> AccountRef {
    AccountRef::new(Mode::Test, AccountId::parse(id).unwrap())
}

pub(super) fn slot() -> Slot {
    Slot::new(Kind::Secret, SlotName::default())
}

pub(super) fn generation(number: u32) -> Generation {
    Generation::from_number(number).unwrap()
}

pub(super) fn kid() -> Kid {
    Kid::parse("kid_1").unwrap()
}

pub(super) fn key(number: u32) -> KeyId {
    KeyId::parse(&format!("mk_{number}")).unwrap()
}

pub(super) fn sealed() -> Material {
    Material::Sealed(Sealed { kid: kid(), compact: "a.b.c.d.e".into() })
}

pub(super) fn pair() -> KeyPair {
    KeyPair {
        kid: kid(),
        public_pem: "-----BEGIN PUBLIC KEY-----".into(),
        wrapped: Wrapped("d3JhcHBlZA==".into()),
        made_at: now(),
    }
}

pub(super) fn intent() -> Intent {
    Intent::create(
        &Asking {
            app: "ca_1",
            account: &at(),
            slot: &slot(),
            opened_at: now(),
            generation: Generation::FIRST,
            public_key: Some(PublicKey { kid: &kid(), pem: "PEM" }),
            now: now(),
        },
        &RequestShape { stripe_version: "2026-04-22.preview".into(), permissions: vec![] },
    )
}

/// A state of every kind, with and without what is optional in it.
pub(super) fn states() -> Vec<State> {
    vec![
        State::Requested { intent: intent() },
        State::Issued {
            key: key(2),
            material: sealed(),
            issued_at: now(),
            predecessor_dies_at: Some(later(60)),
        },
        State::Proven {
            key: key(3),
            material: sealed(),
            issued_at: now(),
            predecessor_dies_at: None,
        },
        State::Current {
            key: key(4),
            material: sealed(),
            issued_at: now(),
            rotates_at: Some(later(60)),
            asked: false,
            look_at: later(40),
            doom: Some(Doom { at: later(30), by: DoomedBy::SomebodyElse }),
        },
        State::Current {
            key: key(5),
            material: Material::Publishable("pk_test_public".into()),
            issued_at: now(),
            rotates_at: None,
            asked: false,
            look_at: later(40),
            doom: None,
        },
        State::Retiring {
            key: key(6),
            material: Some(sealed()),
            dies_at: later(60),
            try_at: later(5),
            attempts: 3,
            ending: Ending::Superseded,
        },
        State::Retiring {
            key: key(7),
            material: None,
            dies_at: now(),
            try_at: now(),
            attempts: 0,
            ending: Ending::Lost,
        },
        State::Ended { key: Some(key(8)), at: now(), why: Ending::RevokedByUser },
        State::Ended { key: None, at: now(), why: Ending::Uninstalled },
        State::Undecryptable { key: key(10), material: sealed(), at: now() },
        State::NeedsOperator { key: None, at: now(), trouble: Trouble::NoAnswer },
    ]
}

/// An account that holds a row of every kind, and a state of every kind.
pub(super) fn full_account() -> Account {
    let mut account = Account::new(at(), now());
    account.head.due_at = Some(later(60));
    account.head.lease_until = Some(later(120));
    account.pairs.insert(kid(), pair());
    for (number, state) in (1..).zip(states()) {
        account.generations.insert((slot(), generation(number)), state);
    }
    let hold = Hold { why: HoldReason::LimitReached, since: now(), until: Some(later(900)) };
    let (opened_at, hold) = (now(), Some(hold));
    let row = SlotState { opened_at, next: generation(12), hold, asked_at: None, epoch: 3 };
    account.slots.insert(slot(), row);
    let public = Slot::new(Kind::Publishable, SlotName::parse("web").unwrap());
    let (next, asked_at) = (Generation::FIRST, Some(now()));
    let row = SlotState { opened_at, next, hold: None, asked_at, epoch: 0 };
    account.slots.insert(public, row);
    account
}

/// The names of all rows that an account holds besides its own.
pub(super) fn names(account: &Account) -> Vec<RowName> {
    let slots = account.slots.keys().cloned().map(RowName::Slot);
    let keys = account.generations.keys().cloned().map(|(slot, n)| RowName::Key(slot, n));
    let pairs = account.pairs.keys().cloned().map(RowName::Pair);
    slots.chain(keys).chain(pairs).collect()
}

/// The first change of an account: a slot, a pair and an intent.
pub(super) fn provisioning(account: Account) -> Change {
    let mut change = Change::of(account, now(), Actor::Install);
    change.open_slot(&slot());
    change.add_pair(pair());
    change.claim();
    change.request(&slot(), Generation::FIRST, intent(), Because::SlotIsEmpty);
    change
}

pub(super) fn event(id: &str) -> Notification {
    Notification {
        id: EventId::parse(id).unwrap(),
        account: at(),
        created: now(),
        topic: Topic::KeyExpired,
    }
}
