//! Faults that last: a limit, a refused key, a vault that is away, a key that will not die.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use http::{StatusCode, header};
use keysteward::domain::account::Account;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, OnUserExpire, Policy, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{account, default_slot, json_of, text_of};
use keysteward_tests::{Setting, World};

const MONTH: Duration = Duration::from_secs(31 * 86_400);
const HOUR: Duration = Duration::from_secs(3600);

async fn installed(world: &World) -> anyhow::Result<(AccountRef, String)> {
    let at = account(Mode::Live, "acct_1Fault")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    Ok((at, token))
}

fn refuse(world: &World, on: CallMatch, status: u16, code: &str) {
    let kind = FaultKind::BeforeEffect { status, code: code.to_owned() };
    world.stripe.inject(Fault { times: u32::MAX, ..Fault::once(on, kind) });
}

/// One key a slot is alive at Stripe.
fn no_orphan(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    let keys = world.stripe.keys(at.id.as_str());
    let alive = keys.iter().filter(|key| key.status == "active").count();
    ensure!(alive == 2, "one key a slot: {keys:?}");
    Ok(())
}

#[tokio::test]
async fn at_the_limit_of_keys_the_slot_says_so_and_goes_on_when_there_is_room() -> anyhow::Result<()>
{
    let world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 0);
    let at = account(Mode::Live, "acct_1Full")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    for kind in [Kind::Secret, Kind::Publishable] {
        let reply = world.read(&at, kind).await;
        ensure!(reply.status() == StatusCode::CONFLICT, "answered {}", reply.status());
        ensure!(json_of(&reply)?["code"] == "limit_reached");
    }
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 100);
    world.pass(HOUR);
    world.sweep_to_rest().await?;
    let token = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&token));
    no_orphan(&world, &at)
}

#[tokio::test]
async fn while_the_apps_own_key_is_refused_nothing_is_lost_and_then_it_goes_on()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let (at, old) = installed(&world).await?;
    world.pass(MONTH);
    refuse(&world, CallMatch::post("/rotate"), 401, "");
    for _ in 0..10 {
        world.sweep().await?;
        let slots = world.account(&at).await?.slots;
        let hold = slots[&default_slot(Kind::Secret)].hold.context("it is held")?;
        ensure!(hold.why.as_str() == "not_permitted", "{hold:?}");
        let longest = world.now().plus(Policy::backoff(u32::MAX));
        ensure!(hold.until.is_some_and(|until| until <= longest), "no longer than that: {hold:?}");
        world.pass(HOUR);
        ensure!(world.token(&at, Kind::Secret).await? == old, "the old key is served on");
        ensure!(world.stripe.token_works(&old));
    }
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(900));
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "rotated as soon as it is taken again");
    Ok(())
}

#[tokio::test]
async fn at_the_limit_of_keys_a_rotation_waits_and_the_current_key_is_served_on()
-> anyhow::Result<()> {
    let choice = Choice { strategy: Strategy::CreateThenExpire, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let (at, old) = installed(&world).await?;
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 2);
    world.pass(MONTH);
    for _ in 0..3 {
        world.sweep().await?;
        let slots = world.account(&at).await?.slots;
        let hold = slots[&default_slot(Kind::Secret)].hold.context("it is held")?;
        ensure!(hold.why.as_str() == "limit_reached", "{hold:?}");
        ensure!(world.token(&at, Kind::Secret).await? == old && world.stripe.token_works(&old));
        world.pass(HOUR);
    }
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 100);
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "rotated as soon as there is room");
    world.pass(25 * HOUR);
    world.sweep_to_rest().await?;
    no_orphan(&world, &at)
}

#[tokio::test]
async fn a_limit_on_calls_counts_as_no_answer_and_the_same_call_is_made_again() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let (at, old) = installed(&world).await?;
    world.pass(MONTH);
    let kind = FaultKind::RateLimited { reason: "endpoint-rate".to_owned() };
    let on = CallMatch::post("/rotate");
    world.stripe.inject(Fault { times: u32::MAX, ..Fault::once(on, kind) });
    let before = world.stripe.log().len();
    world.sweep().await?;
    let slots = world.account(&at).await?.slots;
    let hold = slots[&default_slot(Kind::Secret)].hold.context("it is held")?;
    ensure!(hold.why.as_str() == "no_answer", "{hold:?}");
    ensure!(hold.until.is_some_and(|until| until <= world.now().plus(Policy::backoff(u32::MAX))));
    ensure!(world.token(&at, Kind::Secret).await? == old, "served on");
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(900));
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "rotated");
    let rotations = world.stripe.log().split_off(before).into_iter();
    let asked: BTreeSet<_> = rotations
        .filter(|call| call.path.ends_with("/rotate"))
        .map(|call| call.idempotency_key)
        .collect();
    ensure!(asked.len() == 1, "I3: one idempotency key: {asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_took_effect_unheard_and_is_refused_when_repeated_leaves_one_key()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let (at, old) = installed(&world).await?;
    world.pass(MONTH);
    let on = || CallMatch::post("/rotate");
    world.stripe.inject(Fault::once(on(), FaultKind::AfterEffect { status: 500 }));
    refuse(&world, on(), 409, "api_key_already_rotated");
    world.sweep().await?;
    for _ in 0..4 {
        let served = world.token(&at, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&served) && world.stripe.token_works(&old));
        world.pass(Duration::from_secs(900));
        world.sweep_to_rest().await?;
    }
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "another is there in time");
    world.pass(25 * HOUR);
    world.sweep_to_rest().await?;
    ensure!(!world.stripe.token_works(&old), "the old one died of the rotation");
    no_orphan(&world, &at)
}

#[tokio::test]
async fn a_key_that_stripe_will_not_end_is_tried_until_it_is_dead() -> anyhow::Result<()> {
    let choice = Choice { strategy: Strategy::CreateThenExpire, ..Choice::default() };
    let setting = Setting { choice, ..Setting::default() };
    let world = World::with(setting).await?;
    let (at, old) = installed(&world).await?;
    world.pass(MONTH);
    world.sweep_to_rest().await?;
    refuse(&world, CallMatch::post("/expire"), 500, "api_error");
    for _ in 0..20 {
        world.pass(3 * HOUR);
        world.sweep().await?;
    }
    let slot = default_slot(Kind::Secret);
    let states = |account: Account| -> Vec<&'static str> {
        account.generations_of(&slot).map(|(_, state)| state.name()).collect()
    };
    ensure!(world.stripe.token_works(&old), "it lives past its deadline");
    let stored = states(world.account(&at).await?);
    ensure!(stored == ["retiring", "current"], "and is not taken for ended: {stored:?}");
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(900));
    world.sweep_to_rest().await?;
    ensure!(!world.stripe.token_works(&old), "dead at last");
    let stored = states(world.account(&at).await?);
    ensure!(stored == ["ended", "current"], "{stored:?}");
    no_orphan(&world, &at)
}

#[tokio::test]
async fn the_last_key_that_works_is_spared_past_its_deadline_until_another_is_there()
-> anyhow::Result<()> {
    let (strategy, on_user_expire) = (Strategy::CreateThenExpire, OnUserExpire::Reissue);
    let choice = Choice { strategy, on_user_expire, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let (at, old) = installed(&world).await?;
    world.pass(MONTH);
    world.sweep_to_rest().await?;
    world.deliver().await?;
    let successor = world.token(&at, Kind::Secret).await?;
    ensure!(successor != old && world.stripe.token_works(&old), "the overlap runs");

    refuse(&world, CallMatch::post("/v2/iam/api_keys"), 500, "api_error");
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    world.pass(25 * HOUR);
    world.take_lines()?;
    let mut spared = 0;
    for _ in 0..4 {
        world.sweep().await?;
        ensure!(world.stripe.token_works(&old), "nothing has taken its place");
        spared += usize::from(world.take_line()?.value("KeysSpared") >= Some(1.0));
        world.pass(Duration::from_secs(900));
    }
    ensure!(spared == 4, "and the alarm is kept on: {spared}");

    world.stripe.clear_faults();
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "there is another");
    ensure!(!world.stripe.token_works(&old), "and the old one is dead");
    no_orphan(&world, &at)
}

#[tokio::test]
async fn a_key_that_is_rotated_away_is_not_served_past_its_overlap_though_no_other_is_proven()
-> anyhow::Result<()> {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let choice = Choice { overlap_minutes: 10, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let (at, old) = installed(&world).await?;
    world.stripe.set_behaviour(|stripe| stripe.expired_event_after_rotate = false);
    refuse(&world, CallMatch::get("/v1/customers"), 500, "api_error");
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(HOUR));
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    world.pass(minutes(6));
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::OK && world.stripe.token_works(&old));
    let cached = text_of(&reply, header::CACHE_CONTROL).context("how long it is kept")?;
    ensure!(cached == "private, max-age=120", "half of what it has left: {cached}");
    world.pass(minutes(5));
    ensure!(!world.stripe.token_works(&old));
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "{}", reply.status());
    ensure!(json_of(&reply)?["code"] == "expired", "{:?}", json_of(&reply)?);

    world.stripe.clear_faults();
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new));
    no_orphan(&world, &at)
}

#[tokio::test]
async fn without_the_vault_an_installation_gets_what_needs_none_and_the_rest_once_it_is_back()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Fault")?;
    world.add_account(at.id.as_str());
    world.kms.set_disabled(true);
    world.install_app(&at).await?;
    ensure!(world.token(&at, Kind::Publishable).await.is_ok(), "it is sealed to no pair");
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "{}", reply.status());
    ensure!(json_of(&reply)?["code"] == "vault_unavailable", "{:?}", json_of(&reply)?);

    world.kms.set_disabled(false);
    world.pass(Duration::from_secs(60));
    world.sweep_to_rest().await?;
    let token = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&token));
    no_orphan(&world, &at)
}

/// A rotation is under way when the vault goes, before its n-th call to the table. Answers whether there was
/// an n-th call.
async fn the_vault_goes(n: u32, after: Duration) -> anyhow::Result<bool> {
    let world = World::start().await?;
    let (at, old) = installed(&world).await?;
    world.pass(after);
    let pause = world.table.hold(n);
    let deadline = world.now().plus(HOUR);
    let rotation = world.steward().advance(&at, Actor::Sweep, deadline);
    tokio::pin!(rotation);
    let is_under_way = tokio::select! {
        biased;
        () = pause.reached() => true,
        finished = &mut rotation => {
            finished?;
            false
        }
    };
    world.kms.set_disabled(true);
    if is_under_way {
        pause.let_go();
        drop(rotation.await);
    }
    world.pass(HOUR);
    world.sweep().await?;
    ensure!(world.stripe.token_works(&old), "what consumers hold meanwhile lives on");
    world.kms.set_disabled(false);
    world.pass(Duration::from_secs(900));
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "cut at {n}");
    let stored = world.account(&at).await?;
    let states: Vec<_> =
        stored.generations_of(&default_slot(Kind::Secret)).map(|(_, state)| state.name()).collect();
    ensure!(states == ["retiring", "current"], "no key was taken for lost: {states:?}");
    Ok(is_under_way)
}

#[tokio::test]
async fn a_key_is_not_lost_to_a_vault_that_is_away_whenever_it_goes() -> anyhow::Result<()> {
    // The pair is used again after a month, and after three another is made.
    for after in [MONTH, 4 * MONTH] {
        let mut n = 0;
        while the_vault_goes(n, after).await? {
            n += 1;
        }
        ensure!(n >= 4, "a rotation makes at least four calls to the table, {n} were cut");
    }
    Ok(())
}
