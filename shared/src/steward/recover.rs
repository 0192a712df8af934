//! Recovering: a call whose outcome is unknown, and what Stripe shows of it.

use std::time::Duration;

use super::mint::{hold, look_soon};
use super::steps::rotated_by;
use super::{Error, Steward};
use crate::domain::account::{Change, HoldReason};
use crate::domain::intent::{Intent, is_note_of};
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use crate::domain::plan::Because;
use crate::domain::policy::Policy;
use crate::domain::slot::{Generation, Slot};
use crate::stripe::{self, ApiKey};

impl Steward {
    /// Makes the recorded call once more. Where it is not answered, what Stripe shows decides, while there is
    /// time for another key before the old one dies: our key is found and ended, or a rotation is given up. A
    /// create that left nothing takes nothing from anybody, and is only repeated.
    pub(super) async fn recover(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        change.hold(slot, None);
        self.ask(change, slot, generation, because).await?;
        let account = change.account();
        let held = account.slots.get(slot).and_then(|state| state.hold);
        let is_unanswered = held.is_some_and(|hold| hold.why == HoldReason::NoAnswer);
        let asked = account.generations.get(&(slot.clone(), generation)).cloned();
        let Some(State::Requested { intent }) = asked.filter(|_| is_unanswered) else {
            return Ok(());
        };
        match self.find_unread(change, slot, &intent).await {
            Ok(Unread::Ours(key)) => {
                change.hold(slot, None);
                return self.secret_is_lost(change, slot, generation, &intent, *key, because);
            }
            Ok(Unread::Anybodys | Unread::None) => {}
            Err(error) => self.report(&change.account().at, &error, slot, generation),
        }
        if rotated_by(intent.how).is_none() {
            return Ok(());
        }
        let current = change.account().current(slot);
        if let Some((current, Some(key))) = current.map(|(it, state)| (it, state.key().cloned())) {
            // Whatever can be learnt is applied; creating another is right even if nothing can.
            self.look_at(change, slot, current, &key).await?;
            if change.account().pending(slot).is_none() {
                // The user ended the old key, and this call was given up with it.
                return Ok(());
            }
        }
        self.give_up_rotation(change, slot, generation, because)
    }

    /// The next generation is created. Should the rotation have made a key, or make one yet, nobody can read
    /// that: reconciling finds it, and ends it if it is seen to be ours.
    fn give_up_rotation(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let now = change.now();
        let lost = Happened::Ended { at: now, why: Ending::Lost };
        change.apply(slot, generation, lost, Some(because))?;
        change.hold(slot, None);
        change.reconcile_by(now.plus(Policy::LOOK_AGAIN));
        tracing::warn!(
            account.id = %change.account().at.id,
            slot = %slot,
            slot.generation = generation.number(),
            "a rotation that nobody answered is given up: another key is created"
        );
        look_soon(change, slot)
    }

    /// The key to rotate is not there to be rotated. Either an earlier attempt of ours did it and its
    /// answer was lost, or somebody else ended or rotated the key.
    pub(super) async fn rotation_is_moot(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        intent: &Intent,
        may_be_ours: bool,
        because: Because,
    ) -> Result<(), Error> {
        let now = change.now();
        if may_be_ours {
            match self.find_unread(change, slot, intent).await {
                Ok(Unread::Ours(key)) => {
                    return self.secret_is_lost(change, slot, generation, intent, *key, because);
                }
                // The list may be behind; give it a few looks before somebody else is blamed.
                Ok(Unread::None) if intent.attempts > FRUITLESS_LOOKS => {}
                Ok(Unread::Anybodys | Unread::None) | Err(_) => {
                    return self.asked_in_vain(change, slot, generation, intent, because);
                }
            }
        }
        let given_up = Happened::Ended { at: now, why: Ending::Superseded };
        change.apply(slot, generation, given_up, Some(because))?;
        let Some((current, State::Current { key, .. })) =
            change.account().current(slot).map(|(generation, state)| (generation, state.clone()))
        else {
            return Ok(());
        };
        if !self.look_at(change, slot, current, &key).await? {
            hold(change, slot, HoldReason::NoAnswer, Policy::backoff(0));
        } else if let Some((_, State::Current { doom: None, .. })) = change.account().current(slot)
        {
            // Stripe will not rotate it and does not say when it ends: it is replaced by a new one.
            let doom = Doom { at: now.plus(self.policy.overlap()), by: DoomedBy::LostAnswer };
            change.apply(slot, current, Happened::Doomed(doom), Some(Because::KeyIsDoomed))?;
        }
        Ok(())
    }

    /// A live key of this slot that Stripe has and no generation knows: found by our note (I4: only a
    /// suspect until the caller acts on its id), and ours only if the event of its making says so.
    async fn find_unread(
        &self,
        change: &Change,
        slot: &Slot,
        intent: &Intent,
    ) -> Result<Unread, stripe::Error> {
        let account = change.account();
        let Some(opened_at) = account.slots.get(slot).map(|state| state.opened_at) else {
            return Ok(Unread::None);
        };
        let keys = self.stripe.list(&account.at, false).await?;
        let earliest = intent.asked_at.minus(CLOCKS_DIFFER);
        let is_suspect = |key: &ApiKey| {
            let is_ours = key.note.as_deref().is_some_and(|text| is_note_of(text, slot, opened_at));
            let is_known =
                account.generations_of(slot).any(|(_, state)| state.key() == Some(&key.id));
            is_ours && !is_known && key.created >= earliest && key.kind == slot.kind
        };
        let mut found = Unread::None;
        for key in keys.into_iter().filter(is_suspect) {
            // The user may have rotated the same key: the note is copied, the key is the user's.
            match self.stripe.is_made_by_us(&account.at, &key.id, key.created).await? {
                Some(true) => return Ok(Unread::Ours(Box::new(key))),
                Some(false) => {}
                None => found = Unread::Anybodys,
            }
        }
        Ok(found)
    }
}

/// What Stripe shows of a call whose answer is missing.
enum Unread {
    /// The key that it made.
    Ours(Box<ApiKey>),
    /// A key that it may have made, or the user: the event that says so is not there to be read. It is not ended.
    Anybodys,
    /// No key of its making.
    None,
}

/// How often a list is looked at before a key that is not in it counts as not there.
const FRUITLESS_LOOKS: u32 = 3;
/// How far Stripe's clock may be behind ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
