//! How things stand just before the step that is cut.

use std::time::Duration;

use fake_stripe::{AppInstall, CallMatch, Fault, FaultKind, KeepOrExpire};
use keysteward::domain::audit::Actor;
use keysteward::domain::orders::Emergency;
use keysteward::domain::policy::{Choice, OnDrift, OnUserExpire};
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward::steward::operator::Expiry;
use keysteward_tests::World;
use keysteward_tests::world::default_slot;

use super::{DAY, MONTH, OWNER, UseCase};

/// The policy that the use case is about.
pub(super) fn choice(use_case: UseCase) -> Choice {
    let choice = Choice { on_user_expire: OnUserExpire::Reissue, ..Choice::default() };
    match use_case {
        UseCase::Rotation(strategy) | UseCase::Retirement(strategy) => {
            Choice { strategy, ..choice }
        }
        UseCase::UserExpires(on_user_expire) => Choice { on_user_expire, ..choice },
        UseCase::Uninstall(on_uninstall, _) => Choice { on_uninstall, ..choice },
        UseCase::Reconciliation => Choice { on_drift: OnDrift::Apply, ..choice },
        UseCase::PairRenewal => Choice { rotate_every_days: 95, ..choice },
        UseCase::OperatorProvisions => Choice { on_user_expire: OnUserExpire::Hold, ..choice },
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::Activation
        | UseCase::UserRotates
        | UseCase::Shredding
        | UseCase::LostSecret
        | UseCase::GivenUpRotation
        | UseCase::Reinstall
        | UseCase::Emergency
        | UseCase::OperatorExpires(_)
        | UseCase::OperatorResumes
        | UseCase::BackFill
        | UseCase::Restore
        | UseCase::SandboxGoesLive => choice,
    }
}

pub(super) async fn prepare(
    world: &mut World,
    at: &AccountRef,
    use_case: UseCase,
) -> anyhow::Result<()> {
    let id = at.id.as_str();
    if use_case == UseCase::SandboxGoesLive {
        return a_sandbox_is_taken(world, id).await;
    }
    world.add_account(id);
    match use_case {
        UseCase::Install => return Ok(()),
        UseCase::FirstProvisioning => {
            let on = CallMatch::post("/api_keys");
            world.stripe.inject(Fault { on, kind: FaultKind::Refused, times: u32::MAX });
        }
        UseCase::Activation => _ = world.stripe.set_activated(id, false),
        UseCase::OperatorResumes => {
            world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
        }
        _ => {}
    }
    world.install_app(at).await?;
    world.stripe.clear_faults();
    world.deliver().await?;
    match use_case {
        UseCase::FirstProvisioning => world.pass(Duration::from_secs(3_600)),
        UseCase::Rotation(_) => world.pass(MONTH),
        UseCase::PairRenewal => world.pass(DAY * 96),
        UseCase::Retirement(_) => {
            a_month_later_it_is_rotated(world).await?;
            world.pass(DAY);
        }
        UseCase::OperatorExpires(Expiry::Replaced) => a_month_later_it_is_rotated(world).await?,
        UseCase::Shredding => {
            a_reinstall(world, at).await?;
            world.pass(DAY * 8);
        }
        UseCase::LostSecret => an_answer_is_lost(world).await?,
        UseCase::GivenUpRotation => a_rotation_is_given_up(world).await?,
        UseCase::Reinstall => a_reinstall(world, at).await?,
        UseCase::Reconciliation => a_reconciliation(world, at).await?,
        UseCase::Emergency => an_emergency(world).await?,
        UseCase::OperatorProvisions => {
            world.stripe.expire_in_dashboard(id, &world.key(at, Kind::Secret).await?);
            world.deliver().await?;
            world.pass(DAY);
        }
        UseCase::OperatorResumes => {
            world.sweep_to_rest().await?;
            world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
            world.pass(DAY);
        }
        UseCase::BackFill => a_back_fill(world, at).await?,
        UseCase::Restore => Box::pin(a_restored_account_acts(world, at)).await?,
        UseCase::Install
        | UseCase::Activation
        | UseCase::UserExpires(_)
        | UseCase::UserRotates
        | UseCase::Uninstall(..)
        | UseCase::OperatorExpires(Expiry::OnceReplaced | Expiry::AtOnce)
        | UseCase::SandboxGoesLive => {}
    }
    Ok(())
}

/// What the user does at Stripe, once. Answers what Stripe then says, as often as it is asked to.
pub(super) async fn act(
    world: &World,
    at: &AccountRef,
    use_case: UseCase,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let id = at.id.as_str();
    match use_case {
        UseCase::UserExpires(_) => {
            world.stripe.expire_in_dashboard(id, &world.key(at, Kind::Secret).await?);
        }
        UseCase::UserRotates => {
            world.stripe.rotate_in_dashboard(id, &world.key(at, Kind::Secret).await?, 60);
        }
        UseCase::Uninstall(_, keys) => {
            world.pass(Duration::from_secs(5));
            world.stripe.uninstall(id, true, keys);
        }
        UseCase::Activation => _ = world.stripe.set_activated(id, true),
        _ => {}
    }
    Ok(world.stripe.take_deliveries().into_iter().map(|delivery| delivery.body).collect())
}

async fn a_month_later_it_is_rotated(world: &World) -> anyhow::Result<()> {
    world.pass(MONTH);
    world.sweep_to_rest().await?;
    world.deliver().await?;
    Ok(())
}

/// A rotation was carried out and nobody heard of it; from now on Stripe repeats no secret.
async fn an_answer_is_lost(world: &World) -> anyhow::Result<()> {
    world.stripe.set_behaviour(|stripe| {
        stripe.replay_returns_ciphertext = false;
        stripe.replay_returns_token = false;
    });
    let on = CallMatch::post("/rotate");
    world.stripe.inject(Fault { on, kind: FaultKind::LostResponse, times: 3 });
    world.pass(MONTH);
    world.sweep().await?;
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(3_600));
    Ok(())
}

/// Somebody took a sandbox that has its keys, and goes live; of that nobody has heard yet.
async fn a_sandbox_is_taken(world: &World, id: &str) -> anyhow::Result<()> {
    let sandbox = world.stripe.add_sandbox(id);
    world.deliver().await?;
    world.stripe.claim_sandbox(&sandbox, OWNER);
    world.deliver().await?;
    world.stripe.take_sandbox_live(&sandbox, AppInstall::Installed);
    Ok(())
}

/// A rotation was carried out, nobody answered it, and half of its overlap is nearly gone.
async fn a_rotation_is_given_up(world: &World) -> anyhow::Result<()> {
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
async fn a_reinstall(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.pass(Duration::from_secs(5));
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Expire);
    world.deliver().await?;
    world.pass(Duration::from_secs(3_600));
    Ok(())
}

/// A key with our note, of which the table knows nothing, is past the time in which it may be on its way.
async fn a_reconciliation(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.mint_an_orphan(at).await?;
    world.pass(DAY);
    Ok(())
}

/// Every key is to be replaced.
async fn an_emergency(world: &World) -> anyhow::Result<()> {
    world.pass(Duration::from_secs(120));
    let (since, overlap_minutes) = (world.now(), Some(30));
    let order =
        Emergency { since, issued_before: since, mode: None, publishable: false, overlap_minutes };
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    Ok(())
}

/// The user ended the key a day ago.
async fn a_back_fill(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.stripe.expire_in_dashboard(at.id.as_str(), &world.key(at, Kind::Secret).await?);
    world.lose_deliveries("v2.iam.api_key.").await;
    world.pass(DAY + Duration::from_secs(60));
    Ok(())
}

/// The copy knows nothing of the last two rotations; an operator has let the bundle act.
async fn a_restored_account_acts(world: &mut World, at: &AccountRef) -> anyhow::Result<()> {
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
