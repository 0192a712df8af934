//! What the user ended stays ended until somebody asks, whatever is under way, and whoever asked is not kept waiting.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::steward::operator::Expiry;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World};

const HOUR: Duration = Duration::from_secs(3600);

async fn installed(strategy: Strategy) -> anyhow::Result<(World, AccountRef)> {
    let choice = Choice { strategy, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Held")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

async fn assert_held(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let reply = world.read(at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "{}", reply.status());
    ensure!(json_of(&reply)?["code"] == "revoked_by_user", "{:?}", json_of(&reply)?);
    let keys = world.stripe.keys(at.id.as_str());
    let alive = keys.iter().any(|key| key.kind == "secret_key" && key.status == "active");
    ensure!(!alive, "no key was made: {keys:?}");
    Ok(())
}

/// The user ends the key that is served, and means it.
async fn assert_held_once_ended(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let key = world.key(at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    world.sweep_to_rest().await?;
    assert_held(world, at).await
}

/// A rotation is begun, and Stripe takes no call for a new key for now.
async fn begin_in_vain(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 2);
    let kind = FaultKind::BeforeEffect { status: 429, code: "rate_limit".to_owned() };
    world.stripe.inject(Fault { on: CallMatch::post("/rotate"), kind, times: u32::MAX });
    let slot = default_slot(Kind::Secret);
    world.steward().rotate(at, &slot, Actor::Operator, world.now().plus(HOUR)).await?;
    let stored = world.account(at).await?;
    let pending = stored.pending(&slot).context("a call is under way")?.1;
    ensure!(matches!(pending, State::Requested { .. }), "{pending:?}");
    Ok(())
}

fn let_through(world: &World) {
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 100);
    world.stripe.clear_faults();
}

#[tokio::test]
async fn a_key_that_the_user_expires_while_its_rotation_waits_is_held() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let (world, at) = installed(strategy).await?;
        begin_in_vain(&world, &at).await?;
        let key = world.key(&at, Kind::Secret).await?;
        world.stripe.expire_in_dashboard(at.id.as_str(), &key);
        world.deliver().await?;
        let_through(&world);
        for _ in 0..4 {
            world.pass(HOUR);
            world.sweep_to_rest().await?;
        }
        assert_held(&world, &at).await.with_context(|| format!("{strategy:?}"))?;
        world.install_app(&at).await?;
        ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    }
    Ok(())
}

#[tokio::test]
async fn who_installs_again_is_not_held_however_late_the_end_of_the_old_key_is_seen()
-> anyhow::Result<()> {
    let (world, at) = installed(Strategy::Rotate).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.lose_deliveries("v2.iam.api_key.").await;
    world.pass(Duration::from_secs(60));
    // Stripe does not say what the key came to while the person is there.
    let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
    world.stripe.inject(Fault { on: CallMatch::get(&key), kind, times: u32::MAX });
    ensure!(world.install_app(&at).await?.status() == StatusCode::OK);
    world.stripe.clear_faults();
    world.pass(HOUR);
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?), "it was asked for");

    // What was asked for is there: the next time that the user ends it, he means it.
    world.pass(HOUR);
    assert_held_once_ended(&world, &at).await
}

#[tokio::test]
async fn who_installs_again_and_then_ends_the_key_is_held() -> anyhow::Result<()> {
    let (world, at) = installed(Strategy::Rotate).await?;
    world.pass(HOUR);
    world.install_app(&at).await?;
    world.pass(HOUR);
    assert_held_once_ended(&world, &at).await
}

#[tokio::test]
async fn a_key_that_the_user_rotated_is_made_anew_at_its_end_for_who_installed_again()
-> anyhow::Result<()> {
    let (world, at) = installed(Strategy::Rotate).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 60).context("rotated")?;
    world.deliver().await?;
    world.pass(HOUR / 2);
    world.install_app(&at).await?;
    world.pass(HOUR);
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}

#[tokio::test]
async fn who_installed_again_while_the_bundle_only_reported_and_then_ends_the_key_is_held()
-> anyhow::Result<()> {
    let (mut world, at) = installed(Strategy::Rotate).await?;
    let copy = world.copy()?;
    world.pass(HOUR);
    world.restore(copy).await?;
    world.sweep().await?;
    world.install_app(&at).await?;
    world.deliver().await?;
    world.steward().give_order(|standing| standing.release()).await?;
    world.steward().store.wake(&at, world.now()).await?;
    world.sweep_to_rest().await?;
    for _ in 0..2 {
        world.pass(24 * HOUR);
        world.sweep_to_rest().await?;
    }
    assert_held_once_ended(&world, &at).await
}

#[tokio::test]
async fn a_key_that_dies_at_stripe_is_not_served_on_because_an_operator_wants_it_replaced()
-> anyhow::Result<()> {
    // The operator wants it replaced once or twice, after the user rotated it or before; and Stripe may not say what
    // became of it.
    for wanted in ["after", "after and again", "after, unsaid", "before"] {
        let (world, at) = installed(Strategy::Rotate).await?;
        let slot = default_slot(Kind::Secret);
        let key = world.key(&at, Kind::Secret).await?;
        // No other can be made.
        world.stripe.set_behaviour(|stripe| stripe.key_limit = 1);
        let replace = async || {
            let soon = world.now().plus(HOUR);
            world.steward().expire(&at, &slot, Expiry::OnceReplaced, Actor::Operator, soon).await
        };
        if wanted == "before" {
            replace().await?;
        }
        world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 60).context("rotated")?;
        world.deliver().await?;
        if wanted != "before" {
            replace().await?;
        }
        world.pass(HOUR / 6);
        world.sweep_to_rest().await?;
        if wanted == "after and again" {
            replace().await?;
        }
        world.sweep_to_rest().await?;
        ensure!(world.token(&at, Kind::Secret).await.is_ok(), "{wanted}: while it lives");
        if wanted == "after, unsaid" {
            let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
            world.stripe.inject(Fault { on: CallMatch::get(&key), kind, times: u32::MAX });
        }
        let _ = world.stripe.take_deliveries();
        world.pass(HOUR);
        let _ = world.stripe.take_deliveries();
        world.pass(Duration::from_secs(60));
        world.sweep_to_rest().await?;
        let reply = world.read(&at, Kind::Secret).await;
        ensure!(reply.status() == StatusCode::CONFLICT, "{wanted}: {}", reply.status());
        ensure!(json_of(&reply)?["code"] == "limit_reached", "{wanted}: {:?}", json_of(&reply)?);
    }
    Ok(())
}

#[tokio::test]
async fn ending_replaced_keys_lifts_no_hold() -> anyhow::Result<()> {
    let (world, at) = installed(Strategy::Rotate).await?;
    let slot = default_slot(Kind::Secret);
    let soon = world.now().plus(HOUR);
    world.steward().rotate(&at, &slot, Actor::Operator, soon).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.pass(Duration::from_secs(1));
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    world.steward().expire(&at, &slot, Expiry::Replaced, Actor::Operator, soon).await?;
    world.sweep_to_rest().await?;
    assert_held(&world, &at).await
}

#[tokio::test]
async fn a_key_that_the_user_rotates_while_another_is_being_created_is_seen_at_once()
-> anyhow::Result<()> {
    let (world, at) = installed(Strategy::CreateThenExpire).await?;
    begin_in_vain(&world, &at).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.set_behaviour(|stripe| stripe.expired_event_after_rotate = false);
    world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 30).context("rotated")?;
    world.deliver().await?;
    ensure!(world.token(&at, Kind::Secret).await.is_ok(), "it is served while it lives");
    world.pass(HOUR / 2);
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "a dead key is served");
    Ok(())
}
