//! Calls that nobody answers for long: another key is made while the old one lives, and no key is left behind.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::Actor;
use keysteward::domain::intent::How;
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, OnUserExpire, Policy, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::steward::operator;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World, invariants};

pub(crate) async fn installed(choice: Choice) -> anyhow::Result<(World, AccountRef)> {
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Mute")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

/// Lets time pass and sweeps when something is due, as the schedule would; events do not come.
pub(crate) async fn pass(world: &World, at: &AccountRef, time: Duration) -> anyhow::Result<()> {
    let shards = world.shards().await?;
    let until = world.now().plus(time);
    loop {
        let due = world.account(at).await?.head.due_at.context("something is due")?;
        // The sweep runs every minute.
        let next = due.max(world.now().plus(Policy::SWEEP_INTERVAL));
        if next > until {
            world.pass(until.since(world.now()));
            return Ok(());
        }
        world.pass(next.since(world.now()));
        world.sweep_shards(&shards).await;
    }
}

/// What the calls about a rotation meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It is carried out, and no answer ever comes.
    AnswersAreLost,
    /// The same, and the list of keys cannot be had either.
    ListIsAwayToo,
    /// The same, and the old key is not there under its name any more.
    OldIdIsGoneToo,
    /// Neither the list nor the old key can be had.
    NothingCanBeAsked,
    /// It is never carried out.
    NothingHappens,
}

impl Trouble {
    fn begin(self, world: &World, key: &str) {
        let down = || FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
        let kind = match self {
            Self::NothingHappens => down(),
            _ => FaultKind::LostResponse,
        };
        let on = CallMatch::post("/rotate");
        world.stripe.inject(Fault { on, kind, times: u32::MAX });
        match self {
            Self::ListIsAwayToo => {
                let on = CallMatch::get("/v2/iam/api_keys");
                world.stripe.inject(Fault { on, kind: down(), times: u32::MAX });
            }
            Self::OldIdIsGoneToo => {
                world.stripe.set_behaviour(|stripe| stripe.old_id_retrievable = false);
                let on = CallMatch::get("/v2/iam/api_keys");
                world.stripe.inject(Fault { on, kind: down(), times: u32::MAX });
            }
            Self::NothingCanBeAsked => {
                for asked in ["/v2/iam/api_keys", key] {
                    let on = CallMatch::get(asked);
                    world.stripe.inject(Fault { on, kind: down(), times: u32::MAX });
                }
            }
            Self::AnswersAreLost | Self::NothingHappens => {}
        }
    }
}

#[tokio::test]
async fn while_no_rotation_is_answered_another_key_is_current_before_half_of_the_overlap_is_gone()
-> anyhow::Result<()> {
    for trouble in [
        Trouble::AnswersAreLost,
        Trouble::ListIsAwayToo,
        Trouble::OldIdIsGoneToo,
        Trouble::NothingCanBeAsked,
        Trouble::NothingHappens,
    ] {
        for overlap_minutes in [10, 1440] {
            survives(trouble, overlap_minutes)
                .await
                .with_context(|| format!("{trouble:?}, {overlap_minutes} minutes"))?;
        }
    }
    Ok(())
}

async fn survives(trouble: Trouble, overlap_minutes: u32) -> anyhow::Result<()> {
    // What the user ends would be held: what we lost ourselves must not be.
    let on_user_expire = OnUserExpire::Hold;
    let choice = Choice { overlap_minutes, on_user_expire, ..Choice::default() };
    let (world, at) = installed(choice).await?;
    let overlap = Duration::from_secs(u64::from(overlap_minutes) * 60);
    let old = world.token(&at, Kind::Secret).await?;
    let stored = world.account(&at).await?;
    let key = stored.current(&default_slot(Kind::Secret)).and_then(|(_, state)| state.key());
    trouble.begin(&world, key.context("a key")?.as_str());
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(overlap));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;

    pass(&world, &at, overlap / 2).await?;
    let stored = world.account(&at).await?;
    let (_, youngest) = stored.generations_of(&slot).last().context("a generation")?;
    ensure!(matches!(youngest, State::Current { .. }), "another call brought a key: {youngest:?}");
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new));
    ensure!(world.stripe.token_works(&old), "and whoever has the old one has half of the overlap");

    // Where the rotation was never carried out, the overlap begins with the other call.
    pass(&world, &at, overlap + Duration::from_secs(1200)).await?;
    ensure!(!world.stripe.token_works(&old), "the old key is dead by its deadline");
    ensure!(world.token(&at, Kind::Secret).await? == new);

    // The successor that nobody can read is found once Stripe lists it.
    world.stripe.clear_faults();
    pass(&world, &at, Duration::from_secs(2 * 86_400)).await?;
    ensure!(world.token(&at, Kind::Secret).await? == new, "nothing is replaced twice");
    let keys = world.stripe.keys(at.id.as_str()).into_iter();
    let alive: Vec<_> = keys.filter(|key| key.status == "active").map(|key| key.id).collect();
    ensure!(alive.len() == 2, "one key a slot, no orphan: {alive:?}");
    invariants::of_the_world(&world)?;
    invariants::of_the_trail(&world, &world.account(&at).await?).await
}

#[tokio::test]
async fn while_stripe_answers_nothing_at_all_an_old_key_is_served_until_it_says_itself_that_it_is_dead()
-> anyhow::Result<()> {
    for carried_out in [true, false] {
        let (world, at) = installed(Choice::default()).await?;
        let old = world.token(&at, Kind::Secret).await?;
        let down = || FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
        let rotated = if carried_out { FaultKind::LostResponse } else { down() };
        let stored = world.account(&at).await?;
        let key = stored.current(&default_slot(Kind::Secret)).and_then(|(_, state)| state.key());
        let key = key.context("a key")?.to_string();
        for (on, kind) in [
            (CallMatch::post("/rotate"), rotated),
            (CallMatch::post("/v2/iam/api_keys"), down()),
            (CallMatch::get("/v2/iam/api_keys"), down()),
            (CallMatch::get(&key), down()),
        ] {
            world.stripe.inject(Fault { on, kind, times: u32::MAX });
        }
        let (slot, deadline) = (default_slot(Kind::Secret), world.now());
        let deadline = deadline.plus(Duration::from_secs(60));
        world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
        pass(&world, &at, Duration::from_secs(23 * 3600)).await?;
        ensure!(world.token(&at, Kind::Secret).await? == old, "I1: nothing is known of its end");
        pass(&world, &at, Duration::from_secs(3 * 3600)).await?;
        ensure!(world.stripe.token_works(&old) != carried_out);
        if carried_out {
            let reply = world.read(&at, Kind::Secret).await;
            ensure!(reply.status() == http::StatusCode::CONFLICT, "a dead key is served");
        } else {
            ensure!(world.token(&at, Kind::Secret).await? == old, "a key that works is not");
        }
        world.stripe.clear_faults();
        pass(&world, &at, Duration::from_secs(3600)).await?;
        let new = world.token(&at, Kind::Secret).await?;
        ensure!(new != old && world.stripe.token_works(&new), "and nobody had to ask for another");
        pass(&world, &at, Duration::from_secs(3 * 86_400)).await?;
        let keys = world.stripe.keys(at.id.as_str()).into_iter();
        let alive: Vec<_> = keys.filter(|key| key.status == "active").map(|key| key.id).collect();
        ensure!(alive.len() == 2, "one key a slot, no orphan: {alive:?}");
        invariants::of_the_world(&world)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_create_that_nobody_answers_is_found_and_made_anew_before_a_doomed_key_dies()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let old = world.token(&at, Kind::Secret).await?;
    // The rotation's secret is lost: the old key is doomed, and a key is to be created.
    world.stripe.set_behaviour(|stripe| stripe.replay_returns_ciphertext = false);
    world.stripe.inject(Fault::once(CallMatch::post("/rotate"), FaultKind::LostResponse));
    let on = CallMatch::post("/v2/iam/api_keys");
    world.stripe.inject(Fault { on, kind: FaultKind::LostResponse, times: u32::MAX });
    let slot = default_slot(Kind::Secret);
    let deadline = world.now().plus(Duration::from_secs(600));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    let created = world.now();

    // Two creates are given up, each by half of what the old key has left; from then on the slot waits an hour
    // between two of them.
    pass(&world, &at, Duration::from_secs(19 * 3600)).await?;
    ensure!(world.token(&at, Kind::Secret).await? == old, "served while it lives");
    // The first two keys, what the rotation made, what both creates made, and perhaps a third.
    ensure!(world.stripe.keys(at.id.as_str()).len() >= 5, "others are created");
    world.stripe.clear_faults();
    pass(&world, &at, Duration::from_secs(2 * 3600)).await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new));
    ensure!(world.now().since(created) < Duration::from_secs(86_400), "before the old key dies");
    pass(&world, &at, Duration::from_secs(2 * 86_400)).await?;
    let keys = world.stripe.keys(at.id.as_str()).into_iter();
    let alive: Vec<_> = keys.filter(|key| key.status == "active").map(|key| key.id).collect();
    ensure!(alive.len() == 2, "one key a slot, no orphan: {alive:?}");
    invariants::of_the_world(&world)
}

#[tokio::test]
async fn what_a_process_that_died_rotated_is_not_put_down_to_the_user_when_no_call_is_taken_since()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let old = world.token(&at, Kind::Secret).await?;
    // Stripe has made the key, and the process dies before it can say so.
    let pause = world.table.hold(3);
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(600)));
    {
        let rotation = world.steward().rotate(&at, &slot, Actor::Operator, deadline);
        tokio::pin!(rotation);
        tokio::select! {
            biased;
            () = pause.reached() => {}
            rotated = &mut rotation => anyhow::bail!("it lives: {rotated:?}"),
        }
    }
    ensure!(world.stripe.keys(at.id.as_str()).len() == 3, "the key is made");
    world.stripe.set_permissions(false, true);
    pass(&world, &at, Duration::from_secs(3 * 86_400)).await?;
    ensure!(!world.stripe.token_works(&old), "its overlap is over");
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(json_of(&reply)?["code"] == "not_permitted", "{:?}", json_of(&reply)?);

    world.stripe.set_permissions(true, true);
    pass(&world, &at, Duration::from_secs(86_400)).await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "nobody has to ask for another");
    Ok(())
}

#[tokio::test]
async fn keys_that_come_without_a_secret_are_not_minted_on_and_on() -> anyhow::Result<()> {
    let strategy = Strategy::CreateThenExpire;
    let (world, at) = installed(Choice { strategy, ..Choice::default() }).await?;
    world.stripe.set_behaviour(|stripe| stripe.replay_returns_ciphertext = false);
    let old = world.token(&at, Kind::Secret).await?;
    // Every second call is a repeat, and is answered without the secret.
    for nth in (1..200).step_by(2) {
        let on = CallMatch::post("/v2/iam/api_keys").nth(nth);
        world.stripe.inject(Fault::once(on, FaultKind::LostResponse));
    }
    let made = world.stripe.keys(at.id.as_str()).len();
    let slot = default_slot(Kind::Secret);
    let deadline = world.now().plus(Duration::from_secs(600));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    pass(&world, &at, Duration::from_secs(5 * 3600)).await?;
    let made = world.stripe.keys(at.id.as_str()).len() - made;
    ensure!((3..=3 + 6).contains(&made), "three at once, then one an hour: {made}");
    ensure!(world.token(&at, Kind::Secret).await? == old, "the old key is as it was");

    world.stripe.clear_faults();
    pass(&world, &at, Duration::from_secs(2 * 3600)).await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "and when they come, it goes on");
    Ok(())
}

/// How an operator has the slot carry on.
#[derive(Clone, Copy, Debug)]
enum WayOut {
    Resume,
    Provision,
}

#[tokio::test]
async fn when_the_budget_of_attempts_is_spent_a_person_is_asked_and_has_a_way_out()
-> anyhow::Result<()> {
    for way_out in [WayOut::Resume, WayOut::Provision] {
        let on_user_expire = OnUserExpire::Reissue;
        let (world, at) = installed(Choice { on_user_expire, ..Choice::default() }).await?;
        let slot = default_slot(Kind::Secret);
        let stored = world.account(&at).await?;
        let key = stored.current(&slot).and_then(|(_, state)| state.key()).context("a key")?;
        // No key can be created any more; what is there can still be rotated.
        let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
        let on = CallMatch::post("/v2/iam/api_keys");
        world.stripe.inject(Fault { on, kind, times: u32::MAX });
        world.stripe.expire_in_dashboard(at.id.as_str(), key.as_str());
        world.deliver().await?;

        pass(&world, &at, Duration::from_secs(47 * 3600)).await?;
        let attempts = match world.account(&at).await?.pending(&slot) {
            Some((_, State::Requested { intent })) if intent.how == How::Create => intent.attempts,
            other => anyhow::bail!("it is still being asked for: {other:?}"),
        };
        ensure!((180..=Policy::ATTEMPTS).contains(&attempts), "{attempts} attempts in two days");
        pass(&world, &at, Duration::from_secs(5 * 3600)).await?;
        let reply = world.read(&at, Kind::Secret).await;
        ensure!(json_of(&reply)?["code"] == "needs_operator", "{}", reply.status());
        let asked = |world: &World| {
            let calls = world.stripe.log().into_iter();
            calls.filter(|call| call.method == "POST" && call.path == "/v2/iam/api_keys").count()
        };
        let before = asked(&world);
        let published = world.token(&at, Kind::Publishable).await?;
        let deadline = world.now().plus(Duration::from_secs(60));
        let other = default_slot(Kind::Publishable);
        world.steward().rotate(&at, &other, Actor::Operator, deadline).await?;
        ensure!(world.token(&at, Kind::Publishable).await? != published, "the other slot goes on");
        pass(&world, &at, Duration::from_secs(3 * 86_400)).await?;
        ensure!(asked(&world) == before, "nothing is asked for while a person is waited for");
        ensure!(world.account(&at).await?.head.due_at.is_some(), "I7: it is not forgotten");

        world.stripe.clear_faults();
        match way_out {
            WayOut::Resume => {
                let store = &world.steward().store;
                let (_, cleared) = operator::carry_on(store, &at, &slot, world.now()).await?;
                ensure!(cleared.given_up == 1, "{cleared:?}");
                pass(&world, &at, Duration::from_secs(120)).await?;
            }
            WayOut::Provision => {
                let deadline = world.now().plus(Duration::from_secs(60));
                world.steward().provision(&at, &slot, Actor::Operator, deadline).await?;
            }
        }
        let token = world.token(&at, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token), "{way_out:?}");
        invariants::of_the_world(&world)?;
        invariants::of_the_trail(&world, &world.account(&at).await?).await?;
    }
    Ok(())
}
