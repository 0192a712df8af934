//! The main flow without a person: each step is said in words as it happens, and what it proves is measured
//! from outside, over HTTP, at fake Stripe or in the raw rows of the table.

mod keys;
mod people;
mod proof;
mod readers;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keysteward::domain::account::Account;
use keysteward::domain::id::AccountId;
use keysteward::domain::policy::{Choice, Policy};
use keysteward::domain::slot::{AccountRef, Kind, Slot, SlotName};
use tokio::time::{Instant, sleep};

pub use proof::Proof;

use crate::browser::Browser;
use crate::bundle::{Bundle, Options, Table};

/// Starts a bundle in memory on free ports and goes through the main flow on it.
///
/// Writes words to `out`, and as the last line what was proven as JSON. An error only when `out` takes no
/// more: whatever else fails is said, and missing from the proof.
pub async fn run(out: &mut (dyn Write + Send)) -> std::io::Result<Proof> {
    let started = Instant::now();
    let mut proof = Proof::default();
    let outcome = play(out, &mut proof).await;
    if let Err(error) = &outcome {
        writeln!(out, "\n  ✗ {error:#}")?;
    }
    proof.seconds = (started.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    proof.conclude();
    writeln!(out)?;
    writeln!(out, "{}", serde_json::to_string(&proof)?)?;
    out.flush()?;
    Ok(proof)
}

async fn play(out: &mut (dyn Write + Send), proof: &mut Proof) -> Result<()> {
    let mut options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        stripe_port: 0,
        table: Table::Memory,
        accounts: Vec::new(),
        policy: Policy::new(Choice::default())?,
        sweep_every: None,
        back_to_page: false,
    };
    for id in ACCOUNTS {
        options.accounts.push(AccountId::parse(id)?);
    }
    let policy = options.policy.clone();
    let bundle = Bundle::start(options).await?;
    writeln!(out, "The whole bundle on this machine, beside a Stripe that is not real.")?;
    writeln!(out, "Keysteward {} · fake Stripe {}", bundle.url(), bundle.stripe().url())?;
    let [bakery, bookshop] = bundle.accounts() else { bail!("there are two accounts") };
    let (bakery, bookshop) = (bakery.clone(), bookshop.clone());
    let browser = Browser::new();
    let mut demo =
        Demo { out, proof, bundle: &bundle, policy, browser, bakery, bookshop, old: Vec::new() };

    demo.install().await?;
    demo.read_keys().await?;
    demo.rotate_under_reads().await?;
    demo.end_the_overlap().await?;
    demo.rotate_by_schedule().await?;
    demo.send_bad_webhooks().await?;
    demo.expire_as_user().await?;
    demo.uninstall().await?;
    demo.check_trail().await?;
    demo.look_for_plaintext().await
}

struct Demo<'a> {
    out: &'a mut (dyn Write + Send),
    proof: &'a mut Proof,
    bundle: &'a Bundle,
    policy: Policy,
    browser: Browser,
    bakery: AccountRef,
    bookshop: AccountRef,
    /// Tokens that were replaced.
    old: Vec<String>,
}

impl Demo<'_> {
    fn chapter(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "\n{text}")?;
        Ok(self.out.flush()?)
    }

    /// Says what was seen to hold or not, and answers which.
    fn see(&mut self, holds: bool, text: &str) -> Result<bool> {
        writeln!(self.out, "  {} {text}", if holds { '✓' } else { '✗' })?;
        self.out.flush()?;
        Ok(holds)
    }

    fn both(&self) -> [AccountRef; 2] {
        [self.bakery.clone(), self.bookshop.clone()]
    }

    fn key_url(&self, at: &AccountRef, kind: Kind) -> String {
        key_url(self.bundle, at, kind)
    }

    async fn account(&self, at: &AccountRef) -> Result<Account> {
        self.bundle
            .store()
            .load(at)
            .await?
            .with_context(|| format!("nothing is stored of {}", at.id))
    }

    /// The token of the account's current secret key, as a service reads it.
    async fn token(&mut self, at: &AccountRef) -> Result<(u64, String)> {
        let url = self.key_url(at, Kind::Secret);
        let key = self.browser.get(&url).await?.json()?;
        let token = key["token"].as_str().context("no key is served")?.to_owned();
        Ok((key["generation"].as_u64().unwrap_or(0), token))
    }

    /// Waits until every event that arrived is applied. One that met a busy account waits for the next
    /// sweep, a minute later: that minute is played.
    async fn quiet(&mut self) -> Result<()> {
        let mut before = None;
        for round in 1..=ROUNDS {
            let mut seen = Vec::new();
            for at in self.both() {
                seen.extend(self.bundle.store().events(&at, 1000).await?);
            }
            let all_done = seen.iter().all(|event| !event.open);
            let found = Some(seen.len());
            if all_done && found == before {
                return Ok(());
            }
            before = found;
            if !all_done && round % 5 == 0 {
                self.bundle.pass(Duration::from_secs(61));
                self.bundle.sweep().await?;
            }
            sleep(PAUSE * 2).await;
        }
        bail!("events are still open")
    }
}

fn key_url(bundle: &Bundle, at: &AccountRef, kind: Kind) -> String {
    let slot = SlotName::default();
    let (base, id, mode, slot) = (bundle.url(), &at.id, at.mode, slot.as_str());
    format!("{base}/v1/accounts/{id}/keys/{slot}?mode={mode}&kind={kind}")
}

fn secret_slot() -> Slot {
    Slot::new(Kind::Secret, SlotName::default())
}

const ACCOUNTS: [&str; 2] = ["acct_1FakeBakery", "acct_1FakeBookshop"];
/// Between two looks at something that is about to happen.
const PAUSE: Duration = Duration::from_millis(50);
/// How often to look before it is taken not to happen.
const ROUNDS: u32 = 100;
