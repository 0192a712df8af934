//! One account in one mode as it is loaded, and a change to it as it is recorded.

mod change;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::audit;
use super::id::Kid;
use super::lifecycle::State;
use super::orders::Epoch;
use super::policy::Policy;
use super::sealed::{KeyPair, Material};
use super::slot::{AccountRef, Generation, Slot};
use super::time::Timestamp;

pub use change::{Change, RowName};

/// Everything that a decision about one account needs; no history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which account.
    pub at: AccountRef,
    /// The account's own row.
    pub head: Head,
    /// Its slots.
    pub slots: BTreeMap<Slot, SlotState>,
    /// The generations of each slot that are still in the working set.
    pub generations: BTreeMap<(Slot, Generation), State>,
    /// Its key pairs.
    pub pairs: BTreeMap<Kid, KeyPair>,
}

/// The account's own row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whether the app is installed.
    pub status: Status,
    /// Counts writes; every write names the one it builds on.
    pub version: u64,
    /// The fencing token: counts claims.
    pub fence: u64,
    /// Until when the holder of the current token may act; `None` when nobody holds it.
    pub lease_until: Option<Timestamp>,
    /// Where the audit trail ends.
    pub audit: audit::Head,
    /// The earliest deadline of anything in the account; `None` when nothing waits.
    pub due_at: Option<Timestamp>,
    /// The restore of the table since which the account was reconciled; behind it, nothing is done.
    #[serde(default)]
    pub epoch: Epoch,
    /// When Stripe's list is next held against the account; `None`: at once.
    #[serde(default)]
    pub reconcile_at: Option<Timestamp>,
    /// How that went last.
    #[serde(default)]
    pub reconciled: Option<Reconciled>,
    /// Set while Stripe refuses to list the account's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Up to when Stripe's own record of events was read.
    #[serde(default)]
    pub events_read_to: Option<Timestamp>,
    /// Since when an operator wants no rotation by age here.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
}

/// How Stripe's list compared to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// When.
    pub at: Timestamp,
    /// How many differences stand: what was set right is not counted.
    pub drift: u32,
}

/// How long Stripe has refused to list the account's keys: to this app, for this account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Since when, without a list in between.
    pub since: Timestamp,
    /// How often.
    pub times: u32,
}

/// Whether the app is installed on the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Keys may be minted and served.
    Installed {
        /// Since when.
        since: Timestamp,
    },
    /// Access is gone; nothing is served.
    Uninstalled {
        /// Since when: by Stripe's word where an event told of it.
        at: Timestamp,
    },
}

/// One slot's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// When the slot was opened; part of its idempotency keys.
    pub opened_at: Timestamp,
    /// The number that the next generation gets.
    pub next: Generation,
    /// Why no key is being acquired for now.
    pub hold: Option<Hold>,
    /// When somebody last asked for a key here who has not been seen to have one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// The restore of the table that its numbers were last skipped for.
    #[serde(default, skip_serializing_if = "is_first")]
    pub epoch: Epoch,
}

fn is_first(epoch: &Epoch) -> bool {
    *epoch == 0
}

/// A named condition that keeps a slot from acquiring a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it waits for.
    pub why: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// When to try again; `None` waits for somebody.
    pub until: Option<Timestamp>,
}

/// What a held slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// The user ended the key and the policy is to wait.
    RevokedByUser,
    /// The account is not activated, or Stripe refuses for a reason that has no code.
    NotPermitted,
    /// Stripe's limit on keys is reached.
    LimitReached,
    /// The app's key and the account are of different modes.
    ModeMismatch,
    /// Stripe gave no answer that settles the intent.
    NoAnswer,
    /// The vault could not be reached, so the key could not be opened yet.
    VaultUnavailable,
    /// Several keys in a row came without a secret.
    SecretLost,
    /// The sandbox went live: the keys are on the owner's live account now.
    MovedToLive,
}

impl HoldReason {
    /// The word for responses, logs and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevokedByUser => "revoked_by_user",
            Self::NotPermitted => "not_permitted",
            Self::LimitReached => "limit_reached",
            Self::ModeMismatch => "mode_mismatch",
            Self::NoAnswer => "no_answer",
            Self::VaultUnavailable => "vault_unavailable",
            Self::SecretLost => "secret_lost",
            Self::MovedToLive => "moved_to_live",
        }
    }
}

impl Account {
    /// An account that nothing is stored of yet.
    pub fn new(at: AccountRef, now: Timestamp) -> Self {
        Self {
            at,
            head: Head {
                status: Status::Installed { since: now },
                version: 0,
                fence: 0,
                lease_until: None,
                audit: audit::Head::default(),
                due_at: None,
                epoch: 0,
                reconcile_at: Some(now.plus(Policy::RECONCILE_EVERY)),
                reconciled: None,
                refused: None,
                events_read_to: Some(now),
                paused_since: None,
            },
            slots: BTreeMap::new(),
            generations: BTreeMap::new(),
            pairs: BTreeMap::new(),
        }
    }

    /// The generations of one slot, oldest first.
    pub fn generations_of(
        &self,
        slot: &Slot,
    ) -> impl Iterator<Item = (Generation, &State)> + use<'_> {
        self.generations
            .range((slot.clone(), Generation::FIRST)..=(slot.clone(), Generation::LAST))
            .map(|((_, generation), state)| (*generation, state))
    }

    /// The slot's one current key.
    pub fn current(&self, slot: &Slot) -> Option<(Generation, &State)> {
        self.generations_of(slot).find(|(_, state)| matches!(state, State::Current { .. }))
    }

    /// The slot's key on its way to become current.
    pub fn pending(&self, slot: &Slot) -> Option<(Generation, &State)> {
        self.generations_of(slot).find(|(_, state)| state.is_pending())
    }

    /// The youngest pair that may still be used for a new key.
    pub fn usable_pair(&self, now: Timestamp) -> Option<&KeyPair> {
        self.pairs
            .values()
            .filter(|pair| now.since(pair.made_at) < Policy::PAIR_AGE)
            .max_by_key(|pair| pair.made_at)
    }

    /// Whether a key is sealed to this pair, or one that was asked for will be.
    pub fn uses_pair(&self, kid: &Kid) -> bool {
        self.generations.values().any(|state| match state {
            State::Requested { intent } => intent.kid.as_ref() == Some(kid),
            State::Issued { .. }
            | State::Proven { .. }
            | State::Current { .. }
            | State::Retiring { .. }
            | State::Undecryptable { .. }
            | State::NeedsOperator { .. }
            | State::Ended { .. } => match state.material() {
                Some(Material::Sealed(sealed)) => sealed.kid == *kid,
                Some(Material::Publishable(_)) | None => false,
            },
        })
    }

    /// Until when the holder of some earlier token may still be acting; `None` when nobody is.
    pub fn leased_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.head.lease_until.filter(|until| *until > now)
    }
}
