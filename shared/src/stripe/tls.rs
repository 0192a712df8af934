//! How connections to Stripe are made: compiled-in roots, aws-lc, nothing from the environment.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};

use super::error::Misconfigured;

/// Builds the HTTP client.
///
/// No redirects, since they would carry the key along; no proxy from the environment, since it would see the
/// calls in the clear; no retries of its own, since `retry` counts attempts.
pub(super) fn http_client(timeout: Duration) -> Result<reqwest::Client, Misconfigured> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // reqwest leaves a configuration that it is given as it is, ALPN included.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("keysteward/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout.min(LONGEST_CONNECT))
        .pool_idle_timeout(LONGEST_IDLE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()
        .map_err(|error| refused(error.without_url()))
}

fn refused(error: impl StdError + Send + Sync + 'static) -> Misconfigured {
    Misconfigured::Client(Box::new(error))
}

/// A connection takes milliseconds or does not come about, and that is known not to have reached Stripe.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// A frozen Lambda does not see the other side close; an old connection is likelier dead than alive.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
