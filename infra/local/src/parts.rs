//! What each function is given, each its own, as each Lambda has its own process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::Policy;
use keysteward::domain::sealed::{Context, Wrapped};
use keysteward::domain::secret::SecretToken;
use keysteward::install::link::InstallLink;
use keysteward::install::{Install, Links};
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::clock::{Clock, draw};
use keysteward::runtime::secrets::SigningSecrets;
use keysteward::serve::Service;
use keysteward::steward::{OrderBook, Steward};
use keysteward::store::Store;
use keysteward::stripe::{self, AppKeys, Stripe};
use keysteward::vault::local::LocalVault;
use keysteward::vault::pair::{Bits, PrivateKey};
use keysteward::vault::{self, Keyring, Vault};

use crate::bundle::{StartError, WEBHOOK_SECRET};

/// What the functions are made from.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) vault: Arc<LocalVault>,
    pub(crate) stripe_url: String,
    pub(crate) app: fake_stripe::AppSpec,
    pub(crate) policy: Policy,
    pub(crate) shape: RequestShape,
    pub(crate) clock: Clock,
    pub(crate) url: String,
    pub(crate) after_install_url: Option<String>,
}

impl Parts {
    pub(crate) fn steward(&self) -> Result<Steward, StartError> {
        let stripe = Stripe::new(stripe::Options {
            api_base: self.stripe_url.clone(),
            stripe_version: self.shape.stripe_version.clone(),
            // No live key: a live account cannot even be asked for.
            keys: AppKeys { live: None, test: Some(secret(&self.app.api_key_test)) },
            max_rps: 1000,
            timeout: Duration::from_secs(5),
        });
        Ok(Steward {
            store: self.store.clone(),
            keyring: self.keyring(),
            stripe: stripe.map_err(StartError::part("make the client of fake Stripe"))?,
            policy: self.policy.clone(),
            shape: self.shape.clone(),
            app: self.app.id.clone(),
            clock: self.clock.clone(),
            draw,
            orders: OrderBook::default(),
        })
    }

    /// `path`: of the link at fake Stripe, which tells the form of the installation.
    pub(crate) fn install(&self, path: &str) -> Result<Install, StartError> {
        let link = InstallLink::parse(&format!("{}{path}", self.stripe_url))
            .map_err(StartError::part("read the install link"))?;
        Ok(Install {
            steward: self.steward()?,
            links: Links { live: None, test: Some(link) },
            callback_url: format!("{}/install/callback", self.url),
            after_install_url: self.after_install_url.clone(),
            signing_secrets: vec![secret(&self.app.signing_secret)],
            state_key: secret(STATE_KEY),
        })
    }

    pub(crate) fn webhook(&self) -> WebhookParts {
        WebhookParts {
            store: self.store.clone(),
            secrets: SigningSecrets::fixed(vec![secret(WEBHOOK_SECRET)]),
            clock: self.clock.clone(),
        }
    }

    pub(crate) fn keys(&self) -> Service {
        Service {
            store: self.store.clone(),
            keyring: self.keyring(),
            policy: self.policy.clone(),
            clock: self.clock.clone(),
        }
    }

    fn keyring(&self) -> Keyring {
        let vault = Box::new(SharedVault(self.vault.clone()));
        Keyring::new(vault, self.app.id.clone(), Bits::Rsa2048, Duration::from_secs(300))
    }
}

/// One vault behind several keyrings, as KMS is behind several functions.
#[derive(Debug)]
struct SharedVault(Arc<LocalVault>);

impl Vault for SharedVault {
    fn wrap<'a>(
        &'a self,
        context: &'a Context,
        private: &'a PrivateKey,
    ) -> Pin<Box<dyn Future<Output = Result<Wrapped, vault::Error>> + Send + 'a>> {
        self.0.wrap(context, private)
    }

    fn unwrap_key<'a>(
        &'a self,
        context: &'a Context,
        wrapped: &'a Wrapped,
    ) -> Pin<Box<dyn Future<Output = Result<PrivateKey, vault::Error>> + Send + 'a>> {
        self.0.unwrap_key(context, wrapped)
    }
}

fn secret(text: &str) -> SecretToken {
    SecretToken::new(text.to_owned())
}

/// Signs the `state` of installations on this machine; protects nothing beyond it.
const STATE_KEY: &str = "the state key of the local bundle";
