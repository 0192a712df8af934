//! How things stand just before the step that is cut.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::intent::{Asking, Intent, PublicKey};
use keysteward::domain::orders::Emergency;
use keysteward::domain::policy::{Choice, OnDrift, OnUserExpire};
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward_tests::World;
use keysteward_tests::world::default_slot;

use super::{DAY, MONTH, UseCase};

/// The policy that the use case is about.
pub(super) fn choice(use_case: UseCase) -> Choice {
    let choice = Choice { on_user_expire: OnUserExpire::Reissue, ..Choice::default() };
    match use_case {
        UseCase::Rotation(strategy) | UseCase::Retirement(strategy) => {
            Choice { strategy, ..choice }
        }
        UseCase::UserExpires(on_user_expire) => Choice { on_user_expire, ..choice },
        UseCase::Uninstall(on_uninstall) => Choice { on_uninstall, ..choice },
        UseCase::Reconciliation => Choice { on_drift: OnDrift::Apply, ..choice },
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::UserRotates
        | UseCase::LostCiphertext
        | UseCase::GivenUpRotation
        | UseCase::Reinstall
        | UseCase::Emergency
        | UseCase::BackFill
        | UseCase::Restore => choice,
    }
}

/// A rotation was carried out, nobody answered it, and half of its overlap is nearly gone.
pub(super) async fn a_rotation_is_given_up(world: &World) -> anyhow::Result<()> {
    let lost = Fault { on: CallMatch::post("/rotate"), kind: FaultKind::LostResponse, times: 3 };
    world.stripe.inject(lost);
    world.pass(MONTH);
    world.sweep().await?;
    world.stripe.clear_faults();
    // That one goes on, so that the step which is cut has to look for the key.
    let on = CallMatch::post("/rotate");
    world.stripe.inject(Fault { on, kind: FaultKind::LostResponse, times: 3 });
    world.pass(DAY / 2);
    Ok(())
}

/// Installed, uninstalled, and known to be.
pub(super) async fn a_reinstall(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.pass(Duration::from_secs(5));
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Expire);
    world.deliver().await?;
    world.pass(Duration::from_secs(3_600));
    Ok(())
}

/// A key with our note, of which the table knows nothing, is past the time in which it may be on its way.
pub(super) async fn a_reconciliation(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let slot = default_slot(Kind::Secret);
    let stored = world.account(at).await?;
    let state = stored.slots.get(&slot).context("the slot is open")?;
    let pair = stored.pairs.values().next().context("a pair")?;
    let asking = Asking {
        app: &world.steward().app,
        account: at,
        slot: &slot,
        opened_at: state.opened_at,
        generation: state.next.skip(40),
        public_key: Some(PublicKey { kid: &pair.kid, pem: &pair.public_pem }),
        now: world.now(),
    };
    let intent = Intent::create(&asking, &world.steward().shape);
    // Past the witness: it is not the bundle that calls.
    let key = fake_stripe::AppSpec::default().api_key_live;
    let request = http::Request::post(format!("{}{}", world.stripe.url(), intent.path))
        .header("authorization", format!("Bearer {key}"))
        .header("stripe-version", &intent.stripe_version)
        .header("stripe-context", at.id.as_str())
        .header("idempotency-key", &intent.idempotency_key)
        .header("content-type", "application/json")
        .body(intent.body.into_bytes())?;
    let answer = world.stripe.answer(request).await.context("Stripe answers")?;
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    world.pass(DAY);
    Ok(())
}

/// Every key is to be replaced.
pub(super) async fn an_emergency(world: &World) -> anyhow::Result<()> {
    world.pass(Duration::from_secs(120));
    let (since, overlap_minutes) = (world.now(), Some(30));
    let order =
        Emergency { since, issued_before: since, mode: None, publishable: false, overlap_minutes };
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    Ok(())
}

/// The user ended the key a day ago.
pub(super) async fn a_back_fill(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let stored = world.account(at).await?;
    let key = stored.current(&default_slot(Kind::Secret)).and_then(|(_, state)| state.key());
    world.stripe.expire_in_dashboard(at.id.as_str(), key.context("a key")?.as_str());
    world.lose_deliveries("v2.iam.api_key.").await;
    world.pass(DAY + Duration::from_secs(60));
    Ok(())
}

/// The copy knows nothing of the last two rotations; an operator has let the bundle act.
pub(super) async fn a_restored_account_acts(
    world: &mut World,
    at: &AccountRef,
) -> anyhow::Result<()> {
    let (copy, slot) = (world.copy()?, default_slot(Kind::Secret));
    for _ in 0..2 {
        let deadline = world.now().plus(Duration::from_secs(60));
        world.steward().rotate(at, &slot, Actor::Operator, deadline).await?;
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
    }
    world.deliver().await?;
    world.restore(copy).await?;
    world.steward().standing().await?;
    world.steward().give_order(|standing| standing.release()).await?;
    Ok(())
}
