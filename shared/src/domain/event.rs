//! What Stripe notifies us of, reduced to the little that is kept of it.

use serde::{Deserialize, Serialize};

use super::id::{EventId, SandboxId};
use super::slot::AccountRef;
use super::time::Timestamp;

/// A notification after verification, as it is stored. Holds no part of the body but these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Stripe's name of the event.
    pub id: EventId,
    /// Whose event it is.
    pub account: AccountRef,
    /// When Stripe made it.
    pub created: Timestamp,
    /// What it says.
    pub topic: Topic,
}

/// The events that change something here. All others are acknowledged and not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "topic", rename_all = "snake_case")]
pub enum Topic {
    /// `v2.iam.api_key.created`; which key, only the full event says.
    KeyCreated,
    /// `v2.iam.api_key.updated`.
    KeyUpdated,
    /// `v2.iam.api_key.rotated`.
    KeyRotated,
    /// `v2.iam.api_key.expired`.
    KeyExpired,
    /// `v2.iam.api_key.permissions_updated`.
    KeyPermissionsUpdated,
    /// `v2.iam.api_key.default_secret_revealed`.
    KeyDefaultSecretRevealed,
    /// `account.application.authorized`.
    Authorized,
    /// `account.application.deauthorized`: acted on from the payload alone, access is gone.
    Deauthorized,
    /// `account.updated`, with whether the account may charge (the usual reading of "activated").
    AccountUpdated {
        /// `charges_enabled` of the snapshot; `None` in a thin event, which carries no object.
        charges_enabled: Option<bool>,
    },
    /// `v2.core.claimable_sandbox.*`, any of the five: what it came to, only the sandbox itself says.
    Sandbox {
        /// Which one; the event's `related_object`.
        sandbox: SandboxId,
    },
}

impl Topic {
    /// The topic of an event type, with or without the `v1.` that thin forms of v1 events carry.
    pub fn of_type(event_type: &str) -> Option<Self> {
        Some(match event_type.strip_prefix("v1.").unwrap_or(event_type) {
            "v2.iam.api_key.created" => Self::KeyCreated,
            "v2.iam.api_key.updated" => Self::KeyUpdated,
            "v2.iam.api_key.rotated" => Self::KeyRotated,
            "v2.iam.api_key.expired" => Self::KeyExpired,
            "v2.iam.api_key.permissions_updated" => Self::KeyPermissionsUpdated,
            "v2.iam.api_key.default_secret_revealed" => Self::KeyDefaultSecretRevealed,
            "account.application.authorized" => Self::Authorized,
            "account.application.deauthorized" => Self::Deauthorized,
            "account.updated" => Self::AccountUpdated { charges_enabled: None },
            _ => return None,
        })
    }

    /// Whether an event of this type is about a claimable sandbox; then [`Topic::Sandbox`] takes its id.
    pub fn is_of_sandbox(event_type: &str) -> bool {
        event_type.strip_prefix("v2.core.claimable_sandbox.").is_some_and(|what| {
            matches!(what, "created" | "claimed" | "updated" | "expiring" | "expired")
        })
    }

    /// Whether the full event has to be fetched to know which key it is about.
    pub fn names_a_key(&self) -> bool {
        match self {
            Self::KeyCreated
            | Self::KeyUpdated
            | Self::KeyRotated
            | Self::KeyExpired
            | Self::KeyPermissionsUpdated
            | Self::KeyDefaultSecretRevealed => true,
            Self::Authorized
            | Self::Deauthorized
            | Self::AccountUpdated { .. }
            | Self::Sandbox { .. } => false,
        }
    }

    /// The word for logs and the audit trail.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeyCreated => "key_created",
            Self::KeyUpdated => "key_updated",
            Self::KeyRotated => "key_rotated",
            Self::KeyExpired => "key_expired",
            Self::KeyPermissionsUpdated => "key_permissions_updated",
            Self::KeyDefaultSecretRevealed => "key_default_secret_revealed",
            Self::Authorized => "authorized",
            Self::Deauthorized => "deauthorized",
            Self::AccountUpdated { .. } => "account_updated",
            Self::Sandbox { .. } => "sandbox",
        }
    }
}
