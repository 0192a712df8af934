//! `rotate --all`, end to end: order, sweep, nothing left.

use std::time::Duration;

use anyhow::Context as _;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward_tests::world::default_slot;
use serde_json::{Value, json};

use crate::desk::Desk;

async fn three_accounts() -> anyhow::Result<(Desk, Vec<AccountRef>)> {
    let (desk, first) = Desk::with_account("acct_1A").await?;
    let second = desk.install(Mode::Test, "acct_1B").await?;
    let third = desk.install(Mode::Live, "acct_1C").await?;
    desk.world.pass(Duration::from_secs(3600));
    Ok((desk, vec![first, second, third]))
}

async fn issued_at(desk: &Desk, at: &AccountRef, kind: Kind) -> anyhow::Result<Timestamp> {
    let account = desk.world.account(at).await?;
    match account.current(&default_slot(kind)) {
        Some((_, State::Current { issued_at, .. })) => Ok(*issued_at),
        other => anyhow::bail!("no current key: {other:?}"),
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() -> anyhow::Result<()> {
    let (desk, _) = three_accounts().await?;
    let rows = desk.rows()?;
    let counted = desk.give(&["rotate", "--all", "--dry-run", "--output", "json"]).await.json(0)?;
    assert_eq!((&counted["left"]["keys"], &counted["left"]["accounts"]), (&json!(3), &json!(3)));
    let said =
        desk.give(&["rotate", "--all", "--mode", "test", "--publishable", "--dry-run"]).await;
    assert!(said.text(0)?.contains("4 keys of 2 accounts would be replaced"), "{said:?}");
    let before = "2026-01-01T00:00:00Z";
    let said = desk.give(&["rotate", "--all", "--issued-before", before, "--dry-run"]).await;
    assert!(said.text(0)?.contains("0 keys"), "{said:?}");
    assert_eq!(desk.rows()?, rows);
    Ok(())
}

#[tokio::test]
async fn all_keys_are_replaced_and_the_command_can_be_given_again() -> anyhow::Result<()> {
    let (desk, accounts) = three_accounts().await?;
    let ordered_at = desk.world.now();
    let given = desk.give(&["rotate", "--all", "--yes", "--output", "json"]).await.json(0)?;
    assert_eq!((&given["order"], &given["left"]["keys"]), (&json!("given"), &json!(3)));
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["orders"]["emergency"]["left"], 3);

    desk.world.pass(Duration::from_secs(60));
    let again = desk.give(&["rotate", "--all", "--output", "json"]).await.json(0)?;
    assert_eq!(again["order"], "on_already");
    assert_eq!(again["emergency"]["since"], given["emergency"]["since"], "it is the same order");
    let other = desk.give(&["rotate", "--all", "--publishable", "--yes"]).await;
    assert!(other.code == 1 && other.err.contains("--cancel"), "{other:?}");

    desk.world.sweep_to_rest().await?;
    for at in &accounts {
        assert!(issued_at(&desk, at, Kind::Secret).await? >= ordered_at, "{at}");
        assert!(issued_at(&desk, at, Kind::Publishable).await? < ordered_at, "{at}");
    }
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["orders"]["emergency"]["left"], 0);
    let done = desk.give(&["rotate", "--all"]).await;
    assert!(done.text(0)?.contains("nothing is left"), "{done:?}");

    let cancelled = desk.give(&["rotate", "--all", "--cancel"]).await;
    assert!(cancelled.text(0)?.contains("taken back"), "{cancelled:?}");
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["orders"]["emergency"], Value::Null);
    assert_eq!(desk.give(&["rotate", "--all", "--cancel"]).await.code, 1, "there is none");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_order_replaces_nothing_more() -> anyhow::Result<()> {
    let (desk, accounts) = three_accounts().await?;
    assert_eq!(desk.give(&["rotate", "--all", "--yes"]).await.code, 0);
    assert_eq!(desk.give(&["rotate", "--all", "--cancel"]).await.code, 0);
    let at = desk.world.now();
    desk.world.pass(Duration::from_secs(90_000));
    desk.world.sweep_to_rest().await?;
    for account in &accounts {
        assert!(issued_at(&desk, account, Kind::Secret).await? < at, "{account}");
    }
    Ok(())
}

#[tokio::test]
async fn the_order_is_given_only_to_who_says_how_many_keys_it_is_about() -> anyhow::Result<()> {
    let (desk, _) = three_accounts().await?;
    let rows = desk.rows()?;
    let nobody = desk.give(&["rotate", "--all"]).await;
    assert_eq!(nobody.code, 2, "{nobody:?}");
    for typed in ["", "yes", "4"] {
        let said = desk.answer(&["rotate", "--all"], typed).await;
        assert_eq!(said.code, 1, "{typed}: {said:?}");
        assert!(said.err.contains("nothing was changed"), "{said:?}");
    }
    assert_eq!(desk.rows()?, rows);
    let said = desk.answer(&["rotate", "--all", "--overlap-minutes", "15"], "3").await;
    assert!(said.text(0)?.contains("ordered: 3 keys"), "{said:?}");
    assert!(said.err.contains("15 minutes later"), "{said:?}");
    let standing = desk.world.steward().standing().await?;
    assert_eq!(standing.emergency.and_then(|emergency| emergency.overlap_minutes), Some(15));
    Ok(())
}

#[tokio::test]
async fn who_watches_sees_it_through_and_the_order_is_taken_back() -> anyhow::Result<()> {
    let (desk, accounts) = three_accounts().await?;
    let ordered_at = desk.world.now();
    let args = ["rotate", "--all", "--yes", "--watch", "--every", "1", "--output", "json"];
    let sweeps = async {
        while desk.world.steward().store.standing().await?.emergency.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        desk.world.sweep_to_rest().await
    };
    let (said, swept) = tokio::join!(desk.give(&args), sweeps);
    swept?;
    assert_eq!(said.json(0)?["order"], "done");
    assert!(said.err.contains("0 keys left"), "{said:?}");
    for at in &accounts {
        assert!(issued_at(&desk, at, Kind::Secret).await? >= ordered_at, "{at}");
    }
    assert_eq!(desk.world.steward().store.standing().await?.emergency, None);
    Ok(())
}

#[tokio::test]
async fn who_watches_what_only_waits_is_told_so_and_the_order_stays() -> anyhow::Result<()> {
    let (desk, accounts) = three_accounts().await?;
    desk.world.stripe.set_permissions(false, true);
    let args = ["rotate", "--all", "--yes", "--watch", "--every", "1", "--output", "json"];
    let time = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            desk.world.pass(Duration::from_secs(61));
            desk.world.sweep().await?;
        }
        anyhow::Ok(())
    };
    let (said, passed) = tokio::join!(desk.give(&args), time);
    passed?;
    let said = said.json(3)?;
    assert_eq!(said["order"], "waits");
    assert_eq!(said["left"]["keys"], accounts.len());
    assert_eq!(said["left"]["held"], accounts.len());
    assert!(desk.world.steward().store.standing().await?.emergency.is_some());
    Ok(())
}

#[tokio::test]
async fn what_waits_is_counted_by_its_own_slot() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Apart").await?;
    let account = desk.world.account(&at).await?;
    let (_, publishable) =
        account.current(&default_slot(Kind::Publishable)).context("it has a publishable key")?;
    let id = publishable.key().context("stripe named it")?.to_string();
    assert!(desk.world.stripe.expire_in_dashboard(at.id.as_str(), &id));
    desk.world.deliver().await?;
    desk.world.pass(Duration::from_secs(60));
    let account = desk.world.account(&at).await?;
    let is_held = |kind| account.slots[&default_slot(kind)].hold.is_some();
    assert!(is_held(Kind::Publishable) && !is_held(Kind::Secret));
    let args = ["rotate", "--all", "--dry-run", "--output", "json"];
    let left = desk.give(&args).await.json(0)?["left"].clone();
    assert_eq!((&left["keys"], &left["held"]), (&json!(1), &json!(0)), "{left}");
    Ok(())
}

#[tokio::test]
async fn an_overlap_that_could_lose_a_key_is_no_order() -> anyhow::Result<()> {
    let (desk, _) = three_accounts().await?;
    for minutes in ["0", "9", "10081"] {
        let args = ["rotate", "--all", "--yes", "--overlap-minutes", minutes];
        assert_eq!(desk.give(&args).await.code, 2, "{minutes}");
    }
    assert_eq!(desk.world.steward().store.standing().await?.emergency, None);
    let args = ["rotate", "--all", "--yes", "--overlap-minutes", "10"];
    assert_eq!(desk.give(&args).await.code, 0);
    Ok(())
}
