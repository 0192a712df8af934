//! What a sweep costs among many accounts: `just scale`.
//!
//! Writes N accounts with one secret key each, of which DUE are due for rotation, then sweeps until they
//! are rotated, against fake Stripe with a limit of RPS calls a second. Time is virtual: a paused tokio
//! clock that jumps whenever everybody waits for the pace. The accounts are written through the store, not
//! installed: Stripe's key is made by the real call, the rows by the domain's own changes.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use fake_stripe::{AccountSpec, FakeStripe};
use keysteward::domain::account::{Account, Change, Status};
use keysteward::domain::audit::{Action, Actor};
use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::{Choice, Policy};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::runtime::clock::Clock;
use keysteward::runtime::metrics::Tally;
use keysteward::steward::{OrderBook, Steward};
use keysteward::stripe::{AppKeys, Options, Stripe};
use keysteward::vault::Keyring;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::Bits;
use keysteward_tests::KmsDouble;
use keysteward_tests::door::Doors;
use keysteward_tests::pairs::from_the_pool;
use keysteward_tests::table::Table;
use keysteward_tests::world::{account, default_slot};
use tokio::time::Instant;

const DUE: usize = 200;
const RPS: u32 = 100;
const START: i64 = 1_795_521_600_000;

fn main() -> anyhow::Result<()> {
    let accounts = std::env::args().nth(1).context("how many accounts?")?.parse()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(measure(accounts))
}

async fn measure(accounts: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let millis = move || START + i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    let stripe = FakeStripe::in_process(fake_stripe::Options {
        clock: fake_stripe::Clock::from_fn(millis),
        ..fake_stripe::Options::default()
    })?;
    let table = Table::start().await?;
    let steward = steward(&stripe, &table, millis)?;
    for n in 0..accounts {
        let at = account(Mode::Test, &format!("acct_1Scale{n}"))?;
        stripe.add_account(at.id.as_str(), AccountSpec::default());
        stripe.install(at.id.as_str(), false);
        write(&steward, &at, n < DUE).await?;
    }
    let (memory_before, calls_before) = (peak_kib()?, stripe.log().len());
    let quiet = sweep_alone(&steward, &table).await?;

    stripe.set_behaviour(|stripe| stripe.rate_limit_per_second = Some(RPS));
    let (index, rows) = table.items_read();
    let (cpu, virtual_start) = (cpu_micros()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let virtual_start = virtual_start + Duration::from_secs(3_600);
    let mut swept = 0;
    while swept < u32::try_from(DUE)? {
        let run = steward.sweep(steward.clock.now().plus(Duration::from_secs(900))).await?;
        anyhow::ensure!(run.settled > 0, "{run:?} after {swept}");
        swept += run.settled;
    }
    let cpu = cpu_micros()? - cpu;
    let took = virtual_start.elapsed().as_secs_f64();
    let (index, rows) = (table.items_read().0 - index, table.items_read().1 - rows);
    let calls = stripe.log().split_off(calls_before);
    let paced =
        calls.iter().filter(|call| !matches!(call.key_used, fake_stripe::KeyUsed::Minted(_)));
    let limited = calls.iter().filter(|call| call.status == Some(429)).count();
    println!(
        "{}",
        serde_json::json!({
            "accounts": accounts, "due": swept,
            "index_items_per_due": index as f64 / f64::from(swept),
            "partition_items_per_due": rows as f64 / f64::from(swept),
            "cpu_micros_per_rotation": cpu / u64::from(swept),
            "peak_kib_prepared": memory_before, "peak_kib": peak_kib()?,
            "paced_calls_per_second": paced.count() as f64 / took, "allowed": RPS,
            "answered_429": limited, "calls": calls.len(),
            "items_read_with_nothing_due": quiet,
        })
    );
    Ok(())
}

/// Items that a sweep reads before anything is due.
async fn sweep_alone(steward: &Steward, table: &Table) -> anyhow::Result<u64> {
    let before = table.items_read();
    steward.sweep(steward.clock.now().plus(Duration::from_secs(900))).await?;
    let after = table.items_read();
    Ok(after.0 - before.0 + after.1 - before.1)
}

/// An account with its key; the rows are written through the store.
async fn write(steward: &Steward, at: &AccountRef, is_due: bool) -> anyhow::Result<()> {
    let now = steward.clock.now();
    let mut change = Change::of(Account::new(at.clone(), now), now, Actor::Install);
    change.set_status(Status::Installed { since: now }, Action::Install);
    change.open_slot(&default_slot(Kind::Secret));
    change.release(Some(now));
    steward.store.record(change).await?;
    let deadline = now.plus(Duration::from_secs(60));
    steward.advance(at, Actor::Install, deadline).await?;
    if is_due {
        let account = steward.store.load(at).await?.context("it was written")?;
        let slot = default_slot(Kind::Secret);
        let (generation, _) = account.current(&slot).context("it has its key")?;
        let mut change = Change::of(account, now, Actor::Operator);
        let at = now.plus(Duration::from_secs(1_800));
        let asked = keysteward::domain::lifecycle::Happened::RotationAsked { at };
        change.apply(&slot, generation, asked, None)?;
        change.release(Some(at));
        steward.store.record(change).await?;
    }
    Ok(())
}

fn steward(
    stripe: &FakeStripe,
    table: &Table,
    millis: impl Fn() -> i64 + Send + Sync + 'static,
) -> anyhow::Result<Steward> {
    let app = fake_stripe::AppSpec::default();
    let kms = KmsDouble::new(Doors::default())?;
    let vault = KmsVault::new(&kms.aws(), KmsDouble::KEY_ID.to_owned());
    let cache = Duration::from_secs(300);
    let keyring = Keyring::new(Box::new(vault), app.id.clone(), Bits::Rsa2048, cache);
    let shape =
        RequestShape { stripe_version: "2026-04-22.preview".to_owned(), permissions: Vec::new() };
    let client = Stripe::new(Options {
        api_base: stripe.url(),
        stripe_version: shape.stripe_version.clone(),
        keys: AppKeys { live: None, test: Some(SecretToken::new(app.api_key_test.clone())) },
        max_rps: RPS,
        timeout: Duration::from_secs(5),
    })?;
    let double = stripe.clone();
    let client = client.within(Arc::new(move |request| {
        let double = double.clone();
        Box::pin(async move { double.answer(request).await })
    }));
    Ok(Steward {
        store: table.store()?,
        keyring: keyring.with_pairs_from(from_the_pool),
        stripe: client,
        policy: Policy::new(Choice::default())?,
        shape,
        app: app.id,
        clock: Clock::from_fn(move || Timestamp::from_millis(millis()).unwrap_or(Timestamp::EPOCH)),
        draw: || 4,
        orders: OrderBook::default(),
        breaker: Mutex::default(),
        tally: Tally::default(),
    })
}

/// CPU of this thread so far, microseconds: the first number of schedstat, in nanoseconds.
fn cpu_micros() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().context("a number")?.parse::<u64>()? / 1_000)
}

/// Most memory ever resident, KiB.
fn peak_kib() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}
