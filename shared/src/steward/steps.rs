//! Which steps touch something outside, and the carrying out of those that do not.

use super::{Error, Steward};
use crate::domain::account::{Change, Hold, HoldReason};
use crate::domain::intent::How;
use crate::domain::lifecycle::{Ending, Happened, State};
use crate::domain::plan::{Planned, Step};
use crate::domain::policy::Policy;
use crate::domain::slot::{Generation, Kind, Slot};
use crate::runtime::metrics::Metric;

impl Step {
    /// Whether carrying the step out calls Stripe, so that the lease has to be durable first.
    pub(super) fn has_effect(&self) -> bool {
        match self {
            Self::Ask(..)
            | Self::Prove(..)
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
            | Self::Prove(..)
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
        planned: Planned,
    ) -> Result<(), Error> {
        match &planned.step {
            Step::Request { slot, from } => {
                self.request(change, slot, *from, planned.because).await
            }
            Step::Ask(slot, generation) => {
                self.ask(change, slot, *generation, planned.because).await
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
            | Step::Shred(..) => self.take_pure_step(change, &planned),
        }
    }

    pub(super) fn take_pure_step(
        &self,
        change: &mut Change,
        planned: &Planned,
    ) -> Result<(), Error> {
        match &planned.step {
            Step::Promote(slot, generation) => self.promote(change, slot, *generation, planned)?,
            Step::Close(slot, generation, why) => {
                let ended = Happened::Ended { at: change.now(), why: *why };
                change.apply(slot, *generation, ended, Some(planned.because))?;
                if *why == Ending::RevokedByUser {
                    hold_for_somebody(change, slot);
                }
            }
            Step::Spare(slot, generation) => self.spare(change, slot, *generation, planned)?,
            Step::Forget(slot, generation) => change.forget(slot, *generation),
            Step::Shred(kid) => change.shred_pair(kid),
            Step::Request { .. }
            | Step::Ask(..)
            | Step::Prove(..)
            | Step::LookAt(..)
            | Step::Retire(..)
            | Step::Withdraw(..) => {}
        }
        Ok(())
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
        slot: &Slot,
        generation: Generation,
        planned: &Planned,
    ) -> Result<(), Error> {
        let now = change.now();
        let because = Some(planned.because);
        let predecessor = change.account().current(slot).map(|(generation, state)| {
            let doom = match state {
                State::Current { doom, .. } => doom.map(|doom| doom.at),
                _ => None,
            };
            (generation, doom)
        });
        if let Some((predecessor, doom)) = predecessor {
            let rotated_away = match change.account().generations.get(&(slot.clone(), generation)) {
                Some(State::Proven { predecessor_dies_at, .. }) => *predecessor_dies_at,
                _ => None,
            };
            let dies_at = rotated_away.or(doom).unwrap_or(now.plus(self.policy.overlap()));
            // However late this comes, what consumers hold in their caches has to outlive it.
            let try_at = dies_at.max(now.plus(Policy::CONSUMER_CACHE * 2));
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
