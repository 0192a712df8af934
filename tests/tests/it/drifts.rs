//! Every difference that a comparison knows: reported it changes nothing, set right it comes to its end, and what the
//! user made beside it is never touched.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use keysteward::domain::account::Change;
use keysteward::domain::audit::Actor;
use keysteward::domain::drift::Drift;
use keysteward::domain::lifecycle::{Ending, Happened};
use keysteward::domain::plan::Because;
use keysteward::domain::policy::{Choice, Policy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::steward::operator::pause;
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot, json_of};

const DAY: Duration = Duration::from_secs(86_400 + 60);

/// What a read gives in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// The key from before.
    TheSame,
    /// Another one that works.
    Another,
    /// None: the policy is to hold what the user ended.
    Held,
}

/// Every drift; how many findings are left when it is set right; whether the key that it is about lives on some days
/// later, and what is served then.
const DRIFTS: [(Drift, u32, bool, Served); 8] = [
    (Drift::Missing, 0, false, Served::Held),
    (Drift::Ended, 0, false, Served::Held),
    (Drift::Dying, 0, false, Served::Held),
    (Drift::Alive, 0, false, Served::TheSame),
    (Drift::Orphan, 0, false, Served::TheSame),
    (Drift::Lost, 0, false, Served::TheSame),
    // The account is paused: why the plan does not rotate the key, a person knows.
    (Drift::Overdue, 1, true, Served::TheSame),
    (Drift::BeyondPolicy, 0, false, Served::Another),
];

fn soon(world: &World) -> Timestamp {
    world.now().plus(Duration::from_secs(60))
}

/// A call that was given up unanswered made a key after all.
async fn lost(world: &World, at: &AccountRef) -> anyhow::Result<String> {
    let (slot, now) = (default_slot(Kind::Secret), world.now());
    let (generation, intent) = world.intent(at, 0).await?;
    let stored = world.account(at).await?;
    let due_at = stored.head.due_at;
    let mut change = Change::of(stored, now, Actor::Sweep);
    change.request(&slot, generation, intent.clone(), Because::RotationIsDue);
    let given_up = Happened::Ended { at: now, why: Ending::Lost };
    change.apply(&slot, generation, given_up, Some(Because::AnswerIsOverdue))?;
    change.release(due_at);
    world.steward().store.record(change).await?;
    world.send_unseen(at, intent).await
}

/// Brings a drift about, of which no event tells; answers the key that it is about.
async fn prepare(world: &mut World, at: &AccountRef, drift: Drift) -> anyhow::Result<String> {
    let (slot, key) = (default_slot(Kind::Secret), world.key(at, Kind::Secret).await?);
    let id = at.id.as_str();
    let key = match drift {
        Drift::Missing => {
            world.stripe.set_behaviour(|stripe| stripe.old_id_retrievable = false);
            world.stripe.rotate_in_dashboard(id, &key, 0).context("rotated")?;
            key
        }
        Drift::Ended => {
            world.stripe.expire_in_dashboard(id, &key);
            key
        }
        Drift::Dying => {
            world.stripe.rotate_in_dashboard(id, &key, 2 * 1440).context("rotated")?;
            key
        }
        Drift::Alive => {
            let deadline = soon(world);
            world.steward().rotate(at, &slot, Actor::Operator, deadline).await?;
            for _ in 0..2 {
                world.pass(DAY);
                world.sweep_to_rest().await?;
            }
            let alive = world.mint_an_orphan(at).await?;
            let row = "STATE#KEY#secret#default#0000000001";
            world.tamper(row, |row| row["key"]["S"] = alive.clone().into())?;
            alive
        }
        Drift::Orphan => world.mint_an_orphan(at).await?,
        Drift::Lost => lost(world, at).await?,
        Drift::Overdue => {
            let now = world.now();
            pause(&world.steward().store, at, true, now).await?;
            world.pass(32 * DAY);
            key
        }
        Drift::BeyondPolicy => {
            world.pass(20 * DAY);
            world.install.steward.policy =
                Policy::new(Choice { rotate_every_days: 10, ..Choice::default() })?;
            key
        }
    };
    let _ = world.stripe.take_deliveries();
    world.pass(Duration::from_secs(2 * 3600));
    Ok(key)
}

fn is_active(world: &World, at: &AccountRef, key: &str) -> bool {
    let keys = world.stripe.keys(at.id.as_str());
    keys.iter().any(|found| found.id == key && found.status == "active")
}

#[tokio::test]
async fn every_drift_is_found_left_alone_when_reported_and_comes_to_its_end_when_set_right()
-> anyhow::Result<()> {
    for (drift, left, lives_on, served) in DRIFTS {
        let name = drift.as_str();
        let mut world = World::start().await?;
        let at = account(Mode::Test, "acct_1Drift")?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
        let own = world.stripe.add_users_own_key(at.id.as_str(), false, "the user's own");
        let key = prepare(&mut world, &at, drift).await?;
        let before = world.token(&at, Kind::Secret).await?;

        // Reported.
        let (rows, keys) = (world.rows()?, world.stripe.keys(at.id.as_str()));
        let report = world.steward().inspect(&at).await?.context("the account is known")?;
        let found: Vec<_> = report.findings.iter().map(|it| (it.drift, it.key.as_str())).collect();
        ensure!(found == [(drift, key.as_str())], "{name}: {found:?}");
        ensure!(
            (report.foreign, report.applied, report.left) == (1, false, 1),
            "{name}: {report:?}"
        );
        ensure!(world.rows()? == rows, "{name}: no row is changed by a report");
        ensure!(world.stripe.keys(at.id.as_str()) == keys, "{name}: and no key");

        // Set right.
        let deadline = soon(&world);
        let (report, _) = world.steward().set_right(&at, Actor::Operator, deadline).await?;
        let report = report.context("nobody else holds it")?;
        ensure!((report.applied, report.left) == (true, left), "{name}: {report:?}");
        let again = world.steward().inspect(&at).await?.context("the account is known")?;
        let still = again.findings.iter().any(|finding| finding.drift == drift);
        ensure!(still == (left > 0), "{name}: {again:?}");
        for _ in 0..4 {
            world.pass(DAY);
            world.sweep_to_rest().await?;
        }
        ensure!(is_active(&world, &at, &key) == lives_on, "{name}: the key that it is about");
        ensure!(is_active(&world, &at, &own), "{name}: the user's own key is never touched");
        match served {
            Served::TheSame => ensure!(world.token(&at, Kind::Secret).await? == before, "{name}"),
            Served::Another => {
                let after = world.token(&at, Kind::Secret).await?;
                ensure!(after != before && world.stripe.token_works(&after), "{name}");
            }
            Served::Held => {
                let reply = world.read(&at, Kind::Secret).await;
                ensure!(
                    json_of(&reply)?["code"] == "revoked_by_user",
                    "{name}: {}",
                    reply.status()
                );
            }
        }
    }
    Ok(())
}
