//! The faults are over: what the services are served meanwhile, and what has to hold in the end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::KeepOrExpire;
use http::StatusCode;
use keysteward::domain::policy::{OnUninstall, OnUserExpire};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::steward::operator::Expiry;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{World, invariants};

use super::{DAY, OWNER, UseCase};

/// One of the app's services, which was served keys before the cut.
pub(super) struct Watch {
    at: AccountRef,
    /// What it has to be served at any time, since nobody has ended it.
    lasting: Vec<Kind>,
}

impl Watch {
    pub(super) async fn begin(
        world: &World,
        at: &AccountRef,
        use_case: UseCase,
    ) -> anyhow::Result<Self> {
        let lasting = if keeps_its_key(use_case) {
            vec![Kind::Secret, Kind::Publishable]
        } else {
            Vec::new()
        };
        let watch = Self { at: at.clone(), lasting };
        watch.look(world).await?;
        Ok(watch)
    }

    pub(super) async fn look(&self, world: &World) -> anyhow::Result<()> {
        for kind in &self.lasting {
            let token = world.token(&self.at, *kind).await;
            let token = token.with_context(|| format!("a {kind} key was served before the cut"))?;
            ensure!(world.stripe.token_works(&token), "a dead {kind} key is served");
        }
        Ok(())
    }

    /// As [`Watch::look`]; and who was served no key before is served none that is dead.
    async fn look_again(&self, world: &World) -> anyhow::Result<()> {
        // A copy of the table says what was true when it was made, until Stripe's list is held against it.
        let epoch = world.steward().standing().await?.epoch;
        let is_of_the_past = world.account(&self.at).await.is_ok_and(|it| it.head.epoch < epoch);
        let reply = world.read(&self.at, Kind::Secret).await;
        if reply.status() == StatusCode::OK && !is_of_the_past {
            let token = json_of(&reply)?["token"].as_str().unwrap_or_default().to_owned();
            ensure!(world.stripe.token_works(&token), "a dead key is served");
        }
        self.look(world).await
    }
}

/// Whether a key works before the use case and one has to all the while: nobody ends it on purpose.
fn keeps_its_key(use_case: UseCase) -> bool {
    match use_case {
        UseCase::Rotation(_)
        | UseCase::PairRenewal
        | UseCase::Retirement(_)
        | UseCase::UserRotates
        | UseCase::LostSecret
        | UseCase::GivenUpRotation
        | UseCase::Reconciliation
        | UseCase::Emergency
        | UseCase::OperatorExpires(Expiry::OnceReplaced | Expiry::Replaced) => true,
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::Activation
        | UseCase::UserExpires(_)
        | UseCase::Uninstall(..)
        | UseCase::Shredding
        | UseCase::Reinstall
        | UseCase::OperatorExpires(Expiry::AtOnce)
        | UseCase::OperatorProvisions
        | UseCase::OperatorResumes
        | UseCase::BackFill
        | UseCase::Restore
        | UseCase::SandboxGoesLive => false,
    }
}

/// Whether the use case is that the key is replaced.
fn is_replacement(use_case: UseCase) -> bool {
    matches!(
        use_case,
        UseCase::Rotation(_)
            | UseCase::PairRenewal
            | UseCase::UserRotates
            | UseCase::LostSecret
            | UseCase::GivenUpRotation
            | UseCase::Emergency
            | UseCase::OperatorExpires(_)
    )
}

/// Time passes, events arrive, the schedule sweeps: nothing else.
pub(super) async fn recover(world: &World, watch: &Watch) -> anyhow::Result<()> {
    for pause in [180, 3_600, 90_000, 90_000] {
        world.pass(Duration::from_secs(pause));
        world.try_deliver().await?;
        let shards = world.shards().await?;
        let mut sweeps = 0;
        while world.sweep_shards(&shards).await > 0 {
            world.pass(Duration::from_secs(60));
            sweeps += 1;
            ensure!(sweeps < 60, "the sweep does not come to rest");
        }
        watch.look_again(world).await?;
    }
    Ok(())
}

pub(super) async fn check(world: &World, at: &AccountRef, use_case: UseCase) -> anyhow::Result<()> {
    invariants::of_the_world(world)?;
    let stored = world.account(at).await?;
    invariants::of_the_trail(world, &stored).await?;
    if use_case != UseCase::OperatorExpires(Expiry::AtOnce) {
        invariants::of_endings(world, &world.stripe.log(), &[at.id.as_str(), OWNER])?;
    }
    let expected = match use_case {
        UseCase::Uninstall(policy, keys) => {
            let asked = asked_to_end(world);
            ensure!(
                policy == OnUninstall::Expire || asked == 0,
                "the keys are the user's: {asked}"
            );
            return check_uninstalled(world, at, keys).await;
        }
        UseCase::Shredding => return check_uninstalled(world, at, KeepOrExpire::Expire).await,
        UseCase::SandboxGoesLive => return check_moved_to_live(world, at).await,
        UseCase::UserExpires(OnUserExpire::Hold) => {
            check_refused(world, at, "revoked_by_user").await?;
            1
        }
        // What the user made by rotating is the user's, and is left alone.
        UseCase::UserRotates => 3,
        UseCase::PairRenewal => {
            let made_at: Vec<_> = stored.pairs.values().map(|pair| pair.made_at).collect();
            let is_new = made_at.iter().all(|at| world.now().since(*at) < DAY * 10);
            ensure!(made_at.len() == 1 && is_new, "the old pair is gone: {made_at:?}");
            2
        }
        UseCase::Install
        | UseCase::FirstProvisioning
        | UseCase::Activation
        | UseCase::Rotation(_)
        | UseCase::Retirement(_)
        | UseCase::UserExpires(OnUserExpire::Reissue)
        | UseCase::LostSecret
        | UseCase::GivenUpRotation
        | UseCase::Reinstall
        | UseCase::Reconciliation
        | UseCase::Emergency
        | UseCase::OperatorExpires(_)
        | UseCase::OperatorProvisions
        | UseCase::OperatorResumes
        | UseCase::BackFill
        | UseCase::Restore => 2,
    };
    if is_replacement(use_case) {
        let current = stored.current(&default_slot(Kind::Secret));
        let number = current.map(|(generation, _)| generation.number());
        ensure!(number >= Some(2), "the key was to be replaced, and is the {number:?}th");
    }
    let may_be_held: &[Kind] = if expected == 1 { &[Kind::Secret] } else { &[] };
    invariants::of_the_slots(world, &stored, may_be_held).await?;
    let alive = alive(world, at.id.as_str());
    ensure!(alive.len() == expected, "one key a slot is alive at Stripe, no orphan: {alive:?}");
    Ok(())
}

async fn check_uninstalled(
    world: &World,
    at: &AccountRef,
    keys: KeepOrExpire,
) -> anyhow::Result<()> {
    check_refused(world, at, "uninstalled").await?;
    let alive = alive(world, at.id.as_str());
    let expected = match keys {
        KeepOrExpire::Keep => 2,
        KeepOrExpire::Expire => 0,
    };
    ensure!(alive.len() == expected, "what lives on is as the user chose: {alive:?}");
    world.pass(DAY * 8);
    world.sweep_to_rest().await?;
    let stored = world.account(at).await?;
    ensure!(stored.pairs.is_empty(), "the private keys are gone after the grace");
    Ok(())
}

async fn check_moved_to_live(world: &World, sandbox: &AccountRef) -> anyhow::Result<()> {
    check_refused(world, sandbox, "moved_to_live").await?;
    let live = world.account(&account(Mode::Live, OWNER)?).await?;
    invariants::of_the_trail(world, &live).await?;
    invariants::of_the_slots(world, &live, &[]).await?;
    let (left, alive) = (alive(world, sandbox.id.as_str()), alive(world, OWNER));
    ensure!(left.is_empty() && alive.len() == 2, "of the sandbox {left:?}, live {alive:?}");
    Ok(())
}

async fn check_refused(world: &World, at: &AccountRef, code: &str) -> anyhow::Result<()> {
    let reply = world.read(at, Kind::Secret).await;
    ensure!(json_of(&reply)?["code"] == code, "{} and not {code}", reply.status());
    Ok(())
}

/// How often Stripe was asked to end a key, whatever it answered.
fn asked_to_end(world: &World) -> usize {
    world.stripe.log().iter().filter(|call| call.path.ends_with("/expire")).count()
}

/// The keys of an account whose tokens work.
fn alive(world: &World, account: &str) -> Vec<(&'static str, String)> {
    let works = |key: &fake_stripe::KeyView| {
        world.stripe.token_of(&key.id).is_some_and(|token| world.stripe.token_works(&token))
    };
    let keys = world.stripe.keys(account).into_iter();
    keys.filter(works).map(|key| (key.kind, key.id)).collect()
}
