//! What a command is made of, each part made when it is first needed: who only looks at the table needs no
//! key of Stripe's.

use std::sync::Arc;

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials as _;
use keysteward::runtime::assemble;
use keysteward::runtime::aws::{Aws, Finder, Found};
use keysteward::runtime::clock::Clock;
use keysteward::runtime::settings::Settings;
use keysteward::steward::Steward;
use keysteward::store::Store;
use zeroize::Zeroizing;

/// Reads one variable.
pub type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

pub(crate) struct Parts {
    lookup: Lookup,
    clock: Clock,
    aws: Option<Aws>,
}

impl Parts {
    pub(crate) fn new(lookup: Lookup, clock: Clock) -> Self {
        Self { lookup, clock, aws: None }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn lookup(&self) -> &dyn Fn(&str) -> Option<String> {
        &self.lookup
    }

    pub(crate) fn settings(&self) -> Settings<'_> {
        Settings::new(&self.lookup)
    }

    /// The way to AWS: with the credentials of the environment as the functions have them, or with those
    /// that a profile, single sign-on or the machine has.
    pub(crate) async fn aws(&mut self) -> anyhow::Result<Aws> {
        if let Some(aws) = &self.aws {
            return Ok(aws.clone());
        }
        let is_given = (self.lookup)("AWS_ACCESS_KEY_ID").is_some_and(|id| !id.is_empty());
        let aws = if is_given {
            Aws::from_settings(&self.lookup)?
        } else {
            let (region, finder) = of_this_machine().await?;
            let lookup = |name: &str| {
                let given = (self.lookup)(name).filter(|value| !value.is_empty());
                given.or_else(|| if name == "AWS_REGION" { region.clone() } else { None })
            };
            Aws::with_finder(lookup, finder)?
        };
        self.aws = Some(aws.clone());
        Ok(aws)
    }

    /// The table.
    pub(crate) async fn store(&mut self) -> anyhow::Result<Store> {
        let table = self.settings().required("KEYSTEWARD_TABLE")?;
        Ok(Store::new(&self.aws().await?, table))
    }

    /// Everything that changes keys.
    pub(crate) async fn steward(&mut self) -> anyhow::Result<Steward> {
        let aws = self.aws().await?;
        let mut steward = assemble::steward_on(&self.lookup, &aws).await?;
        steward.clock = self.clock.clone();
        Ok(steward)
    }
}

/// What `~/.aws`, single sign-on, a process or the machine's role gives: the region and the credentials.
async fn of_this_machine() -> anyhow::Result<(Option<String>, Finder)> {
    let found = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let region = found.region().map(|region| region.as_ref().to_owned());
    let provider = found.credentials_provider().context("there are no credentials of AWS")?;
    let finder: Finder = Arc::new(move || {
        let provider = provider.clone();
        Box::pin(async move {
            let found = provider.provide_credentials().await?;
            Ok(Found {
                access_key_id: found.access_key_id().to_owned(),
                secret_access_key: Zeroizing::new(found.secret_access_key().to_owned()),
                session_token: found.session_token().map(|token| Zeroizing::new(token.to_owned())),
                expires_at: found.expiry(),
            })
        })
    });
    Ok((region, finder))
}
