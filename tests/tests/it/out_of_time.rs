//! Work for which there is no time: nothing of it is recorded, the account is due at once and nobody holds it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::Actor;
use keysteward::domain::breaker::{Breaker, Outcome};
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, Policy, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::steward::Advanced;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400);

async fn installed(choice: Choice) -> anyhow::Result<(World, AccountRef)> {
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Test, "acct_1Late")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

/// Every such call takes that long. The runtime's clock is paused, so nobody waits for it; a step has 90 s.
fn slow(world: &World, on: CallMatch, seconds: u64) {
    let kind = FaultKind::Delay(seconds * 1000);
    world.stripe.inject(Fault { on, kind, times: u32::MAX });
}

#[tokio::test(start_paused = true)]
async fn what_begins_after_the_deadline_is_not_begun_and_is_due_at_once() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    world.pass(Duration::from_secs(31 * 86_400));
    let (before, calls) = (world.account(&at).await?, world.stripe.log().len());
    let now = world.now();
    let advanced = world.steward().advance(&at, Actor::Sweep, now).await?;
    ensure!(advanced == Advanced::OutOfTime);
    ensure!(world.stripe.log().len() == calls, "Stripe is not asked");
    let after = world.account(&at).await?;
    ensure!(after.generations == before.generations && after.slots == before.slots);
    ensure!(after.head.due_at == Some(now) && after.head.lease_until.is_none());
    world.sweep_to_rest().await?;
    ensure!(world.account(&at).await?.head.due_at > Some(now), "the next sweep does it");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_last_call_would_come_too_late_leaves_everything_as_it_was()
-> anyhow::Result<()> {
    let strategy = Strategy::CreateThenExpire;
    let (world, at) = installed(Choice { strategy, ..Choice::default() }).await?;
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    let old = world.token(&at, Kind::Secret).await?;
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    world.pass(Duration::from_secs(86_400 + 60));
    let before = world.account(&at).await?;
    let old_state = |account: &keysteward::domain::account::Account| {
        account.generations_of(&slot).next().map(|(_, state)| state.clone())
    };
    ensure!(matches!(old_state(&before), Some(State::Retiring { attempts: 0, .. })));

    // The key is tried, expired at Stripe and tried again; the third call would begin after two minutes.
    slow(&world, CallMatch::get("/v1/customers"), 61);
    slow(&world, CallMatch::post("/expire"), 61);
    let mut put_off = false;
    for _ in 0..4 {
        let deadline = world.now().plus(Duration::from_secs(600));
        let advanced = world.steward().advance(&at, Actor::Sweep, deadline).await?;
        let after = world.account(&at).await?;
        ensure!(old_state(&after) == old_state(&before), "nothing of it is recorded");
        if advanced == Advanced::OutOfTime {
            put_off = true;
            ensure!(after.head.lease_until.is_none(), "the lease is given back");
            ensure!(after.head.due_at == Some(world.now()), "and the account is due at once");
            break;
        }
    }
    ensure!(put_off, "the time ran out");
    ensure!(!world.stripe.token_works(&old), "though Stripe has ended the key already");
    world.stripe.clear_faults();
    world.sweep_to_rest().await?;
    let after = world.account(&at).await?;
    ensure!(matches!(old_state(&after), Some(State::Ended { .. })), "the next sweep sees it dead");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reconciliation_that_runs_out_of_time_is_put_off_and_does_not_stand_first()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    // Three pages of a minute each: the third would begin too late.
    for n in 0..250 {
        world.stripe.add_users_own_key(at.id.as_str(), false, &format!("own {n}"));
    }
    world.pass(Duration::from_secs(31 * 86_400));
    slow(&world, CallMatch::get("/v2/iam/api_keys"), 60);
    let old = world.token(&at, Kind::Secret).await?;
    let reconciled = world.account(&at).await?.head.reconciled;

    let swept = world.sweep().await?;
    ensure!(swept.deferred == 1 && swept.failed == 0, "{swept:?}");
    let head = world.account(&at).await?.head;
    ensure!(head.lease_until.is_none() && head.due_at == Some(world.now()), "due at once");
    ensure!(head.reconciled == reconciled, "nothing is said of what was not read to its end");
    let again = head.reconcile_at.context("it is not forgotten")?;
    ensure!(again == world.now().plus(Policy::LOOK_AGAIN), "and put off");
    ensure!(world.token(&at, Kind::Secret).await? == old, "the rotation has not had its turn");

    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "now it has");
    world.stripe.clear_faults();
    world.pass(Policy::LOOK_AGAIN);
    world.sweep_to_rest().await?;
    let last = world.account(&at).await?.head.reconciled.context("it was made up for")?;
    ensure!(last.drift == 0, "{last:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reconciliation_stands_though_there_is_no_time_for_the_record_of_events()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    // Two pages of fifty seconds each: the list of events would be asked for too late.
    for n in 0..150 {
        world.stripe.add_users_own_key(at.id.as_str(), false, &format!("own {n}"));
    }
    world.pass(Duration::from_secs(86_400 + 60));
    slow(&world, CallMatch::get("/v2/iam/api_keys"), 50);
    let read_to = world.account(&at).await?.head.events_read_to;
    world.sweep().await?;
    let head = world.account(&at).await?.head;
    let reconciled = head.reconciled.context("what was read to its end stands")?;
    ensure!(reconciled.at == world.now() && reconciled.drift == 0, "{reconciled:?}");
    ensure!(head.events_read_to == read_to, "nothing is said of the events");
    let again = head.reconcile_at.context("it is not forgotten")?;
    ensure!(again == world.now().plus(Policy::LOOK_AGAIN), "they are read within the hour");
    Ok(())
}

#[tokio::test]
async fn rotations_that_fail_are_reported_to_the_breaker_and_first_keys_are_not()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let mut accounts = vec![];
    for n in 0..6 {
        let at = account(Mode::Live, &format!("acct_1Trip{n}"))?;
        world.add_account(at.id.as_str());
        accounts.push(at);
    }
    // Nobody has a key yet: that none can be had says nothing of rotations.
    let down = || FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
    let create = CallMatch::post("/v2/iam/api_keys");
    world.stripe.inject(Fault { on: create, kind: down(), times: u32::MAX });
    for at in &accounts {
        world.install_app(at).await?;
    }
    world.sweep().await?;
    let outcomes = |world: &World| -> anyhow::Result<Vec<String>> {
        let breaker = serde_json::to_value(world.steward().breaker())?;
        let outcomes = breaker["outcomes"].as_array().cloned().unwrap_or_default();
        Ok(outcomes.iter().filter_map(|it| it["outcome"].as_str().map(str::to_owned)).collect())
    };
    ensure!(outcomes(&world)?.is_empty(), "{:?}", outcomes(&world)?);
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(3600));
    world.sweep_to_rest().await?;

    let rotate = CallMatch::post("/rotate");
    world.stripe.inject(Fault { on: rotate, kind: down(), times: u32::MAX });
    let slot = default_slot(Kind::Secret);
    for (n, at) in accounts.iter().enumerate() {
        let deadline = world.now().plus(Duration::from_secs(60));
        world.steward().rotate(at, &slot, Actor::Operator, deadline).await?;
        let failed = outcomes(&world)?.iter().filter(|outcome| *outcome == "failed").count();
        ensure!(failed == n + 1, "each is reported: {failed}");
    }
    for _ in 0..4 {
        world.pass(Duration::from_secs(60));
        world.sweep().await?;
    }
    let orders = world.steward().orders().await?;
    ensure!(orders.breaker_is_open, "most of them failed: no other is begun");
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(1800));
    world.sweep_to_rest().await?;
    for at in &accounts {
        let token = world.token(at, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token));
    }
    ensure!(outcomes(&world)?.contains(&"succeeded".to_owned()), "{:?}", outcomes(&world)?);
    Ok(())
}

#[tokio::test]
async fn under_an_open_breaker_first_keys_and_retirements_go_on() -> anyhow::Result<()> {
    let strategy = Strategy::CreateThenExpire;
    let (world, at) = installed(Choice { strategy, ..Choice::default() }).await?;
    let (aged, first) = (account(Mode::Test, "acct_1Aged")?, account(Mode::Test, "acct_1First")?);
    world.add_account(aged.id.as_str());
    world.install_app(&aged).await?;
    let (old, old_of_aged) =
        (world.token(&at, Kind::Secret).await?, world.token(&aged, Kind::Secret).await?);
    // One key is replaced. When its overlap is over, the other has come to its time.
    world.pass(29 * DAY);
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    world.pass(2 * DAY);

    let mut breaker = Breaker::default();
    for n in 0..Breaker::LEAST_OUTCOMES {
        let other = account(Mode::Test, &format!("acct_1Failed{n}"))?;
        breaker.record(world.now(), &other, Outcome::Failed);
    }
    world.steward().set_breaker(breaker);
    world.add_account(first.id.as_str());
    world.install_app(&first).await?;
    world.sweep().await?;
    ensure!(world.steward().orders().await?.breaker_is_open, "all this while");
    ensure!(world.stripe.token_works(&world.token(&first, Kind::Secret).await?), "a first key");
    ensure!(!world.stripe.token_works(&old), "a replaced key dies");
    ensure!(world.token(&aged, Kind::Secret).await? == old_of_aged, "no rotation by age is begun");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_step_that_follows_a_slow_one_begins_with_a_whole_lease() -> anyhow::Result<()> {
    let strategy = Strategy::CreateThenExpire;
    let (world, at) = installed(Choice { strategy, ..Choice::default() }).await?;
    let minute = Duration::from_secs(60);
    let slots = [SlotName::default(), SlotName::parse("reports")?]
        .map(|name| Slot::new(Kind::Secret, name));
    for slot in &slots {
        let deadline = world.now().plus(minute);
        world.steward().provision(&at, slot, Actor::Operator, deadline).await?;
        world.steward().rotate(&at, slot, Actor::Operator, deadline).await?;
    }
    world.pass(Duration::from_secs(86_400 + 60));

    // Two keys are ended, one after the other: each is tried, expired at Stripe and tried again.
    slow(&world, CallMatch::get("/v1/customers"), 44);
    let (began, deadline) = (world.now(), world.now().plus(10 * minute));
    let second = Duration::from_secs(1);
    let clock = async {
        loop {
            tokio::time::sleep(second).await;
            world.pass(second);
        }
    };
    tokio::select! {
        advanced = world.steward().advance(&at, Actor::Sweep, deadline) => drop(advanced?),
        () = clock => {}
    }
    ensure!(world.now().since(began) > Policy::STALL + minute / 2, "longer than one lease");
    let complaints = world.witness.complaints();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    for slot in &slots {
        let stored = world.account(&at).await?;
        let (_, old) = stored.generations_of(slot).next().context("there is a first key")?;
        ensure!(matches!(old, State::Ended { .. }), "{}", old.name());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_comparison_that_was_set_right_in_part_does_not_say_that_all_is() -> anyhow::Result<()> {
    const SLOTS: usize = 52;
    let (world, at) = installed(Choice::default()).await?;
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 1000);
    let deadline = world.now().plus(Duration::from_secs(600));
    for number in 0..SLOTS {
        let slot = Slot::new(Kind::Secret, SlotName::parse(&format!("s{number}"))?);
        world.steward().provision(&at, &slot, Actor::Operator, deadline).await?;
    }
    for key in world.stripe.keys(at.id.as_str()) {
        ensure!(world.stripe.expire_in_dashboard(at.id.as_str(), &key.id));
    }

    slow(&world, CallMatch::get("/v2/iam/api_keys"), 1);
    let stripe_gets_slow = async {
        while world.account(&at).await?.slots.values().all(|slot| slot.hold.is_none()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.stripe.clear_faults();
        slow(&world, CallMatch::get(""), 91);
        anyhow::Ok(())
    };
    let steward = world.steward();
    let set_right = steward.set_right(&at, Actor::Operator, deadline);
    let (came, slowed) = tokio::join!(set_right, stripe_gets_slow);
    slowed?;
    let (report, advanced) = came?;
    let report = report.context("a part was set right")?;
    ensure!(advanced == Advanced::OutOfTime && !report.findings.is_empty(), "{report:?}");
    ensure!(!report.applied, "there is more: {} of {SLOTS}", report.findings.len());

    world.stripe.clear_faults();
    let (report, _) = steward.set_right(&at, Actor::Operator, deadline).await?;
    let report = report.context("the rest is")?;
    ensure!(report.applied && report.left == 0 && !report.findings.is_empty(), "{report:?}");
    Ok(())
}
