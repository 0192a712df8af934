//! The two secrets of the bundle, as Secrets Manager keeps them.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValue, GetSecretValueError, GetSecretValueInput, GetSecretValueOutput,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::class::Class;
use crate::domain::secret::SecretToken;
use crate::domain::time::Timestamp;
use crate::fault::Fault;
use crate::runtime::aws::Aws;
use crate::runtime::log::chain;

/// `KEYSTEWARD_STRIPE_SECRET_ID`: what calls to Stripe and installations need.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct StripeSecret {
    /// The app's own key, live mode.
    pub api_key_live: Option<SecretToken>,
    /// The app's own key, test mode.
    pub api_key_test: Option<SecretToken>,
    /// `absec_…`, all that are valid.
    pub app_signing_secrets: Vec<SecretToken>,
    /// Signs the `state` of installations.
    pub state_key: SecretToken,
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret, it has no value yet, or it is marked for deletion.
    #[error("there is no such secret, or it has no value")]
    Missing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// We may not read it, or the key that encrypts it does not open it: the same tomorrow.
    #[error("a secret was refused by Secrets Manager")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Secrets Manager did not answer with it.
    #[error("could not read a secret from Secrets Manager")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not the JSON that is expected of it.
    #[error("a secret does not have the documented form")]
    Form,
}

impl SecretError {
    /// The class of the failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Read(_) => Class::Transient,
            Self::Missing(_) | Self::Refused(_) | Self::Form => Class::Fault,
        }
    }

    /// Under which name it is counted.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing(_) => Fault::SecretMissing,
            Self::Refused(_) | Self::Read(_) => Fault::SecretUnread,
            Self::Form => Fault::SecretMalformed,
        }
    }
}

impl StripeSecret {
    /// Reads `{api_key_live, api_key_test, app_signing_secrets[], state_key}`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let form: StripeForm = serde_json::from_str(text).map_err(|_| SecretError::Form)?;
        if form.state_key.0.expose().len() < 32 {
            return Err(SecretError::Form);
        }
        Ok(Self {
            api_key_live: form
                .api_key_live
                .map(|text| text.0)
                .filter(|key| !key.expose().is_empty()),
            api_key_test: form
                .api_key_test
                .map(|text| text.0)
                .filter(|key| !key.expose().is_empty()),
            app_signing_secrets: form.app_signing_secrets.into_iter().map(|text| text.0).collect(),
            state_key: form.state_key.0,
        })
    }

    /// Reads it from Secrets Manager.
    pub async fn fetch(aws: &Aws, id: &str) -> Result<Self, SecretError> {
        Self::parse(&fetch(aws, id).await?)
    }
}

/// Reads `{signing_secrets[]}` of `KEYSTEWARD_WEBHOOK_SECRET_ID`: `whsec_…`, at least one.
pub fn parse_webhook_secret(text: &str) -> Result<Vec<SecretToken>, SecretError> {
    let form: WebhookForm = serde_json::from_str(text).map_err(|_| SecretError::Form)?;
    let secrets: Vec<SecretToken> = form.signing_secrets.into_iter().map(|text| text.0).collect();
    if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().is_empty()) {
        return Err(SecretError::Form);
    }
    Ok(secrets)
}

/// Reads the webhook's signing secrets from Secrets Manager.
pub async fn fetch_webhook_secret(aws: &Aws, id: &str) -> Result<Vec<SecretToken>, SecretError> {
    parse_webhook_secret(&fetch(aws, id).await?)
}

/// The webhook's signing secrets, read again every five minutes, so that rolling one needs no deployment.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct SigningSecrets {
    source: Source,
    last: Mutex<Option<(Timestamp, Arc<[SecretToken]>)>>,
}

/// The signing secrets that are in use.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Reading {
    /// Each that a signature may be made with.
    pub secrets: Arc<[SecretToken]>,
    /// Why they could not be read again just now, so that these are the last that could.
    pub fault: Option<Fault>,
}

enum Source {
    Fixed(Arc<[SecretToken]>),
    SecretsManager { aws: Box<Aws>, id: String },
}

impl SigningSecrets {
    /// Secrets that are given once: the local bundle, tests.
    pub fn fixed(secrets: Vec<SecretToken>) -> Self {
        Self { source: Source::Fixed(secrets.into()), last: Mutex::new(None) }
    }

    /// Secrets that Secrets Manager keeps under `id`, read once now so that a cold start fails early.
    pub async fn from_secrets_manager(
        aws: Aws,
        id: String,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let first: Arc<[SecretToken]> = fetch_webhook_secret(&aws, &id).await?.into();
        let source = Source::SecretsManager { aws: Box::new(aws), id };
        Ok(Self { source, last: Mutex::new(Some((now, first))) })
    }

    /// The secrets that are valid now. When they cannot be read again the last ones stay in use.
    pub async fn current(&self, now: Timestamp) -> Result<Reading, SecretError> {
        let (aws, id) = match &self.source {
            Source::Fixed(secrets) => return Ok(Reading { secrets: secrets.clone(), fault: None }),
            Source::SecretsManager { aws, id } => (aws, id),
        };
        let last = self.last.lock().ok().and_then(|last| last.clone());
        if let Some((read_at, secrets)) = &last
            && now.since(*read_at) < READ_AGAIN
        {
            return Ok(Reading { secrets: secrets.clone(), fault: None });
        }
        // In a box: a call of the SDK takes kilobytes, and hardly ever is there one.
        let read = Box::pin(fetch_webhook_secret(aws, id)).await;
        let (secrets, fault): (Arc<[SecretToken]>, _) = match (read, last) {
            (Ok(secrets), _) => (secrets.into(), None),
            (Err(error), Some((_, secrets))) => {
                tracing::warn!(
                    error = chain(&error),
                    "the signing secrets could not be read again"
                );
                (secrets, Some(error.fault()))
            }
            (Err(error), None) => return Err(error),
        };
        if let Ok(mut last) = self.last.lock() {
            *last = Some((now, secrets.clone()));
        }
        Ok(Reading { secrets, fault })
    }
}

const READ_AGAIN: Duration = Duration::from_secs(300);

type Failure = SdkError<GetSecretValueError>;

/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors>
fn unread(error: Failure) -> SecretError {
    match error.code() {
        // The second is what a secret that is marked for deletion answers.
        Some("ResourceNotFoundException" | "InvalidRequestException") => {
            SecretError::Missing(Box::new(error))
        }
        Some("AccessDeniedException" | "DecryptionFailure" | "InvalidParameterException") => {
            SecretError::Refused(Box::new(error))
        }
        _ => SecretError::Read(Box::new(error)),
    }
}

async fn fetch(aws: &Aws, id: &str) -> Result<Zeroizing<String>, SecretError> {
    let asked = GetSecretValueInput::builder().secret_id(id).build();
    let asked = asked.map_err(|error| SecretError::Read(Box::new(error)))?;
    let answer = aws.secrets_manager().call(GetSecretValue::new(), asked).await;
    let answer: GetSecretValueOutput = answer.map_err(unread)?;
    answer.secret_string.map(Zeroizing::new).ok_or(SecretError::Form)
}

#[derive(Deserialize)]
struct StripeForm {
    api_key_live: Option<Text>,
    api_key_test: Option<Text>,
    #[serde(default)]
    app_signing_secrets: Vec<Text>,
    state_key: Text,
}

#[derive(Deserialize)]
struct WebhookForm {
    signing_secrets: Vec<Text>,
}

/// A text that goes straight into custody.
struct Text(SecretToken);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretToken::new(text)))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_another_form_is_refused_without_repeating_it() {
        for text in ["", "{}", r#"{"state_key":"short"}"#, r#"{"state_key":7}"#] {
            let Err(error) = StripeSecret::parse(text) else { panic!("accepted {text}") };
            assert_eq!(error.to_string(), "a secret does not have the documented form");
        }
        for text in ["", "{}", r#"{"signing_secrets":[]}"#, r#"{"signing_secrets":[""]}"#] {
            assert!(parse_webhook_secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_key_counts_as_absent() {
        let text = format!(r#"{{"api_key_live":"","state_key":"{}"}}"#, "k".repeat(32));
        let secret = StripeSecret::parse(&text).unwrap_or_else(|_| panic!("refused"));
        assert!(secret.api_key_live.is_none() && secret.api_key_test.is_none());
    }
}
