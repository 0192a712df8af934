//! A sandbox is made, claimed, goes live or ends, and the events of it are disordered or fail.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{AppInstall, CallMatch, Fault, FaultKind, KeepOrExpire, SandboxContext};
use keysteward::domain::account::Status;
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{Kind, Mode, Slot, SlotName};
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot};

use super::{BOX, OWNER, assert_tidy, code_of, sandbox_calls, tell};

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
async fn a_sandbox_with_more_slots_than_one_change_holds_is_vacated_in_several()
-> anyhow::Result<()> {
    let world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 1000);
    let sandbox = account(Mode::Test, BOX)?;
    let id = world.stripe.add_sandbox(BOX);
    world.deliver().await?;
    let deadline = world.now().plus(Duration::from_secs(600));
    for number in 0..40 {
        let slot = Slot::new(Kind::Secret, SlotName::parse(&format!("s{number}"))?);
        world.steward().provision(&sandbox, &slot, Actor::Operator, deadline).await?;
    }
    world.stripe.claim_sandbox(&id, OWNER);
    world.stripe.take_sandbox_live(&id, AppInstall::Installed);
    world.deliver().await?;
    for _ in 0..5 {
        world.pass(Duration::from_secs(60));
        world.sweep_to_rest().await?;
    }
    let stored = world.account(&sandbox).await?;
    let served = stored.slots.keys().filter(|slot| stored.current(slot).is_some()).count();
    ensure!(served == 0 && stored.slots.len() > 40, "{served} of {}", stored.slots.len());
    ensure!(code_of(&world, &sandbox).await? == "moved_to_live");
    world.pass(Duration::from_secs(86_401));
    world.sweep_to_rest().await?;
    assert_tidy(&world, &sandbox, 0).await
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
