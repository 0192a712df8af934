//! Orders of an operator: replace every key now, pause, and what a crash in between leaves.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::attention::needs_operator;
use keysteward::domain::breaker::Breaker;
use keysteward::domain::orders::{Emergency, Summons};
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::table::When;
use keysteward_tests::world::{account, default_slot, shard_of};
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

/// So many accounts of one shard of the due index, which have no key.
fn bystanders(
    world: &World,
    like: &AccountRef,
    shard: u8,
    count: usize,
) -> anyhow::Result<Vec<AccountRef>> {
    let ids = (0..).map(|n| format!("acct_1By{}{n}", like.mode));
    let ids = ids.filter(|id| shard_of(id) == shard).take(count);
    let all: Vec<_> = ids.map(|id| account(like.mode, &id)).collect::<anyhow::Result<_>>()?;
    world.copy_head(like, &all)?;
    Ok(all)
}

/// Whether somebody has come by each of them since it was copied.
fn are_woken(world: &World, bystanders: &[AccountRef], copied: &str) -> anyhow::Result<bool> {
    let rows = world.rows()?;
    let version = |at: &AccountRef| {
        let pk = format!("ACCOUNT#{}#{}", at.mode, at.id);
        let head = rows.iter().find(|row| row["pk"]["S"] == pk)?;
        Some(head["version"]["N"].as_str()?.to_owned())
    };
    Ok(bystanders.iter().all(|at| version(at).is_some_and(|version| version != copied)))
}

/// How many of the accounts have had their key replaced; an error where one was more than once.
async fn replaced(world: &World, accounts: &[AccountRef]) -> anyhow::Result<usize> {
    let mut count = 0;
    for at in accounts {
        let stored = world.account(at).await?;
        let (generation, _) = stored.current(&default_slot(Kind::Secret)).context("it has one")?;
        ensure!(generation.number() <= 2, "{at}: replaced twice");
        count += usize::from(generation.number() == 2);
    }
    Ok(count)
}

#[tokio::test]
async fn an_emergency_replaces_live_keys_first() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (live, test) =
        (accounts(&world, Mode::Live, 4).await?, accounts(&world, Mode::Test, 4).await?);
    world.pass(Duration::from_secs(120));
    let order = replace_all(&world, None);
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    world.sweep().await?;
    ensure!(replaced(&world, &live).await? == live.len(), "the first wave is of live accounts");
    ensure!(replaced(&world, &test).await? == 0, "and of no other");
    world.sweep_to_rest().await?;
    ensure!(replaced(&world, &test).await? == test.len(), "the next is of the others");
    Ok(())
}

#[tokio::test]
async fn an_emergency_of_many_waves_misses_nobody_wherever_it_dies() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let (live, test) =
        (accounts(&world, Mode::Live, 4).await?, accounts(&world, Mode::Test, 4).await?);
    world.deliver().await?;
    world.sweep_to_rest().await?;
    world.pass(Duration::from_secs(120));
    let copied = world.account(&live[0]).await?.head.version.to_string();
    // More than a page in a shard, and more than a wave in two.
    let mut all = bystanders(&world, &live[0], 0, 330)?;
    all.extend(bystanders(&world, &live[0], 9, 330)?);
    all.extend(bystanders(&world, &test[0], 4, 120)?);
    ensure!(!are_woken(&world, &all[..1], &copied)?, "a copy is as it was");

    let order = replace_all(&world, None);
    world.steward().give_order(|standing| standing.order(order.clone())).await?;
    let mut partly = Vec::new();
    // At first while it wakes the first wave, then as it records that or works on it, then in the second.
    for skip in [40, 400, 560, 700, 900, 60, 240, u32::MAX, u32::MAX] {
        world.table.fail(skip, When::BeforeEffect, true);
        // Who dies says nothing.
        let _ = world.sweep().await;
        let died = !world.table.heal();
        ensure!(died == (skip != u32::MAX), "the sweep ends before call {skip}");
        world.restart()?;
        partly.push(world.steward().standing().await?.summons);
        world.pass(Duration::from_secs(60));
    }
    let is_between =
        |summons: &Option<Summons>| summons.as_ref().is_some_and(|summons| summons.woken >= 500);
    ensure!(partly.iter().any(is_between), "it never died between two waves: {partly:#?}");

    world.sweep_to_rest().await?;
    ensure!(world.steward().standing().await?.summons.is_none(), "all were woken");
    ensure!(are_woken(&world, &all, &copied)?, "somebody was missed");
    let (of_live, of_test) = (replaced(&world, &live).await?, replaced(&world, &test).await?);
    ensure!((of_live, of_test) == (live.len(), test.len()), "replaced: {of_live}, {of_test}");
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
