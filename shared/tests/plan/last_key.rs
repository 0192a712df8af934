//! The last key known to work: spared at its deadline, or ended because its user wants none.

use std::time::Duration;

use keysteward::domain::lifecycle::State;
use keysteward::domain::plan::{Plan, Step};
use keysteward::domain::policy::{Choice, OnUserExpire, Policy};
use keysteward::domain::slot::{Kind, Slot, SlotName};

use crate::model::{Answer, Model, Outside};

fn slot() -> Slot {
    Slot::new(Kind::Secret, SlotName::default())
}

/// A slot whose key was replaced, and then `happens` to the new one; and no other is to be had.
fn in_the_overlap(on_user_expire: OnUserExpire, happens: Outside) -> Model {
    let choice = Choice { on_user_expire, ..Choice::default() };
    let mut model = Model::new(Policy::new(choice).unwrap());
    model.sweep(&mut std::iter::empty());
    model.outside(Outside::RotationAsked);
    model.sweep(&mut std::iter::empty());
    model.outside(happens);
    model.sweep(&mut std::iter::repeat(Answer::Vain));
    model
}

/// What becomes of the replaced key once its overlap is over.
fn then(mut model: Model) -> Vec<Step> {
    model.now = model.now.plus(Duration::from_secs(2 * 86_400));
    let concerns = |step: &Step| match step {
        Step::Retire(of, _) | Step::Spare(of, _) => *of == slot(),
        _ => false,
    };
    let Plan { steps, .. } = model.plan();
    steps.into_iter().map(|planned| planned.step).filter(concerns).collect()
}

#[test]
fn the_last_key_is_spared_at_its_deadline_while_its_successor_is_on_its_way() {
    let steps = then(in_the_overlap(OnUserExpire::Reissue, Outside::RevokedByUser));
    assert!(matches!(steps[..], [Step::Spare(..)]), "{steps:?}");
}

#[test]
fn when_the_user_revoked_the_successor_the_old_key_still_dies_by_its_deadline() {
    let steps = then(in_the_overlap(OnUserExpire::Hold, Outside::RevokedByUser));
    assert!(matches!(steps[..], [Step::Retire(..)]), "{steps:?}");
}

#[test]
fn a_successor_that_stripe_has_ended_by_itself_takes_nobodys_place() {
    let model = in_the_overlap(OnUserExpire::Reissue, Outside::RotatedBySomebody);
    let (_, state) = model.account.current(&slot()).unwrap();
    assert!(matches!(state, State::Current { doom: Some(_), .. }), "{state:?}");
    let steps = then(model);
    assert!(matches!(steps[..], [Step::Spare(..)]), "{steps:?}");
}
