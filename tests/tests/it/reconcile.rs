//! Stripe's list held against the table: whose keys are touched, and when.

use std::time::Duration;

use anyhow::{Context, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::Actor;
use keysteward::domain::drift::Drift;
use keysteward::domain::lifecycle::{Doom, DoomedBy, State};
use keysteward::domain::policy::{Choice, OnDrift, OnUserExpire};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400 + 60);

async fn installed(choice: Choice) -> anyhow::Result<(World, AccountRef)> {
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Test, "acct_1Drift")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    Ok((world, at))
}

fn is_active(world: &World, at: &AccountRef, key: &str) -> bool {
    world
        .stripe
        .keys(at.id.as_str())
        .iter()
        .any(|found| found.id == key && found.status == "active")
}

#[tokio::test]
async fn an_orphan_is_reported_daily_and_retired_only_on_request_after_a_whole_overlap()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let own = world.stripe.add_users_own_key(at.id.as_str(), false, "the user's own");
    let orphan = world.mint_an_orphan(&at).await?;
    let before = world.token(&at, Kind::Secret).await?;
    for _ in 0..3 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    let reconciled = world.account(&at).await?.head.reconciled.context("it was reconciled")?;
    ensure!(reconciled.drift == 1, "reported: {reconciled:?}");
    ensure!(is_active(&world, &at, &orphan), "and left alone");

    let report = world.steward().inspect(&at).await?.context("the account is known")?;
    ensure!(report.foreign == 1 && !report.applied, "{report:?}");
    let found: Vec<_> = report.findings.iter().map(|it| (it.drift, it.key.as_str())).collect();
    ensure!(found == [(Drift::Orphan, orphan.as_str())], "{found:?}");

    let deadline = world.now().plus(Duration::from_secs(60));
    let (report, _) = world.steward().set_right(&at, Actor::Operator, deadline).await?;
    ensure!(report.context("nobody else holds it")?.applied);
    ensure!(is_active(&world, &at, &orphan), "somebody may be using it: it has an overlap");
    world.pass(DAY);
    world.sweep_to_rest().await?;
    ensure!(!is_active(&world, &at, &orphan), "then it is ended");
    ensure!(is_active(&world, &at, &own), "what the user made is never touched");
    ensure!(world.token(&at, Kind::Secret).await? == before, "nor is the key in use");
    world.pass(DAY);
    world.sweep_to_rest().await?;
    ensure!(world.account(&at).await?.head.reconciled.context("again")?.drift == 0);
    Ok(())
}

#[tokio::test]
async fn a_policy_to_apply_retires_an_orphan_without_a_person() -> anyhow::Result<()> {
    let (world, at) = installed(Choice { on_drift: OnDrift::Apply, ..Choice::default() }).await?;
    let orphan = world.mint_an_orphan(&at).await?;
    world.pass(Duration::from_secs(1800));
    let report = world.steward().inspect(&at).await?.context("the account is known")?;
    ensure!(report.findings.is_empty(), "a young key may be somebody's answer under way");
    for _ in 0..3 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    ensure!(!is_active(&world, &at, &orphan));
    Ok(())
}

#[tokio::test]
async fn a_list_that_cannot_be_had_changes_nothing_and_is_asked_for_again_in_an_hour()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice { on_drift: OnDrift::Apply, ..Choice::default() }).await?;
    let before = world.account(&at).await?;
    let down = FaultKind::BeforeEffect { status: 500, code: "api_error".into() };
    let on = CallMatch::get("/v2/iam/api_keys");
    world.stripe.inject(Fault { times: u32::MAX, ..Fault::once(on, down) });
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let after = world.account(&at).await?;
    ensure!(after.generations.len() == before.generations.len());
    ensure!(after.head.reconciled.is_none(), "nothing is said of what was not seen");
    let again = after.head.reconcile_at.context("it is asked for again")?;
    ensure!(again.since(world.now()) <= Duration::from_secs(3600));
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(3700));
    world.sweep_to_rest().await?;
    ensure!(world.account(&at).await?.head.reconciled.context("it was had")?.drift == 0);
    Ok(())
}

#[tokio::test]
async fn a_list_that_lags_is_a_suspect_and_the_key_itself_is_asked() -> anyhow::Result<()> {
    let (world, at) = installed(Choice { on_drift: OnDrift::Apply, ..Choice::default() }).await?;
    world.stripe.set_behaviour(|stripe| stripe.list_lag_ms = 10 * 86_400_000);
    let before = world.token(&at, Kind::Secret).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let reconciled = world.account(&at).await?.head.reconciled.context("it was reconciled")?;
    ensure!(reconciled.drift == 0, "Stripe's object is the truth: {reconciled:?}");
    ensure!(world.token(&at, Kind::Secret).await? == before);
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_user_rotated_is_not_put_down_to_ourselves_for_the_copy_of_our_note()
-> anyhow::Result<()> {
    let (on_drift, on_user_expire) = (OnDrift::Apply, OnUserExpire::Hold);
    let (world, at) = installed(Choice { on_drift, on_user_expire, ..Choice::default() }).await?;
    let slot = default_slot(Kind::Secret);
    let stored = world.account(&at).await?;
    let (generation, state) = stored.current(&slot).context("a current key")?;
    let key = state.key().context("with a name")?.to_string();
    world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
    let users = world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 10_000);
    let users = users.context("the user rotates it")?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let stored = world.account(&at).await?;
    let (current, state) = stored.current(&slot).context("it is served while it lives")?;
    ensure!(current == generation, "nobody asked for another: {current:?}");
    let by = DoomedBy::SomebodyElse;
    let is_theirs =
        matches!(state, State::Current { doom: Some(Doom { by: it, .. }), .. } if *it == by);
    ensure!(is_theirs, "{state:?}");
    ensure!(is_active(&world, &at, &users), "and the user's key is the user's");
    Ok(())
}
