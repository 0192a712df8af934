//! Serving a slot's current key: one read of the table, no write, no call to Stripe.

use std::time::Duration;

use crate::class::Class;
use crate::domain::account::{Account, Status};
use crate::domain::id::KeyId;
use crate::domain::lifecycle::State;
use crate::domain::policy::Policy;
use crate::domain::recovery::answered_rotation_ends;
use crate::domain::sealed::Material;
use crate::domain::secret::SecretToken;
use crate::domain::slot::{AccountRef, Generation, Slot};
use crate::domain::time::Timestamp;
use crate::fault::Fault;
use crate::runtime::clock::Clock;
use crate::store::{self, Store};
use crate::vault::{DoesNotOpen, Keyring, OpenError};

/// What serving works with: nothing that can write or call Stripe.
#[derive(Debug)]
pub struct Service {
    /// The table, read only.
    pub store: Store,
    /// The key pairs.
    pub keyring: Keyring,
    /// The rules, for how long an answer may be cached.
    pub policy: Policy,
    /// What time it is.
    pub clock: Clock,
}

/// A key as it is served.
#[expect(missing_debug_implementations, reason = "holds the token")]
pub struct Served {
    /// Which generation.
    pub generation: Generation,
    /// Stripe's name of the key.
    pub key_id: KeyId,
    /// The token itself.
    pub token: SecretToken,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it will be replaced; `None` for keys that are not rotated by age.
    pub rotates_at: Option<Timestamp>,
    /// Until when the generation before it still works; `None` when it does not.
    pub previous_valid_until: Option<Timestamp>,
    /// How the answer may be cached.
    pub freshness: Freshness,
}

/// How an answer may be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Names the answer; changes with the key and with what else the answer says.
    pub etag: String,
    /// For how long.
    pub max_age: Duration,
}

/// An answer to a read.
#[expect(missing_debug_implementations, reason = "holds the token")]
pub enum Answer {
    /// The key.
    Key(Box<Served>),
    /// The caller has this generation already.
    NotModified(Generation, Freshness),
}

/// Why no key is served.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing is known of this account and slot.
    #[error("nothing is known of this account and slot")]
    NoSuchKey,
    /// The slot has no usable key; the word says why.
    #[error("the slot has no usable key")]
    NoUsableKey(&'static str),
    /// The table could not be read.
    #[error("could not read the account")]
    Store(#[from] store::Error),
    /// The key could not be opened.
    #[error("could not open the key")]
    Open(#[from] OpenError),
}

impl Refusal {
    /// The class of the failure.
    pub fn class(&self) -> Class {
        match self {
            Self::NoSuchKey => Class::Caller,
            Self::NoUsableKey(_) => Class::Conflict,
            Self::Store(error) => error.class(),
            Self::Open(error) => error.class(),
        }
    }

    /// Under which name it is counted; `None` when nothing failed.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::NoSuchKey | Self::NoUsableKey(_) => None,
            Self::Store(error) => error.fault(),
            Self::Open(error) => Some(error.fault()),
        }
    }
}

impl Service {
    /// The current key of a slot. `known` holds the tags of `If-None-Match`; a match is answered
    /// without opening anything.
    pub async fn key(
        &self,
        at: &AccountRef,
        slot: &Slot,
        known: &[&str],
    ) -> Result<Answer, Refusal> {
        let now = self.clock.now();
        let account = self.store.load(at).await?.ok_or(Refusal::NoSuchKey)?;
        let state = account.slots.get(slot).ok_or(Refusal::NoSuchKey)?;
        if matches!(account.head.status, Status::Uninstalled { .. }) {
            return Err(Refusal::NoUsableKey("uninstalled"));
        }
        let Some((generation, State::Current { key, material, issued_at, rotates_at, doom, .. })) =
            account.current(slot)
        else {
            let why = match state.hold {
                Some(hold) => hold.why.as_str(),
                None => why_not(&account, slot),
            };
            return Err(Refusal::NoUsableKey(why));
        };
        let rotated_away = answered_rotation_ends(&account, slot);
        let has_struck = doom.is_some_and(|doom| doom.has_struck(now));
        if has_struck || rotated_away.is_some_and(|at| at <= now) {
            return Err(Refusal::NoUsableKey("expired"));
        }
        let previous_valid_until = previous_valid_until(&account, slot, now);
        let dies_at = doom.map(|doom| doom.at).into_iter().chain(rotated_away).min();
        let dies_in = dies_at.map(|at| at.since(now) / 2);
        let freshness = Freshness {
            etag: etag(generation, key, *rotates_at, previous_valid_until),
            max_age: self.policy.max_age().min(dies_in.unwrap_or(Duration::MAX)),
        };
        if known.iter().any(|tag| *tag == "*" || *tag == freshness.etag) {
            return Ok(Answer::NotModified(generation, freshness));
        }
        let token = match material {
            Material::Publishable(token) => SecretToken::new(token.clone()),
            Material::Sealed(sealed) => {
                let pair =
                    account.pairs.get(&sealed.kid).ok_or(OpenError::DoesNotOpen(DoesNotOpen))?;
                self.keyring.open(at, pair, sealed, now).await?
            }
        };
        // A row that somebody put another account's or mode's key into is not served.
        if token.claims() != Some((slot.kind, at.mode)) {
            return Err(OpenError::DoesNotOpen(DoesNotOpen).into());
        }
        Ok(Answer::Key(Box::new(Served {
            generation,
            key_id: key.clone(),
            token,
            issued_at: *issued_at,
            rotates_at: *rotates_at,
            previous_valid_until,
            freshness,
        })))
    }
}

fn previous_valid_until(account: &Account, slot: &Slot, now: Timestamp) -> Option<Timestamp> {
    account
        .generations_of(slot)
        .filter_map(|(_, state)| match state {
            State::Retiring { material: Some(_), dies_at, .. } if *dies_at > now => Some(*dies_at),
            _ => None,
        })
        .max()
}

/// Why a slot without a hold has no key: it is on its way, or a person has to look.
fn why_not(account: &Account, slot: &Slot) -> &'static str {
    if account.pending(slot).is_some() {
        return "being_prepared";
    }
    match account.generations_of(slot).last() {
        Some((_, State::NeedsOperator { .. })) => "needs_operator",
        Some((_, State::Undecryptable { .. })) => "undecryptable",
        Some(_) | None => "being_prepared",
    }
}

/// Of all that an answer says: the key, and what may change about it while it stays the same.
fn etag(
    generation: Generation,
    key: &KeyId,
    rotates_at: Option<Timestamp>,
    previous_valid_until: Option<Timestamp>,
) -> String {
    let [rotates, overlap] =
        [rotates_at, previous_valid_until].map(|at| at.map_or(0, Timestamp::millis));
    format!("\"{generation}-{key}-{rotates}-{overlap}\"")
}
