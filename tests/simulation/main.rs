//! Months of many accounts' lives, seeded: faults, disorder, users who act, people who operate, sweeps
//! that race. Whatever happened, once the faults are over the sweep brings every account to rest with one
//! key a slot; and on the way no call to Stripe breaks what it must not ([`keysteward_tests::Witness`]).
//!
//! `SEED=… cargo test simulation` repeats one seed exactly; `SEEDS=n` runs the first n, from `FIRST` on,
//! as many at once as there are processors.

mod check;
mod dice;
mod happen;
mod life;
mod operate;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};

use life::Life;

async fn simulate(seed: u64) -> anyhow::Result<u64> {
    let mut life = Life::begin(seed).await?;
    let outcome = life.whole().await;
    outcome.with_context(|| format!("{}\nSEED={seed} cargo test simulation", life.story()))
}

/// One life on a thread and a runtime of its own. The runtime's clock is paused: a rest between two attempts
/// ends when everybody else waits too, and not when the machine happens to come to it.
fn simulate_here(seed: u64) -> anyhow::Result<u64> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(Box::pin(simulate(seed)))
}

#[expect(clippy::disallowed_methods, reason = "the seed is chosen from outside")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return seed..seed + 1;
    }
    let first = number("FIRST").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(FIXED_SEEDS)
}

#[test]
fn simulation_of_half_a_year_ends_with_one_key_a_slot() -> anyhow::Result<()> {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<(u64, anyhow::Error)>> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            if let Err(error) = simulate_here(seed) {
                eprintln!("failed: SEED={seed} cargo test simulation: {}", error.root_cause());
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, error));
            }
            if (seed + 1).is_multiple_of(100) {
                eprintln!("{} seeds begun", seed + 1 - seeds.start);
            }
        }
    };
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(seed, _)| *seed);
    let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    match failed.into_iter().next() {
        Some((_, error)) => Err(error.context(format!("these seeds failed: {seeds:?}"))),
        None => Ok(()),
    }
}

#[test]
fn simulation_of_a_seed_is_the_same_run_every_time() -> anyhow::Result<()> {
    let seed = seeds().start;
    let (first, second) = (simulate_here(seed)?, simulate_here(seed)?);
    ensure!(first == second, "SEED={seed}: two runs differ");
    ensure!(first != simulate_here(seed + 1)?, "another seed is another run");
    Ok(())
}

/// How many seeds the plain test runs.
const FIXED_SEEDS: u64 = 3;
