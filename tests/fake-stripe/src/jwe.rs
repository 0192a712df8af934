//! Sealing a secret for the caller: JWE compact, RSA-OAEP and A256GCM (as in the examples of
//! `openapi-iam.json`).
//!
//! Written on aws-lc-rs and not on josekit, which Keysteward opens with: two implementations that agree
//! prove more than one that agrees with itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::behaviour::JweAlg;
use crate::error::ApiError;

const HEADER: &str = "-----BEGIN PUBLIC KEY-----\n";
const FOOTER: &str = "\n-----END PUBLIC KEY-----";

/// `public_key` of a create or rotate request.
pub(crate) struct Recipient {
    pub(crate) id: Option<String>,
    key: PublicEncryptingKey,
}

impl Recipient {
    /// Reads `{id?, pem_key: {algorithm, data}}`; anything but an RSA SPKI PEM of 2048 bits or more is
    /// `invalid_fields`.
    pub(crate) fn parse(public_key: &Value) -> Result<Self, ApiError> {
        let Some(fields) = public_key.as_object() else {
            return Err(ApiError::invalid("public_key: Expected an object."));
        };
        if let Some(unknown) =
            fields.keys().find(|name| !["id", "pem_key"].contains(&name.as_str()))
        {
            return Err(ApiError::invalid(format!("public_key.{unknown}: Unknown field.")));
        }
        let id = match &public_key["id"] {
            Value::Null => None,
            Value::String(id) => Some(id.clone()),
            _ => return Err(ApiError::invalid("public_key.id: Expected a string.")),
        };
        let algorithm = public_key["pem_key"]["algorithm"].as_str().unwrap_or_default();
        if !algorithm.eq_ignore_ascii_case("rsa") {
            return Err(ApiError::invalid("public_key.pem_key.algorithm: Only RSA is supported."));
        }
        let pem = public_key["pem_key"]["data"].as_str().unwrap_or_default();
        let key = der_of_pem(pem)
            .and_then(|der| PublicEncryptingKey::from_der(&der).ok())
            .filter(|key| key.key_size_bits() >= 2048)
            .ok_or_else(|| {
                ApiError::invalid(
                    "public_key.pem_key.data: Expected a PEM-encoded RSA public key of at least 2048 bits.",
                )
            })?;
        Ok(Self { id, key })
    }

    /// Seals `token`.
    pub(crate) fn seal(&self, token: &str, alg: JweAlg) -> Result<String, ApiError> {
        self.try_seal(token.as_bytes(), alg)
            .ok_or_else(|| ApiError::new(500, "internal_error", "The secret could not be sealed."))
    }

    fn try_seal(&self, plaintext: &[u8], alg: JweAlg) -> Option<String> {
        let (name, oaep) = match alg {
            JweAlg::RsaOaep => ("RSA-OAEP", &OAEP_SHA1_MGF1SHA1),
            JweAlg::RsaOaep256 => ("RSA-OAEP-256", &OAEP_SHA256_MGF1SHA256),
        };
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{name}","enc":"A256GCM"}}"#));
        let (mut cek, mut iv) = ([0; 32], [0; 12]);
        aws_lc_rs::rand::fill(&mut cek).ok()?;
        aws_lc_rs::rand::fill(&mut iv).ok()?;

        let recipient = OaepPublicEncryptingKey::new(self.key.clone()).ok()?;
        let mut room = vec![0; recipient.ciphertext_size()];
        let wrapped = recipient.encrypt(oaep, &cek, &mut room, None).ok()?;

        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cek).ok()?);
        let mut sealed = plaintext.to_vec();
        let tag = sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(header.as_bytes()),
                &mut sealed,
            )
            .ok()?;
        let parts =
            [&*wrapped, &iv, &sealed, tag.as_ref()].map(|part| URL_SAFE_NO_PAD.encode(part));
        Some(format!("{header}.{}", parts.join(".")))
    }
}

/// The bytes of a PEM. Newlines are required after the header and before the footer, optional within.
fn der_of_pem(pem: &str) -> Option<Vec<u8>> {
    let pem = pem.replace("\r\n", "\n");
    let body = pem.trim().strip_prefix(HEADER)?.strip_suffix(FOOTER)?;
    STANDARD.decode(body.replace('\n', "")).ok()
}
