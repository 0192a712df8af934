//! Retiring: a replaced key is ended, and seen dead by trying it.

use super::{Error, Steward};
use crate::domain::account::Change;
use crate::domain::id::KeyId;
use crate::domain::lifecycle::{Ending, Happened, State};
use crate::domain::plan::{Because, RETIRE_RETRY};
use crate::domain::policy::Policy;
use crate::domain::sealed::Material;
use crate::domain::slot::{Generation, Kind, Slot};
use crate::runtime::metrics::Metric;
use crate::stripe::{self, KeyStatus, Refusal};

impl Steward {
    /// Ends one retiring key. It counts as ended when the key itself answers 401, or, where there is no
    /// secret to try or it is a publishable one, when Stripe's object says so; until then it is tried again (I5).
    pub(super) async fn retire(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let now = change.now();
        let state = change.account().generations.get(&(slot.clone(), generation)).cloned();
        let Some(State::Retiring { key, material, dies_at, attempts, ending, .. }) = state else {
            return Ok(());
        };
        let ended = match self.is_dead(change, slot, generation).await {
            Some(true) if slot.kind == Kind::Secret => true,
            // A publishable key's 401 may be about the call that it may not make. Where a key could not be tried,
            // a vault or a Stripe out of reach proves nothing.
            Some(_) | None => match self.expire_at_stripe(change, &key).await {
                Ok(()) if matches!(material, Some(Material::Sealed(_))) => {
                    // Stripe was measured to accept a key for some seconds after it was expired.
                    self.is_dead(change, slot, generation).await == Some(true)
                }
                Ok(()) => true,
                Err(error) => {
                    self.report(&change.account().at, &error, slot, generation);
                    false
                }
            },
        };
        let happened = if ended {
            Happened::Ended { at: now, why: ending }
        } else {
            if now > dies_at.plus(Policy::STALL) {
                self.tally.count(Metric::KeysPastDeadline);
                tracing::error!(
                    account.id = %change.account().at.id,
                    slot = %slot,
                    slot.generation = generation.number(),
                    "a replaced key is past its deadline and still alive"
                );
            }
            let pause = RETIRE_RETRY.max(Policy::backoff(attempts.saturating_sub(1)));
            Happened::EndingTried { try_at: now.plus(pause) }
        };
        Ok(change.apply(slot, generation, happened, Some(because))?)
    }

    /// Tries once to end the key of an uninstalled account. Access is usually gone by then, so whatever
    /// the answer, the key is no longer ours.
    pub(super) async fn withdraw(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let key = change
            .account()
            .generations
            .get(&(slot.clone(), generation))
            .and_then(|state| state.key().cloned());
        if let Some(key) = key
            && let Err(error) = self.expire_at_stripe(change, &key).await
        {
            self.report(&change.account().at, &error, slot, generation);
        }
        let ended = Happened::Ended { at: change.now(), why: Ending::Uninstalled };
        Ok(change.apply(slot, generation, ended, Some(because))?)
    }

    /// Expires a key at Stripe; fine when it is expired or gone already.
    async fn expire_at_stripe(&self, change: &Change, key: &KeyId) -> Result<(), stripe::Error> {
        let idempotency_key = format!("keysteward-expire-{key}");
        match self.stripe.expire(&change.account().at, key, &idempotency_key).await {
            Ok(answer) if answer.status == KeyStatus::Expired => Ok(()),
            Ok(_) => Err(stripe::Error::Malformed { request_id: None }),
            Err(error) => match error.refusal() {
                Some(Refusal::KeyExpired | Refusal::NotFound) => Ok(()),
                _ => Err(error),
            },
        }
    }
}
