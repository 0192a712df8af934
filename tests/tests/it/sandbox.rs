//! Accounts without an install callback: claimable sandboxes, and an operator's provisioning.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{AppInstall, CallMatch, Fault, FaultKind, KeepOrExpire, SandboxContext};
use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit::{self, Action, Actor};
use keysteward::domain::backlog::LATE;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::steward::Advanced;
use keysteward_tests::World;
use keysteward_tests::table::When;
use keysteward_tests::world::{WEBHOOK_SECRET, account, default_slot, json_of};

const BOX: &str = "acct_1Box";
const OWNER: &str = "acct_1Owner";

fn soon(world: &World) -> Timestamp {
    world.now().plus(Duration::from_secs(60))
}

async fn code_of(world: &World, at: &AccountRef) -> anyhow::Result<String> {
    let reply = world.read(at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "answered {}", reply.status());
    Ok(json_of(&reply)?["code"].as_str().context("a code")?.to_owned())
}

/// One more event about a sandbox, which the sweep finds.
async fn tell(world: &World, sandbox: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({
        "id": "evt_test_told", "object": "v2.core.event", "context": null, "livemode": false,
        "type": "v2.core.claimable_sandbox.expiring", "created": world.now().to_string(),
        "related_object": {"id": sandbox, "type": "v2.core.claimable_sandbox"},
    });
    let body = serde_json::to_vec(&body)?;
    let signature = fake_stripe::sign(&[WEBHOOK_SECRET], world.now().seconds(), &body);
    ensure!(world.post(&body, &signature).await.status() == StatusCode::OK);
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await
}

fn sandbox_calls(world: &World) -> usize {
    let is_one = |call: &&fake_stripe::Call| call.path.contains("claimable_sandboxes");
    world.stripe.log().iter().filter(is_one).count()
}

/// No key of the account but those that are served is alive, and the trail holds.
async fn assert_tidy(world: &World, at: &AccountRef, alive: usize) -> anyhow::Result<()> {
    let keys = world.stripe.keys(at.id.as_str());
    let active = keys.iter().filter(|key| key.status == "active").count();
    ensure!(active == alive, "{active} keys are alive on {at}, not {alive}");
    let stored = world.account(at).await?;
    let trail = world.steward().store.trail(at, 0, 10_000).await?;
    Ok(audit::verify(&trail, &stored.head.audit)?)
}

#[tokio::test]
async fn a_sandbox_has_keys_from_the_start_and_its_owners_live_account_takes_over()
-> anyhow::Result<()> {
    for context in [SandboxContext::Null, SandboxContext::Platform, SandboxContext::Sandbox] {
        let world = World::start().await?;
        world.stripe.set_behaviour(|stripe| stripe.sandbox_context = context);
        let (sandbox, live) = (account(Mode::Test, BOX)?, account(Mode::Live, OWNER)?);
        let id = world.stripe.add_sandbox(BOX);
        world.deliver().await?;
        let token = world.token(&sandbox, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token), "no callback, and a key");

        world.stripe.claim_sandbox(&id, OWNER);
        world.deliver().await?;
        ensure!(world.token(&sandbox, Kind::Secret).await? == token, "claimed and unchanged");
        world.stripe.take_sandbox_live(&id, AppInstall::PendingInstall);
        world.deliver().await?;
        world.sweep_to_rest().await?;
        ensure!(world.token(&sandbox, Kind::Secret).await? == token, "not before the app is there");
        ensure!(world.steward().store.load(&live).await?.is_none());

        world.stripe.take_sandbox_live(&id, AppInstall::Installed);
        world.deliver().await?;
        world.sweep_to_rest().await?;
        for kind in [Kind::Secret, Kind::Publishable] {
            let served = world.token(&live, kind).await?;
            ensure!(world.stripe.token_works(&served) && served.contains("_live_"));
        }
        ensure!(code_of(&world, &sandbox).await? == "moved_to_live");
        ensure!(
            world.stripe.token_works(&token),
            "who still holds it has the overlap to change over"
        );
        world.pass(Duration::from_secs(86_401));
        world.sweep_to_rest().await?;
        ensure!(!world.stripe.token_works(&token), "and no longer");
        assert_tidy(&world, &sandbox, 0).await?;
        assert_tidy(&world, &live, 2).await?;
        world.pass(Duration::from_secs(40 * 86_400));
        world.sweep_to_rest().await?;
        assert_tidy(&world, &sandbox, 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_sandboxs_keys_stay_until_the_live_ones_are_there() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (sandbox, live) = (account(Mode::Test, BOX)?, account(Mode::Live, OWNER)?);
    world.add_account(OWNER);
    world.stripe.set_activated(OWNER, false);
    let id = world.stripe.add_sandbox(BOX);
    world.stripe.claim_sandbox(&id, OWNER);
    world.deliver().await?;
    let token = world.token(&sandbox, Kind::Secret).await?;
    world.stripe.take_sandbox_live(&id, AppInstall::Installed);
    world.deliver().await?;
    world.sweep_to_rest().await?;
    ensure!(world.token(&sandbox, Kind::Secret).await? == token, "served while there is no other");
    ensure!(code_of(&world, &live).await? == "not_permitted", "live keys wait for activation");
    world.stripe.set_activated(OWNER, true);
    let _ = world.stripe.take_deliveries();
    world.pass(Duration::from_secs(3700));
    world.sweep_to_rest().await?;
    world.pass(Duration::from_secs(3700));
    world.sweep_to_rest().await?;
    ensure!(world.token(&live, Kind::Secret).await.is_ok());
    ensure!(code_of(&world, &sandbox).await? == "moved_to_live");
    world.pass(Duration::from_secs(90_000));
    world.sweep_to_rest().await?;
    ensure!(!world.stripe.token_works(&token));
    Ok(())
}

#[tokio::test]
async fn a_sandbox_that_nobody_took_ends_like_an_uninstalled_account() -> anyhow::Result<()> {
    let world = World::start().await?;
    let sandbox = account(Mode::Test, BOX)?;
    let id = world.stripe.add_sandbox(BOX);
    world.deliver().await?;
    world.token(&sandbox, Kind::Secret).await?;
    world.stripe.expire_sandbox(&id);
    world.deliver().await?;
    ensure!(code_of(&world, &sandbox).await? == "uninstalled");
    world.pass(Duration::from_secs(8 * 86_400));
    world.sweep_to_rest().await?;
    let stored = world.account(&sandbox).await?;
    ensure!(matches!(stored.head.status, Status::Uninstalled { .. }));
    ensure!(stored.pairs.is_empty(), "the private key is shredded after the grace");
    Ok(())
}

#[tokio::test]
async fn events_of_a_sandbox_come_twice_in_any_order_and_late_and_undo_nothing()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let sandbox = account(Mode::Test, BOX)?;
    world.stripe.set_behaviour(|stripe| {
        stripe.duplicate_deliveries = true;
        stripe.shuffle_deliveries = true;
    });
    let id = world.stripe.add_sandbox(BOX);
    world.stripe.claim_sandbox(&id, OWNER);
    world.deliver().await?;
    let token = world.token(&sandbox, Kind::Secret).await?;
    assert_tidy(&world, &sandbox, 2).await?;

    // What the user ends stays ended, whatever is heard of the sandbox afterwards.
    let stored = world.account(&sandbox).await?;
    let (_, state) = stored.current(&default_slot(Kind::Secret)).context("a key")?;
    let key = state.key().context("it has a name")?.to_string();
    world.stripe.expire_in_dashboard(BOX, &key);
    world.deliver().await?;
    ensure!(code_of(&world, &sandbox).await? == "revoked_by_user");
    let fetched = sandbox_calls(&world);
    tell(&world, &id).await?;
    ensure!(sandbox_calls(&world) > fetched, "the event was followed");
    ensure!(code_of(&world, &sandbox).await? == "revoked_by_user");
    ensure!(!world.stripe.token_works(&token));

    // Nor is an account opened again that was uninstalled meanwhile.
    let other = account(Mode::Test, "acct_1Other")?;
    let late = world.stripe.add_sandbox("acct_1Other");
    world.deliver().await?;
    world.token(&other, Kind::Secret).await?;
    world.stripe.set_behaviour(|stripe| stripe.delivery_delay_ms = 60_000);
    world.stripe.claim_sandbox(&late, "acct_1OtherOwner");
    world.pass(Duration::from_secs(5));
    world.stripe.set_behaviour(|stripe| stripe.delivery_delay_ms = 0);
    world.stripe.uninstall("acct_1Other", false, KeepOrExpire::Keep);
    world.deliver().await?;
    ensure!(code_of(&world, &other).await? == "uninstalled");
    world.pass(Duration::from_secs(60));
    ensure!(world.deliver().await? > 0, "the older event comes after it");
    world.sweep_to_rest().await?;
    ensure!(code_of(&world, &other).await? == "uninstalled");
    Ok(())
}

#[tokio::test]
async fn whichever_call_fails_when_a_sandbox_goes_live_the_sweep_carries_on() -> anyhow::Result<()>
{
    let mut cuts = 0;
    for n in 0..60 {
        let world = World::start().await?;
        let (sandbox, live) = (account(Mode::Test, BOX)?, account(Mode::Live, OWNER)?);
        let id = world.stripe.add_sandbox(BOX);
        world.deliver().await?;
        world.stripe.claim_sandbox(&id, OWNER);
        world.deliver().await?;
        world.stripe.take_sandbox_live(&id, AppInstall::Installed);
        world.table.fail(n, When::BeforeEffect, true);
        world.try_deliver().await?;
        if world.table.heal() {
            break;
        }
        cuts += 1;
        for pause in [300, 3600, 90_000] {
            world.pass(Duration::from_secs(pause));
            world.try_deliver().await?;
            world.sweep_to_rest().await?;
        }
        let token = world.token(&live, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token), "cut at {n}");
        ensure!(code_of(&world, &sandbox).await? == "moved_to_live", "cut at {n}");
        assert_tidy(&world, &sandbox, 0).await.with_context(|| format!("cut at {n}"))?;
        assert_tidy(&world, &live, 2).await.with_context(|| format!("cut at {n}"))?;
    }
    ensure!(cuts > 10, "only {cuts} calls were cut");
    Ok(())
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_fetched_is_asked_for_again_and_one_that_is_not_ours_is_not()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let sandbox = account(Mode::Test, BOX)?;
    let on = CallMatch { path_suffix: String::new(), ..CallMatch::get("") };
    let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
    world.stripe.inject(Fault { on, kind, times: u32::MAX });
    world.stripe.add_sandbox(BOX);
    ensure!(world.try_deliver().await?.not_applied == 1, "the stream comes again");
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await?;
    ensure!(world.token(&sandbox, Kind::Secret).await.is_ok());

    let calls = sandbox_calls(&world);
    tell(&world, "clmsbx_test_notours").await?;
    ensure!(sandbox_calls(&world) == calls + 1, "asked once");
    Ok(())
}

/// The record is read every hour, and what is put down is due a minute later.
async fn an_hour_passes(world: &World) -> anyhow::Result<()> {
    world.pass(Duration::from_secs(3601));
    world.sweep().await?;
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await
}

#[tokio::test]
async fn what_no_webhook_told_of_a_sandbox_is_found_in_stripes_own_record() -> anyhow::Result<()> {
    for context in [SandboxContext::Null, SandboxContext::Platform] {
        let world = World::start().await?;
        world.stripe.set_behaviour(|stripe| {
            stripe.sandbox_context = context;
            stripe.drop_deliveries = true;
        });
        let (sandbox, live) = (account(Mode::Test, BOX)?, account(Mode::Live, OWNER)?);
        let id = world.stripe.add_sandbox(BOX);
        an_hour_passes(&world).await?;
        let token = world.token(&sandbox, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token));

        world.stripe.claim_sandbox(&id, OWNER);
        world.stripe.take_sandbox_live(&id, AppInstall::Installed);
        an_hour_passes(&world).await?;
        ensure!(world.stripe.token_works(&world.token(&live, Kind::Secret).await?));
        ensure!(code_of(&world, &sandbox).await? == "moved_to_live");

        // Of two events about one account, one may have had to wait for the other.
        an_hour_passes(&world).await?;
        let followed = sandbox_calls(&world);
        for _ in 0..24 {
            an_hour_passes(&world).await?;
        }
        ensure!(sandbox_calls(&world) == followed, "what was followed is not followed again");
        let record = world.steward().standing().await?.own_record.context("it was read")?;
        let read_to = record.read_to.context("to where")?;
        ensure!(world.now().since(read_to) < LATE * 3, "the cursor moves");
    }
    Ok(())
}

#[tokio::test]
async fn a_sandboxs_own_record_is_read_for_it_too() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.sandbox_context = SandboxContext::Sandbox);
    let (sandbox, live) = (account(Mode::Test, BOX)?, account(Mode::Live, OWNER)?);
    let id = world.stripe.add_sandbox(BOX);
    world.deliver().await?;
    world.token(&sandbox, Kind::Secret).await?;
    world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
    world.stripe.claim_sandbox(&id, OWNER);
    world.stripe.take_sandbox_live(&id, AppInstall::Installed);
    world.pass(Duration::from_secs(86_460));
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&live, Kind::Secret).await?));
    ensure!(code_of(&world, &sandbox).await? == "moved_to_live");
    Ok(())
}

#[tokio::test]
async fn an_own_record_that_cannot_be_read_is_tried_hourly_and_stops_no_sweep() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Beside")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let on = CallMatch::get("/v2/core/events");
    let kind = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
    world.stripe.inject(Fault { on, kind, times: u32::MAX });
    let asked = |world: &World| {
        let calls = world.stripe.log().into_iter();
        calls.filter(|call| call.path == "/v2/core/events" && call.context.is_none()).count()
    };
    for _ in 0..120 {
        world.pass(Duration::from_secs(60));
        ensure!(world.sweep().await?.failed == 0);
    }
    ensure!((2..=3).contains(&asked(&world)), "asked {} times in two hours", asked(&world));
    Ok(())
}

#[tokio::test]
async fn an_operator_provisions_an_account_by_its_id_and_twice_is_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1ById")?;
    world.add_account(at.id.as_str());
    world.stripe.install(at.id.as_str(), true);
    let slot = default_slot(Kind::Secret);
    for _ in 0..2 {
        let done = world.steward().provision(&at, &slot, Actor::Operator, soon(&world)).await?;
        ensure!(matches!(done, Advanced::Settled(_)), "{done:?}");
    }
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    assert_tidy(&world, &at, 1).await?;
    let trail = world.steward().store.trail(&at, 0, 100).await?;
    let asked = trail.iter().filter(|entry| entry.action == Action::Request).count();
    ensure!(asked == 2 && trail.iter().filter(|it| it.action == Action::Install).count() == 1);

    // One that is not installed there waits, by name.
    let stranger = account(Mode::Live, "acct_1Stranger")?;
    world.steward().provision(&stranger, &slot, Actor::Operator, soon(&world)).await?;
    ensure!(code_of(&world, &stranger).await? == "not_permitted");
    Ok(())
}

#[tokio::test]
async fn provisioning_is_the_way_out_where_a_slot_asks_for_a_person() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Stuck")?;
    world.add_account(at.id.as_str());
    world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
    world.install_app(&at).await?;
    world.sweep_to_rest().await?;
    let slot = default_slot(Kind::Secret);
    ensure!(code_of(&world, &at).await? == "undecryptable", "two keys that do not open");
    world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
    world.pass(Duration::from_secs(86_400));
    world.sweep_to_rest().await?;
    ensure!(code_of(&world, &at).await? == "undecryptable", "nobody has asked");

    world.steward().provision(&at, &slot, Actor::Operator, soon(&world)).await?;
    let token = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&token));
    world.sweep_to_rest().await?;
    assert_tidy(&world, &at, 2).await?;
    let stored = world.account(&at).await?;
    let states: Vec<_> = stored.generations_of(&slot).map(|(_, state)| state.name()).collect();
    ensure!(states == ["ended", "ended", "current"], "what did not open was ended: {states:?}");
    Ok(())
}

#[tokio::test]
async fn provisioning_lifts_what_the_user_brought_about() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Held")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let slot = default_slot(Kind::Secret);
    let stored = world.account(&at).await?;
    let key = stored.current(&slot).and_then(|(_, state)| state.key()).context("a key")?;
    world.stripe.expire_in_dashboard(at.id.as_str(), key.as_str());
    world.deliver().await?;
    ensure!(code_of(&world, &at).await? == "revoked_by_user");
    world.steward().provision(&at, &slot, Actor::Operator, soon(&world)).await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));

    // An uninstall that the operator knows to be undone.
    world.pass(Duration::from_secs(60));
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Expire);
    world.deliver().await?;
    ensure!(code_of(&world, &at).await? == "uninstalled");
    world.pass(Duration::from_secs(60));
    world.stripe.install(at.id.as_str(), true);
    let _ = world.stripe.take_deliveries();
    world.steward().provision(&at, &slot, Actor::Operator, soon(&world)).await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}
