//! What the environment says about the way to AWS.

use std::error::Error;
use std::io;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::TrustStore;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use super::connection::{connector, shared};
use super::finder::{Finder, Finding};
use super::{Aws, roots};
use crate::class::Class;

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
}

fn region(lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, AwsSettingsError> {
    lookup("AWS_REGION")
        .or_else(|| lookup("AWS_DEFAULT_REGION"))
        .ok_or(AwsSettingsError::Missing("AWS_REGION"))
}

/// Parses the bundle the way the SDK's HTTP client will: that one panics on what it cannot parse.
pub(super) fn check_bundle(pem: &[u8]) -> Result<(), AwsSettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| AwsSettingsError::CaBundleInvalid)?;
        roots.add(certificate).map_err(|_| AwsSettingsError::CaBundleInvalid)?;
    }
    if roots.is_empty() { Err(AwsSettingsError::CaBundleInvalid) } else { Ok(()) }
}

pub(super) fn checked(name: &'static str, url: String) -> Result<String, AwsSettingsError> {
    let is_http = Url::parse(&url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_http { Ok(url) } else { Err(AwsSettingsError::Endpoint(name)) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::error::SdkError;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(in crate::runtime::aws) fn settings(
        more: &[(&'static str, &str)],
    ) -> impl Fn(&str) -> Option<String> + use<> {
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
    async fn a_client_with_all_roots_comes_as_far_as_the_connection() {
        let nowhere = settings(&[("AWS_ENDPOINT_URL", "https://127.0.0.1:1")]);
        let dynamodb = Aws::from_settings(nowhere).unwrap().dynamodb();
        let failed = dynamodb.list_tables().send().await.unwrap_err();
        assert!(matches!(failed, SdkError::DispatchFailure(_)), "{failed:?}");
    }
}
