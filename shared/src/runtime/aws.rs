//! The way to AWS: region, credentials, endpoints, roots of trust, time limits. One HTTP client for all.
//!
//! Reads what the Lambda runtime sets and what `AWS_ENDPOINT_URL…` and `AWS_CA_BUNDLE` ask for, and
//! refuses to guess the rest: profiles, instance metadata and web identity are `aws-config`'s business,
//! which costs a cold start time and a second root store.

mod calls;
mod finder;
mod in_process;
mod roots;

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use aws_credential_types::Credentials;
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
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

pub(crate) use self::calls::Calls;
use self::finder::Finding;
pub use self::finder::{Finder, Found};
use crate::class::Class;
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

/// A service that is called, or to which a connection is opened before it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The table.
    DynamoDb,
    /// The key that wraps private keys.
    Kms,
    /// The two secrets of the bundle.
    SecretsManager,
}

impl Service {
    /// As it stands in host names, and in the scope of a signature.
    fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Kms => "kms",
            Self::SecretsManager => "secretsmanager",
        }
    }
}

/// Why the settings do not lead to AWS. Names the variable, never its value.
#[derive(Debug, thiserror::Error)]
pub enum AwsSettingsError {
    /// A variable that the Lambda runtime always sets is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// An endpoint is not an absolute `http` or `https` URL.
    #[error("{0} is not an http or https URL")]
    Endpoint(&'static str),
    /// The file that `AWS_CA_BUNDLE` names cannot be read.
    #[error("the file that AWS_CA_BUNDLE names cannot be read")]
    CaBundleUnreadable(#[source] io::Error),
    /// The file that `AWS_CA_BUNDLE` names holds no certificate, or one that is no certificate.
    #[error("the file that AWS_CA_BUNDLE names is not a PEM file of certificates")]
    CaBundleInvalid,
    /// The SDK refuses its own TLS settings.
    #[error("the TLS settings are refused")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
}

impl AwsSettingsError {
    /// What kind of failure this is: a program that starts with wrong settings needs its operator.
    pub fn class(&self) -> Class {
        match self {
            Self::Missing(_)
            | Self::Endpoint(_)
            | Self::CaBundleUnreadable(_)
            | Self::CaBundleInvalid
            | Self::Tls(_) => Class::Fault,
        }
    }
}

impl Aws {
    /// Reads the settings through `lookup`, usually the environment. An empty value counts as unset.
    ///
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`; `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where
    /// there is one, `AWS_SESSION_TOKEN`; `AWS_ENDPOINT_URL` for all services and
    /// `AWS_ENDPOINT_URL_DYNAMODB`, `…_KMS`, `…_SECRETS_MANAGER` before it for one; `AWS_CA_BUNDLE`, a
    /// PEM file whose certificates are trusted besides the compiled-in roots.
    ///
    /// The credentials are read once: Lambda ends a sandbox before those it gave it run out.
    pub fn from_settings(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AwsSettingsError> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let required = |name| set(name).ok_or(AwsSettingsError::Missing(name));
        region(&set)?;
        let credentials = Credentials::new(
            required("AWS_ACCESS_KEY_ID")?,
            required("AWS_SECRET_ACCESS_KEY")?,
            set("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        Self::reached_with(&lookup, SharedCredentialsProvider::new(credentials))
    }

    /// As [`Aws::from_settings`], with credentials that `finder` has: it is asked again when those that it
    /// gave run out. For the operator's command, which outlives them while it watches.
    pub fn with_finder(
        lookup: impl Fn(&str) -> Option<String>,
        finder: Finder,
    ) -> Result<Self, AwsSettingsError> {
        Self::reached_with(&lookup, SharedCredentialsProvider::new(Finding(finder)))
    }

    fn reached_with(
        lookup: &dyn Fn(&str) -> Option<String>,
        credentials: SharedCredentialsProvider,
    ) -> Result<Self, AwsSettingsError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let endpoint = |name| lookup(name).map(|url| checked(name, url)).transpose();
        let region = region(&lookup)?;
        let mut roots = TrustStore::empty().with_pem_certificate(roots::compiled_in(&region));
        if let Some(path) = lookup("AWS_CA_BUNDLE") {
            let pem = std::fs::read(path).map_err(AwsSettingsError::CaBundleUnreadable)?;
            check_bundle(&pem)?;
            roots.add_pem_certificate(pem);
        }
        let connector = connector(roots)?;
        let shared = shared(region, credentials, &connector, endpoint("AWS_ENDPOINT_URL")?);
        Ok(Self {
            shared,
            connector,
            dynamodb: endpoint("AWS_ENDPOINT_URL_DYNAMODB")?,
            kms: endpoint("AWS_ENDPOINT_URL_KMS")?,
            secrets_manager: endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
        })
    }

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

    /// Where a service is, as the SDK would find it.
    fn address(&self, service: Service) -> String {
        let own = match service {
            Service::DynamoDb => &self.dynamodb,
            Service::Kms => &self.kms,
            Service::SecretsManager => &self.secrets_manager,
        };
        if let Some(endpoint) = own.as_deref().or(self.shared.endpoint_url()) {
            return endpoint.to_owned();
        }
        let region = self.shared.region().map_or("", Region::as_ref);
        let other = SUFFIXES.iter().find(|(prefix, _)| region.starts_with(prefix));
        let suffix = other.map_or("amazonaws.com", |(_, suffix)| suffix);
        format!("https://{}.{region}.{suffix}", service.name())
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

fn region(lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, AwsSettingsError> {
    lookup("AWS_REGION")
        .or_else(|| lookup("AWS_DEFAULT_REGION"))
        .ok_or(AwsSettingsError::Missing("AWS_REGION"))
}

/// One connector for all clients and the settings of their calls. The SDK's own way to share one parses
/// the roots once more for each client that is made, and then again for the first call.
fn connector(roots: TrustStore) -> Result<SharedHttpConnector, AwsSettingsError> {
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

fn shared(
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

/// Parses the bundle the way the SDK's HTTP client will: that one panics on what it cannot parse.
fn check_bundle(pem: &[u8]) -> Result<(), AwsSettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| AwsSettingsError::CaBundleInvalid)?;
        roots.add(certificate).map_err(|_| AwsSettingsError::CaBundleInvalid)?;
    }
    if roots.is_empty() { Err(AwsSettingsError::CaBundleInvalid) } else { Ok(()) }
}

fn checked(name: &'static str, url: String) -> Result<String, AwsSettingsError> {
    let is_http = Url::parse(&url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_http { Ok(url) } else { Err(AwsSettingsError::Endpoint(name)) }
}

/// A connection within AWS takes milliseconds; one that takes seconds is better tried elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A start waits no longer for a connection that it could do without.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// How host names end in the partitions that are not the public one, by how their regions begin.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];
/// Three attempts and their pauses stay below the webhook's patience and a function's time limit.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// The SDK's standard: one call and two repeats, behind its own token bucket.
const ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::error::SdkError;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn settings(more: &[(&'static str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
        let mut map: HashMap<&str, String> = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "very-secret"),
            ("AWS_SESSION_TOKEN", "also-secret"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        map.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        move |name| map.get(name).cloned()
    }

    #[test]
    fn a_missing_setting_is_refused_by_name() {
        for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            let refused = Aws::from_settings(settings(&[(name, "")])).unwrap_err();
            assert_eq!(refused.to_string(), format!("{name} is not set"));
            assert_eq!(refused.class(), Class::Fault);
        }
        let default_region = settings(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-west-1")]);
        assert!(Aws::from_settings(default_region).is_ok());
    }

    #[test]
    fn an_endpoint_of_one_service_goes_before_that_of_all() {
        let aws = Aws::from_settings(settings(&[
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:2"),
        ]))
        .unwrap();
        assert_eq!(aws.shared.endpoint_url(), Some("http://127.0.0.1:1"));
        assert_eq!(aws.kms.as_deref(), Some("http://127.0.0.1:2"));
        assert_eq!(aws.dynamodb, None);
        let refused = Aws::from_settings(settings(&[("AWS_ENDPOINT_URL_DYNAMODB", "127.0.0.1")]));
        assert!(matches!(refused, Err(AwsSettingsError::Endpoint("AWS_ENDPOINT_URL_DYNAMODB"))));
    }

    #[test]
    fn a_bundle_that_would_make_the_http_client_panic_is_refused_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let load = || {
            Aws::from_settings(settings(&[("AWS_CA_BUNDLE", path.to_str().unwrap())])).map(|_| ())
        };
        assert!(matches!(load(), Err(AwsSettingsError::CaBundleUnreadable(_))));
        for bad in [
            "",
            "not a certificate",
            "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(load(), Err(AwsSettingsError::CaBundleInvalid)), "{bad}");
        }
        let good = STANDARD.encode(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{good}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        assert!(load().is_ok());
    }

    #[tokio::test]
    async fn a_service_is_where_its_sdk_finds_it_in_every_partition() {
        for region in [
            "eu-central-1",
            "us-gov-west-1",
            "cn-north-1",
            "eusc-de-east-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "us-isof-south-1",
        ] {
            let aws = Aws::from_settings(settings(&[("AWS_REGION", region)])).unwrap();
            macro_rules! found {
                ($sdk:ident) => {{
                    use $sdk::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
                    let params = Params::builder().region(region.to_owned()).build().unwrap();
                    let found = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
                    found.url().to_owned()
                }};
            }
            assert_eq!(aws.address(Service::DynamoDb), found!(aws_sdk_dynamodb));
            assert_eq!(aws.address(Service::Kms), found!(aws_sdk_kms));
            assert_eq!(aws.address(Service::SecretsManager), found!(aws_sdk_secretsmanager));
        }
        let own = settings(&[
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:2/"),
        ]);
        let aws = Aws::from_settings(own).unwrap();
        assert_eq!(aws.address(Service::DynamoDb), "http://127.0.0.1:1");
        assert_eq!(aws.address(Service::Kms), "http://127.0.0.1:2/");
    }

    #[tokio::test]
    async fn a_client_with_all_roots_comes_as_far_as_the_connection() {
        let nowhere = settings(&[("AWS_ENDPOINT_URL", "https://127.0.0.1:1")]);
        let dynamodb = Aws::from_settings(nowhere).unwrap().dynamodb();
        let failed = dynamodb.list_tables().send().await.unwrap_err();
        assert!(matches!(failed, SdkError::DispatchFailure(_)), "{failed:?}");
    }

    #[test]
    fn credentials_are_not_in_a_debug_text() {
        let text = format!("{:?}", Aws::from_settings(settings(&[])).unwrap());
        assert!(text.contains("eu-central-1"));
        assert!(!text.contains("secret") && !text.contains("AKID"), "{text}");
    }
}
