//! The drill of `docs/recovery.md`: the table is restored from a copy that is days old.

use std::time::Duration;

use anyhow::{Context, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400 + 60);

/// The calls to Stripe that change something.
fn changes_at_stripe(world: &World) -> usize {
    world
        .stripe
        .log()
        .iter()
        .filter(|call| call.method != "GET" && call.path.contains("api_keys"))
        .count()
}

async fn rotate(world: &World, at: &AccountRef) -> anyhow::Result<String> {
    let deadline = world.now().plus(Duration::from_secs(60));
    world.steward().rotate(at, &default_slot(Kind::Secret), Actor::Operator, deadline).await?;
    world.token(at, Kind::Secret).await
}

#[tokio::test]
async fn a_restored_table_reports_first_and_acts_only_when_it_is_released() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let choice = Choice { strategy, ..Choice::default() };
        let mut world = World::with(Setting { choice, ..Setting::default() }).await?;
        let [moved, still] =
            [account(Mode::Live, "acct_1Moved")?, account(Mode::Live, "acct_1Still")?];
        for at in [&moved, &still] {
            world.add_account(at.id.as_str());
            world.install_app(at).await?;
        }
        let kept = world.token(&still, Kind::Secret).await?;
        let copy = world.copy()?;

        // Two rotations that the copy knows nothing of; the consumers use the last key.
        rotate(&world, &moved).await?;
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        let in_use = rotate(&world, &moved).await?;
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        world.deliver().await?;

        world.restore(copy).await?;
        let before = changes_at_stripe(&world);
        for _ in 0..3 {
            world.pass(DAY);
            world.sweep_to_rest().await?;
        }
        ensure!(changes_at_stripe(&world) == before, "nothing is changed at Stripe");
        ensure!(world.stripe.token_works(&in_use), "what the consumers use still works");
        let standing = world.steward().standing().await?;
        ensure!(standing.epoch == 1 && standing.report_only.is_some(), "{standing:?}");
        let found = world.account(&moved).await?.head.reconciled.context("it was reconciled")?;
        ensure!(found.drift > 0, "what the copy lacks is reported");
        let found = world.account(&still).await?.head.reconciled.context("it was reconciled")?;
        ensure!(found.drift == 0, "what did not change is not");

        world.steward().give_order(|standing| standing.release()).await?;
        for at in [&moved, &still] {
            world.steward().store.wake(at, world.now()).await?;
        }
        world.sweep_to_rest().await?;
        let served = world.token(&moved, Kind::Secret).await?;
        ensure!(served != in_use && world.stripe.token_works(&served), "a new key is served");
        ensure!(world.stripe.token_works(&in_use), "and the one in use has a whole overlap");
        ensure!(world.token(&still, Kind::Secret).await? == kept, "the other account is as it was");

        world.pass(DAY);
        world.sweep_to_rest().await?;
        ensure!(!world.stripe.token_works(&in_use), "then it is ended");
        ensure!(world.token(&moved, Kind::Secret).await? == served);
        let active = world.stripe.keys(moved.id.as_str());
        let active = active.iter().filter(|key| key.status == "active").count();
        ensure!(active == 2, "one key a slot, no orphan: {active}");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_older_than_the_reconciliation_waits_for_it() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let at = account(Mode::Live, "acct_1Event")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let copy = world.copy()?;
    let in_use = rotate(&world, &at).await?;
    world.restore(copy).await?;
    world.deliver().await?;
    world.sweep_to_rest().await?;
    let stored = world.account(&at).await?;
    let (_, state) = stored.current(&default_slot(Kind::Secret)).context("nothing was ended")?;
    ensure!(state.name() == "current");
    world.steward().give_order(|standing| standing.release()).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    world.pass(DAY * 2);
    world.sweep_to_rest().await?;
    let served = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&served) && served != in_use);
    ensure!(!world.stripe.token_works(&in_use));
    Ok(())
}

#[tokio::test]
async fn a_key_that_stripe_no_longer_shows_is_served_until_another_one_is_there()
-> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.old_id_retrievable = false);
    let at = account(Mode::Live, "acct_1Hidden")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let old = world.token(&at, Kind::Secret).await?;
    let copy = world.copy()?;
    rotate(&world, &at).await?;
    world.pass(Duration::from_secs(2 * 3600));
    world.restore(copy).await?;
    // This process is the first to see the copy; then an operator releases it.
    world.sweep().await?;
    world.steward().give_order(|standing| standing.release()).await?;
    let down = FaultKind::BeforeEffect { status: 500, code: "api_error".into() };
    let on = CallMatch::post("/v2/iam/api_keys");
    world.stripe.inject(Fault { times: u32::MAX, ..Fault::once(on, down) });
    world.steward().store.wake(&at, world.now()).await?;
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&old), "its overlap is not over");
    ensure!(
        world.token(&at, Kind::Secret).await? == old,
        "I1: it is the last that is known to work"
    );
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(1200));
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new));
    Ok(())
}
