//! Transitions that only a person brings about.

use super::*;
use crate::domain::id::Kid;
use crate::domain::sealed::Sealed;

#[test]
fn what_a_person_gives_up_is_ended_at_stripe_where_there_is_a_key_and_only_closed_where_not() {
    let at = Timestamp::from_seconds(60).unwrap();
    let key = KeyId::parse("mk_1").unwrap();
    let sealed = Sealed { kid: Kid::parse("kid_1").unwrap(), compact: "a.b.c.d.e".into() };
    let material = Material::Sealed(sealed);
    let since = Timestamp::EPOCH;
    let trouble = Trouble::DeadOnArrival;
    for state in [
        State::Undecryptable { key: key.clone(), material: material.clone(), at: since },
        State::NeedsOperator { key: Some(key.clone()), at: since, trouble },
    ] {
        let State::Retiring { key: retiring, material, dies_at, try_at, attempts, ending } =
            state.apply(Happened::Abandoned { at }).unwrap()
        else {
            panic!("a key that may be alive is ended first");
        };
        assert_eq!((retiring, material, attempts), (key.clone(), None, 0));
        assert_eq!((dies_at, try_at, ending), (at, at, Ending::Lost));
    }
    let state = State::NeedsOperator { key: None, at: since, trouble: Trouble::NoAnswer };
    let closed = State::Ended { key: None, at: since, why: Ending::Lost };
    assert_eq!(state.apply(Happened::Abandoned { at }), Ok(closed));
}

#[test]
fn a_key_that_works_or_may_come_to_is_not_abandoned() {
    let at = Timestamp::EPOCH;
    let key = KeyId::parse("mk_1").unwrap();
    let material = Material::Publishable("pk_test_1".into());
    let (issued_at, predecessor_dies_at) = (at, None);
    for state in [
        State::Issued {
            key: key.clone(),
            material: material.clone(),
            issued_at,
            predecessor_dies_at,
        },
        State::Current {
            key: key.clone(),
            material,
            issued_at,
            rotates_at: None,
            asked: false,
            look_at: at,
            doom: None,
        },
        State::Ended { key: Some(key), at, why: Ending::Expired },
    ] {
        let from = state.name();
        assert_eq!(state.apply(Happened::Abandoned { at }), Err(Illegal { from }));
    }
}
