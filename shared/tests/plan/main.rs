//! Properties of the pure core: whatever Stripe answers and whatever happens, following the plan never
//! ends the last key that works, and comes to rest with one key per slot and a closed audit trail.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the whole file is a test")]

mod last_key;
mod model;
mod soundness;

use std::time::Duration;

use keysteward::domain::account::{Hold, HoldReason};
use keysteward::domain::intent::How;
use keysteward::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use keysteward::domain::orders::{Emergency, Orders};
use keysteward::domain::plan::Step;
use keysteward::domain::policy::{
    Choice, OnDrift, OnUninstall, OnUserExpire, Policy, Strategy as Rotation,
};
use keysteward::domain::slot::{Kind, Slot, SlotName};
use keysteward::domain::time::Timestamp;
use proptest::prelude::*;

use crate::model::{Answer, Model, Outside};

fn policies() -> impl Strategy<Value = Policy> {
    let choice = (
        1..=90u32,
        10..=700u32,
        prop_oneof![Just(Rotation::Rotate), Just(Rotation::CreateThenExpire)],
        prop_oneof![Just(OnUserExpire::Hold), Just(OnUserExpire::Reissue)],
        prop_oneof![Just(OnUninstall::Keep), Just(OnUninstall::Expire)],
    );
    choice.prop_map(
        |(rotate_every_days, overlap_minutes, strategy, on_user_expire, on_uninstall)| {
            Policy::new(Choice {
                rotate_every_days,
                overlap_minutes,
                strategy,
                on_user_expire,
                on_uninstall,
                on_drift: OnDrift::Report,
            })
            .unwrap()
        },
    )
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        6 => Just(Answer::Good),
        3 => Just(Answer::Vain),
        2 => Just(Answer::Lost),
        1 => Just(Answer::DoesNotOpen),
    ];
    proptest::collection::vec(answer, 0..30)
}

fn happenings() -> impl Strategy<Value = Vec<(Outside, u32)>> {
    let outside = prop_oneof![
        6 => Just(Outside::Nothing),
        1 => Just(Outside::RevokedByUser),
        1 => Just(Outside::RotatedBySomebody),
        2 => Just(Outside::RotationAsked),
        1 => Just(Outside::Uninstalled),
        2 => Just(Outside::Reinstalled),
        2 => Just(Outside::Provisioned),
        1 => Just(Outside::WentLive),
    ];
    // Within an overlap, or past every deadline.
    let seconds = prop_oneof![1..=20_000u32, 1..=2_000_000u32];
    proptest::collection::vec((outside, seconds), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_plan_keeps_the_last_working_key(
        policy in policies(),
        answers in answers(),
        happenings in happenings(),
    ) {
        let mut model = Model::new(policy);
        let mut answers = answers.into_iter();
        for (outside, seconds) in happenings {
            model.outside(outside);
            model.sweep(&mut answers);
            model.assert_sound();
            model.assert_nothing_is_forgotten();
            model.assert_audit_is_closed();
            model.now = model.now.plus(Duration::from_secs(u64::from(seconds)));
        }
    }

    #[test]
    fn when_the_world_behaves_every_slot_comes_to_one_current_key(
        policy in policies(),
        answers in proptest::collection::vec(
            prop_oneof![Just(Answer::Good), Just(Answer::Vain), Just(Answer::Lost)], 0..12),
    ) {
        let mut model = Model::new(policy);
        let mut answers = answers.into_iter();
        for _ in 0..20 {
            model.sweep(&mut answers);
            model.now = model.now.plus(Duration::from_secs(900));
        }
        for slot in model.account.slots.keys() {
            prop_assert!(model.account.current(slot).is_some(), "{slot} has no key");
        }
        prop_assert!(model.plan().steps.is_empty());
    }

    /// Followed by its own wake-ups alone: none is lost, and no key is older than its period and the windows
    /// of the account's other keys.
    #[test]
    fn keys_that_come_due_together_are_all_replaced_one_window_after_the_other(
        policy in policies(),
        answers in proptest::collection::vec(prop_oneof![6 => Just(Answer::Good), 1 => Just(Answer::Vain)], 0..40),
        days in 1..60u64,
        names in 0..4usize,
    ) {
        let mut model = Model::new(policy);
        model.change(|change| {
            for name in ["billing", "reports", "search"].into_iter().take(names) {
                change.open_slot(&Slot::new(Kind::Secret, SlotName::parse(name).unwrap()));
            }
        });
        let mut answers = answers.into_iter();
        let until = model.now.plus(Duration::from_secs(days * 86_400));
        let slots = u32::try_from(model.account.slots.len()).unwrap();
        let slack = Duration::from_secs(3600);
        let longest = model.policy.rotates_at(Timestamp::EPOCH, 0).since(Timestamp::EPOCH)
            + model.policy.overlap() * slots + slack;
        while model.now < until {
            model.sweep(&mut answers);
            for slot in model.account.slots.keys() {
                let Some((_, State::Current { issued_at, .. })) = model.account.current(slot) else {
                    continue;
                };
                prop_assert!(model.now.since(*issued_at) <= longest, "{slot} is not replaced in time");
            }
            model.now = model.plan().wake_at.expect("an account with keys always wakes");
        }
        model.assert_sound();
    }

    /// Followed by its own wake-ups alone, while nobody answers a rotation: what may have been rotated away has
    /// its successor asked for by another call while half of its overlap is left.
    #[test]
    fn a_rotation_that_nobody_answers_is_given_up_before_half_of_the_overlap_is_gone(
        policy in policies().prop_filter("rotates", |it| it.strategy() == Rotation::Rotate),
        unanswered in 0..8usize,
    ) {
        let mut model = Model::new(policy);
        model.account.slots.retain(|slot, _| slot.kind == Kind::Secret);
        model.sweep(&mut std::iter::empty());
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let (first, _) = model.account.current(&slot).unwrap();
        model.now = due_of(&model, &slot);
        let (asked_at, half) = (model.now, model.policy.overlap() / 2);
        loop {
            let steps: Vec<Step> = model.plan().steps.into_iter().map(|it| it.step).collect();
            let is_over = model.now >= asked_at.plus(half);
            prop_assert!(!is_over || !steps.iter().any(|step| matches!(step, Step::Ask(..))));
            let given_up = (slot.clone(), first.next());
            if matches!(model.account.generations.get(&given_up), Some(State::Ended { .. })) {
                break;
            }
            prop_assert!(!is_over, "half of the overlap is gone: {steps:?}");
            model.sweep(&mut std::iter::repeat_n(Answer::Vain, 1));
            model.now = model.plan().wake_at.expect("it waits for an answer").max(model.now);
        }
        model.sweep(&mut std::iter::repeat_n(Answer::Vain, unanswered));
        let successor = &model.account.generations[&(slot.clone(), first.next().next())];
        let is_a_create = match successor {
            State::Requested { intent } => intent.how == How::Create,
            other => matches!(other, State::Current { .. }),
        };
        prop_assert!(is_a_create, "{successor:?}");
    }

    #[test]
    fn the_same_arguments_give_the_same_plan(policy in policies(), seconds in 0..10_000_000u64) {
        let mut model = Model::new(policy);
        model.sweep(&mut std::iter::empty());
        model.now = model.now.plus(Duration::from_secs(seconds));
        prop_assert_eq!(model.plan(), model.plan());
    }
}

fn secret(name: &str) -> Slot {
    Slot::new(Kind::Secret, SlotName::parse(name).unwrap())
}

/// Two secret slots, `a` and `b`, whose keys come due at the instant that the model then stands at.
fn due_at_once() -> Model {
    // Shorter than the day after which Stripe is asked about a key, which would wake the account as well.
    let choice = Choice { overlap_minutes: 600, ..Choice::default() };
    let mut model = Model::new(Policy::new(choice).unwrap());
    model.change(|change| {
        for name in ["a", "b"] {
            change.open_slot(&secret(name));
        }
    });
    drop_default_slots(&mut model);
    model.sweep(&mut std::iter::empty());
    model.now = model.now.plus(Duration::from_secs(31 * 86_400));
    model
}

fn due_rotations(model: &Model) -> Vec<Slot> {
    let steps = model.plan().steps.into_iter();
    let rotates = |planned: keysteward::domain::plan::Planned| match planned.step {
        Step::Request { slot, .. } => Some(slot),
        _ => None,
    };
    steps.filter_map(rotates).collect()
}

#[test]
fn of_two_slots_due_at_once_the_one_due_earlier_goes_first_and_the_other_after_its_overlap() {
    let mut model = due_at_once();
    let dues: Vec<_> = ["a", "b"].map(|name| due_of(&model, &secret(name))).into();
    let first = if dues[0] <= dues[1] { secret("a") } else { secret("b") };
    let second = if dues[0] <= dues[1] { secret("b") } else { secret("a") };
    assert_eq!(due_rotations(&model), std::slice::from_ref(&first));
    model.sweep(&mut std::iter::empty());
    assert!(due_of(&model, &first) > model.now, "it was replaced");
    assert!(due_of(&model, &second) <= model.now, "it waits");
    let over = model.now.plus(model.policy.overlap());
    let (overlap, secs) = (model.policy.overlap(), Duration::from_secs(1));
    model.now = model.now.plus(overlap - secs);
    assert_eq!(due_rotations(&model), []);
    assert!(model.plan().wake_at.is_some_and(|at| at <= over), "the end of the overlap wakes it");
    model.now = over;
    assert_eq!(due_rotations(&model), [second]);
}

#[test]
fn equal_dues_are_ordered_by_slot() {
    let mut model = due_at_once();
    set_due(&mut model, &secret("a"), 5);
    set_due(&mut model, &secret("b"), 5);
    assert_eq!(due_rotations(&model), [secret("a")]);
    set_due(&mut model, &secret("b"), 4);
    assert_eq!(due_rotations(&model), [secret("b")]);
}

#[test]
fn a_rotation_that_was_asked_for_and_a_doomed_key_do_not_wait_for_a_window() {
    let mut model = due_at_once();
    model.sweep(&mut std::iter::empty());
    let waiting =
        ["a", "b"].map(secret).into_iter().find(|slot| due_of(&model, slot) <= model.now).unwrap();
    let (generation, _) = model.account.current(&waiting).unwrap();
    let (now, before) = (model.now, model.account.clone());
    assert_eq!(due_rotations(&model), []);
    model.change(|change| {
        change.apply(&waiting, generation, Happened::RotationAsked { at: now }, None).unwrap();
    });
    assert_eq!(due_rotations(&model), std::slice::from_ref(&waiting));
    model.account = before;
    let doom = Doom { at: now.plus(Duration::from_secs(3600)), by: DoomedBy::LostAnswer };
    model.change(|change| {
        change.apply(&waiting, generation, Happened::Doomed(doom), None).unwrap();
    });
    assert_eq!(due_rotations(&model), [waiting]);
}

#[test]
fn a_key_that_a_rotation_of_ours_may_be_ending_waits_for_nothing_and_is_not_rotated_again() {
    let mut model = due_at_once();
    model.orders.is_paused = true;
    model.orders.breaker_is_open = true;
    assert_eq!(due_rotations(&model), []);
    let slot = secret("a");
    let (current, _) = model.account.current(&slot).unwrap();
    model.request(&slot, Some(current));
    model.recover(&slot, current.next());
    let steps = model.plan().steps.into_iter().map(|planned| planned.step);
    let requests: Vec<Step> = steps.filter(|step| matches!(step, Step::Request { .. })).collect();
    assert_eq!(requests, [Step::Request { slot, from: None }]);
}

#[test]
fn an_emergency_goes_on_in_a_pause_and_waits_for_the_breaker() {
    let now = due_at_once().now;
    let emergency = Emergency {
        since: now,
        issued_before: now,
        mode: None,
        publishable: false,
        overlap_minutes: None,
    };
    for (is_paused, breaker_is_open, by_age, condemned) in
        [(false, false, 1, 2), (true, false, 0, 2), (false, true, 0, 0), (true, true, 0, 0)]
    {
        let mut model = due_at_once();
        model.orders = Orders { is_paused, breaker_is_open, ..Orders::default() };
        assert_eq!(due_rotations(&model).len(), by_age, "{:?}", model.orders);
        model.orders.emergency = Some(emergency.clone());
        assert_eq!(due_rotations(&model).len(), condemned, "{:?}", model.orders);
        // What a person asked for by itself waits for neither.
        let slot = secret("a");
        let (generation, _) = model.account.current(&slot).unwrap();
        model.change(|change| {
            change.apply(&slot, generation, Happened::RotationAsked { at: now }, None).unwrap();
        });
        assert!(due_rotations(&model).contains(&slot));
    }
}

#[test]
fn what_waits_for_somebody_is_in_nobodys_way() {
    let mut model = due_at_once();
    let now = model.now;
    let hold = Hold { why: HoldReason::RevokedByUser, since: now, until: None };
    model.request(&secret("a"), None);
    assert_eq!(due_rotations(&model), [], "the key that is on its way goes first");
    model.change(|change| change.hold(&secret("a"), Some(hold)));
    assert_eq!(due_rotations(&model), [secret("b")]);
}

fn due_of(model: &Model, slot: &Slot) -> Timestamp {
    match model.account.current(slot) {
        Some((_, State::Current { rotates_at: Some(at), .. })) => *at,
        other => panic!("no key that is rotated by age: {other:?}"),
    }
}

fn set_due(model: &mut Model, slot: &Slot, seconds: i64) {
    let (generation, _) = model.account.current(slot).unwrap();
    let at = (slot.clone(), generation);
    let Some(State::Current { rotates_at, .. }) = model.account.generations.get_mut(&at) else {
        panic!("no current key");
    };
    *rotates_at = Some(Timestamp::from_seconds(seconds).unwrap());
}

fn drop_default_slots(model: &mut Model) {
    for kind in [Kind::Secret, Kind::Publishable] {
        let slot = Slot::new(kind, SlotName::default());
        model.account.slots.remove(&slot);
        model.account.generations.retain(|(of, _), _| *of != slot);
    }
}

#[test]
fn an_ended_generation_takes_no_further_event() {
    let ended = State::Ended { key: None, at: Timestamp::EPOCH, why: Ending::Lost };
    for happened in [
        Happened::Proved,
        Happened::AskedInVain,
        Happened::Promoted { rotates_at: None, look_at: Timestamp::EPOCH },
        Happened::Ended { at: Timestamp::EPOCH, why: Ending::Expired },
        Happened::RotationAsked { at: Timestamp::EPOCH },
    ] {
        assert!(ended.clone().apply(happened).is_err());
    }
}
