//! An uninstall that nobody told of: noticed, told to a person, and concluded from nothing but its event.

use std::time::Duration;

use anyhow::ensure;
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use keysteward::domain::account::Status;
use keysteward::domain::attention::out_of_reach;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::world::{account, json_of};

const HOUR: Duration = Duration::from_secs(3600);

async fn installed() -> anyhow::Result<(World, AccountRef)> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Quiet")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

/// Sweeps every half hour; answers how often the account was counted as one that waits for a person.
async fn reminders(world: &World, hours: u32) -> anyhow::Result<u32> {
    let mut reminders = 0;
    for _ in 0..hours * 2 {
        world.pass(HOUR / 2);
        let swept = world.sweep().await?;
        ensure!(swept.failed == 0, "{swept:?}");
        reminders += swept.need_operator;
    }
    Ok(reminders)
}

#[tokio::test]
async fn an_uninstall_that_nobody_told_of_is_a_persons_after_a_day_of_refusals()
-> anyhow::Result<()> {
    let (world, at) = installed().await?;
    let token = world.token(&at, Kind::Secret).await?;
    world.pass(Duration::from_secs(5));
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Keep);
    let told: Vec<_> = world.stripe.take_deliveries().into_iter().map(|it| it.body).collect();

    // The daily list is refused first, then every hour's.
    ensure!(reminders(&world, 47).await? == 0, "a day of it is somebody's bad day");
    ensure!(reminders(&world, 3).await? == 1, "then a person is asked");
    ensure!(reminders(&world, 48).await? == 2, "once a day");
    let stored = world.account(&at).await?;
    ensure!(out_of_reach(&stored.head).is_some_and(|since| since < world.now()));
    ensure!(matches!(stored.head.status, Status::Installed { .. }), "a refusal is no uninstall");
    ensure!(stored.pairs.len() == 1, "nothing is shredded");
    ensure!(world.token(&at, Kind::Secret).await? == token, "I1: what still works is served");

    // Stripe is asked to send the event again.
    world.deliver_bodies(told).await?;
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(json_of(&reply)?["code"] == "uninstalled", "{}", reply.status());
    ensure!(reminders(&world, 48).await? == 0, "and nobody is asked any more");
    ensure!(reminders(&world, 8 * 24).await? == 0);
    ensure!(world.account(&at).await?.pairs.is_empty(), "now the private keys go");
    Ok(())
}

#[tokio::test]
async fn refusals_with_a_list_in_between_are_no_uninstall() -> anyhow::Result<()> {
    for status in [403, 404] {
        let (world, at) = installed().await?;
        let refuse = || {
            let kind = FaultKind::BeforeEffect { status, code: "refused".to_owned() };
            let on = CallMatch::get("/v2/iam/api_keys");
            world.stripe.inject(Fault { on, kind, times: u32::MAX });
        };
        for _ in 0..4 {
            refuse();
            ensure!(reminders(&world, 40).await? == 0, "{status}: less than a day since the first");
            ensure!(world.account(&at).await?.head.refused.is_some(), "{status}: but counted");
            world.stripe.clear_faults();
            ensure!(reminders(&world, 2).await? == 0);
            ensure!(world.account(&at).await?.head.refused.is_none(), "{status}: and forgotten");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_list_that_fails_for_another_reason_is_no_refusal() -> anyhow::Result<()> {
    let (world, at) = installed().await?;
    for status in [401, 429, 500] {
        world.stripe.clear_faults();
        let kind = FaultKind::BeforeEffect { status, code: "not_now".to_owned() };
        let on = CallMatch::get("/v2/iam/api_keys");
        world.stripe.inject(Fault { on, kind, times: u32::MAX });
        ensure!(reminders(&world, 72).await? == 0, "{status}");
        ensure!(world.account(&at).await?.head.refused.is_none(), "{status}");
    }
    Ok(())
}
