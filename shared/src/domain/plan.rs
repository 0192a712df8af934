//! What to do next for one account, and why: pure, level-triggered, in a fixed order.
//!
//! The same rules say what is due now and when something will be due, so the two cannot disagree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, HoldReason, Status};
use super::attention::{needs_operator, next_reminder, out_of_reach, stuck_since};
use super::id::Kid;
use super::lifecycle::{Doom, DoomedBy, Ending, State};
use super::orders::Orders;
use super::policy::{OnUninstall, OnUserExpire, Policy, Strategy};
use super::recovery;
use super::slot::{Generation, Slot};
use super::time::Timestamp;
use super::window::{Waits, in_the_way};

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
    /// Make the recorded call once more, and where it is not answered, look for what became of it.
    Recover(Slot, Generation),
    /// Open the key and see whether Stripe accepts it.
    Prove(Slot, Generation),
    /// Make it the slot's current key.
    Promote(Slot, Generation),
    /// Hold Stripe's list against the account.
    Reconcile,
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
    /// An operator ordered keys to be replaced before their time.
    EmergencyIsOn,
    /// The key is to end although no successor was made.
    KeyIsDoomed,
    /// An intent is recorded and its outcome is not.
    IntentIsOpen,
    /// The same, for so long that the key which it may have rotated away is in danger.
    AnswerIsOverdue,
    /// An answer is stored and was not opened.
    AnswerIsUnproven,
    /// A proven key waits for its place.
    KeyIsProven,
    /// A day has passed since Stripe was last asked.
    ItIsTimeToLook,
    /// The table was restored: what it says may be of the past.
    TableWasRestored,
    /// Stripe has a key of ours that the table does not know.
    KeyIsOrphaned,
    /// The overlap is over.
    OverlapIsOver,
    /// An operator wants the key dead now.
    OperatorWantsItDead,
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
pub fn plan(now: Timestamp, policy: &Policy, orders: &Orders, account: &Account) -> Plan {
    let mut plan = Plan::default();
    let rules = Rules { now, policy, orders, account };
    match account.head.status {
        Status::Installed { .. } => {
            rules.plan_reconciling(&mut plan);
            if rules.may_act() {
                for slot in account.slots.keys() {
                    rules.plan_slot(&mut plan, slot);
                }
            }
        }
        Status::Uninstalled { .. } => rules.plan_uninstalled(&mut plan),
    }
    // Nothing is thrown away on the word of a copy.
    if orders.report_only.is_none() {
        rules.plan_forgetting(&mut plan);
        rules.plan_shredding(&mut plan);
    }
    plan
}

/// What one plan is made from.
#[derive(Clone, Copy)]
struct Rules<'a> {
    now: Timestamp,
    policy: &'a Policy,
    orders: &'a Orders,
    account: &'a Account,
}

impl Rules<'_> {
    /// After a restore the table tells of the past: whoever acted on it could end the key in use. An account
    /// acts again once it was reconciled and somebody has let the bundle act.
    fn may_act(&self) -> bool {
        self.orders.report_only.is_none() && self.account.head.epoch >= self.orders.epoch
    }

    fn plan_reconciling(&self, plan: &mut Plan) {
        let head = &self.account.head;
        if let Some(since) = out_of_reach(head) {
            plan.wake(next_reminder(since, self.now));
        }
        let is_stale = match self.orders.report_only {
            Some(since) => head.reconciled.is_none_or(|reconciled| reconciled.at < since),
            None => head.epoch < self.orders.epoch,
        };
        let at = head.reconcile_at.unwrap_or(self.now);
        if !is_stale {
            return plan.at(at, self.now, Step::Reconcile, Because::ItIsTimeToLook);
        }
        // Within the pause after a list that could not be had, it is not asked for again.
        let was_missed = at > self.now && at <= self.now.plus(Policy::LOOK_AGAIN);
        let at = if was_missed { at } else { self.now };
        plan.at(at, self.now, Step::Reconcile, Because::TableWasRestored);
    }

    fn plan_slot(&self, plan: &mut Plan, slot: &Slot) {
        self.plan_acquiring(plan, slot);
        if let Some(since) = stuck_since(self.account, slot) {
            // Nothing is to be done then but to be seen: who waits for a person must not be forgotten (I7).
            plan.wake(next_reminder(since, self.now));
        }
        if let Some((generation, State::Current { look_at, .. })) = self.account.current(slot) {
            plan.at(
                *look_at,
                self.now,
                Step::LookAt(slot.clone(), generation),
                Because::ItIsTimeToLook,
            );
        }
        for (generation, state) in self.account.generations_of(slot) {
            let State::Retiring { try_at, ending, .. } = state else {
                continue;
            };
            if *ending == Ending::Superseded && !self.may_end_superseded(slot) {
                let step = Step::Spare(slot.clone(), generation);
                plan.at(*try_at, self.now, step, Because::LastKeyKnownToWork);
                continue;
            }
            let because = match ending {
                Ending::Lost => Because::SecretIsLost,
                Ending::RevokedByOperator => Because::OperatorWantsItDead,
                Ending::Superseded
                | Ending::Expired
                | Ending::RevokedByUser
                | Ending::Uninstalled => Because::OverlapIsOver,
            };
            plan.at(*try_at, self.now, Step::Retire(slot.clone(), generation), because);
        }
    }

    /// I1: what was replaced is ended while what replaced it lives, or when the user ended that on purpose.
    fn may_end_superseded(&self, slot: &Slot) -> bool {
        let lives = match self.account.current(slot) {
            Some((_, State::Current { doom: Some(doom), .. })) => !doom.has_struck(self.now),
            current => current.is_some(),
        };
        let hold = self.account.slots.get(slot).and_then(|state| state.hold);
        lives
            || hold.is_some_and(|hold| match hold.why {
                HoldReason::RevokedByUser | HoldReason::MovedToLive => true,
                HoldReason::NotPermitted
                | HoldReason::LimitReached
                | HoldReason::ModeMismatch
                | HoldReason::NoAnswer
                | HoldReason::VaultUnavailable
                | HoldReason::SecretLost => false,
            })
    }

    /// The way of a slot to its key: at most one step, the first of these rules that applies.
    fn plan_acquiring(&self, plan: &mut Plan, slot: &Slot) {
        if let Some(hold) = self.account.slots.get(slot).and_then(|state| state.hold) {
            match recovery::held_until(self.policy, self.account, slot, hold) {
                Some(until) if until <= self.now => {}
                Some(until) => return plan.wake(until),
                None => return,
            }
        }
        if let Some((generation, state)) = self.account.pending(slot) {
            return match state {
                State::Requested { intent }
                    if self.now < recovery::due_at(self.policy, self.account, slot, intent) =>
                {
                    plan.now(Step::Ask(slot.clone(), generation), Because::IntentIsOpen);
                }
                State::Requested { .. } => {
                    plan.now(Step::Recover(slot.clone(), generation), Because::AnswerIsOverdue);
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
        if needs_operator(self.account, slot).is_some() {
            return;
        }
        match self.account.current(slot) {
            Some((generation, state @ State::Current { doom, .. })) => match doom {
                Some(doom) => self.plan_doomed(plan, slot, generation, *doom),
                None => self.plan_rotation(plan, slot, generation, state),
            },
            Some(_) | None => {
                plan.now(Step::Request { slot: slot.clone(), from: None }, Because::SlotIsEmpty);
            }
        }
    }

    /// A key that Stripe already counts as rotated cannot be rotated again: its successor is created.
    fn plan_doomed(&self, plan: &mut Plan, slot: &Slot, generation: Generation, doom: Doom) {
        match (doom.by, self.policy.on_user_expire()) {
            (DoomedBy::SomebodyElse, OnUserExpire::Hold) => {
                let step = Step::Close(slot.clone(), generation, Ending::RevokedByUser);
                plan.at(doom.at, self.now, step, Because::KeyHasDied);
            }
            (
                DoomedBy::LostAnswer | DoomedBy::Operator,
                OnUserExpire::Hold | OnUserExpire::Reissue,
            )
            | (DoomedBy::SomebodyElse, OnUserExpire::Reissue) => {
                plan.now(Step::Request { slot: slot.clone(), from: None }, Because::KeyIsDoomed);
            }
        }
    }

    /// A rotation by age, or because a person asked for it: that waits for nothing.
    fn plan_rotation(&self, plan: &mut Plan, slot: &Slot, generation: Generation, state: &State) {
        let State::Current { rotates_at, asked, .. } = state else { return };
        let emergency = self.orders.emergency.as_ref();
        let is_condemned =
            emergency.is_some_and(|it| it.condemns(&self.account.at, slot.kind, state));
        let (at, because) = match *rotates_at {
            _ if is_condemned => (self.now, Because::EmergencyIsOn),
            Some(at) => (at, Because::RotationIsDue),
            None => return,
        };
        // What may be dying of a rotation of ours is no new rotation.
        let is_begun = recovery::may_be_rotated_by_us(self.account, slot, generation);
        if at <= self.now && !asked && !is_begun {
            let is_paused = self.orders.is_paused || self.account.head.paused_since.is_some();
            if self.orders.breaker_is_open || is_paused && !is_condemned {
                return plan.wake(self.now.plus(Policy::HELD_BACK));
            }
            match in_the_way(self.now, self.policy, self.account, slot, at) {
                Some(_) if is_condemned => {}
                Some(Waits::Until(until)) => return plan.wake(until),
                Some(Waits::ForTheOther) => return,
                None => {}
            }
        }
        let from = match self.policy.strategy() {
            // Stripe may count it as rotated already: its successor is created, whatever became of that.
            Strategy::Rotate if is_begun => None,
            Strategy::Rotate => Some(generation),
            Strategy::CreateThenExpire => None,
        };
        plan.at(at, self.now, Step::Request { slot: slot.clone(), from }, because);
    }

    /// A copy may not know of a later installation: then nothing is ended at Stripe on its word.
    fn plan_uninstalled(&self, plan: &mut Plan) {
        if self.orders.report_only.is_some() {
            return plan.wake(self.now.plus(Policy::HELD_BACK));
        }
        for ((slot, generation), state) in &self.account.generations {
            if matches!(state, State::Ended { .. }) {
                continue;
            }
            let (slot, generation) = (slot.clone(), *generation);
            let step = match (self.policy.on_uninstall(), state.key()) {
                (OnUninstall::Expire, Some(_)) if self.may_act() => {
                    Step::Withdraw(slot, generation)
                }
                (OnUninstall::Expire | OnUninstall::Keep, _) => {
                    Step::Close(slot, generation, Ending::Uninstalled)
                }
            };
            plan.now(step, Because::AppIsUninstalled);
        }
    }

    fn plan_forgetting(&self, plan: &mut Plan) {
        for ((slot, generation), state) in &self.account.generations {
            if let State::Ended { at, .. } = state {
                let step = Step::Forget(slot.clone(), *generation);
                plan.at(at.plus(Policy::ENDED_RETENTION), self.now, step, Because::RetentionIsOver);
            }
        }
    }

    fn plan_shredding(&self, plan: &mut Plan) {
        for (kid, pair) in &self.account.pairs {
            if self.account.uses_pair(kid) {
                continue;
            }
            let unused_from = match self.account.head.status {
                Status::Installed { .. } => pair.made_at.plus(Policy::PAIR_AGE),
                Status::Uninstalled { at } => at.plus(Policy::UNINSTALL_GRACE),
            };
            plan.at(unused_from, self.now, Step::Shred(kid.clone()), Because::PairIsUnused);
        }
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
/// one for about 9 s (ADR 16).
pub const RETIRE_RETRY: Duration = Duration::from_secs(10);
