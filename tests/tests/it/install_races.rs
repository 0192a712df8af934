//! An installation that a page tells of is recorded, whoever is at the account in that moment.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::Policy;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::door::Peer;
use keysteward_tests::world::{account, default_slot, json_of};

/// What became of the installation before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Uninstalled,
    Revoked,
}

/// Who comes to the account together with the person.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// A sweep, which holds the account while Stripe is asked.
    SweepAsks,
    /// The events of the same click.
    Events,
    TheSameCallback,
}

async fn waiting(before: Before) -> anyhow::Result<(World, AccountRef)> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Again")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    match before {
        Before::Uninstalled => {
            world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
        }
        Before::Revoked => {
            let stored = world.account(&at).await?;
            let (_, state) = stored.current(&default_slot(Kind::Secret)).context("a key")?;
            let key = state.key().context("it has an id")?;
            world.stripe.expire_in_dashboard(at.id.as_str(), key.as_str());
        }
    }
    world.deliver().await?;
    // Long enough that the sweep, too, has something to do for the account.
    world.pass(Duration::from_secs(8 * 86_400));
    Ok((world, at))
}

/// It is installed, nothing holds it, and it is due within a lease.
async fn assert_installed(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let stored = world.account(at).await?;
    ensure!(matches!(stored.head.status, Status::Installed { .. }), "{:?}", stored.head);
    ensure!(stored.slots.values().all(|slot| slot.hold.is_none()), "{:?}", stored.slots);
    let is_done = stored.slots.keys().all(|slot| stored.current(slot).is_some());
    let is_due = stored.head.due_at.is_some_and(|due| due <= world.now().plus(Policy::STALL));
    ensure!(is_done || is_due, "nobody will make its keys soon: {:?}", stored.head);
    Ok(())
}

/// The person is held at his `calls`-th call to the table while somebody else comes by.
async fn installs(before: Before, meanwhile: Meanwhile, calls: u32) -> anyhow::Result<()> {
    let (world, at) = waiting(before).await?;
    let (cookie, callback) = world.click_install(&at, "install").await?;
    let deadline = world.now().plus(Duration::from_secs(600));
    let held = world.table.hold(calls);
    let mut person = pin!(world.call_install(&callback, Some(&cookie)));
    tokio::select! {
        biased;
        () = held.reached() => {}
        page = &mut person => bail!("not held: {}", page.status()),
    }
    let mut sweep = pin!(world.steward().advance(&at, Actor::Sweep, deadline));
    let asked = world.doors.hold(Peer::Stripe, 0);
    match meanwhile {
        Meanwhile::SweepAsks => tokio::select! {
            biased;
            () = asked.reached() => {}
            done = &mut sweep => bail!("it has nothing to ask: {done:?}"),
        },
        Meanwhile::Events => {
            asked.let_go();
            world.deliver().await?;
        }
        Meanwhile::TheSameCallback => {
            asked.let_go();
            world.call_install(&callback, Some(&cookie)).await;
        }
    }
    held.let_go();
    let page = person.await;
    ensure!(page.status() == StatusCode::OK, "the page: {}", page.status());
    assert_installed(&world, &at).await?;
    asked.let_go();
    sweep.await?;
    assert_installed(&world, &at).await?;
    world.pass(Policy::STALL + Policy::SWEEP_INTERVAL);
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}

#[tokio::test]
async fn a_page_that_says_installed_tells_the_truth_whoever_comes_in_between() -> anyhow::Result<()>
{
    for (before, meanwhile) in [
        (Before::Revoked, Meanwhile::SweepAsks),
        (Before::Revoked, Meanwhile::Events),
        (Before::Uninstalled, Meanwhile::Events),
        (Before::Revoked, Meanwhile::TheSameCallback),
        (Before::Uninstalled, Meanwhile::TheSameCallback),
    ] {
        // Before he has read the account, and before he writes it.
        for calls in 0..2 {
            installs(before, meanwhile, calls)
                .await
                .with_context(|| format!("{before:?}, {meanwhile:?}, held at call {calls}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_installation_is_recorded_under_the_lease_of_a_process_that_died() -> anyhow::Result<()>
{
    let (world, at) = waiting(Before::Revoked).await?;
    let deadline = world.now().plus(Duration::from_secs(600));
    let pause = world.doors.hold(Peer::Stripe, 0);
    tokio::select! {
        biased;
        () = pause.reached() => {}
        done = world.steward().advance(&at, Actor::Sweep, deadline) => bail!("{done:?}"),
    }
    let lease = world.account(&at).await?.head.lease_until;
    ensure!(lease > Some(world.now()), "it is leased");

    let page = world.install_app(&at).await?;
    ensure!(page.status() == StatusCode::OK);
    ensure!(String::from_utf8_lossy(page.body()).contains("being made"));
    assert_installed(&world, &at).await?;
    ensure!(world.account(&at).await?.head.lease_until == lease, "a call may still be under way");
    world.pass(Policy::STALL + Policy::SWEEP_INTERVAL);
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}

#[tokio::test]
async fn the_same_callback_twice_at_once_does_not_hold_up_its_keys() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Twice")?;
    world.add_account(at.id.as_str());
    let (cookie, callback) = world.click_install(&at, "install").await?;
    let asked = world.doors.hold(Peer::Stripe, 0);
    let mut first = pin!(world.call_install(&callback, Some(&cookie)));
    tokio::select! {
        biased;
        () = asked.reached() => {}
        page = &mut first => bail!("it has nothing to ask: {}", page.status()),
    }
    let second = world.call_install(&callback, Some(&cookie)).await;
    ensure!(String::from_utf8_lossy(second.body()).contains("being made"));
    asked.let_go();
    let first = first.await;
    ensure!(String::from_utf8_lossy(first.body()).contains("in safe keeping"));
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}

#[tokio::test]
async fn stripes_word_that_the_app_was_authorized_again_undoes_an_uninstall() -> anyhow::Result<()>
{
    let (world, at) = waiting(Before::Uninstalled).await?;
    // The browser never comes back.
    world.click_install(&at, "install").await?;
    world.deliver().await?;
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));

    // The uninstall before, once more and late, is about the past.
    world.pass(Duration::from_secs(60));
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
    let uninstall: Vec<_> = world.stripe.take_deliveries().into_iter().map(|it| it.body).collect();
    world.pass(Duration::from_secs(60));
    world.click_install(&at, "install").await?;
    world.deliver().await?;
    world.deliver_bodies(uninstall).await?;
    ensure!(matches!(world.account(&at).await?.head.status, Status::Installed { .. }));
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_is_heard_of_after_the_app_was_authorized_again_is_undone_by_that()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Slow")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    let taken = || world.stripe.take_deliveries().into_iter().map(|it| it.body).collect::<Vec<_>>();
    let minute = Duration::from_secs(60);
    world.pass(minute);
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
    let uninstall = taken();
    world.pass(minute);
    // The browser never comes back.
    world.click_install(&at, "install").await?;
    let authorized = taken();
    world.pass(minute);
    world.deliver_bodies(uninstall).await?;
    ensure!(matches!(world.account(&at).await?.head.status, Status::Uninstalled { .. }));
    world.deliver_bodies(authorized).await?;
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    Ok(())
}

#[tokio::test]
async fn an_authorization_from_before_the_uninstall_undoes_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Late")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let installation: Vec<_> =
        world.stripe.take_deliveries().into_iter().map(|it| it.body).collect();
    world.pass(Duration::from_secs(60));
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
    world.deliver().await?;
    world.pass(Duration::from_secs(60));
    world.deliver_bodies(installation).await?;
    world.sweep_to_rest().await?;
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(json_of(&reply)?["code"] == "uninstalled", "{}", reply.status());
    Ok(())
}

/// Stripe's clock is behind ours: by its events, the app was uninstalled before it was installed.
#[tokio::test]
async fn an_uninstall_is_one_although_stripes_clock_is_a_little_behind() -> anyhow::Result<()> {
    for (behind, code) in [(2, "uninstalled"), (3, "")] {
        let world = World::start().await?;
        let at = account(Mode::Live, "acct_1Behind")?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        world.deliver().await?;
        world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
        let told = world.stripe.take_deliveries().into_iter().map(|delivery| {
            let mut event: serde_json::Value = serde_json::from_slice(&delivery.body)?;
            event["created"] = (world.now().seconds() - behind).into();
            Ok(serde_json::to_vec(&event)?)
        });
        world.deliver_bodies(told.collect::<anyhow::Result<_>>()?).await?;
        let reply = world.read(&at, Kind::Secret).await;
        let told = json_of(&reply)?["code"].as_str().unwrap_or_default().to_owned();
        ensure!(told == code, "{behind} seconds: {}", reply.status());
    }
    Ok(())
}
