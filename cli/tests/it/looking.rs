//! Commands that look and change nothing: status, show, events, audit, reconcile without --apply.

use std::time::Duration;

use anyhow::Context as _;
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::{table, world};
use serde_json::{Value, json};

use crate::desk::Desk;

#[tokio::test]
async fn status_counts_accounts_and_keys_and_names_the_orders() -> anyhow::Result<()> {
    let (desk, _) = Desk::with_account("acct_1One").await?;
    desk.install(Mode::Live, "acct_1Two").await?;
    let rows = desk.rows()?;
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["accounts"], json!({"live": 1, "test": 1, "uninstalled": 0, "paused": 0}));
    assert_eq!(status["keys"], json!({"current": 4}));
    assert_eq!(status["orders"]["emergency"], Value::Null);
    assert_eq!((&status["oldest_overdue"], &status["unreadable"]), (&Value::Null, &json!(0)));
    let said = desk.give(&["status"]).await;
    let text = said.text(0)?;
    assert!(text.contains("1 account live, 1 in test mode"), "{text}");
    assert!(text.contains("no orders in force"), "{text}");
    assert_eq!(desk.rows()?, rows, "nothing was written");
    Ok(())
}

#[tokio::test]
async fn status_names_the_account_that_waits_longest() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Late").await?;
    desk.world.pass(Duration::from_secs(5 * 86_400));
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["oldest_overdue"]["account"], at.id.as_str());
    let said = desk.give(&["status"]).await;
    assert!(
        said.text(0)?.contains("longest waiting: acct_1Late (test), due for 4 days"),
        "{said:?}"
    );
    Ok(())
}

#[tokio::test]
async fn status_names_an_account_that_stripe_has_refused_for_a_day() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Gone").await?;
    desk.world.deliver().await?;
    desk.world.pass(Duration::from_secs(5));
    desk.world.stripe.uninstall(at.id.as_str(), false, fake_stripe::KeepOrExpire::Keep);
    for _ in 0..52 {
        desk.world.pass(Duration::from_secs(3600));
        desk.world.sweep().await?;
    }
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["out_of_reach"][0]["account"], "acct_1Gone", "{status}");
    let said = desk.give(&["status"]).await;
    assert!(said.text(0)?.contains("out of reach: acct_1Gone (test) since 2026-"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn show_tells_everything_but_the_secret() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Shown").await?;
    let token = desk.world.token(&at, Kind::Secret).await?;
    let shown = desk.give(&["show", "acct_1Shown", "--output", "json"]).await.json(0)?;
    let slots = shown["slots"].as_array().context("slots")?;
    assert_eq!(slots.len(), 2);
    assert_eq!(slots[0]["generations"][0]["state"], "current");
    assert_eq!(slots[0]["generations"][0]["generation"], 1);
    let text = desk.give(&["show", "acct_1Shown"]).await;
    assert!(text.text(0)?.contains("secret/default"), "{text:?}");
    let ciphertext = "eyJ";
    for said in [&text.out, &shown.to_string()] {
        assert!(!said.contains(&token) && !said.contains(ciphertext), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_account_in_both_modes_has_to_be_named_with_its_mode() -> anyhow::Result<()> {
    let (desk, _) = Desk::with_account("acct_1Both").await?;
    desk.install(Mode::Live, "acct_1Both").await?;
    let said = desk.give(&["show", "acct_1Both"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--mode"), "{said:?}");
    let shown = desk.give(&["show", "acct_1Both", "--mode", "live", "--output", "json"]).await;
    assert_eq!(shown.json(0)?["mode"], "live");
    assert_eq!(desk.give(&["show", "acct_1Unknown"]).await.code, 1);
    Ok(())
}

#[tokio::test]
async fn events_are_listed_the_newest_first() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Told").await?;
    desk.world.deliver().await?;
    let keys = desk.world.stripe.keys(at.id.as_str());
    desk.world.pass(Duration::from_secs(60));
    desk.world.stripe.expire_in_dashboard(at.id.as_str(), &keys[0].id);
    desk.world.deliver().await?;
    let told = desk.give(&["events", "acct_1Told", "--output", "json"]).await.json(0)?;
    assert_eq!(told[0]["topic"], "key_expired");
    assert_eq!(told[0]["open"], false);
    assert!(told.as_array().is_some_and(|told| told.len() >= 3), "{told}");
    let said = desk.give(&["events", "acct_1Told", "--limit", "1"]).await;
    assert_eq!(said.text(0)?.lines().count(), 2, "a heading and one event: {said:?}");
    Ok(())
}

#[tokio::test]
async fn the_audit_trail_is_shown_and_holds_until_somebody_changes_it() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Audited").await?;
    let entries = desk.give(&["audit", "acct_1Audited", "--output", "json"]).await.json(0)?;
    assert_eq!((&entries[0]["action"], &entries[0]["sequence"]), (&json!("install"), &json!(1)));
    let verified = desk.give(&["audit", "acct_1Audited", "--verify", "--output", "json"]).await;
    assert_eq!(verified.json(0)?["holds"], true);

    let change = json!({
        "TableName": table::NAME,
        "Key": {"pk": {"S": format!("ACCOUNT#test#{}", at.id)}, "sk": {"S": "AUDIT#000000000002"}},
        "UpdateExpression": "SET entry = :edited",
        "ExpressionAttributeValues": {":edited": {"S": "{}"}},
        "ConditionExpression": "attribute_exists(entry)",
    });
    desk.world.table.database().update_item(serde_json::from_value(change)?)?;
    let said = desk.give(&["audit", "acct_1Audited", "--verify"]).await;
    assert!(said.text(3)?.contains("DOES NOT HOLD: audit entry 2"), "{said:?}");

    let removal = json!({
        "TableName": table::NAME,
        "Key": {"pk": {"S": format!("ACCOUNT#test#{}", at.id)}, "sk": {"S": "AUDIT#000000000002"}},
    });
    desk.world.table.database().delete_item(serde_json::from_value(removal)?)?;
    let said = desk.give(&["audit", "acct_1Audited", "--verify", "--output", "json"]).await;
    assert_eq!(said.json(3)?["broken"], "entry 2 is missing or out of place");
    Ok(())
}

#[tokio::test]
async fn reconcile_only_looks_until_it_may_apply() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Drifts").await?;
    desk.install(Mode::Test, "acct_1Steady").await?;
    let said = desk.give(&["reconcile", "--all"]).await;
    assert!(said.text(0)?.contains("2 accounts compared: 0 differences found"), "{said:?}");

    desk.world.stripe.add_users_own_key(at.id.as_str(), false, "mine");
    let account = desk.world.account(&at).await?;
    let (_, state) = account.current(&world::default_slot(Kind::Secret)).context("a key")?;
    let key = state.key().context("its id")?.clone();
    desk.world.stripe.expire_in_dashboard(at.id.as_str(), key.as_str());
    desk.world.pass(Duration::from_secs(30));
    let rows = desk.rows()?;
    let found = desk.give(&["reconcile", "acct_1Drifts", "--output", "json"]).await.json(3)?;
    assert_eq!(found["findings"][0]["drift"], "ended");
    assert_eq!(found["findings"][0]["key"], key.as_str());
    assert_eq!((&found["left"], &found["foreign"]), (&json!(1), &json!(1)));
    assert_eq!(desk.rows()?, rows, "nothing was written");

    let applied =
        desk.give(&["reconcile", "--all", "--apply", "--yes", "--output", "json"]).await.json(0)?;
    assert_eq!(applied["findings"][0]["set_right"], true);
    let account = desk.world.account(&at).await?;
    assert!(
        account.current(&world::default_slot(Kind::Secret)).is_none(),
        "it is known to be over"
    );
    let again = desk.give(&["reconcile", "--all", "--output", "json"]).await.json(0)?;
    assert_eq!(again["findings"], json!([]));
    Ok(())
}
