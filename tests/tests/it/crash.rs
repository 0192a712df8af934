//! Every call fails once, whomever it is for, in every way, in every use case; every step is run twice; and
//! the sweep makes up for it.
//!
//! What holds afterwards is asked of Stripe's double, of its log and of the tokens themselves, not of our
//! table alone.

mod after;
mod before;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::KeepOrExpire;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{OnUninstall, OnUserExpire, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::steward::operator::{Expiry, carry_on};
use keysteward_tests::door::{Fault, Peer, When};
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

use after::Watch;

/// What is going on when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UseCase {
    /// A person comes back from Stripe.
    Install,
    /// The sweep mints the first keys of an account that was installed while Stripe was down.
    FirstProvisioning,
    /// The user's account may have live keys at last.
    Activation,
    /// The key's time has come.
    Rotation(Strategy),
    /// The key's time has come, and that of the key pair has gone.
    PairRenewal,
    /// The overlap is over.
    Retirement(Strategy),
    /// The user ends the key in the Dashboard.
    UserExpires(OnUserExpire),
    /// The user rotates the key in the Dashboard.
    UserRotates,
    /// The user uninstalls the app, and chooses what becomes of its keys.
    Uninstall(OnUninstall, KeepOrExpire),
    /// The grace after an uninstall is over.
    Shredding,
    /// The answer to a rotation was lost, and Stripe does not repeat the secret.
    LostSecret,
    /// Nobody answered a rotation for half of its overlap: it is given up.
    GivenUpRotation,
    /// The user installs the app again.
    Reinstall,
    /// Stripe has a key of ours that the table does not know, and the policy is to set that right.
    Reconciliation,
    /// An operator has every key replaced; the whole sweep is cut, with the waking of the accounts.
    Emergency,
    /// An operator ends a key.
    OperatorExpires(Expiry),
    /// An operator provisions a slot that is held because its user ended the key.
    OperatorProvisions,
    /// An operator lets a slot carry on in which two keys did not open.
    OperatorResumes,
    /// The user ended a key and no webhook told of it.
    BackFill,
    /// The table was restored from a copy that knows nothing of two rotations, and released.
    Restore,
    /// Who took a sandbox goes live.
    SandboxGoesLive,
}

/// A use case, and on what kind of account.
#[derive(Clone, Copy, Debug)]
struct Scene {
    use_case: UseCase,
    /// Live keys come sealed by Stripe; a sandbox's in the clear, to be sealed before they are written.
    mode: Mode,
    oauth: bool,
}

impl Scene {
    fn live(use_case: UseCase) -> Self {
        Self { use_case, mode: Mode::Live, oauth: false }
    }

    fn live_by_oauth(use_case: UseCase) -> Self {
        Self { use_case, mode: Mode::Live, oauth: true }
    }

    fn sandbox(use_case: UseCase) -> Self {
        Self { use_case, mode: Mode::Test, oauth: false }
    }
}

/// How the n-th call fails, and whether Stripe's replays carry no secret.
#[derive(Clone, Copy, Debug)]
struct Cut {
    peer: Option<Peer>,
    when: When,
    times: u32,
    forgetful: bool,
}

impl Cut {
    /// A process that dies fails this call and every later one.
    const fn is_death(&self) -> bool {
        self.times == u32::MAX
    }
}

/// A fault of Stripe alone outlasts its client's three attempts: whoever called lives on, and knows of it.
const CUTS: [Cut; 7] = [
    Cut { peer: None, when: When::BeforeEffect, times: 1, forgetful: false },
    Cut { peer: None, when: When::AfterEffect, times: 1, forgetful: false },
    Cut { peer: None, when: When::BeforeEffect, times: u32::MAX, forgetful: false },
    Cut { peer: None, when: When::BeforeEffect, times: u32::MAX, forgetful: true },
    Cut { peer: Some(Peer::Stripe), when: When::BeforeEffect, times: 3, forgetful: false },
    Cut { peer: Some(Peer::Stripe), when: When::AfterEffect, times: 3, forgetful: false },
    Cut { peer: Some(Peer::Stripe), when: When::AfterEffect, times: 3, forgetful: true },
];

/// One scene, every cut, at every call.
async fn every_cut(scene: Scene) -> anyhow::Result<()> {
    for cut in CUTS {
        let mut n = 0;
        while survives(scene, cut, n)
            .await
            .with_context(|| format!("{scene:?}, {cut:?} at call {n}"))?
        {
            n += 1;
            ensure!(n < 100, "{scene:?} makes no end of calls");
        }
        // What an uninstall does, and what follows it, may be done without Stripe.
        let is_silent =
            matches!(scene.use_case, UseCase::Uninstall(OnUninstall::Keep, _) | UseCase::Shredding);
        ensure!(n > 0 || (is_silent && cut.peer.is_some()), "{scene:?} was never hit by {cut:?}");
    }
    Ok(())
}

/// Runs one scene with one cut; answers whether the cut was hit.
async fn survives(scene: Scene, cut: Cut, n: u32) -> anyhow::Result<bool> {
    let Scene { use_case, mode, oauth } = scene;
    // Nothing is remembered of a private key, so that KMS is asked each time.
    let (choice, cache) = (before::choice(use_case), Duration::ZERO);
    let mut world = World::with(Setting { choice, cache, oauth, ..Setting::default() }).await?;
    world.stripe.set_behaviour(|stripe| {
        stripe.replay_returns_ciphertext = !cut.forgetful;
        stripe.replay_returns_token = !cut.forgetful;
        stripe.duplicate_deliveries = true;
    });
    let at = account(mode, "acct_1Crash")?;
    // Boxed: unoptimised, all of it would not fit the stack of a test's thread.
    Box::pin(before::prepare(&mut world, &at, use_case)).await?;
    let watch = Watch::begin(&world, &at, use_case).await?;
    let told = before::act(&world, &at, use_case).await?;

    let Cut { peer, when, times, .. } = cut;
    world.doors.fail(Fault { peer, skip: n, when, times });
    Box::pin(run(&world, &at, use_case, &told)).await?;
    let hit = world.doors.heal() > 0;
    if cut.is_death() {
        world.restart()?;
    }
    watch.look(&world).await?;
    // Again: at once, while the lease of whoever died is running, and when it has run out.
    Box::pin(run(&world, &at, use_case, &told)).await?;
    world.pass(Duration::from_secs(180));
    watch.look(&world).await?;
    Box::pin(run(&world, &at, use_case, &told)).await?;
    watch.look(&world).await?;

    Box::pin(after::recover(&world, &watch)).await?;
    Box::pin(after::check(&world, &at, use_case)).await?;
    Ok(hit)
}

/// The step itself, as often as it is called. Whatever the caller is told, only what follows counts.
async fn run(
    world: &World,
    at: &AccountRef,
    use_case: UseCase,
    told: &[Vec<u8>],
) -> anyhow::Result<()> {
    let (steward, slot) = (world.steward(), default_slot(Kind::Secret));
    let deadline = world.now().plus(Duration::from_secs(600));
    match use_case {
        UseCase::Install | UseCase::Reinstall => drop(world.install_app(at).await),
        UseCase::Activation
        | UseCase::UserExpires(_)
        | UseCase::UserRotates
        | UseCase::Uninstall(..)
        | UseCase::SandboxGoesLive => {
            world.deliver_bodies(told.to_vec()).await?;
        }
        UseCase::Emergency => drop(world.sweep().await),
        UseCase::OperatorExpires(expiry) => {
            drop(steward.expire(at, &slot, expiry, Actor::Operator, deadline).await);
        }
        UseCase::OperatorProvisions => {
            drop(steward.provision(at, &slot, Actor::Operator, deadline).await);
        }
        UseCase::OperatorResumes => {
            drop(carry_on(&steward.store, at, &slot, world.now()).await);
            drop(steward.advance(at, Actor::Sweep, deadline).await);
        }
        UseCase::FirstProvisioning
        | UseCase::Rotation(_)
        | UseCase::PairRenewal
        | UseCase::Retirement(_)
        | UseCase::Shredding
        | UseCase::LostSecret
        | UseCase::GivenUpRotation
        | UseCase::Reconciliation
        | UseCase::BackFill
        | UseCase::Restore => drop(steward.advance(at, Actor::Sweep, deadline).await),
    }
    Ok(())
}

#[tokio::test]
async fn whichever_call_of_an_installation_fails_each_slot_gets_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Install)).await
}

#[tokio::test]
async fn whichever_call_of_a_first_provisioning_fails_each_slot_gets_one_key() -> anyhow::Result<()>
{
    every_cut(Scene::live(UseCase::FirstProvisioning)).await
}

#[tokio::test]
async fn whichever_call_of_a_rotation_fails_the_slot_has_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Rotation(Strategy::Rotate))).await
}

#[tokio::test]
async fn whichever_call_of_a_replacement_fails_the_slot_has_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Rotation(Strategy::CreateThenExpire))).await
}

#[tokio::test]
async fn whichever_call_of_a_retirement_fails_the_old_key_dies() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Retirement(Strategy::Rotate))).await?;
    every_cut(Scene::live(UseCase::Retirement(Strategy::CreateThenExpire))).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_ended_is_held() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::UserExpires(OnUserExpire::Hold))).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_ended_is_replaced_once() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::UserExpires(OnUserExpire::Reissue))).await
}

#[tokio::test]
async fn whichever_call_fails_a_key_that_the_user_rotated_is_replaced_once() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::UserRotates)).await
}

#[tokio::test]
async fn whichever_call_of_an_uninstall_fails_nothing_is_served_and_the_pairs_go()
-> anyhow::Result<()> {
    for (policy, of_the_user) in [
        (OnUninstall::Keep, KeepOrExpire::Keep),
        (OnUninstall::Expire, KeepOrExpire::Keep),
        (OnUninstall::Expire, KeepOrExpire::Expire),
    ] {
        every_cut(Scene::live(UseCase::Uninstall(policy, of_the_user))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whichever_call_of_a_recovery_fails_the_lost_key_is_ended_and_replaced()
-> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::LostSecret)).await
}

#[tokio::test]
async fn whichever_call_fails_a_rotation_that_is_given_up_leaves_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::GivenUpRotation)).await
}

#[tokio::test]
async fn whichever_call_of_a_reinstallation_fails_each_slot_gets_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Reinstall)).await
}

#[tokio::test]
async fn whichever_call_of_a_reconciliation_fails_the_orphan_goes_and_the_key_stays()
-> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Reconciliation)).await
}

#[tokio::test]
async fn whichever_call_of_an_emergency_fails_the_key_is_replaced_once() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Emergency)).await
}

#[tokio::test]
async fn whichever_call_of_a_back_fill_fails_what_the_user_ended_is_replaced_once()
-> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::BackFill)).await
}

#[tokio::test]
async fn whichever_call_fails_after_a_restore_each_slot_comes_to_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Restore)).await
}

#[tokio::test]
async fn whichever_call_of_the_shredding_after_an_uninstall_fails_the_pairs_go()
-> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Shredding)).await
}

#[tokio::test]
async fn whichever_call_of_an_activation_fails_each_slot_gets_one_key() -> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::Activation)).await
}

#[tokio::test]
async fn whichever_call_fails_as_the_key_pair_is_renewed_the_slot_has_one_key() -> anyhow::Result<()>
{
    every_cut(Scene::live(UseCase::PairRenewal)).await
}

#[tokio::test]
async fn whichever_call_fails_as_an_operator_ends_a_key_the_slot_has_one_key() -> anyhow::Result<()>
{
    for expiry in [Expiry::OnceReplaced, Expiry::AtOnce, Expiry::Replaced] {
        every_cut(Scene::live(UseCase::OperatorExpires(expiry))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whichever_call_fails_as_an_operator_lifts_a_hold_the_slot_has_one_key()
-> anyhow::Result<()> {
    every_cut(Scene::live(UseCase::OperatorProvisions)).await?;
    every_cut(Scene::live(UseCase::OperatorResumes)).await
}

#[tokio::test]
async fn whichever_call_fails_when_a_sandbox_goes_live_its_owner_gets_one_key_a_slot()
-> anyhow::Result<()> {
    every_cut(Scene::sandbox(UseCase::SandboxGoesLive)).await
}

#[tokio::test]
async fn whichever_call_fails_a_sandboxs_keys_are_one_a_slot_too() -> anyhow::Result<()> {
    for use_case in [
        UseCase::FirstProvisioning,
        UseCase::Rotation(Strategy::Rotate),
        UseCase::Rotation(Strategy::CreateThenExpire),
        UseCase::LostSecret,
    ] {
        every_cut(Scene::sandbox(use_case)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whichever_call_of_an_installation_by_oauth_fails_each_slot_gets_one_key()
-> anyhow::Result<()> {
    every_cut(Scene::live_by_oauth(UseCase::Install)).await?;
    every_cut(Scene::live_by_oauth(UseCase::Reinstall)).await
}

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
/// Whose sandbox it was that goes live.
const OWNER: &str = "acct_1Owner";
