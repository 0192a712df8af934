//! What a sweep costs among many accounts: `just scale`. Prints the tables of `docs/performance.md`.
//!
//! `scale [few] [many] [idle]`: the numbers of accounts. The `rotate` function runs as Lambda runs it, its binary in a
//! process of its own, and sweeps by the machine's clock. Table, KMS and Stripe are this process, over sockets on
//! loopback, so CPU and memory are the function's alone. Accounts that are due were installed and have keys that
//! Stripe made; their key pairs are out of a pool. The rest is copies of one of them, written into the engine.
#![expect(clippy::print_stdout, reason = "the tables are the result")]

mod goals;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use fake_stripe::Behaviour;
use goals::{Goals, percent, ratio};
use keysteward::domain::slot::AccountRef;
use keysteward_tests::Crowd;
use keysteward_tests::crowd::Rows;
use run::{Idle, Rotate, Rotations};

/// Stripe's limits of live mode: over all endpoints, which is what is configured too, and of one.
const RPS: u32 = 100;
const ENDPOINT_RPS: u32 = 25;
/// Due accounts in each of two crowds, in turn, so that what disturbs one disturbs the other.
const BATCH: usize = 500;
const BATCHES: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise| arguments.next().map_or(Ok(otherwise), |text| text.parse());
    let (few, many, idle) = (number(10_000)?, number(100_000)?, number(1_000_000)?);

    let mut goals = Goals::default();
    let mut crowds = [Crowded::of(few).await?, Crowded::of(many).await?];
    nothing_due(&mut goals, &mut crowds, idle).await?;
    rotations(&mut goals, &mut crowds).await?;
    drop(crowds);
    as_far_as_stripe_is(&mut goals).await?;
    a_limit_to_learn(&mut goals).await?;
    Ok(if goals.are_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A crowd of so many accounts, some of which can be made due, and the function that sweeps it.
struct Crowded {
    count: usize,
    crowd: Crowd,
    rotate: Rotate,
    installed: Vec<AccountRef>,
}

impl Crowded {
    async fn of(count: usize) -> anyhow::Result<Self> {
        let crowd = Crowd::start().await?;
        let installed = crowd.install((BATCH * BATCHES).min(count)).await?;
        if let Some(model) = installed.first() {
            crowd.fill(model, count - installed.len(), Rows::All)?;
        }
        crowd.deployment.stripe.set_behaviour(|stripe| {
            stripe.rate_limit_per_second = Some(RPS);
            stripe.endpoint_rate_limit_per_second = Some(ENDPOINT_RPS);
        });
        let rotate = Rotate::start(&crowd, RPS).await?;
        Ok(Self { count, crowd, rotate, installed })
    }
}

/// Sweeps that find nothing, before anything was made due: among few, and among as many as can be.
async fn nothing_due(
    goals: &mut Goals,
    [few, _]: &mut [Crowded; 2],
    count: usize,
) -> anyhow::Result<()> {
    let crowd = Crowd::start().await?;
    let model = crowd.install(1).await?;
    crowd.fill(&model[0], count - 1, Rows::Head)?;
    let mut rotate = Rotate::start(&crowd, RPS).await?;
    let mut seen = [Idle::default(), Idle::default()];
    for _ in 0..5 {
        seen[0].add(few.rotate.sweep_in_vain(&few.crowd, 40).await?);
        seen[1].add(rotate.sweep_in_vain(&crowd, 40).await?);
    }
    let [base, idle] = seen;
    println!("| nothing due | {} accounts | {count} accounts | ratio | goal | |", few.count);
    println!("|---|--:|--:|--:|--:|---|");
    let items = goals.counted(base.items + idle.items == 0);
    println!("| items read | {} | {} | – | 0 | {items} |", base.items, idle.items);
    let calls = [base, idle].map(|idle| idle.calls as f64 / idle.sweeps as f64);
    println!("| calls to the table a sweep | {:.1} | {:.1} | – | – | |", calls[0], calls[1]);
    let cpu = [base, idle].map(Idle::cpu_millis);
    let (of, met) = ratio(cpu, 1.05);
    println!("| CPU a sweep, ms | {:.2} | {:.2} | {of} | ≤ 1.05 | {met} |\n", cpu[0], cpu[1]);
    Ok(())
}

/// The same number of rotations among few accounts and among many.
async fn rotations(goals: &mut Goals, crowds: &mut [Crowded; 2]) -> anyhow::Result<()> {
    let mut seen = [Rotations::default(), Rotations::default()];
    for batch in 0..BATCHES {
        for (crowded, seen) in crowds.iter_mut().zip(&mut seen) {
            let due = crowded.installed.chunks(BATCH).nth(batch).unwrap_or_default();
            crowded.crowd.make_due(due).await?;
            seen.add(crowded.rotate.sweep(&crowded.crowd).await?);
        }
    }
    let [few, many] = crowds;
    println!(
        "| {} rotations each | {} accounts | {} accounts | ratio | goal | |",
        few.installed.len(),
        few.count,
        many.count
    );
    println!("|---|--:|--:|--:|--:|---|");
    let items = [&seen[0], &seen[1]].map(Rotations::index_items_per_due);
    let met = goals.counted(items.iter().all(|items| *items <= 1.01));
    println!(
        "| items of the due index read per due account | {:.3} | {:.3} | – | ≤ 1.01 | {met} |",
        items[0], items[1]
    );
    let rows = [&seen[0], &seen[1]].map(Rotations::rows_per_due);
    println!("| rows of the account read with it | {:.2} | {:.2} | – | – | |", rows[0], rows[1]);
    let cpu = [&seen[0], &seen[1]].map(Rotations::cpu_millis);
    let (of, met) = ratio(cpu, 1.05);
    println!("| CPU per rotation, ms | {:.2} | {:.2} | {of} | ≤ 1.05 | {met} |", cpu[0], cpu[1]);
    let peak = [few.rotate.peak_mib()?, many.rotate.peak_mib()?];
    let (of, met) = ratio(peak, 1.1);
    println!("| peak memory, MiB | {:.1} | {:.1} | {of} | ≤ 1.1 | {met} |", peak[0], peak[1]);
    let [few, many] = seen.map(|seen| (seen.share_used(ENDPOINT_RPS), seen.share_refused()));
    let used = goals.counted(few.0 >= 0.95 && many.0 >= 0.95);
    println!(
        "| allowed rate used | {} | {} | – | ≥ 95 % | {used} |",
        percent(few.0),
        percent(many.0)
    );
    let refused = goals.counted(few.1 <= 0.001 && many.1 <= 0.001);
    println!(
        "| calls answered 429 | {} | {} | – | ≤ 0.1 % | {refused} |\n",
        percent(few.1),
        percent(many.1)
    );
    Ok(())
}

/// Against a Stripe that takes its time to be reached and to answer.
async fn as_far_as_stripe_is(goals: &mut Goals) -> anyhow::Result<()> {
    let seen = sweep_apart(BATCH * BATCHES, Duration::ZERO, |stripe| {
        stripe.arrives_after_ms = (20, 40);
        stripe.answers_after_ms = (250, 450);
        stripe.rate_limit_per_second = Some(RPS);
        stripe.endpoint_rate_limit_per_second = Some(ENDPOINT_RPS);
    })
    .await?;
    print_rate(goals, "Stripe answers after 270 to 490 ms", &seen, ENDPOINT_RPS);
    Ok(())
}

/// Against a Stripe that allows less than anybody was told: after a minute, when that has been learnt.
async fn a_limit_to_learn(goals: &mut Goals) -> anyhow::Result<()> {
    const TRUE_RPS: u32 = 10;
    let seen = sweep_apart(BATCH * BATCHES, Duration::from_secs(60), |stripe| {
        stripe.endpoint_rate_limit_per_second = Some(TRUE_RPS);
    })
    .await?;
    let what = format!("Stripe allows {TRUE_RPS} a second, after 60 s");
    print_rate(goals, &what, &seen, TRUE_RPS);
    Ok(())
}

/// Sweeps a crowd of its own, and leaves its beginning out of what is counted of calls.
async fn sweep_apart(
    due: usize,
    beginning: Duration,
    change: impl FnOnce(&mut Behaviour),
) -> anyhow::Result<Rotations> {
    let crowd = Crowd::start().await?;
    let installed = crowd.install(due).await?;
    crowd.deployment.stripe.set_behaviour(change);
    let mut rotate = Rotate::start(&crowd, RPS).await?;
    crowd.make_due(&installed).await?;
    let mut seen = rotate.sweep(&crowd).await?;
    seen.leave_out(beginning);
    Ok(seen)
}

fn print_rate(goals: &mut Goals, what: &str, seen: &Rotations, allowed: u32) {
    let (used, refused) = (seen.share_used(allowed), seen.share_refused());
    println!("| {what} | | goal | |");
    println!("|---|--:|--:|---|");
    println!("| calls to `…/rotate` | {} | – | |", seen.paced_calls());
    let met = goals.counted(used >= 0.95);
    println!("| allowed rate used | {} | ≥ 95 % | {met} |", percent(used));
    let met = goals.counted(refused <= 0.001);
    println!("| calls answered 429 | {} | ≤ 0.1 % | {met} |\n", percent(refused));
}
