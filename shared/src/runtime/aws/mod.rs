//! The way to AWS: region, credentials, endpoints, roots of trust, time limits. One HTTP client for all.
//!
//! Reads what the Lambda runtime sets and what `AWS_ENDPOINT_URL…` and `AWS_CA_BUNDLE` ask for, and
//! refuses to guess the rest: profiles, instance metadata and web identity are `aws-config`'s business,
//! which costs a cold start time and a second root store.

mod calls;
mod connection;
mod endpoint;
mod finder;
mod in_process;
mod roots;
mod settings;

use std::fmt;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_types::SdkConfig;

pub(crate) use self::calls::Calls;
use self::connection::{connector, shared};
pub(crate) use self::endpoint::Service;
pub use self::finder::{Finder, Found};
pub use self::settings::AwsSettingsError;
use self::settings::checked;
use crate::http::InProcess;

/// Everything that the clients of AWS services share. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Aws {
    shared: SdkConfig,
    connector: SharedHttpConnector,
    dynamodb: Option<String>,
    kms: Option<String>,
    secrets_manager: Option<String>,
}

impl Aws {
    /// The way to emulators at one plain `http` endpoint: made-up credentials, region `us-east-1`, no
    /// root of trust at all, so that nothing reached this way can be taken for AWS.
    pub fn local(endpoint: &str) -> Result<Self, AwsSettingsError> {
        Self::local_as(endpoint, "us-east-1")
    }

    /// As [`Aws::local`], with signatures for another region.
    pub fn local_as(endpoint: &str, region: &str) -> Result<Self, AwsSettingsError> {
        let endpoint = checked("the local endpoint", endpoint.to_owned())?;
        Ok(Self::made_up(connector(TrustStore::empty())?, endpoint, region))
    }

    /// The way to an emulator within this process. Nothing reached this way can be taken for AWS either.
    pub fn within(emulator: InProcess) -> Self {
        Self::made_up(in_process::connector(emulator), "http://localhost".to_owned(), "us-east-1")
    }

    fn made_up(connector: SharedHttpConnector, endpoint: String, region: &str) -> Self {
        let credentials = Credentials::new("local", "local", None, None, "local");
        let credentials = SharedCredentialsProvider::new(credentials);
        let shared = shared(region.to_owned(), credentials, &connector, Some(endpoint));
        Self { shared, connector, dynamodb: None, kms: None, secrets_manager: None }
    }

    /// The way to call DynamoDB by single operations.
    pub(crate) fn table(&self) -> Calls {
        Calls::new(self, Service::DynamoDb)
    }

    /// The way to call KMS.
    pub(crate) fn kms(&self) -> Calls {
        Calls::new(self, Service::Kms)
    }

    /// The way to call Secrets Manager.
    pub(crate) fn secrets_manager(&self) -> Calls {
        Calls::new(self, Service::SecretsManager)
    }

    /// A client of DynamoDB.
    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.shared);
        if self.dynamodb.is_some() {
            config.set_endpoint_url(self.dynamodb.clone());
        }
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }
}

impl fmt::Debug for Aws {
    /// Says where, never with which credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("region", &self.shared.region())
            .field("endpoint", &self.shared.endpoint_url())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::settings::tests::settings;
    use super::*;

    #[test]
    fn credentials_are_not_in_a_debug_text() {
        let text = format!("{:?}", Aws::from_settings(settings(&[])).unwrap());
        assert!(text.contains("eu-central-1"));
        assert!(!text.contains("secret") && !text.contains("AKID"), "{text}");
    }
}
