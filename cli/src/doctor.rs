//! `doctor`: each thing that the functions rely on, tried, and what to do where it does not hold.

use std::time::Duration;

use keysteward::domain::id::AccountId;
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::runtime::assemble;
use keysteward::runtime::aws::Aws;
use keysteward::runtime::log::chain;
use keysteward::runtime::secrets::{StripeSecret, fetch_webhook_secret};
use keysteward::stripe::{AppKeys, Greeting, Stripe};
use serde::Serialize;

use crate::output::{about, columns, instant};
use crate::session::{Found, Session};

pub(crate) async fn run(session: &mut Session) -> anyhow::Result<Found> {
    let mut checks = Checks::default();
    settings(&mut checks, session);
    match session.parts.aws().await {
        Err(error) => checks.fail(
            "aws",
            &format!("{error:#}"),
            "set AWS_REGION, and AWS_PROFILE or the credentials' variables",
        ),
        Ok(aws) => {
            checks.ok("aws", "region and credentials are set");
            table(&mut checks, session).await;
            vault(&mut checks, session, &aws).await;
            webhook_secret(&mut checks, session, &aws).await;
            stripe(&mut checks, session, &aws).await;
        }
    }
    let is_well = checks.0.iter().all(|check| check.verdict != Verdict::Fail);
    session.show(&checks, Checks::as_text)?;
    Ok(if is_well { Found::NothingWrong } else { Found::SomethingWrong })
}

#[derive(Default, Serialize)]
#[serde(transparent)]
struct Checks(Vec<Check>);

#[derive(Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    saw: String,
    /// Null when there is nothing to do.
    to_do: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Checks {
    fn ok(&mut self, check: &'static str, saw: &str) {
        self.0.push(Check { check, verdict: Verdict::Ok, saw: saw.to_owned(), to_do: None });
    }

    fn warn(&mut self, check: &'static str, saw: &str, to_do: &str) {
        let (saw, to_do) = (saw.to_owned(), Some(to_do.to_owned()));
        self.0.push(Check { check, verdict: Verdict::Warn, saw, to_do });
    }

    fn fail(&mut self, check: &'static str, saw: &str, to_do: &str) {
        let (saw, to_do) = (saw.to_owned(), Some(to_do.to_owned()));
        self.0.push(Check { check, verdict: Verdict::Fail, saw, to_do });
    }

    fn as_text(&self) -> String {
        let rows = self.0.iter().map(|Check { check, verdict, saw, to_do }| {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            let to_do = to_do.clone().unwrap_or_else(|| "-".to_owned());
            [verdict.to_owned(), (*check).to_owned(), saw.clone(), to_do]
        });
        columns(["verdict", "check", "saw", "to do"], rows)
    }
}

/// What needs nobody else to be asked.
fn settings(checks: &mut Checks, session: &Session) {
    let settings = session.parts.settings();
    let refused: Vec<String> = [
        settings.required("KEYSTEWARD_TABLE").map(drop),
        settings.required("KEYSTEWARD_KMS_KEY_ID").map(drop),
        settings.required("KEYSTEWARD_APP_ID").map(drop),
        settings.required("KEYSTEWARD_STRIPE_SECRET_ID").map(drop),
        settings.required("KEYSTEWARD_WEBHOOK_SECRET_ID").map(drop),
        settings.request_shape().map(drop),
        settings.max_stripe_rps().map(drop),
        settings.private_key_cache().map(drop),
        settings.rsa_bits().map(drop),
    ]
    .into_iter()
    .filter_map(Result::err)
    .map(|refused| chain(&refused))
    .collect();
    if refused.is_empty() {
        checks.ok("settings", "all that the command needs are set");
    } else {
        let to_do = "set the variables as the functions have them";
        checks.fail("settings", &refused.join("; "), to_do);
    }
    match settings.policy() {
        Ok(policy) => {
            checks.ok("policy", &format!("overlap of {}", about(policy.overlap())));
        }
        Err(refused) => {
            checks.fail("policy", &chain(&refused), "no function starts with this policy");
        }
    }
}

async fn table(checks: &mut Checks, session: &mut Session) {
    let Ok(store) = session.parts.store().await else { return };
    let examined = match store.examine().await {
        Ok(examined) => examined,
        Err(error) => {
            let to_do = "see KEYSTEWARD_TABLE, the region, and your rights to describe it";
            return checks.fail("table", &chain(&error), to_do);
        }
    };
    if examined.differs.is_empty() {
        checks.ok("table", "keys, index, stream and billing are as they should be");
    } else {
        checks.fail("table", &examined.differs.join("; "), "deploy the template's table");
    }
    if examined.expires_rows {
        checks.ok("table ttl", "rows are deleted by `ttl`");
    } else {
        let to_do = "enable TTL on the attribute `ttl`: events are kept for ever without";
        checks.warn("table ttl", "rows are not deleted", to_do);
    }
    match examined.point_in_time_recovery {
        Some(true) => checks.ok("table backup", "point-in-time recovery is on"),
        Some(false) => {
            let to_do = "enable it: without, a lost table is every account's lost key";
            checks.fail("table backup", "point-in-time recovery is off", to_do);
        }
        None => {
            let to_do = "needs dynamodb:DescribeContinuousBackups";
            checks.warn("table backup", "could not be asked", to_do);
        }
    }
    match store.standing().await {
        Ok(standing) if standing.report_only.is_some() => {
            let to_do = "look at `keysteward status`, then `keysteward resume --after-restore`";
            checks.warn("orders", "the bundle only reports: its table was restored", to_do);
        }
        Ok(standing) if standing.paused_since.is_some() => {
            let to_do = "`keysteward resume` when that is over";
            checks.warn("orders", "paused: no rotation by age is begun", to_do);
        }
        Ok(_) => checks.ok("orders", "the bundle acts"),
        Err(error) => checks.fail("orders", &chain(&error), "needs rights to read the table"),
    }
}

async fn vault(checks: &mut Checks, session: &Session, aws: &Aws) {
    let Ok(keyring) = assemble::keyring_on(session.parts.lookup(), aws) else { return };
    let Ok(nobody) = AccountId::parse("acct_keysteward_doctor") else { return };
    match keyring.try_vault(&AccountRef::new(Mode::Test, nobody)).await {
        Ok(true) => checks.ok("vault", "the KMS key locks and unlocks, each context for itself"),
        Ok(false) => {
            let to_do = "do not use it: any tenant's key would open with any context";
            checks.fail("vault", "what answers as KMS looks at no encryption context", to_do);
        }
        Err(error) => {
            let to_do = "see KEYSTEWARD_KMS_KEY_ID, the key's state, and its policy for you";
            checks.fail("vault", &chain(&error), to_do);
        }
    }
}

async fn webhook_secret(checks: &mut Checks, session: &Session, aws: &Aws) {
    const CHECK: &str = "webhook secret";
    let Ok(id) = session.parts.settings().required("KEYSTEWARD_WEBHOOK_SECRET_ID") else { return };
    match fetch_webhook_secret(aws, &id).await {
        Ok(secrets) if secrets.iter().all(|secret| secret.expose().starts_with("whsec_")) => {
            checks.ok(CHECK, &format!("{} in use", secrets.len()));
        }
        Ok(_) => {
            let to_do = "put the endpoint's signing secret there, whsec_…";
            checks.warn(CHECK, "one does not look like Stripe's", to_do);
        }
        Err(error) => {
            let to_do = "store {\"signing_secrets\": [\"whsec_…\"]} and allow reading it";
            checks.fail(CHECK, &chain(&error), to_do);
        }
    }
}

async fn stripe(checks: &mut Checks, session: &Session, aws: &Aws) {
    const CHECK: &str = "stripe secret";
    let Ok(id) = session.parts.settings().required("KEYSTEWARD_STRIPE_SECRET_ID") else { return };
    let secret = match StripeSecret::fetch(aws, &id).await {
        Ok(secret) => secret,
        Err(error) => {
            let to_do = "store {\"api_key_live\", \"api_key_test\", \"app_signing_secrets\", \"state_key\"} \
                         and allow reading it";
            return checks.fail(CHECK, &chain(&error), to_do);
        }
    };
    let StripeSecret { api_key_live, api_key_test, app_signing_secrets, state_key: _ } = secret;
    match app_signing_secrets.len() {
        0 => {
            let to_do =
                "needed for install links: put the app's absec_… there; OAuth alone needs none";
            checks.warn(CHECK, "no app signing secret", to_do);
        }
        number => checks.ok(CHECK, &format!("well formed, {number} app signing secret(s)")),
    }
    let modes: Vec<Mode> =
        [(Mode::Live, api_key_live.is_some()), (Mode::Test, api_key_test.is_some())]
            .into_iter()
            .filter_map(|(mode, is_there)| is_there.then_some(mode))
            .collect();
    match client(session, api_key_live, api_key_test) {
        Ok(stripe) => app_keys(checks, session, &stripe, &modes).await,
        Err(error) => {
            let to_do = "see the keys in the secret and KEYSTEWARD_STRIPE_API_BASE";
            checks.fail("stripe", &chain(&error), to_do);
        }
    }
}

fn client(
    session: &Session,
    live: Option<SecretToken>,
    test: Option<SecretToken>,
) -> Result<Stripe, assemble::StartError> {
    assemble::stripe_of(session.parts.lookup(), AppKeys { live, test })
}

async fn app_keys(checks: &mut Checks, session: &Session, stripe: &Stripe, modes: &[Mode]) {
    let mut date = None;
    for mode in [Mode::Live, Mode::Test] {
        let check = match mode {
            Mode::Live => "stripe live",
            Mode::Test => "stripe test",
        };
        if !modes.contains(&mode) {
            checks.warn(check, "no app key", "fine when no account is in this mode");
            continue;
        }
        match stripe.greet(mode).await {
            Ok(Greeting { is_known: true, date: seen }) => {
                date = seen.map(|seen| (seen, session.now()));
                checks.ok(check, "Stripe takes the app's key");
            }
            Ok(Greeting { is_known: false, .. }) => {
                let to_do = "put the app's current key into the secret";
                checks.fail(check, "Stripe does not take the app's key", to_do);
            }
            Err(error) => {
                let to_do = "see the way out to Stripe, and KEYSTEWARD_STRIPE_API_BASE";
                checks.fail(check, &chain(&error), to_do);
            }
        }
    }
    if let Some((theirs, ours)) = date {
        clock(checks, theirs, ours);
    }
}

/// Stripe's `Date` is cut to the second, and the answer took its time.
fn clock(checks: &mut Checks, theirs: Timestamp, ours: Timestamp) {
    let skew = ours.since(theirs).max(theirs.since(ours));
    let saw = format!("{} apart; Stripe says {}", about(skew), instant(theirs));
    if skew < Duration::from_secs(10) {
        checks.ok("clock", &saw);
    } else if skew < Duration::from_secs(120) {
        checks.warn("clock", &saw, "set this machine's clock; AWS keeps that of the functions");
    } else {
        let to_do = "set this machine's clock: AWS refuses what is signed 5 minutes off";
        checks.fail("clock", &saw, to_do);
    }
}
