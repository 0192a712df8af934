//! Looking: what became of a key of ours at Stripe, whether or not an event told us.

use super::mint::doom_predecessor;
use super::steps::hold_for_somebody;
use super::{Error, Steward};
use crate::domain::account::{Account, Change};
use crate::domain::id::KeyId;
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use crate::domain::plan::Because;
use crate::domain::policy::{OnUserExpire, Policy};
use crate::domain::recovery::{
    may_be_rotated_by_us, may_have_died_of_us, unanswered_rotation_ends,
};
use crate::domain::slot::{Generation, Kind, Slot};
use crate::stripe::{ApiKey, KeyStatus, Refusal};

impl Steward {
    /// The daily look at a current key: an event that never came is made up for.
    pub(super) async fn look(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
    ) -> Result<(), Error> {
        let now = change.now();
        let state = change.account().generations.get(&(slot.clone(), generation)).cloned();
        let Some(State::Current { key, .. }) = state else { return Ok(()) };
        let has_learnt = self.look_at(change, slot, generation, &key).await?;
        let pause = if has_learnt { Policy::LOOK_EVERY } else { Policy::LOOK_AGAIN };
        if let Some((current, State::Current { look_at, .. })) = change.account().current(slot)
            && current == generation
            && *look_at <= now
        {
            let looked = Happened::LookedAt { look_at: now.plus(pause) };
            change.apply(slot, generation, looked, None)?;
        }
        Ok(())
    }

    /// Asks Stripe what became of one of our keys, and applies the answer: its object is the truth (I4).
    ///
    /// A key that is not there any more is only believed dead when it says so itself. `false` when
    /// nothing could be learnt; then nothing is changed.
    pub(crate) async fn look_at(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        key: &KeyId,
    ) -> Result<bool, Error> {
        let now = change.now();
        let state = change.account().generations.get(&(slot.clone(), generation)).cloned();
        match self.stripe.retrieve(&change.account().at, key).await {
            Ok(ApiKey { status: KeyStatus::Expired, .. }) => {
                self.ended_by_somebody(change, slot, generation)?;
            }
            Ok(ApiKey { expires_at: Some(at), .. })
                if at > now && matches!(state, Some(State::Current { doom: None, .. })) =>
            {
                let by_us = may_be_rotated_by_us(change.account(), slot, generation);
                let by = if by_us { DoomedBy::LostAnswer } else { DoomedBy::SomebodyElse };
                let doom = Happened::Doomed(Doom { at, by });
                change.apply(slot, generation, doom, Some(Because::KeyIsDoomed))?;
            }
            Ok(ApiKey { expires_at, .. }) => match state {
                Some(State::Current { doom: None, .. }) => change.ask_is_met(slot),
                Some(State::Current { doom: Some(doom), .. })
                    if expires_at.is_none() && is_only_absent(slot, doom) =>
                {
                    change.apply(slot, generation, Happened::Reprieved, None)?;
                }
                Some(State::Current {
                    doom: Some(Doom { by: DoomedBy::Operator, .. }), ..
                }) => {
                    // It is not served past Stripe's own end, whoever wants it replaced before.
                    if let Some(end) = expires_at {
                        let soon = now.plus(Policy::backoff(0));
                        let look_at = end.clamp(soon, now.plus(Policy::LOOK_EVERY));
                        change.apply(slot, generation, Happened::LookedAt { look_at }, None)?;
                    }
                }
                _ => {}
            },
            // Or this account cannot be asked any more: an uninstall that nobody told us of.
            Err(error)
                if matches!(error.refusal(), Some(Refusal::NotFound | Refusal::Forbidden)) =>
            {
                match self.is_dead(change, slot, generation).await {
                    Some(true) => self.ended_by_somebody(change, slot, generation)?,
                    Some(false) if error.refusal() == Some(&Refusal::NotFound) => {
                        doom_if_rotated_by_us(change, slot, generation)?;
                        if slot.kind == Kind::Publishable {
                            return self.doom_if_unlisted(change, slot, generation, key).await;
                        }
                    }
                    Some(false) => {}
                    // What can never be tried will not be learnt later either.
                    None => return Ok(state.is_none_or(|state| !may_be_tried(&state))),
                }
            }
            Err(error) => {
                self.report(&change.account().at, &error, slot, generation);
                // A key that our own rotation may have ended, or that is wanted dead and served until then, is not
                // served on for want of Stripe's word.
                let is_in_doubt = matches!(state, Some(State::Current { doom: Some(doom), .. })
                    if doom.by == DoomedBy::Operator)
                    || may_be_rotated_by_us(change.account(), slot, generation);
                if !is_in_doubt || self.is_dead(change, slot, generation).await != Some(true) {
                    return Ok(false);
                }
                self.ended_by_somebody(change, slot, generation)?;
            }
        }
        Ok(true)
    }

    /// A publishable key whose id is gone was rotated away or has ended. Nobody has seen whether it still answers
    /// until its last day, or for ever. Once the list does not show it either, it is served for as long as Stripe lets
    /// a rotated key live, and no longer.
    async fn doom_if_unlisted(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        key: &KeyId,
    ) -> Result<bool, Error> {
        let Some((current, State::Current { doom: None, .. })) = change.account().current(slot)
        else {
            return Ok(true);
        };
        if current != generation {
            return Ok(true);
        }
        match self.stripe.list(&change.account().at, false).await {
            Ok(listed) if listed.iter().any(|other| other.id == *key) => {}
            Ok(_) => {
                let by_us = may_be_rotated_by_us(change.account(), slot, generation);
                let by = if by_us { DoomedBy::LostAnswer } else { DoomedBy::SomebodyElse };
                let at = change.now().plus(Policy::LONGEST_OVERLAP);
                let doom = Happened::Doomed(Doom { at, by });
                change.apply(slot, generation, doom, Some(Because::KeyIsDoomed))?;
            }
            Err(error) => {
                self.report(&change.account().at, &error, slot, generation);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stripe says the key is over. For the current key nobody here wanted that, so the policy decides
    /// whether another is minted.
    fn ended_by_somebody(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
    ) -> Result<(), Error> {
        let now = change.now();
        let state = change.account().generations.get(&(slot.clone(), generation)).cloned();
        let by_us = may_have_died_of_us(change.account(), slot, generation, now);
        let why = match state {
            Some(State::Retiring { ending, .. }) => ending,
            Some(State::Current { doom: Some(_), .. }) => Ending::Expired,
            Some(State::Current { .. }) if by_us => Ending::Expired,
            Some(
                State::Current { .. }
                | State::Requested { .. }
                | State::Issued { .. }
                | State::Proven { .. }
                | State::Undecryptable { .. }
                | State::NeedsOperator { .. },
            ) => Ending::RevokedByUser,
            Some(State::Ended { .. }) | None => return Ok(()),
        };
        change.apply(
            slot,
            generation,
            Happened::Ended { at: now, why },
            Some(Because::KeyHasDied),
        )?;
        let is_revoked = match state {
            // What we lost ourselves, nobody has to allow us to repair.
            Some(State::Current { doom: None, .. }) => !by_us,
            Some(State::Current { doom: Some(doom), .. }) => doom.by == DoomedBy::SomebodyElse,
            Some(
                State::Issued { predecessor_dies_at, .. }
                | State::Proven { predecessor_dies_at, .. },
            ) => {
                doom_predecessor(change, slot, predecessor_dies_at, DoomedBy::SomebodyElse)?;
                change.account().current(slot).is_none()
            }
            _ => false,
        };
        if is_revoked
            && self.policy.on_user_expire() == OnUserExpire::Hold
            && !is_asked_for(change.account(), slot, state.as_ref())
        {
            hold_revoked(change, slot)?;
        }
        Ok(())
    }
}

/// Whether nothing but its absence spoke for the end of a key: what a list shows late comes back.
fn is_only_absent(slot: &Slot, doom: Doom) -> bool {
    slot.kind == Kind::Publishable && doom.by == DoomedBy::SomebodyElse
}

fn may_be_tried(state: &State) -> bool {
    state.material().is_some() && !state.is_stuck()
}

/// Whether somebody asked for a key here who knew of none that works: the user who ended this one and installed the
/// app again, say, before anybody saw its end. A key that came of that call and was ended is another matter.
fn is_asked_for(account: &Account, slot: &Slot, ended: Option<&State>) -> bool {
    let asked_at = account.slots.get(slot).and_then(|state| state.asked_at);
    match ended {
        Some(State::Issued { issued_at, .. } | State::Proven { issued_at, .. }) => {
            asked_at > Some(*issued_at)
        }
        _ => asked_at.is_some(),
    }
}

/// Holds a slot whose key the user ended. A successor that Stripe has made already takes its place all the same: that
/// one the user has not ended. One that was only asked for is given up; should the call have made a key, or make one
/// yet, nobody can read that: reconciling finds it, and ends it if it is seen to be ours.
fn hold_revoked(change: &mut Change, slot: &Slot) -> Result<(), Error> {
    let pending = change.account().pending(slot);
    let pending = pending.map(|(it, state)| (it, matches!(state, State::Requested { .. })));
    match pending {
        Some((_, false)) => return Ok(()),
        Some((asked, true)) => {
            let now = change.now();
            let given_up = Happened::Ended { at: now, why: Ending::Lost };
            change.apply(slot, asked, given_up, Some(Because::KeyHasDied))?;
            change.reconcile_by(now.plus(Policy::LOOK_AGAIN));
        }
        None => {}
    }
    hold_for_somebody(change, slot);
    Ok(())
}

/// A key that works and is not there under its name: our own rotation has taken effect, whose answer is missing.
fn doom_if_rotated_by_us(
    change: &mut Change,
    slot: &Slot,
    generation: Generation,
) -> Result<(), Error> {
    let is_spared = matches!(change.account().current(slot),
        Some((current, State::Current { doom: None, .. })) if current == generation);
    match unanswered_rotation_ends(change.account(), slot).filter(|_| is_spared) {
        Some(at) => {
            let doom = Happened::Doomed(Doom { at, by: DoomedBy::LostAnswer });
            Ok(change.apply(slot, generation, doom, Some(Because::KeyIsDoomed))?)
        }
        None => Ok(()),
    }
}
