//! The bundle as it is deployed: everything around the functions, and the variables that lead them there.
//! Unlike a `World` it lives by the machine's clock, as the binaries do.

use anyhow::{Context as _, ensure};
use fake_stripe::{AccountSpec, AppSpec, Deliver, Destination, FakeStripe, Payload};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::AccountRef;
use keysteward::runtime::clock::Clock;
use keysteward::webhook::payload::{self, Parsed};
use keysteward::webhook::signature;
use serde_json::{Value, json};

use crate::function::{Function, HttpAnswer, Name, binary};
use crate::kms_double::KmsDouble;
use crate::secrets_double::SecretsDouble;
use crate::table::{self, Table};
use crate::world::WEBHOOK_SECRET;
use crate::{events, marketplace};

/// One deployment, with nothing installed.
#[derive(Debug)]
pub struct Deployment {
    /// Stripe.
    pub stripe: FakeStripe,
    /// The table.
    pub table: Table,
    /// KMS.
    pub kms: KmsDouble,
    /// Secrets Manager.
    pub secrets: SecretsDouble,
    environment: Vec<(String, String)>,
}

impl Deployment {
    /// Starts everything that is not a function.
    pub async fn start() -> anyhow::Result<Self> {
        let stripe = FakeStripe::start(fake_stripe::Options {
            destinations: vec![destination(Payload::Thin), destination(Payload::Snapshot)],
            deliver: Deliver::Manual,
            ..fake_stripe::Options::default()
        })
        .await?;
        let table = Table::start().await?;
        let (kms, table_url) = (KmsDouble::start().await?, table.listen().await?);
        let secrets = SecretsDouble::start().await?;
        let app = AppSpec::default();
        secrets.put(
            STRIPE_SECRET_ID,
            &json!({
                "api_key_live": app.api_key_live,
                "api_key_test": app.api_key_test,
                "app_signing_secrets": [app.signing_secret],
                "state_key": STATE_KEY,
            })
            .to_string(),
        );
        secrets.put(WEBHOOK_SECRET_ID, &json!({ "signing_secrets": [WEBHOOK_SECRET] }).to_string());
        let link = |suffix| format!("{}/apps/install/link/keysteward{suffix}", stripe.url());
        let environment = [
            ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
            ("AWS_ENDPOINT_URL_KMS", kms.url().to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.url().to_owned()),
            ("KEYSTEWARD_APP_ID", app.id),
            ("KEYSTEWARD_ENDPOINT_URL", "http://127.0.0.1:9".to_owned()),
            ("KEYSTEWARD_INSTALL_URL_LIVE", link("")),
            ("KEYSTEWARD_INSTALL_URL_TEST", link("_test")),
            ("KEYSTEWARD_KMS_KEY_ID", KmsDouble::KEY_ID.to_owned()),
            ("KEYSTEWARD_STRIPE_API_BASE", stripe.url()),
            ("KEYSTEWARD_STRIPE_SECRET_ID", STRIPE_SECRET_ID.to_owned()),
            ("KEYSTEWARD_TABLE", table::NAME.to_owned()),
            ("KEYSTEWARD_WEBHOOK_SECRET_ID", WEBHOOK_SECRET_ID.to_owned()),
        ];
        let environment =
            environment.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        Ok(Self { stripe, table, kms, secrets, environment })
    }

    /// The variables of the functions. Each reads those it needs.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// The same with one more variable or another value; an empty one counts as unset.
    pub fn environment_with(&self, name: &str, value: &str) -> Vec<(String, String)> {
        let mut environment = self.environment();
        environment.retain(|(known, _)| known != name);
        environment.push((name.to_owned(), value.to_owned()));
        environment
    }

    /// Starts a function and waits until it asks for work.
    pub async fn function(&self, name: Name) -> anyhow::Result<Function> {
        self.function_with(name, &self.environment()).await
    }

    /// The same with other variables.
    pub async fn function_with(
        &self,
        name: Name,
        environment: &[(String, String)],
    ) -> anyhow::Result<Function> {
        let mut function = self.begin(name, environment).await?;
        function.ready().await?;
        Ok(function)
    }

    /// Starts a function and does not wait.
    pub async fn begin(
        &self,
        name: Name,
        environment: &[(String, String)],
    ) -> anyhow::Result<Function> {
        Function::spawn(&binary(name)?, environment, name.time_limit()).await
    }

    /// Installs the app through the `install` function as a person with a browser would; answers the
    /// page that they see last.
    pub async fn install_app(
        &self,
        install: &mut Function,
        at: &AccountRef,
    ) -> anyhow::Result<HttpAnswer> {
        self.stripe.add_account(at.id.as_str(), AccountSpec::default());
        let (cookie, callback) = self.click_install(install, at).await?;
        install.http(&events::http_install(&callback, Some(&cookie))?).await
    }

    /// Starts an installation and clicks: the cookie, and where the browser is sent.
    pub async fn click_install(
        &self,
        install: &mut Function,
        at: &AccountRef,
    ) -> anyhow::Result<(String, String)> {
        let path = format!("/install?mode={}", at.mode);
        let start = install.http(&events::http_install(&path, None)?).await?;
        ensure!(start.status == 302, "install starts with a redirect, not {}", start.status);
        let link = start.headers["location"].as_str().context("a redirect says where to")?;
        let cookie = start.cookies.first().context("the browser is remembered")?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok((cookie, marketplace::click(link, at, "install").await?))
    }

    /// What Stripe has to say, each body with its signature of now.
    pub fn deliveries(&self) -> Vec<(Vec<u8>, String)> {
        let taken = self.stripe.take_deliveries().into_iter();
        taken.map(|delivery| (signed(&delivery.body), delivery.body)).map(|(s, b)| (b, s)).collect()
    }

    /// Every row of the table as the engine stores it.
    pub fn rows(&self) -> anyhow::Result<Vec<Value>> {
        let scan = json!({ "TableName": table::NAME });
        let answer = self.table.database().scan(serde_json::from_value(scan)?)?;
        let answer = serde_json::to_value(answer)?;
        Ok(answer["Items"].as_array().cloned().unwrap_or_default())
    }

    /// The secrets of the bundle that no output may hold.
    pub fn known_secrets() -> Vec<String> {
        let app = AppSpec::default();
        let mut secrets = vec![app.api_key_live, app.api_key_test, app.signing_secret];
        secrets
            .extend([WEBHOOK_SECRET, STATE_KEY, "an-aws-secret-of-the-tests"].map(str::to_owned));
        secrets
    }
}

/// Signs a webhook's body as Stripe does, now.
pub fn signed(body: &[u8]) -> String {
    signature::sign(&SecretToken::new(WEBHOOK_SECRET.to_owned()), Clock::system().now(), body)
}

/// The row key under which a delivered body is stored; none when it is not about an account.
pub fn stored_as(body: &[u8]) -> anyhow::Result<Option<(String, String)>> {
    Ok(match payload::parse(body)? {
        Parsed::Event(event) => Some(events::row_of(&(&event).into())),
        Parsed::Ignored(_) => None,
    })
}

fn destination(payload: Payload) -> Destination {
    Destination {
        url: "http://127.0.0.1:9/webhooks/stripe".to_owned(),
        signing_secrets: vec![WEBHOOK_SECRET.to_owned()],
        payload,
    }
}

/// `KEYSTEWARD_STRIPE_SECRET_ID`
pub const STRIPE_SECRET_ID: &str = "keysteward/stripe";
/// `KEYSTEWARD_WEBHOOK_SECRET_ID`
pub const WEBHOOK_SECRET_ID: &str = "keysteward/webhook";
const STATE_KEY: &str = "the-state-key-of-the-runtime-tests-64";
