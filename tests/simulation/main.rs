//! Months of many accounts' lives, seeded: faults, disorder, users who act, people who operate, sweeps
//! that race. Whatever happened, once the faults are over the sweep brings every account to rest with one
//! key a slot; and on the way no call to Stripe breaks what it must not ([`keysteward_tests::Witness`]).
//!
//! `SEED=… cargo test simulation` repeats one seed exactly; `SEEDS=n` runs the first n, from `FIRST` on,
//! as many at once as there are processors. What happened is counted and told at the end, and in a
//! run of many nothing may be missing of what `happened.rs` lists.

mod check;
mod dice;
mod happen;
mod happened;
mod history;
mod life;
mod operate;
mod served;
mod trouble;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};

use happened::Happened;
use life::Life;

/// What happened, as one number and counted.
async fn simulate(seed: u64) -> anyhow::Result<(u64, Happened)> {
    let mut life = Life::begin(seed).await?;
    let outcome = life.whole().await;
    let history =
        outcome.with_context(|| format!("{}\nSEED={seed} cargo test simulation", life.story()))?;
    Ok((history, life.happened))
}

/// One life on a thread and a runtime of its own. The runtime's clock is paused: a rest between two attempts
/// ends when everybody else waits too, and not when the machine happens to come to it.
fn simulate_here(seed: u64) -> anyhow::Result<(u64, Happened)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(Box::pin(simulate(seed)))
}

fn seeds() -> anyhow::Result<Range<u64>> {
    if let Some(seed) = number("SEED")? {
        return Ok(seed..seed + 1);
    }
    let first = number("FIRST")?.unwrap_or(0);
    Ok(first..first + number("SEEDS")?.unwrap_or(FIXED_SEEDS))
}

#[expect(clippy::disallowed_methods, reason = "the seed is chosen from outside")]
fn number(name: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    let number = text.parse().with_context(|| format!("{name}={text:?} is no number"))?;
    Ok(Some(number))
}

/// What came of a run of many seeds.
#[derive(Default)]
struct Run {
    happened: Happened,
    failed: Vec<(u64, anyhow::Error)>,
}

impl Run {
    fn take(&mut self, seed: u64, outcome: anyhow::Result<(u64, Happened)>) {
        match outcome {
            Ok((_, happened)) => self.happened.absorb(&happened),
            Err(error) => self.failed.push((seed, error)),
        }
    }
}

#[test]
fn simulation_of_half_a_year_ends_with_one_key_a_slot() -> anyhow::Result<()> {
    let seeds = seeds()?;
    let next = AtomicU64::new(seeds.start);
    let run = Mutex::new(Run::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            let outcome = simulate_here(seed);
            if let Err(error) = &outcome {
                eprintln!("failed: SEED={seed} cargo test simulation: {}", error.root_cause());
            }
            run.lock().unwrap_or_else(PoisonError::into_inner).take(seed, outcome);
            if (seed + 1 - seeds.start).is_multiple_of(100) {
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
    let Run { happened, mut failed } = run.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("happened: {happened}");
    failed.sort_by_key(|(seed, _)| *seed);
    let which: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    match failed.into_iter().next() {
        Some((_, error)) => Err(error.context(format!("these seeds failed: {which:?}"))),
        None => happened.check(seeds.end - seeds.start),
    }
}

#[test]
fn simulation_of_a_seed_is_the_same_run_every_time() -> anyhow::Result<()> {
    let seeds = seeds()?;
    let mut before = None;
    for seed in (seeds.start..seeds.end.max(seeds.start + 2)).take(2) {
        let (first, second) = (simulate_here(seed)?.0, simulate_here(seed)?.0);
        ensure!(first == second, "SEED={seed}: two runs differ");
        ensure!(before != Some(first), "another seed is another run");
        before = Some(first);
    }
    Ok(())
}

/// How many seeds the plain test runs.
const FIXED_SEEDS: u64 = 3;
