//! What no webhook told of a sandbox is in Stripe's own record, and how far that was read is known.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{AppInstall, CallMatch, Fault, FaultKind, SandboxContext};
use keysteward::domain::backlog::LATE;
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::world::account;
use keysteward_tests::{Emf, World};

use super::{BOX, OWNER, code_of, sandbox_calls};

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
async fn how_old_the_cursor_of_the_own_record_is_counts_among_those_of_accounts()
-> anyhow::Result<()> {
    let world = World::start().await?;
    world.sweep().await?;
    let age = |line: Emf| line.value("EventCursorAge").context("it is told in every sweep");
    ensure!(age(world.take_line()?)? == LATE.as_secs_f64(), "read just now");
    let on = CallMatch::get("/v2/core/events");
    let kind = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
    world.stripe.inject(Fault { on, kind, times: u32::MAX });
    let days = Duration::from_secs(3 * 86_400);
    world.pass(days);
    // With the failed read, and between two of them.
    for (pause, swept) in [(0, days), (1800, days + Duration::from_secs(1800))] {
        world.pass(Duration::from_secs(pause));
        world.sweep().await?;
        ensure!(age(world.take_line()?)? == (swept + LATE).as_secs_f64(), "the cursor stands");
    }

    // An account that was read for just now does not hide it.
    world.stripe.clear_faults();
    let at = account(Mode::Live, "acct_1Beside")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.take_lines()?;
    let swept = world.sweep().await?;
    ensure!(swept.oldest_cursor_seconds > Some(days.as_secs()), "{swept:?}");
    world.pass(Duration::from_secs(1800));
    let swept = world.sweep().await?;
    ensure!(swept.oldest_cursor_seconds == Some(LATE.as_secs()), "{swept:?} once it was read");
    Ok(())
}
