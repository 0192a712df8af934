//! What is stored of a key, and of a key pair.

use serde::{Deserialize, Serialize};

use super::id::{AccountId, Kid};
use super::slot::Mode;
use super::time::Timestamp;

/// A secret as it is stored: a JWE in compact form, readable only with the private key that `kid` names.
///
/// Stripe's own ciphertext as received, or one that we made to the same public key when Stripe answered
/// in the clear (sandboxes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key pair whose private key opens it.
    pub kid: Kid,
    /// Five base64url parts, RFC 7516 section 3.1.
    pub compact: String,
}

/// What a generation holds of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Material {
    /// A secret key, sealed.
    Sealed(Sealed),
    /// A publishable key's token: public by nature.
    Publishable(String),
}

/// A private key under the vault's lock: opaque bytes that only the vault can open, base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped(pub String);

/// An RSA key pair of one account and mode. The private key exists here only wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Our name of the pair; Stripe's `public_key.id`.
    pub kid: Kid,
    /// The public key, SPKI PEM, as sent to Stripe.
    pub public_pem: String,
    /// The private key (PKCS#8 DER), wrapped under this pair's context.
    pub wrapped: Wrapped,
    /// When the pair was made; it is renewed by age.
    pub made_at: Timestamp,
}

/// What a wrapped private key is bound to: `{app, account, mode, kid}`. Not secret; a wrong one does not open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The Stripe App, `KEYSTEWARD_APP_ID`.
    pub app: String,
    /// Whose key it is.
    pub account: AccountId,
    /// In which mode.
    pub mode: Mode,
    /// Which pair.
    pub kid: Kid,
}

impl Context {
    /// The encryption context as KMS takes it: four pairs, in this order.
    pub fn pairs(&self) -> [(&'static str, &str); 4] {
        [
            ("app", &self.app),
            ("account", self.account.as_str()),
            ("mode", self.mode.as_str()),
            ("kid", self.kid.as_str()),
        ]
    }
}
