//! A thousand rotations while somebody reads all the time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::world::{account, json_of};
use keysteward_tests::{Setting, World};

#[tokio::test]
async fn during_a_thousand_rotations_no_read_gives_a_dead_key() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        rotate_under_reads(strategy, 500).await?;
    }
    Ok(())
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
    let read = async {
        while !done.load(Ordering::SeqCst) {
            let reply = world.read(&at, Kind::Secret).await;
            anyhow::ensure!(
                reply.status() == StatusCode::OK,
                "a read was answered {}",
                reply.status()
            );
            let body = json_of(&reply)?;
            let token = body["token"].as_str().unwrap_or_default();
            anyhow::ensure!(
                world.stripe.token_works(token),
                "generation {} was served and Stripe answers 401",
                body["generation"]
            );
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let rotate = async {
        let mut seen = 1;
        while seen <= rotations {
            world.pass(Duration::from_secs(2 * 3600));
            world.sweep().await?;
            let current = world.account(&at).await?;
            let slot = keysteward_tests::world::default_slot(Kind::Secret);
            seen = current.current(&slot).map_or(0, |(generation, _)| generation.number());
        }
        done.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (read, rotated) = tokio::join!(read, rotate);
    done.store(true, Ordering::SeqCst);
    rotated?;
    read?;
    assert!(reads.load(Ordering::SeqCst) >= rotations, "reads went on all the time");
    Ok(())
}
