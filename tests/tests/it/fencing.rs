//! Two at once on one account: they serialise, and whoever wakes late changes nothing.

use std::time::Duration;

use anyhow::ensure;
use keysteward::domain::audit;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot};

/// How many keys of the account are alive, as Stripe counts.
fn alive(world: &World, at: &AccountRef) -> usize {
    world.stripe.keys(at.id.as_str()).iter().filter(|key| key.status == "active").count()
}

/// A process stops at its n-th call to the table during a rotation, another takes over and finishes, and
/// then the first goes on. Answers whether there was an n-th call.
async fn wakes_late(n: u32) -> anyhow::Result<bool> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Late")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.pass(Duration::from_secs(31 * 86_400));
    let deadline = world.now().plus(Duration::from_secs(3600));
    let actor = audit::Actor::Sweep;

    let pause = world.table.hold(n);
    let first = world.steward().advance(&at, actor, deadline);
    tokio::pin!(first);
    tokio::select! {
        biased;
        () = pause.reached() => {}
        finished = &mut first => {
            finished?;
            return Ok(false);
        }
    }
    // The lease runs out, the sweep comes by, and everything is done by somebody else.
    world.pass(Duration::from_secs(180));
    world.sweep_to_rest().await?;
    let served = world.token(&at, Kind::Secret).await?;
    let rows = world.rows()?;
    let calls = world.stripe.log().len();

    pause.let_go();
    // An error or a step back are both fine; what counts is that nothing moves.
    drop(first.await);
    ensure!(world.rows()? == rows, "a process that woke late wrote");
    ensure!(world.token(&at, Kind::Secret).await? == served, "and served another key");
    ensure!(world.stripe.token_works(&served), "the key that is served works");
    for call in world.stripe.log().iter().skip(calls) {
        ensure!(call.method == "GET" || call.replayed, "a late process changed Stripe: {call:?}");
    }
    world.pass(Duration::from_secs(2 * 86_400));
    world.sweep_to_rest().await?;
    ensure!(alive(&world, &at) == 2, "one key a slot, no orphan");
    Ok(true)
}

#[tokio::test]
async fn a_process_that_wakes_late_changes_nothing_wherever_it_was_held() -> anyhow::Result<()> {
    let mut n = 0;
    while wakes_late(n).await? {
        n += 1;
    }
    ensure!(n >= 4, "a rotation makes at least four calls to the table, {n} were held");
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
