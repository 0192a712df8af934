//! One HTTP client for all services, its time limits, and connections that are opened before they are needed.

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector as _, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use aws_types::SdkConfig;

use super::settings::AwsSettingsError;
use super::{Aws, Service};

impl Aws {
    /// Opens a connection to a service and leaves it for the first call, which then costs no handshake.
    ///
    /// Asks for `/ping`, unsigned, and looks at no answer: one that fails or takes longer than
    /// [`GREETING_TIMEOUT`] is no loss but the connection.
    pub(crate) async fn connect(&self, service: Service) {
        let url = format!("{}/ping", self.address(service).trim_end_matches('/'));
        let Ok(request) = HttpRequest::get(url) else { return };
        let greeting = async {
            if let Ok(answer) = self.connector.call(request).await {
                // Read to its end, so that the connection is free again.
                let _ = ByteStream::new(answer.into_body()).collect().await;
            }
        };
        let _ = tokio::time::timeout(GREETING_TIMEOUT, greeting).await;
    }
}

/// One connector for all clients and the settings of their calls. The SDK's own way to share one parses
/// the roots once more for each client that is made, and then again for the first call.
pub(super) fn connector(roots: TrustStore) -> Result<SharedHttpConnector, AwsSettingsError> {
    let tls = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .map_err(|refused| AwsSettingsError::Tls(Box::new(refused)))?;
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    Ok(SharedHttpConnector::new(
        Connector::builder()
            .connector_settings(settings)
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build(),
    ))
}

pub(super) fn shared(
    region: String,
    credentials: SharedCredentialsProvider,
    connector: &SharedHttpConnector,
    endpoint: Option<String>,
) -> SdkConfig {
    let connector = connector.clone();
    let http = http_client_fn(move |_, _| connector.clone());
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(credentials)
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts);
    config.set_endpoint_url(endpoint);
    config.build()
}

/// A connection within AWS takes milliseconds; one that takes seconds is better tried elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A start waits no longer for a connection that it could do without.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// Three attempts and their pauses stay below the webhook's patience and a function's time limit.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// The SDK's standard: one call and two repeats, behind its own token bucket.
const ATTEMPTS: u32 = 3;
