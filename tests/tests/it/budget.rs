//! What each path may cost, counted at the doors of the table, KMS and Stripe.

use std::time::Duration;

use http::StatusCode;
use keysteward::domain::account::{Account, Change, Status};
use keysteward::domain::audit::{Action, Actor};
use keysteward::domain::slot::{Kind, Mode};
use keysteward::steward::Advanced;
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot};

#[tokio::test]
async fn provisioning_one_key_takes_four_writes_one_kms_call_and_two_calls_to_stripe()
-> anyhow::Result<()> {
    for mode in [Mode::Live, Mode::Test] {
        let world = World::start().await?;
        let at = account(mode, "acct_1Cost")?;
        world.add_account(at.id.as_str());
        world.stripe.install(at.id.as_str(), mode == Mode::Live);
        world.table.reset();
        let calls_before = world.stripe.log().len();

        let now = world.now();
        let mut change = Change::of(Account::new(at.clone(), now), now, Actor::Install);
        change.set_status(Status::Installed { since: now }, Action::Install);
        change.open_slot(&default_slot(Kind::Secret));
        change.release(Some(now));
        world.steward().store.record(change).await?;
        let deadline = now.plus(Duration::from_secs(60));
        let advanced = world.steward().advance(&at, Actor::Sweep, deadline).await?;

        assert!(matches!(advanced, Advanced::Settled(_)));
        assert!(world.token(&at, Kind::Secret).await.is_ok());
        assert!(world.table.writes() <= 4, "writes: {:?}", world.table.counts());
        assert_eq!(world.kms.encrypts(), 1, "one wrap");
        assert_eq!(world.kms.decrypts(), 1, "and one unwrap, by the read in another process");
        assert_eq!(world.stripe.log().len() - calls_before, 2, "create and probe");
    }
    Ok(())
}

#[tokio::test]
async fn a_whole_installation_of_two_keys_takes_six_writes() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Install")?;
    world.add_account(at.id.as_str());
    world.table.reset();
    world.install_app(&at).await?;
    assert_eq!(world.table.writes(), 6, "{:?}", world.table.counts());
    assert_eq!(world.kms.encrypts() + world.kms.decrypts(), 1);
    Ok(())
}

#[tokio::test]
async fn a_warm_read_takes_one_call_to_the_table_and_none_to_kms() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Warm")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.token(&at, Kind::Secret).await?;
    let stripe_calls = world.stripe.log().len();
    let kms_calls = world.kms.decrypts();
    world.table.reset();
    for _ in 0..5 {
        world.token(&at, Kind::Secret).await?;
    }
    assert_eq!(world.table.calls(), 5, "{:?}", world.table.counts());
    assert_eq!(world.table.writes(), 0);
    assert_eq!(world.kms.decrypts(), kms_calls);
    assert_eq!(world.stripe.log().len(), stripe_calls);

    world.pass(Duration::from_secs(301));
    world.token(&at, Kind::Secret).await?;
    assert_eq!(world.kms.decrypts(), kms_calls + 1, "the private key is kept for a bounded time");
    Ok(())
}

#[tokio::test]
async fn a_webhook_takes_one_call_to_the_table_and_a_refused_one_none() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Hook")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let deliveries = world.stripe.take_deliveries();
    let stripe_calls = world.stripe.log().len();
    let kms_calls = (world.kms.encrypts(), world.kms.decrypts());
    for delivery in &deliveries {
        let signature = &delivery
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("stripe-signature"))
            .expect("signed")
            .1;
        world.table.reset();
        assert_eq!(world.post(&delivery.body, signature).await.status(), StatusCode::OK);
        assert_eq!(world.table.calls(), 1, "{:?}", world.table.counts());

        let rows = world.rows()?;
        world.table.reset();
        assert_eq!(world.post(&delivery.body, signature).await.status(), StatusCode::OK);
        assert_eq!(world.table.calls(), 1, "a duplicate is found by the same call");
        assert_eq!(world.rows()?, rows, "and changes nothing");

        world.table.reset();
        assert_eq!(world.post(&delivery.body, "t=1,v1=00").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(world.table.calls(), 0);
    }
    assert!(!deliveries.is_empty());
    assert_eq!(world.stripe.log().len(), stripe_calls, "no call to Stripe");
    assert_eq!((world.kms.encrypts(), world.kms.decrypts()), kms_calls, "no call to KMS");
    Ok(())
}

#[tokio::test]
async fn a_sweep_with_nothing_due_reads_the_orders_and_the_index_and_asks_which_table_it_is()
-> anyhow::Result<()> {
    let world = World::start().await?;
    for n in 0..20 {
        let at = account(Mode::Live, &format!("acct_1Idle{n}"))?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
    }
    // Once an hour the app's own record is read at Stripe, and how far is written down.
    for calls in [20, 18] {
        world.table.reset();
        assert!(world.sweep().await?.is_empty());
        let counts = world.table.counts();
        assert_eq!(
            world.table.calls(),
            calls,
            "one read, one description, one query a shard: {counts:?}"
        );
    }
    Ok(())
}
