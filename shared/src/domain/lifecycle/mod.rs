//! The life of one generation: one enum, one `apply`, no wildcard.

mod ending;
mod transitions;

use serde::{Deserialize, Serialize};

pub use self::ending::{Doom, DoomedBy, Ending, Trouble};
pub use self::transitions::{Happened, Illegal};
use super::id::KeyId;
use super::intent::Intent;
use super::sealed::Material;
use super::time::Timestamp;

/// Where a generation is in its life, with what is known of it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The intent is durable; Stripe may or may not have been asked.
    Requested {
        /// The call, byte for byte.
        intent: Intent,
    },
    /// Stripe's answer is stored as received; nobody has opened it yet.
    Issued {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When Stripe ends the key that this one was rotated from.
        predecessor_dies_at: Option<Timestamp>,
    },
    /// The key was opened and Stripe accepted it.
    Proven {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When Stripe ends the key that this one was rotated from.
        predecessor_dies_at: Option<Timestamp>,
    },
    /// The one key of its slot that is served.
    Current {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When it is to be replaced, jitter included; `None` for keys that are not rotated by age.
        rotates_at: Option<Timestamp>,
        /// Whether somebody asked for it to be replaced, so that it does not wait its turn.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
        /// When to ask Stripe next whether it still stands, in case no event told us.
        look_at: Timestamp,
        /// Set when Stripe will end it although it has no successor.
        doom: Option<Doom>,
    },
    /// Replaced; still works until its overlap is over.
    Retiring {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed; `None` when its secret never reached us.
        material: Option<Material>,
        /// By when it is dead, or an alarm is on.
        dies_at: Timestamp,
        /// When to try next to end it and see it dead.
        try_at: Timestamp,
        /// How often that was tried.
        attempts: u32,
        /// What it will have ended of.
        ending: Ending,
    },
    /// Dead, and seen to be.
    Ended {
        /// Stripe's name of the key, where there ever was one.
        key: Option<KeyId>,
        /// When.
        at: Timestamp,
        /// Of what.
        why: Ending,
    },
    /// The answer is stored but does not open. Kept, alarmed, never thrown away.
    Undecryptable {
        /// Stripe's name of the key.
        key: KeyId,
        /// What does not open.
        material: Material,
        /// Since when.
        at: Timestamp,
    },
    /// The budget for recovering is spent; a person has to look.
    NeedsOperator {
        /// Stripe's name of the key, where there ever was one.
        key: Option<KeyId>,
        /// Since when.
        at: Timestamp,
        /// What could not be done.
        trouble: Trouble,
    },
}

impl State {
    /// The state's name, as stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Issued { .. } => "issued",
            Self::Proven { .. } => "proven",
            Self::Current { .. } => "current",
            Self::Retiring { .. } => "retiring",
            Self::Ended { .. } => "ended",
            Self::Undecryptable { .. } => "undecryptable",
            Self::NeedsOperator { .. } => "needs_operator",
        }
    }

    /// Stripe's name of the key, once there is one.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Requested { .. } => None,
            Self::Issued { key, .. }
            | Self::Proven { key, .. }
            | Self::Current { key, .. }
            | Self::Retiring { key, .. }
            | Self::Undecryptable { key, .. } => Some(key),
            Self::Ended { key, .. } | Self::NeedsOperator { key, .. } => key.as_ref(),
        }
    }

    /// What is held of the key.
    pub fn material(&self) -> Option<&Material> {
        match self {
            Self::Requested { .. } | Self::Ended { .. } | Self::NeedsOperator { .. } => None,
            Self::Issued { material, .. }
            | Self::Proven { material, .. }
            | Self::Current { material, .. }
            | Self::Undecryptable { material, .. } => Some(material),
            Self::Retiring { material, .. } => material.as_ref(),
        }
    }

    /// Whether nothing more comes of the generation by itself.
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Undecryptable { .. } | Self::NeedsOperator { .. })
    }

    /// Whether the generation is on its way to become current.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Requested { .. } | Self::Issued { .. } | Self::Proven { .. })
    }
}

#[cfg(test)]
mod tests;
