//! Proving: the key opens, is what was asked for, and Stripe accepts it.

use std::time::Duration;

use super::mint::{AGAIN, doom_predecessor, hold};
use super::{Error, Steward};
use crate::domain::account::{Change, HoldReason};
use crate::domain::lifecycle::{DoomedBy, Happened, State, Trouble};
use crate::domain::plan::Because;
use crate::domain::sealed::Material;
use crate::domain::secret::SecretToken;
use crate::domain::slot::{Generation, Kind, Slot};
use crate::runtime::log::chain;
use crate::runtime::metrics::Metric;
use crate::stripe::Liveness;
use crate::vault::{DoesNotOpen, OpenError};

impl Steward {
    /// Opens the stored answer and tries the key.
    pub(super) async fn prove(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
        because: Because,
    ) -> Result<(), Error> {
        let now = change.now();
        let at = (slot.clone(), generation);
        let state = change.account().generations.get(&at).cloned();
        let Some(State::Issued { key, material, issued_at, predecessor_dies_at }) = state else {
            return Ok(());
        };
        let happened = match self.open(change, &material).await {
            Opened::Nothing => Happened::Proved,
            Opened::Never => Happened::DidNotOpen { at: now },
            Opened::NotNow => {
                hold(change, slot, HoldReason::VaultUnavailable, AGAIN);
                return Ok(());
            }
            Opened::Token(token) => {
                if token.claims() != Some((Kind::Secret, change.account().at.mode)) {
                    Happened::GivenUp { at: now, trouble: Trouble::WrongToken }
                } else {
                    match self.stripe.probe(&token).await {
                        Ok(Liveness::Alive) => Happened::Proved,
                        Ok(Liveness::Dead) => {
                            // Ended by the user meanwhile, perhaps: Stripe's object says.
                            let looked = self.look_at(change, slot, generation, &key).await?;
                            let is_over = !change.account().generations[&at].is_pending();
                            if is_over {
                                return Ok(());
                            }
                            // A new key may take a moment to be known everywhere.
                            if !looked || now.since(issued_at) < PATIENCE {
                                hold(change, slot, HoldReason::NoAnswer, AGAIN);
                                return Ok(());
                            }
                            Happened::GivenUp { at: now, trouble: Trouble::DeadOnArrival }
                        }
                        Err(error) => {
                            self.report(&change.account().at, &error, slot, generation);
                            hold(change, slot, HoldReason::NoAnswer, AGAIN);
                            return Ok(());
                        }
                    }
                }
            }
        };
        let is_of_use = matches!(happened, Happened::Proved);
        change.apply(slot, generation, happened, Some(because))?;
        if !is_of_use {
            self.alarm(change, slot, generation);
            doom_predecessor(change, slot, predecessor_dies_at, DoomedBy::LostAnswer)?;
        }
        Ok(())
    }

    /// Whether the key itself says that it is dead; `None` when it cannot be asked.
    pub(super) async fn is_dead(
        &self,
        change: &Change,
        slot: &Slot,
        generation: Generation,
    ) -> Option<bool> {
        let state = change.account().generations.get(&(slot.clone(), generation))?;
        let material = state.material()?.clone();
        let token = match &material {
            // There is next to no call that it may make; but a 401 says of it, too, that it is over.
            Material::Publishable(token) => SecretToken::new(token.clone()),
            Material::Sealed(_) => match self.open(change, &material).await {
                Opened::Token(token) => token,
                Opened::Nothing | Opened::Never | Opened::NotNow => return None,
            },
        };
        match self.stripe.probe(&token).await {
            Ok(Liveness::Dead) => Some(true),
            Ok(Liveness::Alive) => Some(false),
            Err(error) => {
                self.report(&change.account().at, &error, slot, generation);
                None
            }
        }
    }

    async fn open(&self, change: &Change, material: &Material) -> Opened {
        let Material::Sealed(sealed) = material else { return Opened::Nothing };
        let account = change.account();
        let opened = match account.pairs.get(&sealed.kid) {
            Some(pair) => self.keyring.open(&account.at, pair, sealed, change.now()).await,
            None => Err(OpenError::DoesNotOpen(DoesNotOpen)),
        };
        match &opened {
            Ok(_) => self.tally.count(Metric::KeysOpened),
            Err(error) => self.tally.fault(Some(error.fault())),
        }
        match opened {
            Ok(token) => Opened::Token(token),
            Err(OpenError::DoesNotOpen(_)) => Opened::Never,
            Err(OpenError::Vault(error)) => {
                // Even a fault may be one of rights or settings; the ciphertext waits until it is mended.
                tracing::error!(
                    account.id = %change.account().at.id,
                    account.mode = change.account().at.mode.as_str(),
                    error = chain(&error),
                    "the vault did not open a private key"
                );
                Opened::NotNow
            }
        }
    }
}

/// What came of opening a generation's material.
enum Opened {
    /// A secret.
    Token(SecretToken),
    /// There is nothing to open: the key is public.
    Nothing,
    /// It does not open and never will.
    Never,
    /// The vault could not be asked.
    NotNow,
}

/// How long a key that just arrived may answer 401 before it counts as dead on arrival.
const PATIENCE: Duration = Duration::from_secs(600);
