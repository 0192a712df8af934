//! Every call fails once, whomever it is for, in every way, in every use case; every step is run twice; and
//! the sweep makes up for it.
//!
//! What holds afterwards is asked of Stripe's double and of the tokens themselves, not of our table alone.

mod before;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault as StripeFault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{OnUninstall, OnUserExpire, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::door::{Fault, Peer, When};
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World, invariants};

/// What is going on when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UseCase {
    /// A person comes back from Stripe.
    Install,
    /// The sweep mints the first keys of an account that was installed while Stripe was down.
    FirstProvisioning,
    /// The key's time has come.
    Rotation(Strategy),
    /// The overlap is over.
    Retirement(Strategy),
    /// The user ends the key in the Dashboard.
    UserExpires(OnUserExpire),
    /// The user rotates the key in the Dashboard.
    UserRotates,
    /// The user uninstalls the app.
    Uninstall(OnUninstall),
    /// The answer to a rotation was lost, and Stripe does not repeat the ciphertext.
    LostCiphertext,
    /// Nobody answered a rotation for half of its overlap: it is given up.
    GivenUpRotation,
    /// The user installs the app again.
    Reinstall,
    /// Stripe has a key of ours that the table does not know, and the policy is to set that right.
    Reconciliation,
    /// An operator has every key replaced.
    Emergency,
    /// The user ended a key and no webhook told of it.
    BackFill,
    /// The table was restored from a copy that knows nothing of two rotations, and released.
    Restore,
}

/// How the n-th call fails, and whether Stripe's replays carry no ciphertext.
struct Cut {
    peer: Option<Peer>,
    when: When,
    times: u32,
    forgetful: bool,
}

/// A process that dies fails this call and every later one. A fault of Stripe alone outlasts its client's
/// three attempts.
const CUTS: [Cut; 6] = [
    Cut { peer: None, when: When::BeforeEffect, times: 1, forgetful: false },
    Cut { peer: None, when: When::AfterEffect, times: 1, forgetful: false },
    Cut { peer: None, when: When::BeforeEffect, times: u32::MAX, forgetful: false },
    Cut { peer: None, when: When::BeforeEffect, times: u32::MAX, forgetful: true },
    Cut { peer: Some(Peer::Stripe), when: When::AfterEffect, times: 3, forgetful: false },
    Cut { peer: Some(Peer::Stripe), when: When::AfterEffect, times: 3, forgetful: true },
];

/// One use case, every cut, at every call.
async fn every_cut(use_case: UseCase) -> anyhow::Result<()> {
    for (which, cut) in CUTS.iter().enumerate() {
        let mut n = 0;
        while survives(use_case, cut, n)
            .await
            .with_context(|| format!("{use_case:?}, cut {which} at call {n}"))?
        {
            n += 1;
            ensure!(n < 100, "{use_case:?} makes no end of calls");
        }
        // What an uninstall does, it may do without Stripe.
        let is_silent = use_case == UseCase::Uninstall(OnUninstall::Keep) && cut.peer.is_some();
        ensure!(n > 0 || is_silent, "{use_case:?} was never hit by cut {which}");
    }
    Ok(())
}

/// Runs one use case with one cut; answers whether the cut was hit.
async fn survives(use_case: UseCase, cut: &Cut, n: u32) -> anyhow::Result<bool> {
    // Nothing is remembered of a private key, so that KMS is asked each time.
    let cache = Duration::ZERO;
    let mut world =
        World::with(Setting { choice: before::choice(use_case), cache, ..Setting::default() })
            .await?;
    world.stripe.set_behaviour(|stripe| {
        stripe.replay_returns_ciphertext = !cut.forgetful;
        stripe.duplicate_deliveries = true;
    });
    let at = account(Mode::Live, "acct_1Crash")?;
    world.add_account(at.id.as_str());
    prepare(&mut world, &at, use_case).await?;
    let told = act(&world, &at, use_case).await?;

    let Cut { peer, when, times, .. } = *cut;
    world.doors.fail(Fault { peer, skip: n, when, times });
    run(&world, &at, use_case, &told).await?;
    let hit = world.doors.heal() > 0;
    // Again: at once, while the lease of whoever died is running, and when it has run out.
    run(&world, &at, use_case, &told).await?;
    world.pass(Duration::from_secs(180));
    run(&world, &at, use_case, &told).await?;

    recover(&world, &at).await?;
    check(&world, &at, use_case).await?;
    Ok(hit)
}

async fn prepare(world: &mut World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<()> {
    match use_case {
        UseCase::Install => return Ok(()),
        UseCase::FirstProvisioning => {
            let on = CallMatch::post("/api_keys");
            world.stripe.inject(StripeFault { on, kind: FaultKind::Refused, times: u32::MAX });
        }
        _ => {}
    }
    world.install_app(at).await?;
    world.stripe.clear_faults();
    world.deliver().await?;
    match use_case {
        UseCase::FirstProvisioning => world.pass(Duration::from_secs(3_600)),
        UseCase::Rotation(_) => world.pass(MONTH),
        UseCase::Retirement(_) => {
            world.pass(MONTH);
            world.sweep_to_rest().await?;
            world.deliver().await?;
            world.pass(DAY);
        }
        UseCase::LostCiphertext => {
            world.stripe.set_behaviour(|stripe| stripe.replay_returns_ciphertext = false);
            let on = CallMatch::post("/rotate");
            world.stripe.inject(StripeFault { on, kind: FaultKind::LostResponse, times: 3 });
            world.pass(MONTH);
            world.sweep().await?;
            world.stripe.clear_faults();
            world.pass(Duration::from_secs(3_600));
        }
        UseCase::GivenUpRotation => before::a_rotation_is_given_up(world).await?,
        UseCase::Reinstall => before::a_reinstall(world, at).await?,
        UseCase::Reconciliation => before::a_reconciliation(world, at).await?,
        UseCase::Emergency => before::an_emergency(world).await?,
        UseCase::BackFill => before::a_back_fill(world, at).await?,
        UseCase::Restore => before::a_restored_account_acts(world, at).await?,
        UseCase::Install
        | UseCase::UserExpires(_)
        | UseCase::UserRotates
        | UseCase::Uninstall(_) => {}
    }
    Ok(())
}

/// What the user does at Stripe, once. Answers what Stripe then says, as often as it is asked to.
async fn act(world: &World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<Vec<Vec<u8>>> {
    let id = at.id.as_str();
    let key = || async {
        let stored = world.account(at).await?;
        let key = stored.current(&default_slot(Kind::Secret)).and_then(|(_, state)| state.key());
        Ok::<_, anyhow::Error>(key.context("there is a key")?.to_string())
    };
    match use_case {
        UseCase::UserExpires(_) => {
            world.stripe.expire_in_dashboard(id, &key().await?);
        }
        UseCase::UserRotates => {
            world.stripe.rotate_in_dashboard(id, &key().await?, 60);
        }
        UseCase::Uninstall(_) => {
            world.pass(Duration::from_secs(5));
            world.stripe.uninstall(id, true, KeepOrExpire::Expire);
        }
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::Rotation(_)
        | UseCase::Retirement(_)
        | UseCase::LostCiphertext
        | UseCase::GivenUpRotation
        | UseCase::Reinstall
        | UseCase::Reconciliation
        | UseCase::Emergency
        | UseCase::BackFill
        | UseCase::Restore => {}
    }
    Ok(world.stripe.take_deliveries().into_iter().map(|delivery| delivery.body).collect())
}

/// The step itself, as often as it is called. Whatever the caller is told, only what follows counts.
async fn run(
    world: &World,
    at: &AccountRef,
    use_case: UseCase,
    told: &[Vec<u8>],
) -> anyhow::Result<()> {
    match use_case {
        UseCase::Install | UseCase::Reinstall => drop(world.install_app(at).await?),
        UseCase::UserExpires(_) | UseCase::UserRotates | UseCase::Uninstall(_) => {
            world.deliver_bodies(told.to_vec()).await?;
        }
        UseCase::FirstProvisioning
        | UseCase::Rotation(_)
        | UseCase::Retirement(_)
        | UseCase::LostCiphertext
        | UseCase::GivenUpRotation
        | UseCase::Reconciliation
        | UseCase::Emergency
        | UseCase::BackFill
        | UseCase::Restore => {
            let deadline = world.now().plus(Duration::from_secs(600));
            drop(world.steward().advance(at, Actor::Sweep, deadline).await);
        }
    }
    Ok(())
}

/// Time passes, events arrive, the schedule sweeps: nothing else. Nothing dead is served meanwhile.
async fn recover(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let shards = world.shards().await?;
    for pause in [180, 3_600, 90_000, 90_000] {
        world.pass(Duration::from_secs(pause));
        world.try_deliver().await?;
        let mut sweeps = 0;
        while world.sweep_shards(&shards).await > 0 {
            world.pass(Duration::from_secs(60));
            sweeps += 1;
            ensure!(sweeps < 60, "the sweep does not come to rest");
        }
        // A copy of the table says what was true when it was made, until Stripe's list is held against it.
        let epoch = world.steward().standing().await?.epoch;
        let is_of_the_past = world.account(at).await.is_ok_and(|it| it.head.epoch < epoch);
        let reply = world.read(at, Kind::Secret).await;
        if reply.status() == StatusCode::OK && !is_of_the_past {
            let token = json_of(&reply)?["token"].as_str().unwrap_or_default().to_owned();
            ensure!(world.stripe.token_works(&token), "a dead key is served");
        }
    }
    Ok(())
}

async fn check(world: &World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<()> {
    invariants::of_the_world(world)?;
    let mut stored = world.account(at).await?;
    invariants::of_the_trail(world, &stored).await?;
    let alive: Vec<_> = world
        .stripe
        .keys(at.id.as_str())
        .into_iter()
        .filter(|key| {
            world.stripe.token_of(&key.id).is_some_and(|token| world.stripe.token_works(&token))
        })
        .map(|key| (key.kind, key.id))
        .collect();
    let expected = match use_case {
        UseCase::UserExpires(OnUserExpire::Hold) => {
            let reply = world.read(at, Kind::Secret).await;
            ensure!(json_of(&reply)?["code"] == "revoked_by_user", "{:?}", reply.status());
            1
        }
        UseCase::Uninstall(_) => {
            let reply = world.read(at, Kind::Secret).await;
            ensure!(json_of(&reply)?["code"] == "uninstalled", "{:?}", reply.status());
            world.pass(DAY * 8);
            world.sweep_to_rest().await?;
            stored = world.account(at).await?;
            ensure!(stored.pairs.is_empty(), "the private keys are gone after the grace");
            return Ok(());
        }
        // What the user made by rotating is the user's, and is left alone.
        UseCase::UserRotates => 3,
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::Rotation(_)
        | UseCase::Retirement(_)
        | UseCase::UserExpires(OnUserExpire::Reissue)
        | UseCase::LostCiphertext
        | UseCase::GivenUpRotation
        | UseCase::Reinstall
        | UseCase::Reconciliation
        | UseCase::Emergency
        | UseCase::BackFill
        | UseCase::Restore => 2,
    };
    invariants::of_the_slots(world, &stored, expected == 1).await?;
    ensure!(alive.len() == expected, "one key a slot is alive at Stripe, no orphan: {alive:?}");
    Ok(())
}

#[tokio::test]
async fn whichever_call_of_an_installation_fails_each_slot_gets_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::Install).await
}

#[tokio::test]
async fn whichever_call_of_a_first_provisioning_fails_each_slot_gets_one_key() -> anyhow::Result<()>
{
    every_cut(UseCase::FirstProvisioning).await
}

#[tokio::test]
async fn whichever_call_of_a_rotation_fails_the_slot_has_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::Rotation(Strategy::Rotate)).await
}

#[tokio::test]
async fn whichever_call_of_a_replacement_fails_the_slot_has_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::Rotation(Strategy::CreateThenExpire)).await
}

#[tokio::test]
async fn whichever_call_of_a_retirement_fails_the_old_key_dies() -> anyhow::Result<()> {
    every_cut(UseCase::Retirement(Strategy::Rotate)).await?;
    every_cut(UseCase::Retirement(Strategy::CreateThenExpire)).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_ended_is_held() -> anyhow::Result<()> {
    every_cut(UseCase::UserExpires(OnUserExpire::Hold)).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_ended_is_replaced_once() -> anyhow::Result<()> {
    every_cut(UseCase::UserExpires(OnUserExpire::Reissue)).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_rotated_is_replaced_once() -> anyhow::Result<()> {
    every_cut(UseCase::UserRotates).await
}

#[tokio::test]
async fn whichever_call_of_an_uninstall_fails_nothing_is_served_and_the_pairs_go()
-> anyhow::Result<()> {
    every_cut(UseCase::Uninstall(OnUninstall::Keep)).await?;
    every_cut(UseCase::Uninstall(OnUninstall::Expire)).await
}

#[tokio::test]
async fn whichever_call_of_a_recovery_fails_the_lost_key_is_ended_and_replaced()
-> anyhow::Result<()> {
    every_cut(UseCase::LostCiphertext).await
}

#[tokio::test]
async fn whichever_call_fails_a_rotation_that_is_given_up_leaves_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::GivenUpRotation).await
}

#[tokio::test]
async fn whichever_call_of_a_reinstallation_fails_each_slot_gets_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::Reinstall).await
}

#[tokio::test]
async fn whichever_call_of_a_reconciliation_fails_the_orphan_goes_and_the_key_stays()
-> anyhow::Result<()> {
    every_cut(UseCase::Reconciliation).await
}

#[tokio::test]
async fn whichever_call_of_an_emergency_fails_the_key_is_replaced_once() -> anyhow::Result<()> {
    every_cut(UseCase::Emergency).await
}

#[tokio::test]
async fn whichever_call_of_a_back_fill_fails_what_the_user_ended_is_replaced_once()
-> anyhow::Result<()> {
    every_cut(UseCase::BackFill).await
}

#[tokio::test]
async fn whichever_call_fails_after_a_restore_each_slot_comes_to_one_key() -> anyhow::Result<()> {
    every_cut(UseCase::Restore).await
}

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
