//! `doctor`: what holds is said to hold, and each thing that does not is found.

use std::time::Duration;

use keysteward::runtime::clock::Clock;
use keysteward_tests::Setting;
use serde_json::{Value, json};

use crate::desk::{Desk, stripe_secret};

/// The double of Stripe writes the machine's time into its answers.
async fn desk() -> anyhow::Result<Desk> {
    let starts_at = Clock::system().now();
    let mut desk = Desk::with(Setting { starts_at, ..Setting::default() }).await?;
    desk.clock = Some(Clock::system());
    // The harness does without the stream that the template's table has.
    let update = json!({
        "TableName": keysteward_tests::table::NAME,
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_IMAGE" },
    });
    desk.world.table.database().update_table(serde_json::from_value(update)?)?;
    Ok(desk)
}

fn verdict(checks: &Value, name: &str) -> String {
    let named = checks.as_array().into_iter().flatten().find(|check| check["check"] == name);
    named.map_or_else(|| "absent".to_owned(), |check| check["verdict"].to_string())
}

#[tokio::test]
async fn everything_that_holds_is_said_to_hold() -> anyhow::Result<()> {
    let desk = desk().await?;
    let rows = desk.rows()?;
    let checks = desk.give(&["doctor", "--output", "json"]).await.json(0)?;
    for name in [
        "settings",
        "policy",
        "aws",
        "table",
        "table ttl",
        "orders",
        "vault",
        "webhook secret",
        "stripe secret",
        "stripe live",
        "stripe test",
        "clock",
    ] {
        assert_eq!(verdict(&checks, name), "\"ok\"", "{name}: {checks}");
    }
    assert_eq!(verdict(&checks, "table backup"), "\"warn\"", "the engine knows no backups");
    let said = desk.give(&["doctor"]).await;
    assert!(said.text(0)?.contains("VERDICT"), "{said:?}");
    assert_eq!(desk.rows()?, rows, "nothing was written");
    Ok(())
}

#[tokio::test]
async fn a_key_that_stripe_does_not_know_is_found_and_not_repeated() -> anyhow::Result<()> {
    let desk = desk().await?;
    let app = fake_stripe::AppSpec::default();
    let secret = stripe_secret(&app.api_key_live, "sk_test_of_somebody_else");
    desk.secrets.put("stripe", &secret.to_string());
    let said = desk.give(&["doctor", "--output", "json"]).await;
    let checks = said.json(3)?;
    assert_eq!(verdict(&checks, "stripe test"), "\"fail\"");
    assert_eq!(verdict(&checks, "stripe live"), "\"ok\"");
    assert!(!said.out.contains("sk_test_") && !said.out.contains(&app.api_key_live), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_disabled_vault_and_missing_secrets_are_found() -> anyhow::Result<()> {
    let desk = desk().await?;
    desk.world.kms.set_disabled(true);
    desk.secrets.put("webhook", "{}");
    desk.secrets.put("stripe", "{}");
    let checks = desk.give(&["doctor", "--output", "json"]).await.json(3)?;
    for name in ["vault", "webhook secret", "stripe secret"] {
        assert_eq!(verdict(&checks, name), "\"fail\"", "{name}: {checks}");
    }
    Ok(())
}

#[tokio::test]
async fn another_table_a_refused_policy_and_a_missing_setting_are_found() -> anyhow::Result<()> {
    let mut desk = desk().await?;
    desk.unusual = vec![
        ("KEYSTEWARD_TABLE", "another".to_owned()),
        ("KEYSTEWARD_OVERLAP_MINUTES", "1".to_owned()),
        ("KEYSTEWARD_APP_ID", String::new()),
    ];
    let checks = desk.give(&["doctor", "--output", "json"]).await.json(3)?;
    for name in ["table", "policy", "settings"] {
        assert_eq!(verdict(&checks, name), "\"fail\"", "{name}: {checks}");
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_off_is_found() -> anyhow::Result<()> {
    let mut desk = desk().await?;
    for (late, expected) in [(30, "\"warn\""), (600, "\"fail\"")] {
        let system = Clock::system();
        desk.clock = Some(Clock::from_fn(move || system.now().plus(Duration::from_secs(late))));
        let said = desk.give(&["doctor", "--output", "json"]).await;
        let checks: Value = serde_json::from_str(&said.out)?;
        assert_eq!(verdict(&checks, "clock"), expected, "{checks}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_of_another_form_is_described_by_what_differs() -> anyhow::Result<()> {
    let mut desk = desk().await?;
    let definition = json!({
        "TableName": "other",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    });
    desk.world.table.database().create_table(serde_json::from_value(definition)?)?;
    desk.unusual = vec![("KEYSTEWARD_TABLE", "other".to_owned())];
    let checks = desk.give(&["doctor", "--output", "json"]).await.json(3)?;
    let table = checks.as_array().into_iter().flatten().find(|check| check["check"] == "table");
    assert_eq!(
        table.map(|check| &check["saw"]),
        Some(&json!(
            "its key is another; it has no index `due`; it has no stream; it is not billed on demand"
        )),
    );
    assert_eq!(verdict(&checks, "table ttl"), "\"warn\"");
    Ok(())
}
