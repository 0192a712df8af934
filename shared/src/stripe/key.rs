//! The API keys of a user's account: `/v2/iam/api_keys`.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::answer::Answer;
use super::client::{Call, Stripe, bearer};
use super::error::Error;
use super::page::{Item, PAGE_SIZE, Whose};
use crate::domain::id::KeyId;
use crate::domain::intent::Intent;
use crate::domain::secret::SecretToken;
use crate::domain::slot::{AccountRef, Kind, Mode};
use crate::domain::time::Timestamp;

/// An API key as Stripe describes it, without any token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// `mk_…`
    pub id: KeyId,
    /// What it is for. Restricted keys are secret keys.
    pub kind: Kind,
    /// In which mode it works.
    pub mode: Mode,
    /// Whether it works.
    pub status: KeyStatus,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends or ended; `None` for a key that was given no end.
    pub expires_at: Option<Timestamp>,
    /// The name that the user sees.
    pub name: Option<String>,
    /// The note beside it; ours are `domain::intent::note`s.
    pub note: Option<String>,
    /// The application that manages it, as Stripe names it; its form is not documented.
    pub managed_by: Option<String>,
}

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It does.
    Active,
    /// It does not, and never will again.
    Expired,
    /// A status that Stripe added later.
    Other,
}

/// The answer to a call that mints a key.
#[derive(Debug)]
pub struct Minted {
    /// The new key.
    pub key: ApiKey,
    /// Its secret, in the form in which it came.
    pub secret: Delivered,
}

/// How a new key's secret came. `Debug` names the form only.
pub enum Delivered {
    /// Encrypted to us.
    Sealed {
        /// A JWE in compact form, as received; nothing was opened.
        compact: String,
        /// `recipient_key_id`, the `public_key.id` that we sent.
        recipient: Option<String>,
    },
    /// In the clear, as sandboxes answer. To be sealed before anything else is done.
    Clear(SecretToken),
    /// A publishable key's token: public by nature.
    Publishable(String),
    /// No secret in a usable form: the key exists and nobody can read it.
    Absent,
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed { .. } => "Sealed",
            Self::Clear(_) => "Clear",
            Self::Publishable(_) => "Publishable",
            Self::Absent => "Absent",
        })
    }
}

impl Stripe {
    /// Makes a recorded call, with the bytes, the version and the idempotency key that were recorded.
    ///
    /// # Errors
    ///
    /// [`Error`]. After one that is ambiguous the key may exist; send the same intent again.
    pub async fn send(&self, at: &AccountRef, intent: &Intent) -> Result<Minted, Error> {
        let url = self.url(&intent.path)?;
        let auth = bearer(self.app_key(at.mode)?)?;
        let answer = self
            .call(&Call {
                stripe_version: Some(&intent.stripe_version),
                context: Some(&at.id),
                idempotency_key: Some(&intent.idempotency_key),
                ..Call::post(url, auth, JSON, intent.body.as_bytes())
            })
            .await?;
        read_minted(&answer)
    }

    /// Asks what Stripe knows of one key.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`super::Refusal::NotFound`] when this account has no such key, or has rotated it away.
    pub async fn retrieve(&self, at: &AccountRef, key: &KeyId) -> Result<ApiKey, Error> {
        let auth = bearer(self.app_key(at.mode)?)?;
        let call = Call {
            stripe_version: Some(&self.stripe_version),
            context: Some(&at.id),
            ..Call::get(self.url(&format!("{PATH}/{key}"))?, auth)
        };
        read_key(&self.call(&call).await?)
    }

    /// Lists the account's keys, to the last page. Eventually consistent: a key that is missing may exist (I4).
    ///
    /// Keys of a type that is neither secret nor publishable are left out. Tokens, which a sandbox puts beside
    /// every key, are skipped unread.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::ForeignPage`] and [`Error::EndlessList`] among them.
    pub async fn list(&self, at: &AccountRef, include_expired: bool) -> Result<Vec<ApiKey>, Error> {
        let expired = if include_expired { "&include_expired=true" } else { "" };
        let path = format!("{PATH}?limit={PAGE_SIZE}{expired}");
        self.pages(Whose::account(at), &path, usize::MAX, WireKey::item).await
    }

    /// Ends a key. Stripe calls that immediate; one measurement saw it work for nine seconds more, so
    /// [`Stripe::probe`] has the last word.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`super::Refusal::KeyExpired`] when it had ended before.
    pub async fn expire(
        &self,
        at: &AccountRef,
        key: &KeyId,
        idempotency_key: &str,
    ) -> Result<ApiKey, Error> {
        let auth = bearer(self.app_key(at.mode)?)?;
        let call = Call {
            stripe_version: Some(&self.stripe_version),
            context: Some(&at.id),
            idempotency_key: Some(idempotency_key),
            ..Call::post(self.url(&format!("{PATH}/{key}/expire"))?, auth, JSON, b"{}")
        };
        read_key(&self.call(&call).await?)
    }
}

pub(super) fn read_minted(answer: &Answer) -> Result<Minted, Error> {
    let key = read_key(answer)?;
    let tokens: Tokens = answer.read()?;
    let secret = match key.kind {
        Kind::Secret => tokens.secret_key.map_or(Delivered::Absent, SecretTokens::delivered),
        Kind::Publishable => {
            tokens.publishable_key.map_or(Delivered::Absent, PublishableTokens::delivered)
        }
    };
    Ok(Minted { key, secret })
}

fn read_key(answer: &Answer) -> Result<ApiKey, Error> {
    match answer.read::<WireKey>()?.item() {
        Item::Kept(key) => Ok(key),
        Item::Skipped | Item::Unreadable => Err(answer.malformed()),
    }
}

/// The allow-list. Everything that is not `required` in the spec may be absent or null.
#[derive(Deserialize)]
pub(super) struct WireKey {
    id: KeyId,
    #[serde(rename = "type")]
    key_type: String,
    livemode: bool,
    status: String,
    created: String,
    expires_at: Option<String>,
    name: Option<String>,
    note: Option<String>,
    managed_by: Option<ManagedBy>,
}

#[derive(Deserialize)]
struct ManagedBy {
    application: Option<Application>,
}

#[derive(Deserialize)]
struct Application {
    id: String,
}

impl WireKey {
    pub(super) fn item(self) -> Item<ApiKey> {
        let kind = match self.key_type.as_str() {
            "secret_key" => Kind::Secret,
            "publishable_key" => Kind::Publishable,
            _ => return Item::Skipped,
        };
        let status = match self.status.as_str() {
            "active" => KeyStatus::Active,
            "expired" => KeyStatus::Expired,
            _ => KeyStatus::Other,
        };
        let created = Timestamp::parse(&self.created);
        let expires_at = self.expires_at.as_deref().map(Timestamp::parse).transpose();
        let (Ok(created), Ok(expires_at)) = (created, expires_at) else {
            return Item::Unreadable;
        };
        Item::Kept(ApiKey {
            id: self.id,
            kind,
            mode: Mode::of_livemode(self.livemode),
            status,
            created,
            expires_at,
            name: self.name,
            note: self.note,
            managed_by: self.managed_by.and_then(|by| by.application).map(|app| app.id),
        })
    }
}

/// The other half of a minted key's answer, read only where a secret is expected.
#[derive(Deserialize)]
struct Tokens {
    secret_key: Option<SecretTokens>,
    publishable_key: Option<PublishableTokens>,
}

#[derive(Deserialize)]
struct SecretTokens {
    encrypted_secret: Option<EncryptedSecret>,
    token: Option<Hidden>,
}

#[derive(Deserialize)]
struct EncryptedSecret {
    ciphertext: Option<String>,
    recipient_key_id: Option<String>,
}

#[derive(Deserialize)]
struct PublishableTokens {
    token: Option<Hidden>,
}

impl SecretTokens {
    /// Takes the ciphertext where there is one. It is stored as received, so one that is not even of the form
    /// of a JWE is taken for no secret: it might be a key in the clear (I6).
    fn delivered(self) -> Delivered {
        match (self.encrypted_secret, self.token) {
            (Some(EncryptedSecret { ciphertext: Some(ciphertext), recipient_key_id }), _)
                if is_compact_jwe(&ciphertext) =>
            {
                Delivered::Sealed { compact: ciphertext, recipient: recipient_key_id }
            }
            (_, Some(Hidden(token))) if !token.expose().is_empty() => Delivered::Clear(token),
            (_, _) => Delivered::Absent,
        }
    }
}

impl PublishableTokens {
    /// Lets a token out of custody only when its prefix says that it is public.
    fn delivered(self) -> Delivered {
        match self.token {
            Some(Hidden(token)) if matches!(token.claims(), Some((Kind::Publishable, _))) => {
                Delivered::Publishable(token.expose().to_owned())
            }
            Some(_) | None => Delivered::Absent,
        }
    }
}

/// Five parts of base64url (RFC 7516 section 3.1), none empty under the algorithms in use.
fn is_compact_jwe(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.split('.').count() == 5 && text.split('.').all(is_part)
}

/// A token on its way into custody.
struct Hidden(SecretToken);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretToken::new(text)))
    }
}

const PATH: &str = "/v2/iam/api_keys";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests;
