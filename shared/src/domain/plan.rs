//! What to do next for one account, and why: pure, level-triggered, in a fixed order.
//!
//! The same rules say what is due now and when something will be due, so the two cannot disagree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, HoldReason, Status};
use super::id::Kid;
use super::lifecycle::{Doom, DoomedBy, Ending, State};
use super::policy::{OnUninstall, OnUserExpire, Policy, Strategy};
use super::sealed::Material;
use super::slot::{Generation, Slot};
use super::time::Timestamp;

/// What is due now, and when to look again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps that are due, each with its reason, in the order in which to carry them out.
    pub steps: Vec<Planned>,
    /// The earliest instant at which something more will be due.
    pub wake_at: Option<Timestamp>,
}

/// A step and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What to do.
    pub step: Step,
    /// Why.
    pub because: Because,
}

/// One atomic step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Record the intent to mint the slot's next key.
    Request {
        /// For which slot.
        slot: Slot,
        /// The current generation to rotate away; `None` creates a key.
        from: Option<Generation>,
    },
    /// Make the recorded call.
    Ask(Slot, Generation),
    /// Open the key and see whether Stripe accepts it.
    Prove(Slot, Generation),
    /// Make it the slot's current key.
    Promote(Slot, Generation),
    /// Ask Stripe whether the current key still stands.
    LookAt(Slot, Generation),
    /// End the key at Stripe and see it dead.
    Retire(Slot, Generation),
    /// Leave a replaced key alive past its deadline, with an alarm: nothing has taken its place.
    Spare(Slot, Generation),
    /// Ask Stripe once to end the key of an uninstalled account, then close it whatever the answer.
    Withdraw(Slot, Generation),
    /// Mark the key ended without asking Stripe.
    Close(Slot, Generation, Ending),
    /// Drop an ended generation from the working set.
    Forget(Slot, Generation),
    /// Delete a wrapped private key.
    Shred(Kid),
}

/// Why a step is due. Reaches the audit trail as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The slot has no key and none is on its way.
    SlotIsEmpty,
    /// The key's time has come.
    RotationIsDue,
    /// Stripe will end the key although no successor was made.
    KeyIsDoomed,
    /// An intent is recorded and its outcome is not.
    IntentIsOpen,
    /// An answer is stored and was not opened.
    AnswerIsUnproven,
    /// A proven key waits for its place.
    KeyIsProven,
    /// A day has passed since Stripe was last asked.
    ItIsTimeToLook,
    /// The overlap is over.
    OverlapIsOver,
    /// The key that replaced it is gone and another is not there yet.
    LastKeyKnownToWork,
    /// The key's secret never reached us.
    SecretIsLost,
    /// The user uninstalled the app.
    AppIsUninstalled,
    /// Stripe ended the key on schedule and no successor is wanted.
    KeyHasDied,
    /// It ended long ago.
    RetentionIsOver,
    /// Nothing is sealed to the pair any more, or the grace after the uninstall is over.
    PairIsUnused,
}

/// Decides what is due for `account` at `now`.
///
/// No clock, I/O or randomness: the same arguments give the same plan, and a plan that was carried out
/// leaves nothing of itself to do.
pub fn plan(now: Timestamp, policy: &Policy, account: &Account) -> Plan {
    let mut plan = Plan::default();
    match account.head.status {
        Status::Installed { .. } => {
            for slot in account.slots.keys() {
                plan_slot(&mut plan, now, policy, account, slot);
            }
        }
        Status::Uninstalled { .. } => plan_uninstalled(&mut plan, policy, account),
    }
    plan_forgetting(&mut plan, now, account);
    plan_shredding(&mut plan, now, account);
    plan
}

fn plan_slot(plan: &mut Plan, now: Timestamp, policy: &Policy, account: &Account, slot: &Slot) {
    plan_acquiring(plan, now, policy, account, slot);
    if let Some(since) = needs_operator(account, slot) {
        // Nothing is to be done then but to be seen: who waits for a person must not be forgotten (I7).
        plan.wake(last_reminder(since, now).plus(Policy::REMIND_EVERY));
    }
    if let Some((generation, State::Current { look_at, .. })) = account.current(slot) {
        plan.at(*look_at, now, Step::LookAt(slot.clone(), generation), Because::ItIsTimeToLook);
    }
    for (generation, state) in account.generations_of(slot) {
        let State::Retiring { try_at, ending, .. } = state else {
            continue;
        };
        if *ending == Ending::Superseded && !may_end_superseded(account, slot) {
            let step = Step::Spare(slot.clone(), generation);
            plan.at(*try_at, now, step, Because::LastKeyKnownToWork);
            continue;
        }
        let because = match ending {
            Ending::Lost => Because::SecretIsLost,
            Ending::Superseded | Ending::Expired | Ending::RevokedByUser | Ending::Uninstalled => {
                Because::OverlapIsOver
            }
        };
        plan.at(*try_at, now, Step::Retire(slot.clone(), generation), because);
    }
}

/// I1: what was replaced is ended while what replaced it is there, or when the user ended that on purpose.
fn may_end_superseded(account: &Account, slot: &Slot) -> bool {
    let hold = account.slots.get(slot).and_then(|state| state.hold);
    account.current(slot).is_some()
        || hold.is_some_and(|hold| hold.why == HoldReason::RevokedByUser)
}

/// The way of a slot to its key: at most one step, the first of these rules that applies.
fn plan_acquiring(
    plan: &mut Plan,
    now: Timestamp,
    policy: &Policy,
    account: &Account,
    slot: &Slot,
) {
    if let Some(hold) = account.slots.get(slot).and_then(|state| state.hold) {
        match hold.until {
            Some(until) if until <= now => {}
            Some(until) => return plan.wake(until),
            None => return,
        }
    }
    if let Some((generation, state)) = account.pending(slot) {
        return match state {
            State::Requested { .. } => {
                plan.now(Step::Ask(slot.clone(), generation), Because::IntentIsOpen);
            }
            State::Issued { .. } => {
                plan.now(Step::Prove(slot.clone(), generation), Because::AnswerIsUnproven);
            }
            State::Proven { .. } => {
                plan.now(Step::Promote(slot.clone(), generation), Because::KeyIsProven);
            }
            State::Current { .. }
            | State::Retiring { .. }
            | State::Ended { .. }
            | State::Undecryptable { .. }
            | State::NeedsOperator { .. } => {}
        };
    }
    if needs_operator(account, slot).is_some() {
        return;
    }
    match account.current(slot) {
        Some((generation, State::Current { rotates_at, doom, .. })) => match doom {
            Some(doom) => plan_doomed(plan, now, policy, slot, generation, *doom),
            None => plan_rotation(plan, now, policy, slot, generation, *rotates_at),
        },
        Some(_) | None => {
            plan.now(Step::Request { slot: slot.clone(), from: None }, Because::SlotIsEmpty);
        }
    }
}

/// A key that Stripe already counts as rotated cannot be rotated again: its successor is created.
fn plan_doomed(
    plan: &mut Plan,
    now: Timestamp,
    policy: &Policy,
    slot: &Slot,
    generation: Generation,
    doom: Doom,
) {
    match (doom.by, policy.on_user_expire()) {
        (DoomedBy::SomebodyElse, OnUserExpire::Hold) => {
            let step = Step::Close(slot.clone(), generation, Ending::RevokedByUser);
            plan.at(doom.at, now, step, Because::KeyHasDied);
        }
        (DoomedBy::LostAnswer, OnUserExpire::Hold | OnUserExpire::Reissue)
        | (DoomedBy::SomebodyElse, OnUserExpire::Reissue) => {
            plan.now(Step::Request { slot: slot.clone(), from: None }, Because::KeyIsDoomed);
        }
    }
}

fn plan_rotation(
    plan: &mut Plan,
    now: Timestamp,
    policy: &Policy,
    slot: &Slot,
    generation: Generation,
    rotates_at: Option<Timestamp>,
) {
    let Some(at) = rotates_at else { return };
    let from = match policy.strategy() {
        Strategy::Rotate => Some(generation),
        Strategy::CreateThenExpire => None,
    };
    plan.at(at, now, Step::Request { slot: slot.clone(), from }, Because::RotationIsDue);
}

/// Whether the account waits for an operator and its daily reminder fell due after `from`, by `now`: whoever
/// asks once for every instant counts each such account once a day.
pub fn is_reminder_due(account: &Account, from: Timestamp, now: Timestamp) -> bool {
    matches!(account.head.status, Status::Installed { .. })
        && account
            .slots
            .keys()
            .filter_map(|slot| needs_operator(account, slot))
            .min()
            .is_some_and(|since| since <= now && last_reminder(since, now) >= from)
}

/// The last instant by `now` that is a whole number of days after `since`.
fn last_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = now.since(since).as_secs() / Policy::REMIND_EVERY.as_secs();
    since.plus(Duration::from_secs(days * Policy::REMIND_EVERY.as_secs()))
}

/// A slot asks a person after one generation that nothing could be done for, or two that do not open: since
/// when it does.
fn needs_operator(account: &Account, slot: &Slot) -> Option<Timestamp> {
    let mut undecryptable = 0;
    for (_, state) in account.generations_of(slot) {
        match state {
            State::NeedsOperator { at, .. } => return Some(*at),
            State::Undecryptable { at, .. } => {
                undecryptable += 1;
                if undecryptable >= 2 {
                    return Some(*at);
                }
            }
            State::Requested { .. }
            | State::Issued { .. }
            | State::Proven { .. }
            | State::Current { .. }
            | State::Retiring { .. }
            | State::Ended { .. } => {}
        }
    }
    None
}

fn plan_uninstalled(plan: &mut Plan, policy: &Policy, account: &Account) {
    for ((slot, generation), state) in &account.generations {
        if matches!(state, State::Ended { .. }) {
            continue;
        }
        let (slot, generation) = (slot.clone(), *generation);
        let step = match (policy.on_uninstall(), state.key()) {
            (OnUninstall::Expire, Some(_)) => Step::Withdraw(slot, generation),
            (OnUninstall::Expire, None) | (OnUninstall::Keep, _) => {
                Step::Close(slot, generation, Ending::Uninstalled)
            }
        };
        plan.now(step, Because::AppIsUninstalled);
    }
}

fn plan_forgetting(plan: &mut Plan, now: Timestamp, account: &Account) {
    for ((slot, generation), state) in &account.generations {
        if let State::Ended { at, .. } = state {
            let step = Step::Forget(slot.clone(), *generation);
            plan.at(at.plus(Policy::ENDED_RETENTION), now, step, Because::RetentionIsOver);
        }
    }
}

fn plan_shredding(plan: &mut Plan, now: Timestamp, account: &Account) {
    for (kid, pair) in &account.pairs {
        if account.generations.values().any(|state| uses(state, kid)) {
            continue;
        }
        let unused_from = match account.head.status {
            Status::Installed { .. } => pair.made_at.plus(Policy::PAIR_AGE),
            Status::Uninstalled { at } => at.plus(Policy::UNINSTALL_GRACE),
        };
        plan.at(unused_from, now, Step::Shred(kid.clone()), Because::PairIsUnused);
    }
}

fn uses(state: &State, kid: &Kid) -> bool {
    match state {
        State::Requested { intent } => intent.kid.as_ref() == Some(kid),
        State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Retiring { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. }
        | State::Ended { .. } => match state.material() {
            Some(Material::Sealed(sealed)) => sealed.kid == *kid,
            Some(Material::Publishable(_)) | None => false,
        },
    }
}

impl Plan {
    fn now(&mut self, step: Step, because: Because) {
        self.steps.push(Planned { step, because });
    }

    fn at(&mut self, due: Timestamp, now: Timestamp, step: Step, because: Because) {
        if due <= now { self.now(step, because) } else { self.wake(due) }
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earliest| earliest.min(at)));
    }
}

/// How long to wait before looking again whether an expired key is dead. Stripe was measured to accept
/// one for about 9 s (`stripe-api.md` section 0).
pub const RETIRE_RETRY: Duration = Duration::from_secs(10);
