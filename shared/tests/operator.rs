//! What an operator's word does to a generation.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use keysteward::domain::id::KeyId;
use keysteward::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State, Trouble};
use keysteward::domain::sealed::Material;
use keysteward::domain::time::Timestamp;

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn key() -> KeyId {
    KeyId::parse("mk_1").unwrap()
}

fn retiring(dies_at: Timestamp) -> State {
    State::Retiring {
        key: key(),
        material: None,
        dies_at,
        try_at: dies_at,
        attempts: 0,
        ending: Ending::Superseded,
    }
}

#[test]
fn a_key_that_an_operator_wants_ended_is_served_until_its_successor_is_there() {
    for (by, has_struck) in
        [(DoomedBy::LostAnswer, true), (DoomedBy::SomebodyElse, true), (DoomedBy::Operator, false)]
    {
        let doom = Doom { at: second(10), by };
        assert_eq!(doom.has_struck(second(10)), has_struck, "{by:?}");
        assert!(!doom.has_struck(second(9)), "{by:?}");
    }
}

#[test]
fn a_revoked_key_is_to_be_dead_at_once_and_never_later_than_it_was() {
    let current = State::Current {
        key: key(),
        material: Material::Publishable("pk_test_1".to_owned()),
        issued_at: second(1),
        rotates_at: None,
        asked: false,
        look_at: second(100),
        doom: None,
    };
    for (before, dead_by) in [(current, 50), (retiring(second(90)), 50), (retiring(second(20)), 20)]
    {
        let State::Retiring { dies_at, try_at, ending, .. } =
            before.apply(Happened::Revoked { at: second(50) }).unwrap()
        else {
            unreachable!("a revoked key retires")
        };
        assert_eq!((dies_at, try_at), (second(dead_by), second(50)));
        assert_eq!(ending, Ending::RevokedByOperator);
    }
}

#[test]
fn what_is_over_or_stuck_is_not_revoked() {
    for state in [
        State::Ended { key: Some(key()), at: second(1), why: Ending::Expired },
        State::NeedsOperator { key: None, at: second(1), trouble: Trouble::NoAnswer },
    ] {
        assert!(state.apply(Happened::Revoked { at: second(2) }).is_err());
    }
}
