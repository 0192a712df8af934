//! A world, and an operator's desk in it.

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::runtime::clock::Clock;
use keysteward_cli::{Surroundings, Terminal, run};
use keysteward_tests::world::{WEBHOOK_SECRET, account};
use keysteward_tests::{KmsDouble, SecretsDouble, Setting, World, table};
use serde_json::{Value, json};

pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) secrets: SecretsDouble,
    /// Of the table and of KMS.
    urls: [String; 2],
    /// Variables that are set otherwise than usual.
    pub(crate) unusual: Vec<(&'static str, String)>,
    /// A clock that is not the world's.
    pub(crate) clock: Option<Clock>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The result as JSON, of a command that ended with this code.
    pub(crate) fn json(&self, code: u8) -> anyhow::Result<Value> {
        ensure!(self.code == code, "{self:?}");
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    /// The result as text, of a command that ended with this code.
    pub(crate) fn text(&self, code: u8) -> anyhow::Result<&str> {
        ensure!(self.code == code, "{self:?}");
        Ok(&self.out)
    }
}

impl Desk {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        Self::with(Setting::default()).await
    }

    pub(crate) async fn with(setting: Setting) -> anyhow::Result<Self> {
        let secrets = SecretsDouble::start().await?;
        let app = fake_stripe::AppSpec::default();
        secrets.put("stripe", &stripe_secret(&app.api_key_live, &app.api_key_test).to_string());
        let webhook = json!({ "signing_secrets": [WEBHOOK_SECRET] });
        secrets.put("webhook", &webhook.to_string());
        let world = World::with(Setting { sockets: true, ..setting }).await?;
        let urls = [world.table.listen().await?, world.kms.listen().await?];
        Ok(Self { world, secrets, urls, unusual: Vec::new(), clock: None })
    }

    /// A desk in a world where the app is installed on one test account.
    pub(crate) async fn with_account(id: &str) -> anyhow::Result<(Self, AccountRef)> {
        let desk = Self::open().await?;
        let at = desk.install(Mode::Test, id).await?;
        Ok((desk, at))
    }

    pub(crate) async fn install(&self, mode: Mode, id: &str) -> anyhow::Result<AccountRef> {
        let at = account(mode, id)?;
        self.world.add_account(id);
        self.world.install_app(&at).await?;
        self.world.token(&at, keysteward::domain::slot::Kind::Secret).await?;
        Ok(at)
    }

    /// Gives a command where nobody can be asked anything.
    pub(crate) async fn give(&self, args: &[&str]) -> Said {
        self.run(args, None).await
    }

    /// Gives a command with a person at the terminal, who answers this.
    pub(crate) async fn answer(&self, args: &[&str], typed: &str) -> Said {
        self.run(args, Some(typed)).await
    }

    async fn run(&self, args: &[&str], typed: Option<&str>) -> Said {
        let (out, err) = (Sink::default(), Sink::default());
        let variables = self.variables();
        let surroundings = Surroundings {
            lookup: Box::new(move |name| {
                let found = variables.iter().rev().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.clone())
            }),
            clock: self.clock.clone().unwrap_or_else(|| self.world.steward().clock.clone()),
            terminal: Terminal {
                out: Box::new(out.clone()),
                err: Box::new(err.clone()),
                input: Box::new(Cursor::new(format!("{}\n", typed.unwrap_or_default()))),
                asks: typed.is_some(),
                draws: false,
            },
        };
        let args = std::iter::once("keysteward").chain(args.iter().copied()).map(Into::into);
        let code = run(args, surroundings).await;
        Said { code, out: out.text(), err: err.text() }
    }

    /// The variables that the functions have, and whatever is unusual after them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables: Vec<(&'static str, String)> = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "double"),
            ("AWS_SECRET_ACCESS_KEY", "double"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.urls[0]),
            ("AWS_ENDPOINT_URL_KMS", &self.urls[1]),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets.url()),
            ("KEYSTEWARD_TABLE", table::NAME),
            ("KEYSTEWARD_KMS_KEY_ID", KmsDouble::KEY_ID),
            ("KEYSTEWARD_APP_ID", &fake_stripe::AppSpec::default().id),
            ("KEYSTEWARD_STRIPE_API_BASE", &self.world.stripe.url()),
            ("KEYSTEWARD_STRIPE_SECRET_ID", "stripe"),
            ("KEYSTEWARD_WEBHOOK_SECRET_ID", "webhook"),
            ("KEYSTEWARD_MAX_STRIPE_RPS", "100000"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        variables.extend(self.unusual.iter().cloned());
        variables
    }

    /// Every row of the table, to compare with what it was before.
    pub(crate) fn rows(&self) -> anyhow::Result<Vec<String>> {
        let mut rows: Vec<String> = self.world.rows()?.iter().map(in_order).collect();
        rows.sort_unstable();
        Ok(rows)
    }
}

/// The engine gives a row's attributes in another order each time.
fn in_order(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}: {}", in_order(value))).collect();
            fields.sort_unstable();
            fields.join(", ")
        }
        other => other.to_string(),
    }
}

pub(crate) fn stripe_secret(live: &str, test: &str) -> Value {
    json!({
        "api_key_live": live,
        "api_key_test": test,
        "app_signing_secrets": ["absec_of_the_tests"],
        "state_key": "the state key of the tests, 32 bytes",
    })
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
