//! What is measured: a program, the variables it runs with, and the events it is given.

use std::path::PathBuf;
use std::time::Duration;

use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward_tests::deployment::{signed, stored_as};
use keysteward_tests::function::{binary, built};
use keysteward_tests::{Deployment, Function, Name, events};
use serde_json::{Value, json};

/// One row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Hello,
    Accepted,
    Refused,
    Read,
    Install,
    Applied,
    Sweep,
}

impl Subject {
    /// The first is the yardstick.
    pub(crate) const ALL: [Self; 7] = [
        Self::Hello,
        Self::Accepted,
        Self::Refused,
        Self::Read,
        Self::Install,
        Self::Applied,
        Self::Sweep,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Hello => "hello-world",
            Self::Accepted => "webhook, event stored",
            Self::Refused => "webhook, forged signature",
            Self::Read => "keys, a read",
            Self::Install => "install, the redirect",
            Self::Applied => "lifecycle, an event of an unknown account",
            Self::Sweep => "rotate, nothing due",
        }
    }

    pub(crate) fn binary(self) -> anyhow::Result<PathBuf> {
        binary(match self {
            Self::Hello => return built("keysteward-hello"),
            Self::Accepted | Self::Refused => Name::Webhook,
            Self::Read => Name::Keys,
            Self::Install => Name::Install,
            Self::Applied => Name::Lifecycle,
            Self::Sweep => Name::Rotate,
        })
    }

    pub(crate) async fn spawn(self, environment: &[(String, String)]) -> anyhow::Result<Function> {
        let mut function =
            Function::spawn(&self.binary()?, environment, Duration::from_secs(120)).await?;
        function.ready().await?;
        Ok(function)
    }
}

/// A deployment in which one account has keys, and a count so that no event comes twice.
pub(crate) struct Scene {
    pub(crate) deployment: Deployment,
    at: AccountRef,
    webhook: Function,
    events: u32,
}

impl Scene {
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let deployment = Deployment::start().await?;
        let at = AccountRef::new(Mode::Test, AccountId::parse("acct_1Q2W3E4R5T6Y7U8I")?);
        let mut install = deployment.function(Name::Install).await?;
        let page = deployment.install_app(&mut install, &at).await?;
        anyhow::ensure!(page.status == 200, "the installation was answered {}", page.status);
        let webhook = deployment.function(Name::Webhook).await?;
        Ok(Self { deployment, at, webhook, events: 0 })
    }

    /// The next event for a subject. What it needs in the table is put there, by another process.
    pub(crate) async fn event(&mut self, subject: Subject) -> anyhow::Result<Value> {
        match subject {
            Subject::Hello => events::http_key("/"),
            Subject::Accepted => {
                let body = self.body();
                events::http_webhook_base64(&body, &signed(&body))
            }
            Subject::Refused => {
                let body = self.body();
                events::http_webhook_base64(&body, &signed(b"another body"))
            }
            Subject::Read => events::http_key(&format!(
                "/v1/accounts/{}/keys/default?mode=test&kind=secret",
                self.at.id
            )),
            Subject::Install => events::http_install("/install?mode=test", None),
            Subject::Applied => {
                let body = self.body();
                let event = events::http_webhook_base64(&body, &signed(&body))?;
                self.webhook.http(&event).await?;
                let row = stored_as(&body)?;
                let rows: Vec<_> =
                    row.iter().map(|(pk, sk)| (pk.as_str(), sk.as_str(), "1")).collect();
                events::stream(&rows)
            }
            Subject::Sweep => events::schedule(),
        }
    }

    /// How often the doubles were called: the table, KMS, Secrets Manager, Stripe.
    pub(crate) fn calls(&self) -> [u64; 4] {
        let Deployment { table, kms, secrets, stripe, .. } = &self.deployment;
        let kms = kms.encrypts() + kms.decrypts();
        [u64::from(table.calls()), kms as u64, secrets.reads() as u64, stripe.log().len() as u64]
    }

    fn body(&mut self) -> Vec<u8> {
        self.events += 1;
        json!({
            "id": format!("evt_test_65TmHFBSnNfhOEeJL7d16TlVCA{:06}", self.events),
            "object": "v2.core.event",
            "type": "v2.iam.api_key.rotated",
            "livemode": false,
            "created": "2026-11-24T12:00:00.000Z",
            "context": "acct_1NobodyKnowsThis",
            "related_object": null,
            "reason": null,
        })
        .to_string()
        .into_bytes()
    }
}

/// Whether an answer is the one that the subject gives when all is well.
pub(crate) fn is_good(subject: Subject, answer: &Value) -> bool {
    match subject {
        Subject::Hello | Subject::Accepted | Subject::Read => answer["statusCode"] == 200,
        Subject::Refused => answer["statusCode"] == 400,
        Subject::Install => answer["statusCode"] == 302,
        Subject::Applied => answer["batchItemFailures"] == json!([]),
        Subject::Sweep => answer["failed"] == 0,
    }
}
