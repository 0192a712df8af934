//! What has to hold in the world after each step.

use std::collections::BTreeMap;

use keysteward::domain::account::Status;
use keysteward::domain::audit::{self, Action, Phase};
use keysteward::domain::lifecycle::{Ending, State};
use keysteward::domain::plan::Step;
use keysteward::domain::recovery::may_be_rotated_by_us;
use keysteward::domain::slot::Slot;

use crate::model::Model;

impl Model {
    /// Whether the slot has a key, or the plan gets it one.
    pub(crate) fn is_cared_for(&self, slot: &Slot) -> bool {
        let gets_one = |step: &Step| match step {
            Step::Request { slot: of, .. }
            | Step::Ask(of, _)
            | Step::Recover(of, _)
            | Step::Prove(of, _)
            | Step::Promote(of, _) => of == slot,
            _ => false,
        };
        matches!(self.account.head.status, Status::Uninstalled { .. })
            || self.account.current(slot).is_some()
            || self.plan().steps.iter().any(|planned| gets_one(&planned.step))
    }

    pub(crate) fn assert_sound(&self) {
        let mut currents: BTreeMap<&Slot, u32> = BTreeMap::new();
        let mut pendings: BTreeMap<&Slot, u32> = BTreeMap::new();
        for ((slot, generation), state) in &self.account.generations {
            if matches!(state, State::Current { .. }) {
                *currents.entry(slot).or_default() += 1;
            }
            if state.is_pending() {
                *pendings.entry(slot).or_default() += 1;
            }
            assert!(
                *generation < self.account.slots[slot].next,
                "a generation is ahead of its slot"
            );
        }
        assert!(currents.values().all(|count| *count == 1), "one current key a slot");
        assert!(pendings.values().all(|count| *count == 1), "one pending key a slot");
        audit::verify(&self.trail, &self.account.head.audit).unwrap();
        let plan = self.plan();
        assert!(plan.wake_at.is_none_or(|at| at > self.now), "a wake-up lies in the past");
    }

    /// A rotation by age begins while no other slot's key is being replaced or outlives its replacement.
    pub(crate) fn assert_no_other_window_is_open(&self, slot: &Slot) {
        match self.account.current(slot) {
            Some((_, State::Current { asked: true, .. })) => return,
            // What goes on then is a rotation that was begun before.
            Some((current, _)) if may_be_rotated_by_us(&self.account, slot, current) => return,
            Some(_) | None => {}
        }
        for ((other, generation), state) in &self.account.generations {
            let is_open = match state {
                State::Retiring { ending, dies_at, .. } => {
                    *ending == Ending::Superseded && *dies_at > self.now
                }
                state => state.is_pending() && self.account.current(other).is_some(),
            };
            let waits_for_somebody =
                self.account.slots[other].hold.is_some_and(|hold| hold.until.is_none());
            assert!(
                other == slot || !is_open || waits_for_somebody,
                "{slot} is rotated in the window of {other} {}",
                generation.number()
            );
        }
    }

    /// I7: nothing waits without a deadline, except for a person.
    pub(crate) fn assert_nothing_is_forgotten(&self) {
        let waits = self.account.generations.values().any(|state| match state {
            State::Retiring { .. } | State::Ended { .. } | State::Current { .. } => true,
            state => state.is_pending(),
        });
        let waits_for_somebody = self
            .account
            .slots
            .values()
            .any(|state| state.hold.is_some_and(|hold| hold.until.is_none()));
        if waits && !waits_for_somebody {
            assert!(self.plan().wake_at.is_some(), "something waits and nothing will wake it");
        }
    }

    /// Every action that was opened is closed, once nothing is pending or retiring.
    pub(crate) fn assert_audit_is_closed(&self) {
        let mut open: BTreeMap<_, i32> = BTreeMap::new();
        for entry in &self.trail {
            let about = (entry.slot.clone(), entry.generation, entry.action as u8);
            match entry.phase {
                Phase::Begin => *open.entry(about).or_default() += 1,
                Phase::Complete => *open.entry(about).or_default() -= 1,
                Phase::Note => {}
            }
        }
        for ((slot, generation, action), count) in open {
            let (Some(slot), Some(generation)) = (slot, generation) else { continue };
            let state = self.account.generations.get(&(slot, generation));
            let is_open = state.is_some_and(|state| {
                let issuing = action == Action::Issue as u8 && state.is_pending();
                let retiring =
                    action == Action::Retire as u8 && matches!(state, State::Retiring { .. });
                issuing || retiring
            });
            assert_eq!(count, i32::from(is_open), "an audit entry is left open or closed twice");
        }
    }
}
