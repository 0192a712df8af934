//! The vault that is AWS KMS: a symmetric key that never leaves it, and an encryption context.
//!
//! KMS checks the context as associated data, so the key policy can tell apps and accounts apart, and
//! CloudTrail records it with every use. It is not secret. Encrypt takes 4096 bytes; a private key of
//! 4096 bits is 2.4 KB.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::decrypt::{Decrypt, DecryptError, DecryptInput, DecryptOutput};
use aws_sdk_kms::operation::encrypt::{Encrypt, EncryptError, EncryptInput, EncryptOutput};
use aws_sdk_kms::primitives::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::StatusCode;
use zeroize::Zeroizing;

use super::Vault;
use super::error::{Cause, Error};
use super::pair::PrivateKey;
use crate::domain::sealed::{Context, Wrapped};
use crate::runtime::aws::{Aws, AwsSettingsError, Calls};

/// A symmetric KMS key. Wrapped is base64 of KMS's ciphertext.
///
/// The SDK and the TLS connection below keep copies of what KMS answers that are freed, not wiped.
pub struct KmsVault {
    calls: Calls,
    key_id: String,
}

impl KmsVault {
    /// A vault under the key that `key_id` (id, ARN or alias) names.
    pub fn new(aws: &Aws, key_id: String) -> Self {
        Self { calls: aws.kms(), key_id }
    }

    /// A vault at an `http://` endpoint with made-up credentials: for emulators and doubles only.
    pub fn at(endpoint: &str, region: &str, key_id: &str) -> Result<Self, AwsSettingsError> {
        Ok(Self::new(&Aws::local_as(endpoint, region)?, key_id.to_owned()))
    }

    async fn encrypt(&self, context: &Context, private: &PrivateKey) -> Result<Wrapped, Error> {
        let asked = EncryptInput::builder()
            .key_id(&self.key_id)
            .set_encryption_context(Some(encryption_context(context)))
            .plaintext(Blob::new(private.expose()))
            .build()
            .map_err(|missing| Error::Refused(missing.into()))?;
        let answer = self.calls.call(Encrypt::new(), asked).await;
        let answer: EncryptOutput = answer.map_err(named::<EncryptError>)?;
        let ciphertext = answer.ciphertext_blob().ok_or_else(incomplete)?;
        Ok(Wrapped(STANDARD.encode(ciphertext)))
    }

    async fn decrypt(&self, context: &Context, wrapped: &Wrapped) -> Result<PrivateKey, Error> {
        let ciphertext = STANDARD
            .decode(&wrapped.0)
            .map_err(|error| Error::WrongContextOrTampered(Some(error.into())))?;
        let asked = DecryptInput::builder()
            // Without it KMS would use whichever key the ciphertext names, one of somebody else's too.
            .key_id(&self.key_id)
            .set_encryption_context(Some(encryption_context(context)))
            .ciphertext_blob(Blob::new(ciphertext))
            .build()
            .map_err(|missing| Error::Refused(missing.into()))?;
        let answer = self.calls.call(Decrypt::new(), asked).await;
        let answer: DecryptOutput = answer.map_err(named::<DecryptError>)?;
        let private = answer.plaintext.ok_or_else(incomplete)?.into_inner();
        Ok(PrivateKey::from_pkcs8(Zeroizing::new(private)))
    }
}

impl Vault for KmsVault {
    fn wrap<'a>(
        &'a self,
        context: &'a Context,
        private: &'a PrivateKey,
    ) -> BoxFuture<'a, Result<Wrapped, Error>> {
        Box::pin(self.encrypt(context, private))
    }

    fn unwrap_key<'a>(
        &'a self,
        context: &'a Context,
        wrapped: &'a Wrapped,
    ) -> BoxFuture<'a, Result<PrivateKey, Error>> {
        Box::pin(self.decrypt(context, wrapped))
    }
}

impl fmt::Debug for KmsVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsVault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn encryption_context(context: &Context) -> HashMap<String, String> {
    context.pairs().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Names a failure by what somebody has to do about it.
fn named<E>(error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let name = match &error {
        SdkError::ConstructionFailure(_) => Error::Refused,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            Error::Unavailable
        }
        SdkError::ServiceError(answer) => by_code(error.code(), answer.raw().status().as_u16()),
        _ => Error::Refused,
    };
    // Only the source: the rest of an `SdkError` holds the raw answer, and its `Debug` shows it.
    name(error.into_source().unwrap_or_else(Cause::from))
}

/// The codes are those of the KMS API Reference for Encrypt and Decrypt, and its common errors.
fn by_code(code: Option<&str>, status: u16) -> fn(Cause) -> Error {
    match code {
        Some("InvalidCiphertextException" | "IncorrectKeyException") => {
            |cause| Error::WrongContextOrTampered(Some(cause))
        }
        Some("DisabledException" | "KMSInvalidStateException") => Error::Disabled,
        Some(
            "AccessDeniedException"
            | "AccessDenied"
            | "NotAuthorized"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "InvalidSignatureException"
            | "ExpiredTokenException",
        ) => Error::NotAllowed,
        Some("NotFoundException") => Error::NotFound,
        Some(
            "ThrottlingException"
            | "Throttling"
            | "LimitExceededException"
            | "TooManyRequestsException",
        ) => Error::Throttled,
        Some(
            "KeyUnavailableException"
            | "DependencyTimeoutException"
            | "KMSInternalException"
            | "InternalFailure"
            | "ServiceUnavailable",
        ) => Error::Unavailable,
        _ if status == StatusCode::TOO_MANY_REQUESTS => Error::Throttled,
        // A success that could not be read comes here too.
        _ if !(400..500).contains(&status) => Error::Unavailable,
        _ => Error::Refused,
    }
}

fn incomplete() -> Error {
    Error::Unavailable("the answer of KMS lacks a field".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    #[test]
    fn every_failure_is_named_by_who_has_to_act() {
        for (code, status, message, class) in [
            (
                "InvalidCiphertextException",
                400,
                "the wrapped private key was changed, or belongs to another context or key",
                Class::Fault,
            ),
            ("DisabledException", 400, "the vault's key is disabled", Class::Fault),
            ("KMSInvalidStateException", 400, "the vault's key is disabled", Class::Fault),
            ("AccessDeniedException", 400, "not allowed to use the vault's key", Class::Fault),
            ("NotFoundException", 400, "the vault's key does not exist", Class::Fault),
            ("ThrottlingException", 400, "the vault is throttling", Class::Transient),
            ("KMSInternalException", 500, "the vault could not be reached", Class::Transient),
            ("Novelty", 503, "the vault could not be reached", Class::Transient),
            ("Novelty", 400, "the vault refused the request", Class::Fault),
        ] {
            let error = by_code(Some(code), status)("why".into());
            assert_eq!((error.to_string().as_str(), error.class()), (message, class), "{code}");
        }
    }

    #[test]
    fn its_debug_form_names_the_key_and_nothing_else() {
        let vault = KmsVault::at("http://127.0.0.1:1", "eu-central-1", "alias/a").unwrap();
        assert_eq!(format!("{vault:?}"), "KmsVault { key_id: \"alias/a\", .. }");
    }
}
