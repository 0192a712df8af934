//! Which steps touch something outside, and the carrying out of those that do not.

use std::time::Duration;

use super::{Error, Steward};
use crate::domain::account::{Change, Hold, HoldReason};
use crate::domain::intent::How;
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use crate::domain::orders::Orders;
use crate::domain::plan::{Because, Planned, Step};
use crate::domain::policy::Policy;
use crate::domain::slot::{Generation, Kind, Slot};
use crate::runtime::metrics::Metric;
use crate::stripe;

impl Step {
    /// Whether carrying the step out calls Stripe, so that the lease has to be durable first.
    pub(super) fn has_effect(&self) -> bool {
        match self {
            Self::Ask(..)
            | Self::Recover(..)
            | Self::Prove(..)
            | Self::Reconcile
            | Self::LookAt(..)
            | Self::Retire(..)
            | Self::Withdraw(..) => true,
            Self::Request { .. }
            | Self::Promote(..)
            | Self::Spare(..)
            | Self::Close(..)
            | Self::Forget(..)
            | Self::Shred(..) => false,
        }
    }

    /// Whether the step only changes rows, so that it can join the change before it.
    pub(super) fn is_pure(&self) -> bool {
        match self {
            Self::Promote(..)
            | Self::Spare(..)
            | Self::Close(..)
            | Self::Forget(..)
            | Self::Shred(..) => true,
            Self::Request { .. }
            | Self::Ask(..)
            | Self::Recover(..)
            | Self::Prove(..)
            | Self::Reconcile
            | Self::LookAt(..)
            | Self::Retire(..)
            | Self::Withdraw(..) => false,
        }
    }
}

impl Steward {
    /// Carries out one step and writes its outcome into `change`. Whatever Stripe or the vault answers
    /// becomes a state or a hold; an error means that nothing is to be recorded.
    pub(super) async fn carry_out(
        &self,
        change: &mut Change,
        orders: &Orders,
        planned: Planned,
    ) -> Result<(), Error> {
        match &planned.step {
            Step::Reconcile => {
                // On the heap: they are the longest of all, and whoever awaits this would hold them on its stack.
                if Box::pin(self.reconcile(change, orders)).await? {
                    stripe::aside(Box::pin(self.back_fill(change, orders))).await;
                }
                Ok(())
            }
            Step::Request { slot, from } => {
                let overlap = self.overlap_minutes(change, orders, slot);
                self.request(change, slot, *from, overlap, planned.because).await;
                Ok(())
            }
            Step::Ask(slot, generation) => {
                self.ask(change, slot, *generation, planned.because).await
            }
            Step::Recover(slot, generation) => {
                self.recover(change, slot, *generation, planned.because).await
            }
            Step::Prove(slot, generation) => {
                self.prove(change, slot, *generation, planned.because).await
            }
            Step::LookAt(slot, generation) => self.look(change, slot, *generation).await,
            Step::Retire(slot, generation) => {
                self.retire(change, slot, *generation, planned.because).await
            }
            Step::Withdraw(slot, generation) => {
                self.withdraw(change, slot, *generation, planned.because).await
            }
            Step::Promote(..)
            | Step::Spare(..)
            | Step::Close(..)
            | Step::Forget(..)
            | Step::Shred(..) => self.take_pure_step(change, orders, &planned),
        }
    }

    pub(super) fn take_pure_step(
        &self,
        change: &mut Change,
        orders: &Orders,
        planned: &Planned,
    ) -> Result<(), Error> {
        match &planned.step {
            Step::Promote(slot, generation) => {
                self.promote(change, orders, slot, *generation, planned.because)?;
            }
            Step::Close(slot, generation, why) => {
                let ended = Happened::Ended { at: change.now(), why: *why };
                change.apply(slot, *generation, ended, Some(planned.because))?;
                let asked_at = change.account().slots.get(slot).and_then(|state| state.asked_at);
                if *why == Ending::RevokedByUser && asked_at.is_none() {
                    hold_for_somebody(change, slot);
                }
            }
            Step::Spare(slot, generation) => self.spare(change, slot, *generation, planned)?,
            Step::Forget(slot, generation) => change.forget(slot, *generation),
            Step::Shred(kid) => change.shred_pair(kid),
            Step::Request { .. }
            | Step::Ask(..)
            | Step::Recover(..)
            | Step::Prove(..)
            | Step::Reconcile
            | Step::LookAt(..)
            | Step::Retire(..)
            | Step::Withdraw(..) => {}
        }
        Ok(())
    }

    /// How long the slot's current key lives on once it is replaced: an emergency may want less than the
    /// policy.
    fn overlap_minutes(&self, change: &Change, orders: &Orders, slot: &Slot) -> u32 {
        let by_policy = self.policy.overlap_minutes();
        let account = change.account();
        match (&orders.emergency, account.current(slot)) {
            (Some(emergency), Some((_, state)))
                if emergency.condemns(&account.at, slot.kind, state) =>
            {
                // Stripe takes no 0, and an order of an older version may hold any number.
                emergency.overlap_minutes.map_or(by_policy, |minutes| {
                    minutes.max(Policy::LEAST_OVERLAP_MINUTES).min(by_policy)
                })
            }
            (Some(_) | None, _) => by_policy,
        }
    }

    /// I5: a key that outlives its deadline does so with an alarm on.
    fn spare(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        planned: &Planned,
    ) -> Result<(), Error> {
        self.tally.count(Metric::KeysSpared);
        tracing::error!(
            account.id = %change.account().at.id,
            slot = %slot,
            slot.generation = generation.number(),
            "a replaced key is kept past its deadline: it is the last one known to work"
        );
        let try_at = change.now().plus(Policy::backoff(u32::MAX));
        let spared = Happened::EndingTried { try_at };
        Ok(change.apply(slot, generation, spared, Some(planned.because))?)
    }

    /// Puts a proven key in its place and starts the retirement of the one before it.
    fn promote(
        &self,
        change: &mut Change,
        orders: &Orders,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let now = change.now();
        let because = Some(because);
        let overlap = Duration::from_secs(60) * self.overlap_minutes(change, orders, slot);
        let predecessor = change.account().current(slot).map(|(generation, state)| {
            let doom = match state {
                State::Current { doom, .. } => *doom,
                _ => None,
            };
            (generation, doom)
        });
        if let Some((predecessor, doom)) = predecessor {
            let rotated_away = match change.account().generations.get(&(slot.clone(), generation)) {
                Some(State::Proven { predecessor_dies_at, .. }) => *predecessor_dies_at,
                _ => None,
            };
            let (dies_at, try_at) = match doom {
                // Who wants it dead does not wait for consumers' caches.
                Some(Doom { by: DoomedBy::Operator, .. }) => (now, now),
                Some(Doom { by: DoomedBy::LostAnswer | DoomedBy::SomebodyElse, .. }) | None => {
                    let doomed_at = doom.map(|doom| doom.at);
                    let dies_at = rotated_away.or(doomed_at).unwrap_or(now.plus(overlap));
                    // However late this comes, what consumers hold in their caches has to outlive it.
                    (dies_at, dies_at.max(now.plus(Policy::CONSUMER_CACHE * 2)))
                }
            };
            change.apply(slot, predecessor, Happened::Superseded { dies_at, try_at }, because)?;
        }
        let rotates_at = match slot.kind {
            Kind::Secret => Some(self.policy.rotates_at(now, (self.draw)())),
            // Public by nature: replacing it by age protects nothing and breaks pages that embed it.
            Kind::Publishable => None,
        };
        change.apply(
            slot,
            generation,
            Happened::Promoted { rotates_at, look_at: now.plus(Policy::LOOK_EVERY) },
            because,
        )?;
        change.hold(slot, None);
        Ok(())
    }
}

/// Holds a slot whose key the user ended, until somebody asks for another.
pub(super) fn hold_for_somebody(change: &mut Change, slot: &Slot) {
    let (why, since) = (HoldReason::RevokedByUser, change.now());
    change.hold(slot, Some(Hold { why, since, until: None }));
}

/// The generation that an intent rotates away.
pub(super) fn rotated_by(how: How) -> Option<Generation> {
    match how {
        How::Create => None,
        How::Rotate { from, .. } => Some(from),
    }
}
