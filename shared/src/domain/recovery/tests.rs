use super::*;
use crate::domain::account::Change;
use crate::domain::audit::Actor;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::intent::{Asking, RequestShape};
use crate::domain::policy::Choice;
use crate::domain::sealed::Material;
use crate::domain::slot::{AccountRef, Kind, Mode, SlotName};

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds).unwrap()
}

fn slot() -> Slot {
    Slot::new(Kind::Secret, SlotName::default())
}

fn key(name: &str) -> KeyId {
    KeyId::parse(name).unwrap()
}

fn account(states: impl IntoIterator<Item = State>) -> Account {
    let at = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
    let mut change = Change::of(Account::new(at, second(0)), second(0), Actor::Install);
    change.open_slot(&slot());
    let mut account = change.into_account();
    let mut generation = Generation::FIRST;
    for state in states {
        account.generations.insert((slot(), generation), state);
        generation = generation.next();
    }
    account
}

fn current(doom: Option<Doom>) -> State {
    State::Current {
        key: key("mk_1"),
        material: Material::Publishable("pk_live_1".into()),
        issued_at: second(-9),
        rotates_at: Some(second(0)),
        asked: false,
        look_at: second(86_400),
        doom,
    }
}

/// Recorded at second 0.
fn intent(rotates_within: Option<u32>, attempts: u32) -> Intent {
    let account = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
    let asking = Asking {
        app: "ca_1",
        account: &account,
        slot: &slot(),
        opened_at: second(-100),
        generation: Generation::FIRST.next(),
        public_key: None,
        now: second(0),
    };
    let shape = RequestShape { stripe_version: "v".into(), permissions: vec![] };
    let made = match rotates_within {
        Some(minutes) => Intent::rotate(&asking, &shape, &key("mk_1"), Generation::FIRST, minutes),
        None => Intent::create(&asking, &shape),
    };
    Intent { attempts, ..made }
}

fn requested(rotates_within: Option<u32>, attempts: u32) -> State {
    State::Requested { intent: intent(rotates_within, attempts) }
}

fn issued(predecessor_dies_at: Timestamp) -> State {
    State::Issued {
        key: key("mk_2"),
        material: Material::Publishable("pk_live_2".into()),
        issued_at: second(1),
        predecessor_dies_at: Some(predecessor_dies_at),
    }
}

fn lost(name: Option<&str>, at: Timestamp) -> State {
    State::Ended { key: name.map(key), at, why: Ending::Lost }
}

const MINUTE: i64 = 60;

#[test]
fn a_call_is_looked_for_before_half_of_what_the_old_key_may_have_left_is_gone() {
    let policy = Policy::new(Choice { overlap_minutes: 600, ..Choice::default() }).unwrap();
    let doomed = |seconds, by| Some(Doom { at: second(seconds), by });
    for (rotates_within, doom, due) in [
        (Some(600), None, 297 * MINUTE),
        // An emergency may want less than the policy.
        (Some(60), None, 27 * MINUTE),
        (Some(5), None, 0),
        (None, None, 297 * MINUTE),
        (None, doomed(120 * MINUTE, DoomedBy::LostAnswer), 57 * MINUTE),
        (None, doomed(120 * MINUTE, DoomedBy::SomebodyElse), 57 * MINUTE),
        (None, doomed(-1, DoomedBy::LostAnswer), 0),
        (None, doomed(-1, DoomedBy::Operator), 297 * MINUTE),
    ] {
        let account = account([current(doom), requested(rotates_within, 1)]);
        let found = due_at(&policy, &account, &slot(), &intent(rotates_within, 1));
        assert_eq!(found, second(due), "{rotates_within:?} {doom:?}");
    }
}

#[test]
fn a_hold_for_want_of_an_answer_ends_where_repeating_is_not_enough() {
    let policy = Policy::new(Choice { overlap_minutes: 600, ..Choice::default() }).unwrap();
    let account = account([current(None), requested(Some(600), 9)]);
    let due = 297 * MINUTE;
    for (why, since, until, expected) in [
        (HoldReason::NoAnswer, due - 5, due - 1, due - 1),
        (HoldReason::NoAnswer, due - 5, due + 895, due),
        (HoldReason::NoAnswer, due, due + 900, due + 900),
        (HoldReason::LimitReached, due - 5, due + 895, due + 895),
    ] {
        let hold = Hold { why, since: second(since), until: Some(second(until)) };
        let found = held_until(&policy, &account, &slot(), hold);
        assert_eq!(found, Some(second(expected)), "{why:?} {since}");
    }
    let for_somebody = Hold { why: HoldReason::NoAnswer, since: second(0), until: None };
    assert_eq!(held_until(&policy, &account, &slot(), for_somebody), None);
}

#[test]
fn only_a_rotation_that_was_sent_and_not_answered_may_have_ended_the_key() {
    let stuck = State::NeedsOperator { key: None, at: second(5), trouble: Trouble::NoAnswer };
    let refused = State::NeedsOperator { key: None, at: second(5), trouble: Trouble::Refused };
    for (younger, may_be_by_us) in [
        (requested(Some(60), 0), false),
        (requested(Some(60), 1), true),
        (requested(None, 1), false),
        (lost(None, second(5)), true),
        // That one's answer came, and with it what it did.
        (lost(Some("mk_2"), second(5)), false),
        (stuck, true),
        (refused, false),
    ] {
        let account = account([current(None), younger.clone()]);
        let found = may_be_rotated_by_us(&account, &slot(), Generation::FIRST);
        assert_eq!(found, may_be_by_us, "{younger:?}");
    }
    let before = account([lost(None, second(5)), current(None)]);
    assert!(!may_be_rotated_by_us(&before, &slot(), Generation::FIRST.next()), "an older one");
}

#[test]
fn a_rotation_that_was_made_may_have_ended_the_key_once_its_overlap_is_over() {
    for (younger, now, may_be_by_us) in [
        (requested(Some(60), 1), 60 * MINUTE - 1, false),
        (requested(Some(60), 1), 60 * MINUTE, true),
        (requested(Some(60), 0), 60 * MINUTE, false),
        (requested(None, 1), 60 * MINUTE, false),
        (issued(second(60 * MINUTE)), 60 * MINUTE - 1, false),
        (issued(second(60 * MINUTE)), 60 * MINUTE, true),
        // Of one that was given up nobody knows when it took effect.
        (lost(None, second(5)), 6, true),
    ] {
        let account = account([current(None), younger.clone()]);
        let found = may_have_died_of_us(&account, &slot(), Generation::FIRST, second(now));
        assert_eq!(found, may_be_by_us, "{younger:?} at {now}");
    }
}

#[test]
fn a_key_that_was_made_before_a_call_was_given_up_may_be_that_calls() {
    let account = account([current(None), lost(None, second(0))]);
    assert!(may_be_lost(&account, &slot(), second(-5)));
    assert!(may_be_lost(&account, &slot(), second(60)), "the call was still under way");
    assert!(!may_be_lost(&account, &slot(), second(7200)));
    assert!(!may_be_lost(&account, &slot(), second(-8 * 86_400)), "no call goes on for so long");
    let answered = self::account([current(None), lost(Some("mk_2"), second(0))]);
    assert!(!may_be_lost(&answered, &slot(), second(-5)), "that call's key is known");
}

#[test]
fn a_call_that_a_person_gave_up_for_made_its_key_when_it_was_made_and_not_when_they_came() {
    use crate::domain::lifecycle::Happened;
    let stuck = State::NeedsOperator { key: None, at: second(0), trouble: Trouble::NoAnswer };
    let abandoned = stuck.apply(Happened::Abandoned { at: second(20 * 86_400) }).unwrap();
    let account = account([current(None), abandoned]);
    assert!(may_be_lost(&account, &slot(), second(-60)));
    assert!(!may_be_lost(&account, &slot(), second(15 * 86_400)), "no call was under way then");
}

#[test]
fn keys_that_were_lost_count_up_to_the_youngest_that_was_not() {
    let retiring = State::Retiring {
        key: key("mk_3"),
        material: None,
        dies_at: second(0),
        try_at: second(0),
        attempts: 0,
        ending: Ending::Lost,
    };
    let states = [lost(None, second(0)), current(None), lost(Some("mk_2"), second(0)), retiring];
    assert_eq!(lost_in_a_row(&account(states.clone()), &slot()), 2);
    let answered = states.into_iter().chain([requested(None, 0)]);
    assert_eq!(lost_in_a_row(&account(answered), &slot()), 0);
}
