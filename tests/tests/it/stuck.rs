//! A key that does not open beside one that works: it is told of, it can be ended, and it stands in nobody's way.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::steward::operator;
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot};

const HOUR: Duration = Duration::from_secs(3600);

async fn installed() -> anyhow::Result<(World, AccountRef)> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Stuck")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    Ok((world, at))
}

/// A rotation whose key arrives damaged; by the time another is asked for, the wire is whole again.
async fn rotate_damaged(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
    let pause = world.table.hold(4);
    let rotation = world.steward().rotate(at, &slot, Actor::Operator, deadline);
    let mend = async {
        pause.reached().await;
        world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
        pause.let_go();
    };
    let (rotated, ()) = tokio::join!(rotation, mend);
    rotated?;
    Ok(())
}

async fn states(world: &World, at: &AccountRef) -> anyhow::Result<Vec<&'static str>> {
    let stored = world.account(at).await?;
    let slot = default_slot(Kind::Secret);
    Ok(stored.generations_of(&slot).map(|(_, state)| state.name()).collect())
}

/// How many secret keys of the account live at Stripe.
fn alive(world: &World, at: &AccountRef) -> usize {
    let keys = world.stripe.keys(at.id.as_str());
    keys.iter().filter(|key| key.kind == "secret_key" && key.status == "active").count()
}

async fn reminders(world: &World, days: u32) -> anyhow::Result<u32> {
    let mut reminders = 0;
    for _ in 0..days * 48 {
        world.pass(HOUR / 2);
        reminders += world.sweep().await?.need_operator;
    }
    Ok(reminders)
}

/// The ways in which a person ends what is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayOut {
    Resume,
    Provision,
}

#[tokio::test]
async fn one_key_that_does_not_open_is_told_of_daily_until_a_person_ends_it() -> anyhow::Result<()>
{
    for way_out in [WayOut::Resume, WayOut::Provision] {
        let (world, at) = installed().await?;
        rotate_damaged(&world, &at).await?;
        ensure!(reminders(&world, 3).await? == 3, "{way_out:?}: once a day");
        ensure!(states(&world, &at).await? == ["ended", "undecryptable", "current"]);
        ensure!(alive(&world, &at) == 2, "nobody can read one of them");

        let (token, slot) = (world.token(&at, Kind::Secret).await?, default_slot(Kind::Secret));
        let now = world.now();
        match way_out {
            WayOut::Resume => {
                let store = &world.steward().store;
                let (_, cleared) = operator::carry_on(store, &at, &slot, now).await?;
                ensure!(cleared.given_up == 1 && !cleared.hold, "{cleared:?}");
            }
            WayOut::Provision => {
                world.steward().provision(&at, &slot, Actor::Operator, now.plus(HOUR)).await?;
            }
        }
        world.sweep_to_rest().await?;
        ensure!(states(&world, &at).await? == ["ended", "ended", "current"], "{way_out:?}");
        ensure!(alive(&world, &at) == 1, "{way_out:?}: it is ended at Stripe");
        ensure!(world.token(&at, Kind::Secret).await? == token, "and no other is made");
        ensure!(reminders(&world, 2).await? == 0, "{way_out:?}: and nobody is asked any more");
    }
    Ok(())
}

#[tokio::test]
async fn keys_that_do_not_open_count_from_the_last_one_that_did() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    rotate_damaged(&world, &at).await?;
    world.pass(Duration::from_secs(2 * 86_400));
    world.sweep_to_rest().await?;
    let before = world.token(&at, Kind::Secret).await?;
    rotate_damaged(&world, &at).await?;
    ensure!(world.token(&at, Kind::Secret).await? != before, "{:?}", states(&world, &at).await?);
    Ok(())
}

#[tokio::test]
async fn an_event_about_a_key_that_can_never_be_tried_does_not_wait() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    world.deliver().await?;
    rotate_damaged(&world, &at).await?;
    world.deliver().await?;
    let stored = world.account(&at).await?;
    let slot = default_slot(Kind::Secret);
    let stuck = stored.generations_of(&slot).find(|(_, state)| state.is_stuck());
    let key = stuck.and_then(|(_, state)| state.key().cloned()).context("one does not open")?;
    world.stripe.rotate_in_dashboard(at.id.as_str(), key.as_str(), 0).context("rotated")?;
    world.deliver().await?;
    for _ in 0..2 {
        world.pass(Duration::from_secs(360));
        let swept = world.sweep().await?;
        ensure!(swept.deferred == 0, "{swept:?}");
    }
    Ok(())
}
