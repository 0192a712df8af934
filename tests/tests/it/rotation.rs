//! A thousand rotations while somebody reads all the time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::ensure;
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{Kind, Mode};
use keysteward::steward::Advanced;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World};
use tokio::sync::RwLock;

#[tokio::test]
async fn during_five_hundred_rotations_with_overlap_no_read_gives_a_dead_key() -> anyhow::Result<()>
{
    rotate_under_reads(Strategy::Rotate, 500).await
}

#[tokio::test]
async fn during_five_hundred_replacements_no_read_gives_a_dead_key() -> anyhow::Result<()> {
    rotate_under_reads(Strategy::CreateThenExpire, 500).await
}

async fn rotate_under_reads(strategy: Strategy, rotations: u32) -> anyhow::Result<()> {
    let choice =
        Choice { strategy, rotate_every_days: 1, overlap_minutes: 60, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Test, "acct_1Busy")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;

    let done = AtomicBool::new(false);
    let reads = AtomicU32::new(0);
    // A day passes in no time here; it must not pass in the middle of one read.
    let time = RwLock::new(());
    let read = async {
        while !done.load(Ordering::SeqCst) {
            let now = time.read().await;
            let reply = world.read(&at, Kind::Secret).await;
            ensure!(reply.status() == StatusCode::OK, "a read was answered {}", reply.status());
            let body = json_of(&reply)?;
            ensure!(
                world.stripe.token_works(body["token"].as_str().unwrap_or_default()),
                "generation {} was served and Stripe answers 401",
                body["generation"]
            );
            drop(now);
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let rotate = async {
        let slot = default_slot(Kind::Secret);
        let mut generation = 1;
        while generation <= rotations {
            let later = time.write().await;
            world.pass(Duration::from_secs(86_400));
            drop(later);
            let deadline = world.now().plus(Duration::from_secs(600));
            let advanced = world.steward().advance(&at, Actor::Sweep, deadline).await?;
            let Advanced::Settled(account) = advanced else {
                anyhow::bail!("a rotation does not come to rest: {advanced:?}")
            };
            let current = account.current(&slot).map_or(0, |(current, _)| current.number());
            ensure!(current == generation + 1, "a day's rotation leads to the next generation");
            generation = current;
        }
        done.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    tokio::try_join!(read, rotate)?;
    assert!(reads.load(Ordering::SeqCst) >= rotations, "reads went on all the time");
    Ok(())
}
