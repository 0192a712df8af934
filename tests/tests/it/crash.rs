//! Every call to the table and to Stripe fails once, in every way, and the sweep makes up for it.
//!
//! What holds afterwards is asked of Stripe's double and of the tokens themselves, not of our table alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::{self, Action, Phase};
use keysteward::domain::policy::{Choice, OnUserExpire, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::table::When;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

/// What is going on when the fault strikes.
#[derive(Clone, Copy, Debug)]
enum UseCase {
    Install,
    Rotation,
    Retirement,
    RevokedByUser,
}

/// How the n-th call fails.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The table does not do it.
    TableBefore,
    /// The table does it and the answer is lost.
    TableAfter,
    /// The process dies: this call to the table and every later one fails.
    Killed,
    /// Stripe does not do it.
    StripeBefore,
    /// Stripe does it and answers with an error.
    StripeAfter,
    /// Stripe does it and the connection breaks.
    StripeLost,
}

const USE_CASES: [UseCase; 4] =
    [UseCase::Install, UseCase::Rotation, UseCase::Retirement, UseCase::RevokedByUser];

async fn every_cut(cuts: &[Cut], setting: &Setting, forgetful: bool) -> anyhow::Result<()> {
    for use_case in USE_CASES {
        for cut in cuts {
            let mut n = 0;
            while survives(use_case, *cut, n, setting, forgetful)
                .await
                .with_context(|| format!("{use_case:?}, {cut:?} at call {n}"))?
            {
                n += 1;
                ensure!(n < 100, "{use_case:?} makes no end of calls");
            }
            ensure!(n > 0, "{use_case:?} was never hit by {cut:?}");
        }
    }
    Ok(())
}

/// Runs one use case with one cut; answers whether the cut was hit.
async fn survives(
    use_case: UseCase,
    cut: Cut,
    n: u32,
    setting: &Setting,
    forgetful: bool,
) -> anyhow::Result<bool> {
    let world = World::with(setting.clone()).await?;
    world.stripe.set_behaviour(|stripe| stripe.replay_returns_ciphertext = !forgetful);
    let at = account(Mode::Live, "acct_1Crash")?;
    world.add_account(at.id.as_str());
    prepare(&world, &at, use_case).await?;

    let calls = world.stripe.log().len();
    strike(&world, cut, n);
    let run = run(&world, &at, use_case).await;
    let stripe_hit = {
        world.stripe.clear_faults();
        world.stripe.log().len() > calls + n as usize
    };
    let table_waits = world.doors.heal() == 0;
    let hit = match cut {
        Cut::TableBefore | Cut::TableAfter | Cut::Killed => !table_waits,
        Cut::StripeBefore | Cut::StripeAfter | Cut::StripeLost => stripe_hit,
    };
    // Whatever the caller was told, only what follows counts; a caller told of a failure may repeat it.
    if run.is_err() && matches!(use_case, UseCase::Install | UseCase::RevokedByUser) {
        world.pass(Duration::from_secs(180));
        self::run(&world, &at, use_case).await?;
    }
    recover(&world, &at).await?;
    check(&world, &at).await?;
    Ok(hit)
}

async fn prepare(world: &World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<()> {
    if matches!(use_case, UseCase::Install) {
        return Ok(());
    }
    world.install_app(at).await?;
    world.deliver().await?;
    if matches!(use_case, UseCase::Rotation | UseCase::Retirement) {
        world.pass(Duration::from_secs(31 * 86_400));
    }
    if matches!(use_case, UseCase::Retirement) {
        world.sweep_to_rest().await?;
        world.pass(Duration::from_secs(86_400));
    }
    Ok(())
}

async fn run(world: &World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<()> {
    match use_case {
        UseCase::Install => {
            let page = world.install_app(at).await?;
            ensure!(page.status().is_success(), "the installation was answered {}", page.status());
        }
        UseCase::Rotation | UseCase::Retirement => {
            world.sweep().await?;
        }
        UseCase::RevokedByUser => {
            let stored = world.steward().store.load(at).await?.context("installed")?;
            let slot = default_slot(Kind::Secret);
            if let Some((_, state)) = stored.current(&slot)
                && let Some(key) = state.key()
            {
                world.stripe.expire_in_dashboard(at.id.as_str(), key.as_str());
            }
            world.try_deliver().await?;
        }
    }
    Ok(())
}

fn strike(world: &World, cut: Cut, n: u32) {
    let stripe = |kind| {
        let on = CallMatch { nth: Some(n + 1), ..CallMatch::post("") };
        world.stripe.inject(Fault::once(on, kind));
    };
    match cut {
        Cut::TableBefore => world.table.fail(n, When::BeforeEffect, false),
        Cut::TableAfter => world.table.fail(n, When::AfterEffect, false),
        Cut::Killed => world.table.fail(n, When::BeforeEffect, true),
        Cut::StripeBefore => {
            stripe(FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() });
        }
        Cut::StripeAfter => stripe(FaultKind::AfterEffect { status: 500 }),
        Cut::StripeLost => stripe(FaultKind::LostResponse),
    }
}

/// Time passes, events arrive, the schedule sweeps: nothing else.
async fn recover(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    for pause in [180, 3600, 90_000, 90_000] {
        world.pass(Duration::from_secs(pause));
        world.try_deliver().await?;
        world.sweep_to_rest().await?;
    }
    ensure!(world.steward().store.load(at).await?.is_some(), "the account is stored");
    Ok(())
}

async fn check(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    for kind in [Kind::Secret, Kind::Publishable] {
        let token = world.token(at, kind).await.with_context(|| format!("{kind}"))?;
        ensure!(world.stripe.token_works(&token), "the {kind} key that is served works");
    }
    let alive: Vec<_> = world
        .stripe
        .keys(at.id.as_str())
        .into_iter()
        .filter(|key| key.status == "active")
        .map(|key| (key.kind, key.id))
        .collect();
    ensure!(alive.len() == 2, "one key a slot is alive at Stripe, no orphan: {alive:?}");
    let other_bytes = |code: &str| code == "idempotency_error";
    ensure!(
        !world.stripe.log().iter().any(|call| call.error_code.as_deref().is_some_and(other_bytes)),
        "I3: a retry sent other bytes"
    );
    let stored = world.account(at).await?;
    let trail = world.steward().store.trail(at, 0, 10_000).await?;
    audit::verify(&trail, &stored.head.audit)?;
    let mut open: BTreeMap<_, i32> = BTreeMap::new();
    for entry in &trail {
        let about = (entry.slot.clone(), entry.generation, entry.action == Action::Issue);
        match entry.phase {
            Phase::Begin => *open.entry(about).or_default() += 1,
            Phase::Complete => *open.entry(about).or_default() -= 1,
            Phase::Note => {}
        }
    }
    ensure!(open.values().all(|count| *count == 0), "the audit trail is closed: {open:?}");
    Ok(())
}

fn setting(strategy: Strategy) -> Setting {
    let choice = Choice { strategy, on_user_expire: OnUserExpire::Reissue, ..Choice::default() };
    Setting { choice, ..Setting::default() }
}

#[tokio::test]
async fn whichever_call_to_the_table_fails_the_sweep_restores_one_key_a_slot() -> anyhow::Result<()>
{
    let cuts = [Cut::TableBefore, Cut::TableAfter];
    every_cut(&cuts, &setting(Strategy::Rotate), false).await
}

#[tokio::test]
async fn wherever_the_process_dies_the_sweep_restores_one_key_a_slot() -> anyhow::Result<()> {
    every_cut(&[Cut::Killed], &setting(Strategy::Rotate), false).await?;
    every_cut(&[Cut::Killed], &setting(Strategy::CreateThenExpire), false).await
}

#[tokio::test]
async fn whichever_call_to_stripe_fails_the_sweep_restores_one_key_a_slot() -> anyhow::Result<()> {
    let cuts = [Cut::StripeBefore, Cut::StripeAfter, Cut::StripeLost];
    every_cut(&cuts, &setting(Strategy::Rotate), false).await
}

#[tokio::test]
async fn where_a_replay_carries_no_ciphertext_the_lost_key_is_ended_and_replaced()
-> anyhow::Result<()> {
    let cuts = [Cut::Killed, Cut::TableAfter, Cut::StripeAfter, Cut::StripeLost];
    every_cut(&cuts, &setting(Strategy::Rotate), true).await?;
    every_cut(&cuts, &setting(Strategy::CreateThenExpire), true).await
}
