//! A sweep among many accounts. `just scale` measures the same among up to a million.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_stripe::KeyUsed;
use keysteward::domain::slot::Mode;
use keysteward_tests::crowd::Rows;
use keysteward_tests::door::Peer;
use keysteward_tests::world::account;
use keysteward_tests::{Crowd, World};

/// Calls a second to an endpoint, as configured and as Stripe allows.
const RPS: u32 = 16;
const DUE: usize = 24;

/// Sweeps before anything is due and after, as a function does that paces its calls.
async fn sweep_among(others: usize) -> anyhow::Result<()> {
    let crowd = Crowd::start().await?;
    let (table, stripe) = (&crowd.deployment.table, &crowd.deployment.stripe);
    let due = crowd.install(DUE).await?;
    crowd.fill(&due[0], others, Rows::All)?;
    let steward = crowd.paced_steward(RPS)?;
    stripe.set_behaviour(|stripe| stripe.endpoint_rate_limit_per_second = Some(RPS));

    let before = table.items_read();
    let deadline = steward.clock.now().plus(Duration::from_secs(600));
    assert!(steward.sweep(deadline).await?.is_empty());
    assert_eq!(table.items_read(), before, "among {others} nothing is due and nothing read");

    crowd.make_due(&due).await?;
    let (before, calls_before) = (table.items_read(), stripe.log().len());
    let swept = steward.sweep(deadline).await?;
    assert_eq!((swept.settled as usize, swept.failed), (DUE, 0), "{swept:?}");
    let read = table.items_read().0 - before.0;
    assert_eq!(
        read, DUE as u64,
        "among {others} an item of the index is read for each that is due"
    );
    let calls = stripe.log().split_off(calls_before);
    assert!(calls.iter().filter(|call| call.key_used == KeyUsed::AppLive).count() >= DUE);
    let refused: Vec<_> = calls.iter().filter(|call| call.status == Some(429)).collect();
    // On a machine that stalls some arrive together; without a pace, a third of them would be refused.
    assert!(refused.len() * 8 <= calls.len(), "among {others}: {refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_sweep_reads_what_is_due_and_keeps_its_pace_however_many_accounts_there_are()
-> anyhow::Result<()> {
    let (few, many) = tokio::join!(sweep_among(200), sweep_among(2_000));
    few.and(many)
}

#[tokio::test]
async fn an_account_that_takes_long_does_not_keep_those_of_later_shards_waiting()
-> anyhow::Result<()> {
    const ACCOUNTS: usize = 8;
    let world = World::start().await?;
    for n in 0..ACCOUNTS {
        let at = account(Mode::Live, &format!("acct_1Slow{n}"))?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
    }
    world.pass(Duration::from_secs(2 * 86_400));
    let calls_before = world.stripe.log().len();
    let called = || {
        let calls = world.stripe.log().split_off(calls_before);
        calls.into_iter().filter_map(|call| call.context).collect::<BTreeSet<_>>().len()
    };
    let held = world.doors.hold(Peer::Stripe, 0);
    let others = tokio::time::timeout(Duration::from_secs(10), async {
        held.reached().await;
        while called() < ACCOUNTS - 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let (swept, others) = tokio::join!(world.sweep(), async {
        let others = others.await;
        held.let_go();
        others
    });
    assert!(others.is_ok(), "the others wait for the one that is held");
    assert_eq!(swept?.settled as usize, ACCOUNTS);
    Ok(())
}
