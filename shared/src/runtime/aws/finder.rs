//! Credentials that are found outside: in a profile, by single sign-on.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

/// Credentials, and until when they are good.
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct Found {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: Zeroizing<String>,
    /// `AWS_SESSION_TOKEN`
    pub session_token: Option<Zeroizing<String>>,
    /// When they run out; `None`: never.
    pub expires_at: Option<SystemTime>,
}

/// Finds credentials: in a profile, by single sign-on, wherever its maker looks.
pub type Finder =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Found, Box<dyn Error + Send + Sync>>> + Send + Sync>;

pub(super) struct Finding(pub(super) Finder);

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finding")
    }
}

impl ProvideCredentials for Finding {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let found = (self.0)().await.map_err(CredentialsError::provider_error)?;
            Ok(Credentials::new(
                found.access_key_id,
                found.secret_access_key.as_str(),
                found.session_token.map(|token| token.as_str().to_owned()),
                found.expires_at,
                "finder",
            ))
        })
    }
}
