//! The durable record of a call that is about to be made: what will be sent, byte for byte.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::id::{KeyId, Kid};
use super::slot::{AccountRef, Generation, Kind, Slot};
use super::time::Timestamp;

/// A call to Stripe that mints a key, recorded before it is made (I2) and repeated unchanged (I3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Sent as `Idempotency-Key`; one per intent, for ever.
    pub idempotency_key: String,
    /// The path below the API base.
    pub path: String,
    /// The exact body.
    pub body: String,
    /// Sent as `Stripe-Version`; kept here because the body's shape belongs to it.
    pub stripe_version: String,
    /// The key pair whose public key the body carries; `None` for a publishable key.
    pub kid: Option<Kid>,
    /// Which of the two calls this is.
    pub how: How,
    /// When the intent was recorded; the call cannot have been made earlier.
    pub asked_at: Timestamp,
    /// How often the call was made without an answer that settled it.
    pub attempts: u32,
}

/// The two ways to come to a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum How {
    /// `POST /v2/iam/api_keys`.
    Create,
    /// `POST /v2/iam/api_keys/{id}/rotate` with an explicit overlap.
    Rotate {
        /// The generation that is rotated away.
        from: Generation,
        /// Sent as `expire_current_key_in_minutes`; 1 to 10080.
        overlap_minutes: u32,
    },
}

/// How requests are written: it differs between previews of the API.
///
/// The preview of April 2026 mints unrestricted keys and knows no `permissions`; later ones mint
/// restricted keys (`rk_`) from a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestShape {
    /// The `Stripe-Version` of every call.
    pub stripe_version: String,
    /// The permissions of the keys to mint; empty means the unrestricted shape.
    pub permissions: Vec<String>,
}

/// The public half of a key pair, as a request carries it.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey<'a> {
    /// Sent as `public_key.id`; Stripe echoes it as `recipient_key_id`.
    pub kid: &'a Kid,
    /// SPKI PEM.
    pub pem: &'a str,
}

/// Everything that an intent is made from.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The Stripe App, `KEYSTEWARD_APP_ID`.
    pub app: &'a str,
    /// On whose account.
    pub account: &'a AccountRef,
    /// For which slot.
    pub slot: &'a Slot,
    /// When the slot was opened; part of the idempotency key, so that a slot that was purged and opened
    /// anew never replays the old one's calls.
    pub opened_at: Timestamp,
    /// Which generation.
    pub generation: Generation,
    /// The key to encrypt to; `None` for a publishable key, which Stripe refuses one for.
    pub public_key: Option<PublicKey<'a>>,
    /// When.
    pub now: Timestamp,
}

impl Intent {
    /// Writes the call that creates a key (`tests/fake-stripe/openapi-iam.json`).
    pub fn create(asking: &Asking<'_>, shape: &RequestShape) -> Self {
        let body = Body {
            key_type: Some(type_of(asking.slot.kind)),
            name: Some(key_name(asking.slot)),
            note: Some(note(asking.slot, asking.generation, asking.opened_at)),
            permissions: match asking.slot.kind {
                Kind::Secret => &shape.permissions,
                Kind::Publishable => &[],
            },
            expire_current_key_in_minutes: None,
            public_key: asking.public_key.map(PublicKeyBody::of),
        };
        Self::new(asking, shape, How::Create, "/v2/iam/api_keys".to_owned(), body)
    }

    /// Writes the call that rotates `key` away after an overlap (`tests/fake-stripe/openapi-iam.json`).
    pub fn rotate(
        asking: &Asking<'_>,
        shape: &RequestShape,
        key: &KeyId,
        from: Generation,
        overlap_minutes: u32,
    ) -> Self {
        let body = Body {
            key_type: None,
            name: None,
            note: None,
            permissions: &[],
            expire_current_key_in_minutes: Some(overlap_minutes),
            public_key: asking.public_key.map(PublicKeyBody::of),
        };
        let how = How::Rotate { from, overlap_minutes };
        Self::new(asking, shape, how, format!("/v2/iam/api_keys/{key}/rotate"), body)
    }

    fn new(
        asking: &Asking<'_>,
        shape: &RequestShape,
        how: How,
        path: String,
        body: Body<'_>,
    ) -> Self {
        Self {
            idempotency_key: idempotency_key(asking),
            path,
            // Serialising a struct of texts and numbers cannot fail.
            body: serde_json::to_string(&body).unwrap_or_default(),
            stripe_version: shape.stripe_version.clone(),
            kid: asking.public_key.map(|key| key.kid.clone()),
            how,
            asked_at: asking.now,
            attempts: 0,
        }
    }
}

/// The note that Stripe keeps beside a key of ours; by it a key whose answer was lost is found again.
///
/// A rotated key inherits the note of the one it replaces, so the generation in it is the first that
/// carried it, not always the key's own.
pub fn note(slot: &Slot, generation: Generation, opened_at: Timestamp) -> String {
    format!("keysteward:{}:{slot}#{generation}", opened_at.millis())
}

/// Whether `note` is one that [`note`] wrote for this slot, whichever generation.
pub fn is_note_of(text: &str, slot: &Slot, opened_at: Timestamp) -> bool {
    text.strip_prefix(&format!("keysteward:{}:{slot}#", opened_at.millis()))
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn idempotency_key(asking: &Asking<'_>) -> String {
    let Asking { app, account, slot, opened_at, generation, .. } = asking;
    let name = format!("{app}\n{account}\n{slot}\n{}\n{generation}", opened_at.millis());
    format!("{IDEMPOTENCY_PREFIX}{}", sha256_hex(name.as_bytes()))
}

/// Whether an event that quotes this idempotency key was caused by one of our intents.
pub fn is_our_idempotency_key(text: &str) -> bool {
    text.starts_with(IDEMPOTENCY_PREFIX)
}

const IDEMPOTENCY_PREFIX: &str = "keysteward-";

/// The body of both calls; a field that a call does not take is left out.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    key_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    permissions: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_current_key_in_minutes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<PublicKeyBody<'a>>,
}

#[derive(Serialize)]
struct PublicKeyBody<'a> {
    id: &'a Kid,
    pem_key: PemKey<'a>,
}

#[derive(Serialize)]
struct PemKey<'a> {
    algorithm: &'static str,
    data: &'a str,
}

impl<'a> PublicKeyBody<'a> {
    fn of(key: PublicKey<'a>) -> Self {
        Self { id: key.kid, pem_key: PemKey { algorithm: "RSA", data: key.pem } }
    }
}

fn key_name(slot: &Slot) -> String {
    format!("Keysteward {slot}")
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "secret_key",
        Kind::Publishable => "publishable_key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AccountId;
    use crate::domain::slot::{Mode, SlotName};

    #[test]
    fn an_intent_is_the_same_bytes_for_the_same_generation_and_another_key_for_the_next() {
        let account = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let kid = Kid::parse("kid_1").unwrap();
        let mut asking = Asking {
            app: "ca_1",
            account: &account,
            slot: &slot,
            opened_at: Timestamp::EPOCH,
            generation: Generation::FIRST,
            public_key: Some(PublicKey { kid: &kid, pem: "PEM" }),
            now: Timestamp::EPOCH,
        };
        let shape =
            RequestShape { stripe_version: "2026-04-22.preview".into(), permissions: vec![] };
        let first = Intent::create(&asking, &shape);
        assert_eq!(first, Intent::create(&asking, &shape));
        assert_eq!(
            first.body,
            r#"{"type":"secret_key","name":"Keysteward secret/default","note":"keysteward:0:secret/default#1","public_key":{"id":"kid_1","pem_key":{"algorithm":"RSA","data":"PEM"}}}"#
        );
        asking.generation = Generation::FIRST.next();
        assert_ne!(first.idempotency_key, Intent::create(&asking, &shape).idempotency_key);
        assert!(first.idempotency_key.len() <= 255, "Stripe's limit for an idempotency key");
    }

    #[test]
    fn later_previews_are_asked_for_restricted_keys() {
        let account = AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap());
        let shape = RequestShape {
            stripe_version: "2026-08-26.preview".into(),
            permissions: vec!["charge_write".into()],
        };
        let body = |kind| {
            let slot = Slot::new(kind, SlotName::default());
            let asking = Asking {
                app: "ca_1",
                account: &account,
                slot: &slot,
                opened_at: Timestamp::EPOCH,
                generation: Generation::FIRST,
                public_key: None,
                now: Timestamp::EPOCH,
            };
            Intent::create(&asking, &shape).body
        };
        assert!(body(Kind::Secret).contains(r#""permissions":["charge_write"]"#));
        assert!(!body(Kind::Publishable).contains("permissions"));
    }

    #[test]
    fn a_note_is_recognised_for_its_own_slot_alone() {
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let other = Slot::new(Kind::Secret, SlotName::parse("other").unwrap());
        let text = note(&slot, Generation::FIRST, Timestamp::EPOCH);
        assert!(is_note_of(&text, &slot, Timestamp::EPOCH));
        assert!(!is_note_of(&text, &other, Timestamp::EPOCH));
        assert!(!is_note_of("my own key", &slot, Timestamp::EPOCH));
    }
}
