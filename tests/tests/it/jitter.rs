//! Accounts that were installed together, or whose policy changed together, do not come due together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, OnDrift, Policy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const ACCOUNTS: usize = 50;
const DAY: Duration = Duration::from_secs(86_400 + 60);

/// When the secret key of each account is to be rotated.
async fn rotations(world: &World, accounts: &[AccountRef]) -> anyhow::Result<Vec<Timestamp>> {
    let mut rotations = Vec::new();
    for at in accounts {
        let stored = world.account(at).await?;
        let (_, state) = stored.current(&default_slot(Kind::Secret)).context("a current key")?;
        let State::Current { rotates_at: Some(at), .. } = state else {
            anyhow::bail!("a secret key is rotated by age: {state:?}")
        };
        rotations.push(*at);
    }
    Ok(rotations)
}

/// Numbers as a generator of random ones gives them: all different, and all over their range.
fn draw() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    1 + DRAWN.fetch_add(1, Ordering::SeqCst) * 197 % 9_999
}

/// How many there are, and in how many days' time from `now` the first and the last come: none twice.
fn spread(rotations: &[Timestamp], now: Timestamp) -> (usize, f64, f64) {
    let mut sorted: Vec<_> =
        rotations.iter().map(|at| at.since(now).as_secs_f64() / 86_400.0).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    (sorted.len(), *sorted.first().unwrap_or(&0.0), *sorted.last().unwrap_or(&0.0))
}

async fn many(setting: Setting) -> anyhow::Result<(World, Vec<AccountRef>)> {
    let world = World::with(setting).await?;
    let mut accounts = Vec::new();
    for n in 0..ACCOUNTS {
        let at = account(Mode::Live, &format!("acct_1Mass{n}"))?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        accounts.push(at);
    }
    Ok((world, accounts))
}

#[tokio::test]
async fn a_mass_installation_does_not_come_due_at_once_and_each_date_is_drawn_once()
-> anyhow::Result<()> {
    let (world, accounts) = many(Setting { draw, ..Setting::default() }).await?;
    let drawn = rotations(&world, &accounts).await?;
    let (distinct, first, last) = spread(&drawn, world.now());
    ensure!(distinct >= ACCOUNTS - 2, "{distinct} of {ACCOUNTS} dates differ");
    ensure!(first >= 27.0 && last <= 30.0, "a tenth of the period is taken off: {first} {last}");
    ensure!(last - first > 2.0, "over most of three days: {first} to {last}");
    for day in [27.0, 28.0, 29.0] {
        let until = |at: &&Timestamp| {
            (day..day + 1.0).contains(&(at.since(world.now()).as_secs_f64() / 86_400.0))
        };
        let due = drawn.iter().filter(until).count();
        ensure!((5..=30).contains(&due), "{due} of {ACCOUNTS} are due on day {day}");
    }
    ensure!(rotations(&world, &accounts).await? == drawn, "a second load says the same");
    for _ in 0..3 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    ensure!(rotations(&world, &accounts).await? == drawn, "nor is it drawn again by a sweep");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_shortened_brings_rotations_forward_once_and_not_all_to_one_day()
-> anyhow::Result<()> {
    let long = Choice { rotate_every_days: 300, on_drift: OnDrift::Apply, ..Choice::default() };
    let (mut world, accounts) = many(Setting { choice: long, draw, ..Setting::default() }).await?;
    world.pass(40 * DAY);
    world.sweep_to_rest().await?;
    let before = rotations(&world, &accounts).await?;
    world.install.steward.policy =
        Policy::new(Choice { rotate_every_days: 30, on_drift: OnDrift::Apply, ..long })?;
    world.pass(DAY);
    world.sweep().await?;
    let forward = rotations(&world, &accounts).await?;
    ensure!(forward.iter().zip(&before).all(|(after, before)| after < before), "{forward:?}");
    let (distinct, _, last) = spread(&forward, world.now());
    ensure!(distinct >= ACCOUNTS - 2 && last <= 3.0, "{distinct} dates, the last in {last} days");
    for _ in 0..4 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    let rotated = rotations(&world, &accounts).await?;
    let (_, first, _) = spread(&rotated, world.now());
    ensure!(first > 20.0, "each was rotated once and has the date of the new policy: {first}");
    Ok(())
}
