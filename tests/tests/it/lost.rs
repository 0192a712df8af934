//! Secrets that never reach us, or do not open.

use std::time::Duration;

use anyhow::ensure;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{Kind, Mode};
use keysteward::steward::operator::Expiry;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

#[tokio::test]
async fn a_key_that_does_not_open_is_kept_and_another_is_made_before_the_old_one_dies()
-> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let choice = Choice { strategy, ..Choice::default() };
        let world = World::with(Setting { choice, ..Setting::default() }).await?;
        let at = account(Mode::Live, "acct_1Garbled")?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        let old = world.token(&at, Kind::Secret).await?;
        let (slot, deadline) =
            (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));

        // The rotation arrives damaged; by the time its successor is asked for, the wire is whole again.
        world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
        let pause = world.table.hold(4);
        let rotation = world.steward().rotate(&at, &slot, Actor::Operator, deadline);
        let mend = async {
            pause.reached().await;
            world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
            pause.let_go();
        };
        let (rotated, ()) = tokio::join!(rotation, mend);
        rotated?;

        let new = world.token(&at, Kind::Secret).await?;
        ensure!(new != old && world.stripe.token_works(&new), "the slot has a key that works");
        let stored = world.account(&at).await?;
        let states: Vec<_> = stored.generations_of(&slot).map(|(_, state)| state.name()).collect();
        ensure!(states == ["retiring", "undecryptable", "current"], "kept, not thrown: {states:?}");
        world.pass(Duration::from_secs(2 * 86_400));
        world.sweep_to_rest().await?;
        ensure!(world.token(&at, Kind::Secret).await? == new);
        ensure!(!world.stripe.token_works(&old), "the old key is dead by its deadline");
    }
    Ok(())
}

#[tokio::test]
async fn two_keys_in_a_row_that_do_not_open_wait_for_a_person_and_serve_no_dead_key()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Twice")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let old = world.token(&at, Kind::Secret).await?;
    world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    ensure!(world.token(&at, Kind::Secret).await? == old, "the old key is served while it lives");
    world.pass(Duration::from_secs(2 * 86_400));
    world.sweep_to_rest().await?;
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == http::StatusCode::CONFLICT, "and not once it is dead");
    ensure!(world.token(&at, Kind::Publishable).await.is_ok(), "the other slot is not blocked");
    Ok(())
}

#[tokio::test]
async fn a_key_that_an_operator_wants_ended_is_ended_though_its_rotation_brought_no_secret()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Wanted")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let old = world.token(&at, Kind::Secret).await?;
    world.stripe.set_behaviour(|stripe| stripe.replay_returns_ciphertext = false);
    let on = fake_stripe::CallMatch::post("/rotate");
    let kind = fake_stripe::FaultKind::LostResponse;
    world.stripe.inject(fake_stripe::Fault { on, kind, times: u32::MAX });
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    world.stripe.clear_faults();
    ensure!(world.token(&at, Kind::Secret).await? == old, "the answer is missing");

    world.steward().expire(&at, &slot, Expiry::OnceReplaced, Actor::Operator, deadline).await?;
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "another took its place");
    ensure!(!world.stripe.token_works(&old), "and it was ended then, long before its overlap was");
    Ok(())
}

/// Whoever keeps a replaced key from being tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutOfReach {
    Vault,
    Stripe,
}

#[tokio::test]
async fn a_replaced_key_that_cannot_be_tried_is_not_taken_for_dead() -> anyhow::Result<()> {
    for out_of_reach in [OutOfReach::Vault, OutOfReach::Stripe] {
        let choice = Choice { strategy: Strategy::CreateThenExpire, ..Choice::default() };
        // Nothing is remembered of a private key, so that the vault is asked each time.
        let cache = Duration::ZERO;
        let world = World::with(Setting { choice, cache, ..Setting::default() }).await?;
        let at = account(Mode::Live, "acct_1Untried")?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        let old = world.token(&at, Kind::Secret).await?;
        let (slot, deadline) =
            (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
        world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;

        // Stripe goes on accepting an expired key for a while, and nobody can look whether it does.
        world.stripe.set_behaviour(|stripe| stripe.expire_lag_ms = 3_600_000);
        match out_of_reach {
            OutOfReach::Vault => world.kms.set_disabled(true),
            OutOfReach::Stripe => {
                let on = fake_stripe::CallMatch::get("/v1/customers");
                let kind = fake_stripe::FaultKind::Refused;
                world.stripe.inject(fake_stripe::Fault { on, kind, times: u32::MAX });
            }
        }
        world.pass(Duration::from_secs(86_400 + 60));
        world.sweep().await?;
        let expired = |call: &fake_stripe::Call| call.path.ends_with("/expire");
        ensure!(world.stripe.log().iter().any(expired), "{out_of_reach:?}: it is ended at Stripe");
        let stored = world.account(&at).await?;
        let states: Vec<_> = stored.generations_of(&slot).map(|(_, state)| state.name()).collect();
        ensure!(world.stripe.token_works(&old), "{out_of_reach:?}: and lives on");
        ensure!(states == ["retiring", "current"], "{out_of_reach:?}: not seen dead: {states:?}");

        world.kms.set_disabled(false);
        world.stripe.clear_faults();
        world.pass(Duration::from_secs(3_600));
        world.sweep_to_rest().await?;
        let stored = world.account(&at).await?;
        let states: Vec<_> = stored.generations_of(&slot).map(|(_, state)| state.name()).collect();
        ensure!(!world.stripe.token_works(&old));
        ensure!(states == ["ended", "current"], "{out_of_reach:?}: seen dead: {states:?}");
    }
    Ok(())
}
