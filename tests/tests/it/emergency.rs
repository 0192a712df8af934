//! Orders of an operator: replace every key now, pause, and what a crash in between leaves.

use std::time::Duration;

use anyhow::ensure;
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::attention::needs_operator;
use keysteward::domain::breaker::Breaker;
use keysteward::domain::orders::Emergency;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::table::When;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400 + 60);

async fn accounts(world: &World, mode: Mode, count: usize) -> anyhow::Result<Vec<AccountRef>> {
    let mut accounts = vec![];
    for n in 0..count {
        let at = account(mode, &format!("acct_1{mode}{n}"))?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        accounts.push(at);
    }
    Ok(accounts)
}

async fn tokens(world: &World, accounts: &[AccountRef]) -> anyhow::Result<Vec<String>> {
    let mut tokens = vec![];
    for at in accounts {
        tokens.push(world.token(at, Kind::Secret).await?);
    }
    Ok(tokens)
}

fn replace_all(world: &World, mode: Option<Mode>) -> Emergency {
    let since = world.now();
    Emergency { since, issued_before: since, mode, publishable: false, overlap_minutes: Some(30) }
}

#[tokio::test]
async fn an_emergency_replaces_every_key_that_it_is_about_and_no_other() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let choice = Choice { strategy, ..Choice::default() };
        let world = World::with(Setting { choice, ..Setting::default() }).await?;
        let live = accounts(&world, Mode::Live, 4).await?;
        let test = accounts(&world, Mode::Test, 2).await?;
        let (live_before, test_before) =
            (tokens(&world, &live).await?, tokens(&world, &test).await?);
        let publishable = world.token(&live[0], Kind::Publishable).await?;
        world.pass(Duration::from_secs(120));

        let order = replace_all(&world, Some(Mode::Live));
        world.steward().give_order(|standing| standing.order(order.clone())).await?;
        world.sweep_to_rest().await?;
        let live_after = tokens(&world, &live).await?;
        for (before, after) in live_before.iter().zip(&live_after) {
            ensure!(before != after && world.stripe.token_works(before), "replaced, overlapping");
        }
        ensure!(tokens(&world, &test).await? == test_before);
        ensure!(world.token(&live[0], Kind::Publishable).await? == publishable);

        world.pass(Duration::from_secs(31 * 60));
        world.sweep_to_rest().await?;
        ensure!(tokens(&world, &live).await? == live_after, "each is replaced once");
        ensure!(
            live_before.iter().all(|token| !world.stripe.token_works(token)),
            "and dead when the overlap of the emergency is over"
        );
        ensure!(world.steward().standing().await?.summons.is_none(), "all were woken");
    }
    Ok(())
}

/// An order of an older version may hold any number of minutes; Stripe takes no 0.
#[tokio::test]
async fn an_emergency_gives_replaced_keys_the_least_overlap_there_is() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let choice = Choice { strategy, ..Choice::default() };
        let world = World::with(Setting { choice, ..Setting::default() }).await?;
        let all = accounts(&world, Mode::Live, 2).await?;
        let before = tokens(&world, &all).await?;
        world.pass(Duration::from_secs(120));
        let order = Emergency { overlap_minutes: Some(0), ..replace_all(&world, None) };
        world.steward().give_order(|standing| standing.order(order.clone())).await?;
        world.sweep_to_rest().await?;
        let after = tokens(&world, &all).await?;
        for (before, after) in before.iter().zip(&after) {
            ensure!(before != after && world.stripe.token_works(after), "{strategy:?}: replaced");
            ensure!(world.stripe.token_works(before), "{strategy:?}: caches may still hold it");
        }
        world.pass(Duration::from_secs(11 * 60));
        world.sweep_to_rest().await?;
        ensure!(before.iter().all(|token| !world.stripe.token_works(token)), "{strategy:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_emergency_survives_a_failure_of_every_call_in_turn() -> anyhow::Result<()> {
    let world = World::start().await?;
    let all = accounts(&world, Mode::Live, 2).await?;
    for when in [When::BeforeEffect, When::AfterEffect] {
        for nth in 0.. {
            let before = tokens(&world, &all).await?;
            world.pass(DAY);
            world.sweep_to_rest().await?;
            let order = replace_all(&world, None);
            world.steward().give_order(|standing| standing.order(order.clone())).await?;
            world.table.fail(nth, when, false);
            // The run may fail as a whole; the next one carries on.
            let _ = world.sweep().await;
            let was_beyond_the_last_call = world.table.heal();
            world.pass(Duration::from_secs(600));
            world.sweep_to_rest().await?;
            let after = tokens(&world, &all).await?;
            for (before, after) in before.iter().zip(&after) {
                ensure!(before != after, "call {nth} {when:?}: not replaced");
                ensure!(world.stripe.token_works(after), "call {nth} {when:?}: does not work");
            }
            world.pass(DAY);
            world.sweep_to_rest().await?;
            ensure!(tokens(&world, &all).await? == after, "call {nth} {when:?}: replaced twice");
            if was_beyond_the_last_call {
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_emergency_that_is_called_off_begins_nothing_more() -> anyhow::Result<()> {
    let world = World::start().await?;
    let all = accounts(&world, Mode::Live, 2).await?;
    let before = tokens(&world, &all).await?;
    let order = replace_all(&world, None);
    world.pass(Duration::from_secs(1));
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    world.steward().give_order(|standing| standing.stand_down()).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    ensure!(tokens(&world, &all).await? == before);
    Ok(())
}

#[tokio::test]
async fn a_pause_holds_rotations_by_age_and_lets_everything_else_go_on() -> anyhow::Result<()> {
    let choice = Choice { rotate_every_days: 2, overlap_minutes: 60, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let all = accounts(&world, Mode::Live, 1).await?;
    let before = tokens(&world, &all).await?;
    let now = world.now();
    world.steward().give_order(|standing| standing.paused_since = Some(now)).await?;
    for _ in 0..4 {
        world.pass(DAY);
        world.sweep_to_rest().await?;
    }
    ensure!(tokens(&world, &all).await? == before, "no rotation is begun");
    ensure!(world.account(&all[0]).await?.head.reconciled.is_some(), "the rest goes on");
    let another = account(Mode::Live, "acct_1New")?;
    world.add_account(another.id.as_str());
    world.install_app(&another).await?;
    ensure!(world.token(&another, Kind::Secret).await.is_ok(), "a new account gets its keys");
    world.steward().give_order(|standing| standing.paused_since = None).await?;
    world.pass(Duration::from_secs(601));
    world.sweep_to_rest().await?;
    ensure!(tokens(&world, &all).await? != before, "what was held is made up for");
    Ok(())
}

#[tokio::test]
async fn an_emergency_in_which_every_rotation_is_refused_is_stopped_by_the_breaker_and_tried_by_a_few()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let all = accounts(&world, Mode::Live, 60).await?;
    let before = tokens(&world, &all).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let kind = FaultKind::BeforeEffect { status: 400, code: "version_retired".to_owned() };
    world.stripe.inject(Fault { on: CallMatch::post("/rotate"), kind, times: u32::MAX });
    let order = replace_all(&world, None);
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    let stuck = async || {
        let mut stuck = 0;
        for at in &all {
            let stored = world.account(at).await?;
            stuck += u32::from(needs_operator(&stored, &default_slot(Kind::Secret)).is_some());
        }
        anyhow::Ok(stuck)
    };
    for _ in 0..3 {
        world.sweep().await?;
        world.pass(Duration::from_secs(60));
    }
    let first = stuck().await?;
    ensure!((20..52).contains(&first), "those that were under way when it opened: {first}");
    world.pass(Breaker::PAUSE);
    world.sweep().await?;
    let trials = stuck().await? - first;
    ensure!(trials as usize <= Breaker::TRIALS, "a few try, not as many as at once: {trials}");
    ensure!(trials > 0, "and some do");

    world.stripe.clear_faults();
    for _ in 0..6 {
        world.pass(Breaker::PAUSE);
        world.sweep_to_rest().await?;
    }
    let (after, asked) = (tokens(&world, &all).await?, stuck().await?);
    let replaced = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    ensure!(replaced + asked as usize == all.len(), "{replaced} of the others are replaced");
    Ok(())
}

#[tokio::test]
async fn a_pause_does_not_hold_an_emergency() -> anyhow::Result<()> {
    let world = World::start().await?;
    let all = accounts(&world, Mode::Live, 2).await?;
    let before = tokens(&world, &all).await?;
    world.pass(Duration::from_secs(120));
    let (now, order) = (world.now(), replace_all(&world, None));
    let give = |standing: &mut keysteward::domain::orders::Standing| {
        standing.paused_since = Some(now);
        standing.order(order.clone());
    };
    world.steward().give_order(give).await?;
    world.sweep_to_rest().await?;
    let after = tokens(&world, &all).await?;
    ensure!(before.iter().zip(&after).all(|(before, after)| before != after));
    Ok(())
}
