//! Putting the parts together from the environment, once per process.

use std::time::Duration;

use crate::class::Class;
use crate::domain::secret::SecretToken;
use crate::fault::Fault;
use crate::install::link::{InstallLink, web_address};
use crate::install::{Install, Links};
use crate::runtime::aws::{self, Aws, AwsSettingsError};
use crate::runtime::clock::{Clock, draw};
use crate::runtime::metrics::{Line, Tally};
use crate::runtime::secrets::{SecretError, SigningSecrets, StripeSecret};
use crate::runtime::settings::{Settings, SettingsError};
use crate::serve::Service;
use crate::steward::{OrderBook, Steward};
use crate::store::Store;
use crate::stripe::{self, AppKeys, Stripe};
use crate::vault::Keyring;
use crate::vault::kms::KmsVault;

/// Why a function does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing or refused.
    #[error("a setting is missing or refused")]
    Settings(#[from] SettingsError),
    /// The AWS settings do not hold.
    #[error("the AWS settings do not hold")]
    Aws(#[from] AwsSettingsError),
    /// A secret could not be read.
    #[error("a secret could not be read")]
    Secret(#[from] SecretError),
    /// The client for Stripe could not be made.
    #[error("the client for Stripe could not be made")]
    Stripe(#[from] stripe::Error),
}

impl StartError {
    /// Under which name it is counted.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Settings(_) | Self::Aws(_) | Self::Stripe(_) => Fault::Setting,
            Self::Secret(error) => error.fault(),
        }
    }

    /// What a function that does not start says in metrics.
    pub fn line(&self) -> Line {
        let mut line = Line::default();
        line.fault(Some(self.fault()));
        line
    }

    /// The class of the failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Settings(_) => Class::Fault,
            Self::Aws(error) => error.class(),
            Self::Secret(error) => error.class(),
            Self::Stripe(error) => error.class(),
        }
    }

    /// How Lambda is told what failed: the error's type.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settings(_) => "SettingsRefused",
            Self::Aws(_) => "AwsSettingsRefused",
            Self::Secret(_) => "SecretUnreadable",
            Self::Stripe(_) => "StripeClientRefused",
        }
    }
}

/// What `webhook` is made of: it can put event rows and nothing else.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct WebhookParts {
    /// The table.
    pub store: Store,
    /// The signing secrets.
    pub secrets: SigningSecrets,
    /// What time it is.
    pub clock: Clock,
}

/// Assembles what `webhook` needs.
pub async fn webhook(lookup: &dyn Fn(&str) -> Option<String>) -> Result<WebhookParts, StartError> {
    let settings = Settings::new(lookup);
    let aws = Aws::from_settings(lookup)?;
    let clock = Clock::system();
    let id = settings.required("KEYSTEWARD_WEBHOOK_SECRET_ID")?;
    let store = Store::for_events(&aws, settings.required("KEYSTEWARD_TABLE")?);
    let (secrets, ()) = tokio::join!(
        SigningSecrets::from_secrets_manager(aws.clone(), id, clock.now()),
        aws.connect(aws::Service::DynamoDb),
    );
    Ok(WebhookParts { store, secrets: secrets?, clock })
}

/// Assembles what `keys` needs.
pub async fn keys(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Service, StartError> {
    let settings = Settings::new(lookup);
    let aws = Aws::from_settings(lookup)?;
    let service = Service {
        store: Store::new(&aws, settings.required("KEYSTEWARD_TABLE")?),
        keyring: keyring(&settings, &aws)?,
        policy: settings.policy()?,
        clock: Clock::system(),
    };
    tokio::join!(aws.connect(aws::Service::DynamoDb), aws.connect(aws::Service::Kms));
    Ok(service)
}

/// Assembles what `lifecycle` and `rotate` need.
pub async fn steward(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Steward, StartError> {
    Ok(steward_and_rest(lookup, &Aws::from_settings(lookup)?).await?.0)
}

/// As [`steward`], for who reaches AWS in a way of their own: the operator's command.
pub async fn steward_on(
    lookup: &dyn Fn(&str) -> Option<String>,
    aws: &Aws,
) -> Result<Steward, StartError> {
    Ok(steward_and_rest(lookup, aws).await?.0)
}

/// The vault alone, as every function that opens keys has it.
pub fn keyring_on(
    lookup: &dyn Fn(&str) -> Option<String>,
    aws: &Aws,
) -> Result<Keyring, StartError> {
    keyring(&Settings::new(lookup), aws)
}

/// The client for Stripe alone.
pub fn stripe_of(
    lookup: &dyn Fn(&str) -> Option<String>,
    keys: AppKeys,
) -> Result<Stripe, StartError> {
    stripe_with(&Settings::new(lookup), keys)
}

/// Assembles what `install` needs.
pub async fn install(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Install, StartError> {
    let settings = Settings::new(lookup);
    let links = Links {
        live: link(&settings, "KEYSTEWARD_INSTALL_URL_LIVE")?,
        test: link(&settings, "KEYSTEWARD_INSTALL_URL_TEST")?,
    };
    if links.live.is_none() && links.test.is_none() {
        return Err(SettingsError::Missing("KEYSTEWARD_INSTALL_URL_LIVE").into());
    }
    let base = address(&settings, "KEYSTEWARD_ENDPOINT_URL")?
        .ok_or(SettingsError::Missing("KEYSTEWARD_ENDPOINT_URL"))?;
    let after_install_url = address(&settings, "KEYSTEWARD_AFTER_INSTALL_URL")?;
    let (steward, signing_secrets, state_key) =
        steward_and_rest(lookup, &Aws::from_settings(lookup)?).await?;
    Ok(Install {
        steward,
        links,
        callback_url: format!("{}/install/callback", base.trim_end_matches('/')),
        after_install_url,
        signing_secrets,
        state_key,
    })
}

async fn steward_and_rest(
    lookup: &dyn Fn(&str) -> Option<String>,
    aws: &Aws,
) -> Result<(Steward, Vec<SecretToken>, SecretToken), StartError> {
    let settings = Settings::new(lookup);
    let policy = settings.policy()?;
    let shape = settings.request_shape()?;
    let id = settings.required("KEYSTEWARD_STRIPE_SECRET_ID")?;
    let table = settings.required("KEYSTEWARD_TABLE")?;
    let keyring = keyring(&settings, aws)?;
    let app = settings.required("KEYSTEWARD_APP_ID")?;
    settings.max_stripe_rps()?;
    // What is wrong with a setting is said before anything is waited for. KMS is not greeted: a run that
    // needs no key pair does not call it.
    let (secret, ()) =
        tokio::join!(StripeSecret::fetch(aws, &id), aws.connect(aws::Service::DynamoDb));
    let secret = secret?;
    let keys = AppKeys { live: secret.api_key_live, test: secret.api_key_test };
    let steward = Steward {
        store: Store::new(aws, table),
        keyring,
        stripe: stripe_with(&settings, keys)?,
        policy,
        shape,
        app,
        breaker: std::sync::Mutex::default(),
        clock: Clock::system(),
        draw,
        orders: OrderBook::default(),
        tally: Tally::default(),
    };
    Ok((steward, secret.app_signing_secrets, secret.state_key))
}

fn stripe_with(settings: &Settings<'_>, keys: AppKeys) -> Result<Stripe, StartError> {
    Ok(Stripe::new(stripe::Options {
        api_base: settings.stripe_api_base(),
        stripe_version: settings.request_shape()?.stripe_version,
        keys,
        max_rps: settings.max_stripe_rps()?,
        timeout: STRIPE_TIMEOUT,
    })?)
}

fn keyring(settings: &Settings<'_>, aws: &Aws) -> Result<Keyring, StartError> {
    let vault = KmsVault::new(aws, settings.required("KEYSTEWARD_KMS_KEY_ID")?);
    let app = settings.required("KEYSTEWARD_APP_ID")?;
    let cache = settings.private_key_cache()?;
    Ok(Keyring::new(Box::new(vault), app, settings.rsa_bits()?, cache))
}

fn link(settings: &Settings<'_>, name: &'static str) -> Result<Option<InstallLink>, StartError> {
    let Some(text) = settings.optional(name) else { return Ok(None) };
    let link = InstallLink::parse(&text);
    Ok(Some(link.map_err(|_| SettingsError::Invalid(name, "an absolute https link"))?))
}

fn address(settings: &Settings<'_>, name: &'static str) -> Result<Option<String>, StartError> {
    let Some(text) = settings.optional(name) else { return Ok(None) };
    let url = web_address(&text);
    let url = url.map_err(|_| SettingsError::Invalid(name, "an absolute https address"))?;
    // As a header holds it: what is not ASCII is encoded.
    Ok(Some(url.into()))
}

/// The longest step is retiring: probe, expire, probe, each tried three times, is over within the lease.
const STRIPE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_a_header_can_hold_it() {
        for (given, kept) in [
            ("https://app.example/zur\u{fc}ck?a=b", "https://app.example/zur%C3%BCck?a=b"),
            ("https://app.example/welcome", "https://app.example/welcome"),
        ] {
            let lookup = |_: &str| Some(given.to_owned());
            let address = address(&Settings::new(&lookup), "KEYSTEWARD_AFTER_INSTALL_URL").unwrap();
            assert_eq!(address.as_deref(), Some(kept));
        }
        let lookup = |_: &str| Some("app.example".to_owned());
        assert!(address(&Settings::new(&lookup), "KEYSTEWARD_AFTER_INSTALL_URL").is_err());
    }
}
