//! A deployment in wide use: accounts in any number, most of them with nothing due.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use dynoxide::{AttributeValue, ImportOptions, Item};
use fake_stripe::{AccountSpec, AppSpec};
use keysteward::domain::account::{Account, Change, Status};
use keysteward::domain::audit::{Action, Actor};
use keysteward::domain::intent::RequestShape;
use keysteward::domain::lifecycle::Happened;
use keysteward::domain::policy::{Choice, Policy};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::runtime::clock::Clock;
use keysteward::runtime::metrics::Tally;
use keysteward::steward::{Advanced, OrderBook, Steward};
use keysteward::stripe::{AppKeys, Options, Stripe};
use keysteward::vault::Keyring;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::Bits;
use serde_json::json;

use crate::deployment::Deployment;
use crate::kms_double::KmsDouble;
use crate::pairs::from_the_pool;
use crate::table::NAME;
use crate::world::{account, default_slot, shard_of};

/// Which rows of a model account others are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All of them.
    All,
    /// The account's own, which is the one with an entry in the due index.
    Head,
}

/// The deployment with its accounts. Its steward prepares them, in process and at no pace.
#[expect(missing_debug_implementations, reason = "holds the app's keys")]
pub struct Crowd {
    /// What the functions are led to.
    pub deployment: Deployment,
    steward: Steward,
}

impl Crowd {
    /// Starts a deployment with no account.
    pub async fn start() -> anyhow::Result<Self> {
        let deployment = Deployment::start().await?;
        let _ = deployment.table.clone().without_stream()?;
        let double = deployment.stripe.clone();
        let client = client(&deployment, u32::MAX)?.within(Arc::new(move |request| {
            let double = double.clone();
            Box::pin(async move { double.answer(request).await })
        }));
        let steward = steward(&deployment, client)?;
        Ok(Self { deployment, steward })
    }

    /// A steward whose calls to Stripe take a socket, their time and their turn.
    pub fn paced_steward(&self, max_rps: u32) -> anyhow::Result<Steward> {
        steward(&self.deployment, client(&self.deployment, max_rps)?)
    }

    /// Installs the app on so many accounts of live mode, each with one secret key that Stripe made.
    pub async fn install(&self, count: usize) -> anyhow::Result<Vec<AccountRef>> {
        let mut installed = Vec::with_capacity(count);
        for n in 0..count {
            let at = account(Mode::Live, &format!("acct_1Installed{n}"))?;
            self.deployment.stripe.add_account(at.id.as_str(), AccountSpec::default());
            self.deployment.stripe.install(at.id.as_str(), true);
            let now = self.steward.clock.now();
            let mut change = Change::of(Account::new(at.clone(), now), now, Actor::Install);
            change.set_status(Status::Installed { since: now }, Action::Install);
            change.open_slot(&default_slot(Kind::Secret));
            change.release(Some(now));
            self.steward.store.record(change).await?;
            let deadline = now.plus(Duration::from_secs(60));
            let advanced = self.steward.advance(&at, Actor::Install, deadline).await?;
            ensure!(matches!(advanced, Advanced::Settled(_)), "{advanced:?}");
            installed.push(at);
        }
        Ok(installed)
    }

    /// Has the current keys of these accounts replaced as soon as somebody sweeps.
    pub async fn make_due(&self, accounts: &[AccountRef]) -> anyhow::Result<()> {
        for at in accounts {
            let now = self.steward.clock.now();
            let account = self.steward.store.load(at).await?.context("it was installed")?;
            let slot = default_slot(Kind::Secret);
            let (generation, _) = account.current(&slot).context("it has its key")?;
            let mut change = Change::of(account, now, Actor::Operator);
            change.apply(&slot, generation, Happened::RotationAsked { at: now }, None)?;
            change.release(Some(now));
            self.steward.store.record(change).await?;
        }
        Ok(())
    }

    /// Adds accounts with nothing due for days, written straight into the engine: the rows are those of `model`
    /// under other names, so no key of theirs could be opened.
    pub fn fill(&self, model: &AccountRef, count: usize, rows: Rows) -> anyhow::Result<()> {
        let database = self.deployment.table.database();
        let query = json!({
            "TableName": NAME,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition(&model.id.to_string())}},
        });
        let read = database.query(serde_json::from_value(query)?)?;
        let mut items = read.items.unwrap_or_default();
        items.retain(|item| rows == Rows::All || item.get("sk") == Some(&HEAD.into()));
        ensure!(!items.is_empty(), "{model} is not there");
        let day = self.steward.clock.now().plus(Duration::from_secs(86_400)).millis();
        for first in (0..count).step_by(AT_ONCE) {
            let copies = (first..count.min(first + AT_ONCE))
                .flat_map(|n| items.iter().map(move |item| copied(item, n, day)))
                .collect();
            database.import_items(NAME, copies, ImportOptions::default())?;
        }
        Ok(())
    }
}

fn copied(item: &Item, n: usize, day: i64) -> Item {
    let mut item = item.clone();
    let id = format!("acct_1Filled{n}");
    item.insert("pk".to_owned(), AttributeValue::S(partition(&id)));
    if item.contains_key("due_at") {
        let shard = shard_of(&id);
        let due_at = day.saturating_add_unsigned(n as u64);
        item.insert("due_shard".to_owned(), AttributeValue::N(shard.to_string()));
        item.insert("due_at".to_owned(), AttributeValue::N(due_at.to_string()));
    }
    item
}

fn partition(id: &str) -> String {
    format!("ACCOUNT#live#{id}")
}

fn client(deployment: &Deployment, max_rps: u32) -> anyhow::Result<Stripe> {
    let app = AppSpec::default();
    Ok(Stripe::new(Options {
        api_base: deployment.stripe.url(),
        stripe_version: VERSION.to_owned(),
        keys: AppKeys { live: Some(SecretToken::new(app.api_key_live)), test: None },
        max_rps,
        timeout: Duration::from_secs(10),
    })?)
}

fn steward(deployment: &Deployment, stripe: Stripe) -> anyhow::Result<Steward> {
    let app = AppSpec::default().id;
    let vault = KmsVault::new(&deployment.kms.aws(), KmsDouble::KEY_ID.to_owned());
    let cache = Duration::from_secs(300);
    let keyring = Keyring::new(Box::new(vault), app.clone(), Bits::Rsa2048, cache);
    Ok(Steward {
        store: deployment.table.store()?,
        keyring: keyring.with_pairs_from(from_the_pool),
        stripe,
        policy: Policy::new(Choice::default())?,
        shape: RequestShape { stripe_version: VERSION.to_owned(), permissions: Vec::new() },
        app,
        clock: Clock::system(),
        draw: || 4,
        orders: OrderBook::default(),
        breaker: Mutex::default(),
        tally: Tally::default(),
    })
}

/// The sort key of an account's own row.
const HEAD: &str = "STATE#ACCOUNT";
const VERSION: &str = "2026-04-22.preview";
/// Accounts of one import, which is one transaction.
const AT_ONCE: usize = 10_000;
