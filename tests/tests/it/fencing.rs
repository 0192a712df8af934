//! Two at once on one account: they serialise, and whoever wakes late changes nothing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::KeyView;
use keysteward::domain::audit;
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, OnUserExpire, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::door::Peer;
use keysteward_tests::race::{Racer, race_all};
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World, invariants};

/// How many keys of the account are alive, as Stripe counts.
fn alive(world: &World, at: &AccountRef) -> usize {
    world.stripe.keys(at.id.as_str()).iter().filter(|key| key.status == "active").count()
}

/// What is being done when a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// A person came back from Stripe.
    Install,
    /// The key's time has come.
    Rotation(Strategy),
    /// The overlap is over.
    Retirement,
    /// Stripe says that the user rotated the key.
    Event,
}

impl Doing {
    fn choice(self) -> Choice {
        let strategy = match self {
            Self::Rotation(strategy) => strategy,
            // Of the two, the one in which it is for us to end the old key.
            Self::Retirement => Strategy::CreateThenExpire,
            Self::Install | Self::Event => Strategy::Rotate,
        };
        Choice { strategy, on_user_expire: OnUserExpire::Reissue, ..Choice::default() }
    }

    /// Brings a world to where it begins. Answers what Stripe says then, to the webhook or by the browser.
    async fn prepare(self, world: &World, at: &AccountRef) -> anyhow::Result<Told> {
        let mut told = Told::default();
        world.add_account(at.id.as_str());
        if self == Self::Install {
            told.callback = Some(world.click_install(at, "install").await?);
            return Ok(told);
        }
        world.install_app(at).await?;
        world.deliver().await?;
        match self {
            Self::Install => {}
            Self::Rotation(_) => world.pass(MONTH),
            Self::Retirement => {
                world.pass(MONTH);
                world.sweep_to_rest().await?;
                world.deliver().await?;
                world.pass(DAY);
            }
            Self::Event => {
                world.stripe.rotate_in_dashboard(
                    at.id.as_str(),
                    &world.key(at, Kind::Secret).await?,
                    60,
                );
                let waiting = world.stripe.take_deliveries().into_iter();
                told.bodies = waiting.map(|delivery| delivery.body).collect();
            }
        }
        Ok(told)
    }

    async fn carry_out(self, world: &World, at: &AccountRef, told: &Told) -> anyhow::Result<()> {
        match self {
            Self::Install => {
                let (cookie, callback) = told.callback.as_ref().context("somebody clicked")?;
                drop(world.call_install(callback, Some(cookie)).await);
            }
            Self::Rotation(_) | Self::Retirement => {
                let deadline = world.now().plus(Duration::from_secs(3600));
                drop(world.steward().advance(at, audit::Actor::Sweep, deadline).await);
            }
            Self::Event => _ = world.deliver_bodies(told.bodies.clone()).await?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Told {
    callback: Option<(String, String)>,
    bodies: Vec<Vec<u8>>,
}

/// The rows of keys and pairs, but for when Stripe is next asked about one, which an installation does at once, and
/// for the count of writes.
fn of_keys(mut rows: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    rows.retain(|row| {
        let name = row["sk"]["S"].as_str().unwrap_or_default();
        name.starts_with("STATE#KEY#") || name.starts_with("STATE#PAIR#")
    });
    for row in rows.iter_mut().filter_map(serde_json::Value::as_object_mut) {
        row.remove("look_at");
        row.remove("version");
    }
    rows
}

/// A process stops at its n-th call to `peer`, another takes over and finishes, and then the first goes on.
/// Answers whether there was an n-th call.
async fn wakes_late(doing: Doing, peer: Peer, n: u32) -> anyhow::Result<bool> {
    // Nothing is remembered of a private key, so that KMS is asked each time.
    let setting = Setting { choice: doing.choice(), cache: Duration::ZERO, ..Setting::default() };
    let world = World::with(setting).await?;
    let at = account(Mode::Live, "acct_1Late")?;
    let told = Box::pin(doing.prepare(&world, &at)).await?;

    let pause = world.doors.hold(peer, n);
    let first = doing.carry_out(&world, &at, &told);
    tokio::pin!(first);
    tokio::select! {
        biased;
        () = pause.reached() => {}
        finished = &mut first => {
            finished?;
            return Ok(false);
        }
    }
    // The lease runs out, and everything is done by somebody else.
    world.pass(Duration::from_secs(180));
    doing.carry_out(&world, &at, &told).await?;
    world.sweep_to_rest().await?;
    let served = world.token(&at, Kind::Secret).await?;
    let (rows, keys) = (world.rows()?, world.stripe.keys(at.id.as_str()));
    let calls = world.stripe.log().len();

    pause.let_go();
    // An error or a step back are both fine; what counts is that nothing moves.
    drop(first.await);
    // Who has not read the account yet is not late: he finds it as it is, and installs or applies once more.
    let reads_the_account_at = match doing {
        // What its page tells of is recorded, whoever was faster: it reads the account anew for that, and changes
        // no key.
        Doing::Install => u32::MAX,
        Doing::Rotation(_) | Doing::Retirement | Doing::Event => 0,
    };
    let is_late = peer != Peer::Table || n > reads_the_account_at;
    ensure!(!is_late || world.rows()? == rows, "a process that woke late wrote");
    ensure!(of_keys(world.rows()?) == of_keys(rows), "no key and no pair is another");
    ensure!(world.token(&at, Kind::Secret).await? == served, "and served another key");
    ensure!(world.stripe.token_works(&served), "the key that is served works");
    for call in world.stripe.log().iter().skip(calls) {
        let has_effect = call.method != "GET" && !call.replayed && call.error_code.is_none();
        ensure!(!has_effect, "a late process changed Stripe: {call:?}");
    }
    let kept = world.stripe.keys(at.id.as_str());
    ensure!(kept == keys, "the keys at Stripe are as they were: {kept:#?}, {keys:#?}");
    invariants::of_the_world(&world)?;

    world.pass(DAY * 2);
    world.sweep_to_rest().await?;
    let of_the_user = usize::from(doing == Doing::Event);
    ensure!(alive(&world, &at) == 2 + of_the_user, "one key a slot, no orphan");
    invariants::of_endings(&world, &world.stripe.log(), &[at.id.as_str()])?;
    Ok(true)
}

#[tokio::test]
async fn a_process_that_wakes_late_changes_nothing_wherever_it_was_held() -> anyhow::Result<()> {
    for doing in [
        Doing::Install,
        Doing::Rotation(Strategy::Rotate),
        Doing::Rotation(Strategy::CreateThenExpire),
        Doing::Retirement,
        Doing::Event,
    ] {
        for (peer, at_least) in [(Peer::Table, 4), (Peer::Stripe, 2), (Peer::Kms, 1)] {
            let mut n = 0;
            while wakes_late(doing, peer, n)
                .await
                .with_context(|| format!("{doing:?}, held at call {n} to {peer:?}"))?
            {
                n += 1;
            }
            ensure!(n >= at_least, "{doing:?} makes {n} calls to {peer:?}, not {at_least}");
        }
    }
    Ok(())
}

/// Whose turn is next, from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0) % count
    }
}

/// What the user does at Stripe. Answers the key that is the user's own then.
async fn the_user_acts(
    world: &World,
    at: &AccountRef,
    seed: u64,
) -> anyhow::Result<Option<String>> {
    let (id, key) = (at.id.as_str(), world.key(at, Kind::Secret).await?);
    match seed % 3 {
        0 => _ = world.stripe.expire_in_dashboard(id, &key),
        1 => return Ok(world.stripe.rotate_in_dashboard(id, &key, 60)),
        _ => {
            let is_public = |key: &&KeyView| key.kind == "publishable_key";
            let keys = world.stripe.keys(id);
            let public = keys.iter().find(is_public).context("there is a publishable key")?;
            world.stripe.expire_in_dashboard(id, &public.id);
        }
    }
    Ok(None)
}

/// At any time there is one current key a slot at most, and one live key more.
async fn check_serialised(
    world: &World,
    at: &AccountRef,
    users: Option<&str>,
    more: usize,
) -> anyhow::Result<()> {
    let stored = world.account(at).await?;
    invariants::of_the_world(world)?;
    invariants::of_the_trail(world, &stored).await?;
    invariants::of_endings(world, &world.stripe.log(), &[at.id.as_str()])?;
    for (kind, name) in [(Kind::Secret, "secret_key"), (Kind::Publishable, "publishable_key")] {
        let slot = default_slot(kind);
        let is_current = |state: &State| matches!(state, State::Current { .. });
        let current = stored.generations_of(&slot).filter(|(_, state)| is_current(state)).count();
        ensure!(current <= 1, "{slot}: {current} keys are current");
        let keys = world.stripe.keys(at.id.as_str()).into_iter();
        let alive: Vec<KeyView> = keys
            .filter(|key| key.kind == name && key.status == "active")
            .filter(|key| users != Some(key.id.as_str()))
            .collect();
        ensure!(alive.len() <= 1 + more, "{slot}: too many live keys: {alive:#?}");
    }
    Ok(())
}

/// All at once, on one account, in an order that the seed decides.
async fn all_at_once(seed: u64) -> anyhow::Result<()> {
    let choice = Choice { on_user_expire: OnUserExpire::Reissue, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1AtOnce")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    // Either the sweep has a rotation to begin or somebody clicks: both would be two, and two overlaps.
    let is_clicked = (seed / 3).is_multiple_of(2);
    world.pass(if is_clicked { DAY } else { MONTH });
    let (cookie, callback) = world.click_install(&at, "install").await?;
    let users = the_user_acts(&world, &at, seed).await?;
    let told = world.stripe.take_deliveries().into_iter().map(|delivery| delivery.body).collect();
    let (shards, slot) = (world.shards().await?, default_slot(Kind::Secret));
    let deadline = world.now().plus(Duration::from_secs(60));

    let mut racers: Vec<Racer<'_, ()>> = vec![
        Box::pin(async { drop(world.deliver_bodies(told).await) }),
        Box::pin(async { _ = world.sweep_shards(&shards).await }),
        Box::pin(async { drop(world.call_install(&callback, Some(&cookie)).await) }),
    ];
    if is_clicked {
        let steward = world.steward();
        racers.push(Box::pin(async {
            drop(steward.rotate(&at, &slot, audit::Actor::Operator, deadline).await);
        }));
    }
    let mut dice = Dice(seed);
    race_all(racers, |able| dice.below(able)).await;
    let again = world.stripe.log().into_iter().find(|call| call.replayed);
    ensure!(again.is_none(), "two asked for the same at once: {again:?}");

    check_serialised(&world, &at, users.as_deref(), 1).await?;
    for (pause, more) in [(Duration::from_secs(180), 1), (DAY, 1), (DAY, 0)] {
        world.pass(pause);
        world.try_deliver().await?;
        world.sweep_to_rest().await?;
        check_serialised(&world, &at, users.as_deref(), more).await?;
        for kind in [Kind::Secret, Kind::Publishable] {
            let token = world.token(&at, kind).await?;
            ensure!(world.stripe.token_works(&token), "a dead {kind} key is served");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_event_a_sweep_an_install_and_a_click_at_once_serialise_in_any_order()
-> anyhow::Result<()> {
    for seed in 0..ORDERS {
        all_at_once(seed).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn two_callbacks_and_a_sweep_at_once_make_one_key_a_slot() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Test, "acct_1Race")?;
    world.add_account(at.id.as_str());
    let (cookie, callback) = world.click_install(&at, "install").await?;
    let (first, second, swept) = tokio::join!(
        world.call_install(&callback, Some(&cookie)),
        world.call_install(&callback, Some(&cookie)),
        world.sweep(),
    );
    // One of the callbacks may find the account taken; it may not break anything.
    ensure!(first.status().is_success() || second.status().is_success(), "one of them installs");
    swept?;
    world.pass(Duration::from_secs(180));
    world.sweep_to_rest().await?;
    world.token(&at, Kind::Secret).await?;
    ensure!(alive(&world, &at) == 2, "one key a slot");
    Ok(())
}

#[tokio::test]
async fn clicks_on_rotate_at_once_make_one_new_key() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Test, "acct_1Clicks")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let (slot, actor) = (default_slot(Kind::Secret), audit::Actor::Operator);
    let deadline = world.now().plus(Duration::from_secs(60));
    let click = || world.steward().rotate(&at, &slot, actor, deadline);
    let (a, b, c) = tokio::join!(click(), click(), click());
    for clicked in [a, b, c] {
        clicked?;
    }
    let stored = world.account(&at).await?;
    let current = stored.current(&slot).map(|(generation, _)| generation.number());
    ensure!(current == Some(2), "one click was carried out, the others backed off: {current:?}");
    Ok(())
}

/// How many orders are tried.
const ORDERS: u64 = 60;
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
