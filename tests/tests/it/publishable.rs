//! Publishable keys that the user replaces, and events that wait for Stripe.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, OnDrift, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

async fn installed() -> anyhow::Result<(World, AccountRef)> {
    installed_with(Setting::default()).await
}

async fn installed_with(setting: Setting) -> anyhow::Result<(World, AccountRef)> {
    let world = World::with(setting).await?;
    let at = account(Mode::Live, "acct_1Public")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

/// Rows of events that wait to be applied.
fn open_events(world: &World) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut rows = world.rows()?;
    let is_event = |row: &serde_json::Value| {
        row["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("EVENT#"))
    };
    rows.retain(|row| is_event(row) && row.get("due_shard").is_some());
    Ok(rows)
}

async fn assert_revoked(world: &World, at: &AccountRef, kind: Kind) -> anyhow::Result<()> {
    let reply = world.read(at, kind).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "{}", reply.status());
    ensure!(json_of(&reply)?["code"] == "revoked_by_user", "{:?}", json_of(&reply)?);
    Ok(())
}

#[tokio::test]
async fn a_publishable_key_whose_id_is_gone_is_not_served_once_it_answers_that_it_is_dead()
-> anyhow::Result<()> {
    let (world, at) = installed().await?;
    let key = world.key(&at, Kind::Publishable).await?;
    world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 0).context("rotated")?;
    world.deliver().await?;
    assert_revoked(&world, &at, Kind::Publishable).await?;
    ensure!(open_events(&world)?.is_empty(), "its event is dealt with");
    ensure!(world.token(&at, Kind::Secret).await.is_ok(), "the other slot is untouched");
    Ok(())
}

#[tokio::test]
async fn a_publishable_key_whose_id_is_gone_and_that_works_is_served_while_it_may()
-> anyhow::Result<()> {
    // Stripe may say of every publishable key only that it may not make this call.
    for says_only in [None, Some(403), Some(401)] {
        let (world, at) = installed().await?;
        let key = world.key(&at, Kind::Publishable).await?;
        let token = world.token(&at, Kind::Publishable).await?;
        world.stripe.set_behaviour(|stripe| {
            stripe.old_id_retrievable = false;
            stripe.expired_event_after_rotate = false;
        });
        world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 10_080).context("rotated")?;
        world.deliver().await?;
        ensure!(open_events(&world)?.is_empty());
        if let Some(status) = says_only {
            let kind = FaultKind::BeforeEffect { status, code: "secret_key_required".into() };
            world.stripe.inject(Fault { on: CallMatch::get("/v1/customers"), kind, times: 9999 });
        }
        for _ in 0..6 {
            world.pass(DAY);
            world.sweep_to_rest().await?;
            ensure!(world.token(&at, Kind::Publishable).await? == token, "while it may live");
        }
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        assert_revoked(&world, &at, Kind::Publishable).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_publishable_key_that_only_was_not_there_for_a_while_is_served_on() -> anyhow::Result<()>
{
    let setting = Setting {
        choice: Choice { on_drift: OnDrift::Apply, ..Choice::default() },
        ..Setting::default()
    };
    let (world, at) = installed_with(setting).await?;
    let key = world.key(&at, Kind::Publishable).await?;
    let token = world.token(&at, Kind::Publishable).await?;
    let kind = FaultKind::BeforeEffect { status: 404, code: "not_found".into() };
    world.stripe.inject(Fault { on: CallMatch::get(&key), kind, times: u32::MAX });
    world.stripe.set_behaviour(|stripe| stripe.list_lag_ms = 30 * 86_400_000);
    world.pass(DAY + MINUTE);
    world.sweep_to_rest().await?;
    let stored = world.account(&at).await?;
    let (_, state) = stored.current(&default_slot(Kind::Publishable)).context("it is served")?;
    ensure!(matches!(state, State::Current { doom: Some(_), .. }), "but not for ever");

    world.stripe.clear_faults();
    world.stripe.set_behaviour(|stripe| stripe.list_lag_ms = 0);
    for _ in 0..10 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
        ensure!(world.token(&at, Kind::Publishable).await? == token);
    }
    let keys = world.stripe.keys(at.id.as_str());
    ensure!(keys.iter().any(|it| it.id == key && it.status == "active"), "nor was it ended");
    Ok(())
}

#[tokio::test]
async fn a_publishable_key_is_ended_at_stripe_whatever_it_answers_to_a_call_that_is_not_for_it()
-> anyhow::Result<()> {
    for answers_401 in [false, true] {
        let strategy = Strategy::CreateThenExpire;
        let choice = Choice { strategy, ..Choice::default() };
        let (world, at) = installed_with(Setting { choice, ..Setting::default() }).await?;
        world.stripe.set_behaviour(|stripe| stripe.publishable_answers_401 = answers_401);
        let old = world.key(&at, Kind::Publishable).await?;
        let (slot, deadline) = (default_slot(Kind::Publishable), world.now().plus(MINUTE));
        world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
        ensure!(world.key(&at, Kind::Publishable).await? != old);
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        let keys = world.stripe.keys(at.id.as_str());
        ensure!(keys.iter().any(|it| it.id == old && it.status == "expired"), "{answers_401}");
    }
    Ok(())
}

/// The user ends the key, and for now Stripe does not say what became of it.
async fn ended_unseen() -> anyhow::Result<(World, AccountRef)> {
    let (world, at) = installed().await?;
    let key = world.key(&at, Kind::Secret).await?;
    let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".into() };
    world.stripe.inject(Fault { on: CallMatch::get(&key), kind, times: u32::MAX });
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    ensure!(open_events(&world)?.len() == 1, "it waits");
    Ok((world, at))
}

#[tokio::test]
async fn an_event_for_which_stripe_cannot_be_asked_is_not_tried_in_every_sweep()
-> anyhow::Result<()> {
    let (world, at) = ended_unseen().await?;
    let mut tries = 0;
    for _ in 0..30 {
        world.pass(MINUTE);
        tries += world.sweep().await?.deferred;
    }
    ensure!((4..=7).contains(&tries), "tried {tries} times in half an hour");
    world.stripe.clear_faults();
    world.pass(MINUTE * 5);
    world.sweep_to_rest().await?;
    assert_revoked(&world, &at, Kind::Secret).await
}

#[tokio::test]
async fn an_event_that_is_still_to_be_applied_does_not_expire() -> anyhow::Result<()> {
    let (world, _) = ended_unseen().await?;
    // Nor does it say what the event was about: once it has forgotten that, the event is spent.
    let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".into() };
    world.stripe.inject(Fault { on: CallMatch::get(""), kind, times: u32::MAX });
    for day in 1..=40 {
        world.pass(DAY);
        world.sweep().await?;
        let open = open_events(&world)?;
        let until = open.iter().filter_map(|row| row["ttl"]["N"].as_str()?.parse::<i64>().ok());
        let soonest =
            until.min().with_context(|| format!("day {day}: it is open and has a ttl"))?;
        ensure!(soonest > world.now().seconds(), "day {day}: the table may delete it");
    }
    Ok(())
}
