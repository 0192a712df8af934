//! Events that no webhook brought are found in Stripe's own record.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit;
use keysteward::domain::backlog::{EVENTS_AT_ONCE, LATE};
use keysteward::domain::event::Topic;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::table::When;
use keysteward_tests::world::{account, json_of};

const DAY: Duration = Duration::from_secs(86_401);

/// Installed, and past the time in which the list of events may be behind.
async fn installed() -> anyhow::Result<(World, AccountRef)> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1User")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    world.pass(LATE * 2);
    Ok((world, at))
}

async fn topics(world: &World, at: &AccountRef) -> anyhow::Result<Vec<(&'static str, bool)>> {
    let events = world.steward().store.events(at, 10_000).await?;
    Ok(events.iter().map(|event| (event.notification.topic.name(), event.open)).collect())
}

fn event_calls(world: &World, retrieved: bool) -> usize {
    let path = if retrieved { "/v2/core/events/" } else { "/v2/core/events" };
    let is_one = |call: &&fake_stripe::Call| {
        if retrieved { call.path.starts_with(path) } else { call.path == path }
    };
    world.stripe.log().iter().filter(is_one).count()
}

#[tokio::test]
async fn an_event_that_no_webhook_brought_is_recorded_and_applied_like_any_other()
-> anyhow::Result<()> {
    for oldest_first in [false, true] {
        let (world, at) = installed().await?;
        world.stripe.set_behaviour(|stripe| stripe.events_oldest_first = oldest_first);
        // Two slots, so that the daily look at the keys cannot have told of it all.
        let (secret, publishable) =
            (world.key(&at, Kind::Secret).await?, world.key(&at, Kind::Publishable).await?);
        world.stripe.rotate_in_dashboard(at.id.as_str(), &publishable, 10_000);
        world.stripe.expire_in_dashboard(at.id.as_str(), &secret);
        world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
        world.lose_deliveries("v2.iam.api_key.").await;
        let before = world.account(&at).await?.head.events_read_to.context("a cursor")?;
        world.pass(DAY);
        world.sweep_to_rest().await?;
        let known = topics(&world, &at).await?;
        ensure!(known.contains(&("key_expired", false)), "found and applied: {known:?}");
        ensure!(known.contains(&("key_rotated", false)), "found and applied: {known:?}");
        let reply = world.read(&at, Kind::Secret).await;
        ensure!(json_of(&reply)?["code"] == "revoked_by_user");
        let read_to = world.account(&at).await?.head.events_read_to.context("a cursor")?;
        ensure!(read_to > before, "the cursor moves");
        ensure!(read_to <= world.now().minus(LATE), "and leaves room for what comes late");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_webhook_brought_before_is_not_applied_again() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    let (rows, fetched) = (topics(&world, &at).await?, event_calls(&world, true));
    let trail = world.steward().store.trail(&at, 0, 1000).await?.len();
    let lists = event_calls(&world, false);
    for _ in 0..2 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    ensure!(event_calls(&world, false) >= lists + 2, "the record was read each day");
    ensure!(topics(&world, &at).await? == rows, "no row was added or opened again");
    ensure!(event_calls(&world, true) == fetched, "nothing was fetched again");
    ensure!(world.steward().store.trail(&at, 0, 1000).await?.len() == trail, "nor noted again");
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_no_webhook_told_of_is_heard_of_where_stripe_still_lists_it()
-> anyhow::Result<()> {
    for readable in [true, false] {
        let (world, at) = installed().await?;
        world.stripe.set_behaviour(|stripe| {
            stripe.thin_account_events = true;
            stripe.events_readable_after_uninstall = readable;
            stripe.drop_deliveries = true;
        });
        world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Keep);
        let before = world.account(&at).await?.head.events_read_to;
        world.pass(DAY);
        for _ in 0..3 {
            world.sweep().await?;
            world.pass(Duration::from_secs(61));
        }
        let head = world.account(&at).await?.head;
        if readable {
            ensure!(matches!(head.status, Status::Uninstalled { .. }));
        } else {
            ensure!(matches!(head.status, Status::Installed { .. }), "nobody can know");
            ensure!(head.events_read_to == before, "the cursor stays, so that its age tells");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_is_read_of_after_the_next_installation_ends_nothing()
-> anyhow::Result<()> {
    let (world, at) = installed().await?;
    world.stripe.set_behaviour(|stripe| {
        stripe.thin_account_events = true;
        stripe.drop_deliveries = true;
    });
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Expire);
    world.pass(Duration::from_secs(3600));
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let known = topics(&world, &at).await?;
    ensure!(known.contains(&("deauthorized", false)), "it was found: {known:?}");
    ensure!(world.token(&at, Kind::Secret).await? == token);
    ensure!(world.stripe.token_works(&token));
    Ok(())
}

#[tokio::test]
async fn an_event_that_the_list_shows_late_is_found_the_next_day() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    world.pass(DAY - Duration::from_secs(7300));
    world.stripe.set_behaviour(|stripe| {
        stripe.drop_deliveries = true;
        stripe.list_lag_ms = 3_000_000;
    });
    let key = world.key(&at, Kind::Publishable).await?;
    world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 10_000);
    world.pass(Duration::from_secs(120));
    world.sweep_to_rest().await?;
    let read_to = world.account(&at).await?.head.events_read_to.context("a cursor")?;
    ensure!(world.now().since(read_to) < LATE * 2, "the record was read");
    let is_found = |known: &[(&str, bool)]| known.contains(&("key_rotated", false));
    ensure!(!is_found(&topics(&world, &at).await?), "the list did not show it yet");
    world.pass(DAY);
    world.sweep_to_rest().await?;
    ensure!(is_found(&topics(&world, &at).await?));
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_the_cursor_and_fails_nothing() -> anyhow::Result<()> {
    for (status, code) in [(403, "forbidden"), (404, "not_found"), (500, "api_error")] {
        let (world, at) = installed().await?;
        // The app's own record is read after the account's, so that the older cursor is the account's.
        world.sweep().await?;
        let before = world.account(&at).await?.head;
        let on = CallMatch::get("/v2/core/events");
        let kind = FaultKind::BeforeEffect { status, code: code.to_owned() };
        world.stripe.inject(Fault { on, kind, times: u32::MAX });
        world.pass(DAY);
        let swept = world.sweep().await?;
        ensure!(swept.failed == 0 && swept.settled == 1, "{swept:?}");
        let age = world.now().since(before.events_read_to.context("a cursor")?).as_secs();
        ensure!(swept.oldest_cursor_seconds == Some(age), "{swept:?} tells of {age} s");
        let head = world.account(&at).await?.head;
        ensure!(head.events_read_to == before.events_read_to);
        ensure!(head.reconciled.is_some(), "the account was reconciled all the same");
        world.stripe.clear_faults();
        world.pass(DAY);
        let swept = world.sweep().await?;
        ensure!(swept.oldest_cursor_seconds == Some(LATE.as_secs()), "{swept:?}");
    }
    Ok(())
}

#[tokio::test]
async fn more_than_one_run_may_read_is_read_by_the_next() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
    let before = world.account(&at).await?.head.events_read_to.context("a cursor")?;
    // Thick enough that no window holds more than a few minutes.
    for _ in 0..EVENTS_AT_ONCE * 2 {
        world.pass(Duration::from_secs(1));
        world.stripe.add_users_own_key(at.id.as_str(), true, "own");
    }
    world.pass(DAY);
    world.sweep().await?;
    let first = world.account(&at).await?.head;
    let first_to = first.events_read_to.context("a cursor")?;
    ensure!(first_to > before, "the first run got somewhere");
    ensure!(first_to < world.now().minus(LATE * 2), "but not to the end");
    ensure!(first.due_at.context("due")? <= world.now().plus(LATE), "it goes on within the hour");
    for _ in 0..6 {
        world.pass(Duration::from_secs(3600));
        world.sweep().await?;
    }
    let created = world.steward().store.events(&at, 10_000).await?;
    let created = created.iter().filter(|event| event.notification.topic == Topic::KeyCreated);
    ensure!(created.count() >= EVENTS_AT_ONCE * 2, "every event was found");
    Ok(())
}

#[tokio::test]
async fn a_crash_between_putting_events_down_and_moving_the_cursor_repeats_harmlessly()
-> anyhow::Result<()> {
    let mut cuts = 0;
    for n in 0..40 {
        let (world, at) = installed().await?;
        let key = world.key(&at, Kind::Publishable).await?;
        world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 10_000);
        world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
        world.lose_deliveries("v2.iam.api_key.").await;
        let before = world.account(&at).await?.head.events_read_to;
        world.pass(DAY);
        world.table.fail(n, When::BeforeEffect, true);
        let _ = world.sweep().await;
        if world.table.heal() {
            break;
        }
        let rows = topics(&world, &at).await?;
        let head = world.account(&at).await?.head;
        if rows.iter().any(|(topic, _)| *topic == "key_rotated") && head.events_read_to == before {
            cuts += 1;
        }
        world.pass(Duration::from_secs(300));
        world.sweep_to_rest().await?;
        let rows = topics(&world, &at).await?;
        let rotated = rows.iter().filter(|(topic, _)| *topic == "key_rotated").count();
        ensure!(rotated == 1, "one row whatever was repeated, cut at {n}: {rows:?}");
        ensure!(rows.iter().all(|(_, open)| !open), "and applied: {rows:?}");
        ensure!(world.account(&at).await?.head.events_read_to > before, "the cursor moved");
        let trail = world.steward().store.trail(&at, 0, 1000).await?;
        audit::verify(&trail, &world.account(&at).await?.head.audit)?;
        ensure!(world.read(&at, Kind::Secret).await.status() == StatusCode::OK);
    }
    ensure!(cuts > 0, "a cut fell between the rows and the cursor");
    Ok(())
}
