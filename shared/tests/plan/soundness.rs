//! What has to hold in the world after each step.

use std::collections::BTreeMap;

use keysteward::domain::account::{Hold, Status};
use keysteward::domain::attention::{needs_operator, stuck_since};
use keysteward::domain::audit::{self, Action, Phase};
use keysteward::domain::lifecycle::{DoomedBy, Ending, State};
use keysteward::domain::plan::Step;
use keysteward::domain::policy::{OnUserExpire, Policy};
use keysteward::domain::recovery::may_be_rotated_by_us;
use keysteward::domain::slot::Slot;
use keysteward::domain::time::Timestamp;

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

    /// I7: whatever waits is seen in time, and not only because something else wakes the account.
    ///
    /// A deadline that is forgotten passes sooner or later, and the account sleeps on.
    pub(crate) fn assert_nothing_is_forgotten(&self) {
        let plan = self.plan();
        assert!(plan.steps.is_empty(), "what is due is carried out first");
        let mut deadlines = self.deadlines_of_states();
        match self.account.head.status {
            Status::Installed { .. } => {
                let reconcile_at = self.account.head.reconcile_at;
                deadlines.extend(reconcile_at.map(|at| ("the account".to_owned(), at)));
                for slot in self.account.slots.keys() {
                    let next = self.deadline_of_slot(slot).into_iter();
                    let both = next.chain(self.next_reminder_of(slot));
                    deadlines.extend(both.map(|at| (slot.to_string(), at)));
                }
            }
            Status::Uninstalled { at } => {
                let unused = self.account.pairs.keys().filter(|kid| !self.account.uses_pair(kid));
                let over = at.plus(Policy::UNINSTALL_GRACE);
                deadlines.extend(unused.map(|kid| (kid.as_str().to_owned(), over)));
            }
        }
        for (what, by) in deadlines {
            let wake_at = plan.wake_at;
            assert!(
                wake_at.is_some_and(|at| at <= by),
                "{what} is to be seen by {by:?}, and it sleeps until {wake_at:?}: {:#?}",
                self.account
            );
        }
    }

    /// By when each generation is to be seen for its own sake.
    fn deadlines_of_states(&self) -> Vec<(String, Timestamp)> {
        let is_installed = matches!(self.account.head.status, Status::Installed { .. });
        let by = |state: &State| match state {
            State::Ended { at, .. } => Some(at.plus(Policy::ENDED_RETENTION)),
            _ if !is_installed => Some(self.now),
            State::Current { look_at, .. } => Some(*look_at),
            State::Retiring { try_at, .. } => Some(*try_at),
            // Their slot is.
            State::Requested { .. }
            | State::Issued { .. }
            | State::Proven { .. }
            | State::Undecryptable { .. }
            | State::NeedsOperator { .. } => None,
        };
        let generations = self.account.generations.iter();
        let named = generations.filter_map(|((slot, generation), state)| {
            Some((format!("{slot}#{generation} {}", state.name()), by(state)?))
        });
        named.collect()
    }

    /// By when a slot is to be seen for the sake of its next key; `None` while that waits for a person.
    fn deadline_of_slot(&self, slot: &Slot) -> Option<Timestamp> {
        match self.account.slots[slot].hold {
            Some(Hold { until: None, .. }) => return None,
            Some(Hold { until: Some(until), .. }) if until > self.now => return Some(until),
            // Nothing is held any more.
            Some(_) | None => {}
        }
        if self.account.pending(slot).is_some() {
            return Some(self.now);
        }
        if needs_operator(&self.account, slot).is_some() {
            return None;
        }
        match self.account.current(slot) {
            Some((_, State::Current { doom: Some(doom), .. })) => match doom.by {
                DoomedBy::SomebodyElse if self.policy.on_user_expire() == OnUserExpire::Hold => {
                    Some(doom.at)
                }
                DoomedBy::SomebodyElse | DoomedBy::LostAnswer | DoomedBy::Operator => {
                    Some(self.now)
                }
            },
            Some((_, State::Current { rotates_at: Some(at), asked: false, .. }))
                if *at <= self.now =>
            {
                Some(self.other_window_ends(slot))
            }
            Some((_, State::Current { rotates_at, .. })) => *rotates_at,
            Some(_) | None => Some(self.now),
        }
    }

    /// A slot that waits for a person is counted every day since then, so that its alarm stays on.
    fn next_reminder_of(&self, slot: &Slot) -> Option<Timestamp> {
        let mut next = stuck_since(&self.account, slot)?;
        while next <= self.now {
            next = next.plus(Policy::REMIND_EVERY);
        }
        Some(next)
    }

    /// Until when a rotation that is due may wait for the account's other slots.
    fn other_window_ends(&self, slot: &Slot) -> Timestamp {
        let others = self.account.generations.iter().filter(|((of, _), _)| of != slot);
        let ends = others.filter_map(|((of, _), state)| match state {
            State::Retiring { ending: Ending::Superseded, dies_at, .. } => Some(*dies_at),
            state if state.is_pending() => self.account.slots[of].hold.and_then(|hold| hold.until),
            _ => None,
        });
        ends.max().unwrap_or(self.now)
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
