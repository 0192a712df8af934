//! An operator's provisioning: an account by its id, and the way out where a slot waits for a person.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::KeepOrExpire;
use keysteward::domain::audit::{Action, Actor};
use keysteward::domain::slot::{Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::steward::Advanced;
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot};

use crate::sandbox::{assert_tidy, code_of};

fn soon(world: &World) -> Timestamp {
    world.now().plus(Duration::from_secs(60))
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
