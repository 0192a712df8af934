//! Minting: the intent, the call, and what its answer means.

use std::time::Duration;

use super::steps::rotated_by;
use super::{Error, Steward};
use crate::domain::account::{Change, Hold, HoldReason};
use crate::domain::breaker::Outcome;
use crate::domain::intent::{Asking, Intent, PublicKey};
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State, Trouble};
use crate::domain::plan::Because;
use crate::domain::policy::Policy;
use crate::domain::recovery::{lost_in_a_row, predecessor_dies_at};
use crate::domain::sealed::{KeyPair, Material, Sealed};
use crate::domain::slot::{AccountRef, Generation, Kind, Slot};
use crate::domain::time::Timestamp;
use crate::runtime::log::chain;
use crate::runtime::metrics::Metric;
use crate::stripe::{self, ApiKey, Delivered, KeyStatus, Minted, Refusal};
use crate::vault;

impl Steward {
    /// Writes the intent, with a key pair to receive the secret where there is none to use.
    pub(super) async fn request(
        &self,
        change: &mut Change,
        slot: &Slot,
        from: Option<Generation>,
        overlap_minutes: u32,
        because: Because,
    ) {
        let now = change.now();
        let Some(state) = change.account().slots.get(slot).cloned() else { return };
        let pair = match slot.kind {
            Kind::Publishable => None,
            Kind::Secret => match self.usable_pair(change).await {
                Ok(pair) => Some(pair),
                Err(error) => {
                    self.tally.fault(Some(error.fault()));
                    tracing::error!(
                        account.id = %change.account().at.id,
                        account.mode = change.account().at.mode.as_str(),
                        error = chain(&error),
                        "no key pair could be made"
                    );
                    // The slot waits, and what the account needs no vault for goes on.
                    hold(change, slot, HoldReason::VaultUnavailable, AGAIN);
                    return;
                }
            },
        };
        let account = change.account().at.clone();
        let asking = Asking {
            app: &self.app,
            account: &account,
            slot,
            opened_at: state.opened_at,
            generation: state.next,
            public_key: pair
                .as_ref()
                .map(|pair| PublicKey { kid: &pair.kid, pem: &pair.public_pem }),
            now,
        };
        let rotated = from.and_then(|from| {
            let state = change.account().generations.get(&(slot.clone(), from))?;
            Some((from, state.key()?.clone()))
        });
        let intent = match rotated {
            Some((from, key)) => Intent::rotate(&asking, &self.shape, &key, from, overlap_minutes),
            None => Intent::create(&asking, &self.shape),
        };
        change.request(slot, state.next, intent, because);
    }

    async fn usable_pair(&self, change: &mut Change) -> Result<KeyPair, vault::Error> {
        let now = change.now();
        if let Some(pair) = change.account().usable_pair(now) {
            return Ok(pair.clone());
        }
        let pair = self.keyring.make_pair(&change.account().at, now).await?;
        change.add_pair(pair.clone());
        Ok(pair)
    }

    /// Makes the recorded call, byte for byte.
    pub(super) async fn ask(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let asked = change.account().generations.get(&(slot.clone(), generation));
        let Some(State::Requested { intent }) = asked.cloned() else { return Ok(()) };
        let is_rotation = change.account().current(slot).is_some();
        match self.stripe.send(&change.account().at, &intent).await {
            Ok(minted) => self.receive(change, slot, generation, &intent, minted, because)?,
            // Nothing was asked; the driver drops the step.
            Err(stripe::Error::OutOfTime) => return Ok(()),
            Err(error) => {
                self.report(&change.account().at, &error, slot, generation);
                self.refused(change, slot, generation, &intent, &error, because).await?;
            }
        }
        let state = change.account().generations.get(&(slot.clone(), generation));
        if let Some(outcome) = state.and_then(outcome_of).filter(|_| is_rotation) {
            self.report_rotation(change, outcome);
        }
        Ok(())
    }

    /// Stores the secret as it came: sealed by Stripe, or sealed here before it is written.
    fn receive(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        intent: &Intent,
        minted: Minted,
        because: Because,
    ) -> Result<(), Error> {
        let Minted { key, secret } = minted;
        let predecessor_dies_at = predecessor_dies_at(intent, key.created.min(change.now()));
        if key.kind != slot.kind || key.mode != change.account().at.mode {
            self.give_up(change, slot, generation, Trouble::WrongToken, because)?;
            return doom_predecessor(change, slot, predecessor_dies_at, DoomedBy::LostAnswer);
        }
        let alive = key.status != KeyStatus::Expired;
        let material = if alive { self.material(change, intent, secret) } else { None };
        let Some(material) = material else {
            return self.secret_is_lost(change, slot, generation, intent, key, because);
        };
        let is_public = matches!(material, Material::Publishable(_));
        let answered =
            Happened::Answered { key: key.id, material, at: change.now(), predecessor_dies_at };
        change.apply(slot, generation, answered, Some(because))?;
        if is_public {
            // It came from Stripe over TLS and holds nothing to open. Stripe takes a publishable key
            // for almost no call, so there is none to try it with.
            change.apply(slot, generation, Happened::Proved, Some(because))?;
        }
        Ok(())
    }

    fn material(&self, change: &Change, intent: &Intent, secret: Delivered) -> Option<Material> {
        match secret {
            Delivered::Sealed { compact, .. } => {
                Some(Material::Sealed(Sealed { kid: intent.kid.clone()?, compact }))
            }
            Delivered::Clear(token) => {
                let pair = change.account().pairs.get(intent.kid.as_ref()?)?;
                match self.keyring.seal(pair, &token) {
                    Ok(sealed) => Some(Material::Sealed(sealed)),
                    Err(error) => {
                        // Not recoverable by trying again with the same pair: the key is ended and the
                        // next generation gets another.
                        self.tally.fault(Some(error.fault()));
                        tracing::error!(
                            account.id = %change.account().at.id,
                            account.mode = change.account().at.mode.as_str(),
                            error = chain(&error),
                            "a token could not be sealed"
                        );
                        None
                    }
                }
            }
            Delivered::Publishable(token) => Some(Material::Publishable(token)),
            Delivered::Absent => None,
        }
    }

    /// A live key that nobody can read: it is ended and the next generation takes over. Where it came
    /// by rotation, the current key is doomed with it.
    pub(super) fn secret_is_lost(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        intent: &Intent,
        key: ApiKey,
        because: Because,
    ) -> Result<(), Error> {
        let predecessor_dies_at = predecessor_dies_at(intent, key.created.min(change.now()));
        let lost = Happened::AnsweredWithoutSecret { key: key.id, at: change.now() };
        change.apply(slot, generation, lost, Some(because))?;
        if lost_in_a_row(change.account(), slot) >= LOST_IN_A_ROW {
            // It will not come next time either; each try costs the user a key that lives for seconds.
            self.alarm(change, slot, generation);
            hold(change, slot, HoldReason::SecretLost, HOUR);
        }
        doom_predecessor(change, slot, predecessor_dies_at, DoomedBy::LostAnswer)
    }

    /// What a refusal or an unknown outcome means for the intent.
    async fn refused(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        intent: &Intent,
        error: &stripe::Error,
        because: Because,
    ) -> Result<(), Error> {
        match error.refusal() {
            Some(Refusal::LimitReached) => hold(change, slot, HoldReason::LimitReached, HOUR),
            Some(Refusal::LivemodeMismatch) => hold(change, slot, HoldReason::ModeMismatch, HOUR),
            Some(Refusal::Forbidden | Refusal::DirectOperationNotSupported) => {
                hold(change, slot, HoldReason::NotPermitted, HOUR);
            }
            Some(Refusal::Unauthorized) => {
                // The app's own key: somebody is about to mend it for every account at once.
                hold(change, slot, HoldReason::NotPermitted, Policy::backoff(u32::MAX));
            }
            Some(Refusal::AlreadyRotated | Refusal::KeyExpired | Refusal::NotFound)
                if rotated_by(intent.how).is_some() =>
            {
                let may_be_ours = intent.attempts > 0 || error.is_ambiguous();
                return self
                    .rotation_is_moot(change, slot, generation, intent, may_be_ours, because)
                    .await;
            }
            Some(
                Refusal::AlreadyRotated
                | Refusal::KeyExpired
                | Refusal::NotFound
                | Refusal::PermissionsInvalid
                | Refusal::BadRequest
                | Refusal::IdempotencyError
                | Refusal::OAuth(_)
                | Refusal::Other { .. },
            ) => self.give_up(change, slot, generation, Trouble::Refused, because)?,
            Some(Refusal::IdempotencyConflict | Refusal::LockTimeout | Refusal::RateLimited(_))
            | None => self.asked_in_vain(change, slot, generation, intent, because)?,
        }
        Ok(())
    }

    /// Nothing is known of the outcome: the same call is repeated later, until the budget is spent.
    pub(super) fn asked_in_vain(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        intent: &Intent,
        because: Because,
    ) -> Result<(), Error> {
        change.apply(slot, generation, Happened::AskedInVain, Some(because))?;
        if intent.attempts < Policy::ATTEMPTS {
            hold(change, slot, HoldReason::NoAnswer, Policy::backoff(intent.attempts));
            return Ok(());
        }
        self.give_up(change, slot, generation, Trouble::NoAnswer, because)?;
        // One of the attempts may have taken effect, or none: the key that it was about says which.
        look_soon(change, slot)
    }

    fn give_up(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        trouble: Trouble,
        because: Because,
    ) -> Result<(), Error> {
        let given_up = Happened::GivenUp { at: change.now(), trouble };
        change.apply(slot, generation, given_up, Some(because))?;
        // Nothing comes of waiting any more, and who asks is to be told so.
        change.hold(slot, None);
        self.alarm(change, slot, generation);
        Ok(())
    }

    /// Counts a failed call to Stripe and logs it once, without anything that Stripe said but its request id.
    pub(super) fn report(
        &self,
        at: &AccountRef,
        error: &stripe::Error,
        slot: &Slot,
        generation: Generation,
    ) {
        self.tally.count(Metric::StripeFailures);
        tracing::warn!(
            account.id = %at.id,
            account.mode = at.mode.as_str(),
            error = chain(error),
            class = error.class().as_str(),
            request.id = error.request_id().unwrap_or_default(),
            slot = %slot,
            slot.generation = generation.number(),
            "Stripe did not do what was asked"
        );
    }

    /// Says that a person has to look at a generation.
    pub(super) fn alarm(&self, change: &Change, slot: &Slot, generation: Generation) {
        self.tally.count(Metric::KeysNeedOperator);
        let state = change.account().generations.get(&(slot.clone(), generation));
        tracing::error!(
            account.id = %change.account().at.id,
            account.mode = change.account().at.mode.as_str(),
            slot = %slot,
            slot.generation = generation.number(),
            state = state.map_or("absent", State::name),
            "a key needs an operator"
        );
    }
}

/// What the breaker makes of a generation that was just asked for; `None` of a rotation that was moot, because
/// the user or somebody else ended or rotated the key before.
fn outcome_of(asked: &State) -> Option<Outcome> {
    match asked {
        State::Issued { .. } | State::Proven { .. } | State::Current { .. } => {
            Some(Outcome::Succeeded)
        }
        State::Requested { .. }
        | State::Retiring { .. }
        | State::NeedsOperator { .. }
        | State::Undecryptable { .. } => Some(Outcome::Failed),
        State::Ended { why: Ending::Lost, .. } => Some(Outcome::Failed),
        State::Ended { .. } => None,
    }
}

/// Holds a slot for a while.
pub(super) fn hold(change: &mut Change, slot: &Slot, why: HoldReason, pause: Duration) {
    let since = change.now();
    change.hold(slot, Some(Hold { why, since, until: Some(since.plus(pause)) }));
}

/// A key was rotated away for nothing: its successor is of no use and cannot be had by rotating again.
pub(super) fn doom_predecessor(
    change: &mut Change,
    slot: &Slot,
    dies_at: Option<Timestamp>,
    by: DoomedBy,
) -> Result<(), Error> {
    let Some(at) = dies_at else { return Ok(()) };
    let Some((current, State::Current { doom, .. })) = change.account().current(slot) else {
        return Ok(());
    };
    let happened = match (doom, by) {
        // Who wants it replaced still does.
        (Some(Doom { by: DoomedBy::Operator, .. }), DoomedBy::LostAnswer) => {
            let now = change.now();
            Happened::LookedAt { look_at: at.clamp(now, now.plus(Policy::LOOK_EVERY)) }
        }
        _ => Happened::Doomed(Doom { at, by }),
    };
    Ok(change.apply(slot, current, happened, Some(Because::SecretIsLost))?)
}

/// Has Stripe asked soon what became of the slot's current key.
pub(super) fn look_soon(change: &mut Change, slot: &Slot) -> Result<(), Error> {
    let look_at = change.now().plus(Policy::backoff(0));
    if let Some((current, _)) = change.account().current(slot) {
        change.apply(slot, current, Happened::LookedAt { look_at }, None)?;
    }
    Ok(())
}

/// How long a slot waits for a vault, or for a key that cannot be tried yet.
pub(super) const AGAIN: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3600);
/// How many keys may come without a secret, one after the other, before the slot waits.
const LOST_IN_A_ROW: usize = 3;
