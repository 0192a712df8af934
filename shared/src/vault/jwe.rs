//! JWE in compact form (RFC 7516 section 3.1): opening what Stripe sealed, sealing what it did not.
//!
//! Two algorithms for the key (RSA-OAEP, RSA-OAEP-256), one for the content (A256GCM), no
//! compression, no extensions. josekit does the cryptography; what it leaves to its caller is
//! checked here first, since it
//! - hands any tag to OpenSSL, which takes one byte of it for a whole tag (RFC 7518 section 5.3
//!   wants 16), and an IV of any length;
//! - ignores `crit` (RFC 7516 section 4.1.13 wants what is not understood refused);
//! - inflates `zip` without a limit;
//! - reserves what a length in a key's DER says, which ends the process when it is too much;
//! - says in its errors how far it got.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::alg::rsaes::{RsaesJweAlgorithm, RsaesJweDecrypter};
use josekit::jwe::{JweContext, JweHeader};
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::error::{DoesNotOpen, Error};
use super::pair::{self, PrivateKey};
use crate::domain::secret::SecretToken;

/// Opens one ciphertext. For more than one under the same key, keep an [`Opener`].
pub fn open(compact: &str, private: &PrivateKey) -> Result<SecretToken, DoesNotOpen> {
    Opener::new(private)?.open(compact)
}

/// Seals a token to a public key (SPKI PEM), in the form in which Stripe sends one: compact,
/// RSA-OAEP-256 and A256GCM, no other header field.
///
/// Errors: [`Error::NotAPublicKey`] when the key is not an RSA public key of 2048 bits or more, in the form in
/// which [`super::pair::generate`] gives one.
pub fn seal(public_pem: &str, token: &SecretToken) -> Result<String, Error> {
    let spki = pair::checked_spki(public_pem).ok_or(Error::NotAPublicKey)?;
    let encrypter = RsaesJweAlgorithm::RsaOaep256
        .encrypter_from_der(spki)
        .map_err(|error| Error::Seal(error.into()))?;
    let mut header = JweHeader::new();
    header.set_content_encryption(CONTENT_ENCRYPTION);
    CONTEXT
        .serialize_compact(token.expose().as_bytes(), &header, &encrypter)
        .map_err(|error| Error::Seal(error.into()))
}

/// A private key that is ready to open: parsed once, wiped by OpenSSL when dropped.
#[expect(missing_debug_implementations, reason = "a secret is never printed")]
pub struct Opener {
    oaep: RsaesJweDecrypter,
    oaep_256: RsaesJweDecrypter,
}

impl Opener {
    /// Parses a private key. Errors when it is not an RSA key of 2048 bits or more.
    pub fn new(private: &PrivateKey) -> Result<Self, DoesNotOpen> {
        if !pair::is_rsa_private_key(private) {
            return Err(DoesNotOpen);
        }
        let parse = |algorithm: RsaesJweAlgorithm| {
            algorithm.decrypter_from_der(private.expose()).map_err(|_| DoesNotOpen)
        };
        Ok(Self {
            oaep: parse(RsaesJweAlgorithm::RsaOaep)?,
            oaep_256: parse(RsaesJweAlgorithm::RsaOaep256)?,
        })
    }

    /// Opens a ciphertext that holds a token. Costs one RSA private operation.
    ///
    /// The header's `kid`, if any, is not looked at: which key to try is in the row.
    pub fn open(&self, compact: &str) -> Result<SecretToken, DoesNotOpen> {
        SecretToken::from_bytes(self.open_bytes(compact)?).ok_or(DoesNotOpen)
    }

    fn open_bytes(&self, compact: &str) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let decrypter = match check(compact)? {
            Algorithm::Oaep => &self.oaep,
            Algorithm::Oaep256 => &self.oaep_256,
        };
        let (content, _) =
            CONTEXT.deserialize_compact(compact, decrypter).map_err(|_| DoesNotOpen)?;
        Ok(Zeroizing::new(content))
    }
}

/// The key encryptions that are taken. The specification of the API says RSA-OAEP-256, the guide's
/// prose RSA-OAEP, and nobody has published what live mode sends.
#[derive(Clone, Copy, Deserialize)]
enum Algorithm {
    #[serde(rename = "RSA-OAEP")]
    Oaep,
    #[serde(rename = "RSA-OAEP-256")]
    Oaep256,
}

/// The part of the header that decides. A field given twice is refused by serde.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    enc: String,
    zip: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

/// Checks everything that can be seen without the key.
fn check(compact: &str) -> Result<Algorithm, DoesNotOpen> {
    if compact.len() > MAX_LEN {
        return Err(DoesNotOpen);
    }
    let parts: Vec<_> = compact.split('.').collect();
    let [header, _key, iv, _content, tag] = parts[..] else { return Err(DoesNotOpen) };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| DoesNotOpen);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| DoesNotOpen)?;
    let acceptable = header.enc == CONTENT_ENCRYPTION
        && header.zip.is_none()
        && header.crit.is_none()
        && decode(iv)?.len() == IV_LEN
        && decode(tag)?.len() == TAG_LEN;
    if acceptable { Ok(header.alg) } else { Err(DoesNotOpen) }
}

/// josekit's context with everything taken out that is not accepted: a second lock behind `check`.
static CONTEXT: LazyLock<JweContext> = LazyLock::new(|| {
    let mut context = JweContext::new();
    context.remove_compression("DEF");
    for other in ["A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM"] {
        context.remove_content_encryption(other);
    }
    context
});

const CONTENT_ENCRYPTION: &str = "A256GCM";

/// RFC 7518 section 5.3: a 96 bit IV and a 128 bit tag.
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// A token sealed to a key of 4096 bits is about 1 KB.
const MAX_LEN: usize = 16 * 1024;

#[cfg(test)]
#[path = "jwe_tests.rs"]
mod tests;
