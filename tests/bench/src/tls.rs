//! TLS in front of the doubles, with an authority made for the occasion.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use keysteward_tests::Deployment;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority and a certificate of it for 127.0.0.1.
pub(crate) struct Authority {
    bundle: NamedTempFile,
    acceptor: TlsAcceptor,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let mut bundle = NamedTempFile::new()?;
        bundle.write_all(certificate.pem().as_bytes())?;
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate()?;
        let leaf =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { bundle, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The deployment's variables, leading to its doubles over TLS. Each connection takes `delay` more.
    pub(crate) async fn environment(
        &self,
        deployment: &Deployment,
        delay: Duration,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let mut environment = deployment.environment();
        for (name, value) in &mut environment {
            if name.starts_with("AWS_ENDPOINT_URL_") {
                let behind = value.strip_prefix("http://").context("a double speaks plainly")?;
                *value = self.front(behind.to_owned(), delay).await?;
            }
        }
        let bundle = self.bundle.path().to_str().context("a path that is a text")?;
        environment.push(("AWS_CA_BUNDLE".to_owned(), bundle.to_owned()));
        Ok(environment)
    }

    async fn front(&self, behind: String, delay: Duration) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(acceptor.clone(), stream, behind.clone(), delay));
            }
        });
        Ok(url)
    }
}

async fn pass_on(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    behind: String,
    delay: Duration,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    tokio::time::sleep(delay).await;
    let mut tls = acceptor.accept(stream).await?;
    let mut plain = TcpStream::connect(behind).await?;
    plain.set_nodelay(true)?;
    // Ends when either side does; there is nobody to tell.
    let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
    Ok(())
}
