//! What wakes the steward: the schedule, the stream, the partner bus.

use std::time::Duration;

use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward_tests::deployment::{signed, stored_as};
use keysteward_tests::table::When;
use keysteward_tests::{Deployment, Name, events};
use serde_json::json;

use crate::{account, installed, key_path, thin};

#[tokio::test]
async fn the_schedule_mints_what_an_installation_could_not() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut install = deployment.function(Name::Install).await?;
    let at = account("acct_1Late")?;
    // Stripe is down while the person waits, and there when the sweep comes.
    let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
    let on = CallMatch::post("/v2/iam/api_keys");
    deployment.stripe.inject(Fault { on, kind, times: u32::MAX });
    deployment.install_app(&mut install, &at).await?;
    let mut keys = deployment.function(Name::Keys).await?;
    let read = events::http_key(&key_path(&at))?;
    let waiting = keys.http(&read).await?;
    assert_eq!(waiting.status, 409);
    assert_eq!(waiting.json()?["code"], "no_answer");

    deployment.stripe.clear_faults();
    let mut rotate = deployment.function(Name::Rotate).await?;
    // The call is due again seconds after it went unanswered, not at once.
    let minted = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let swept = rotate.answer(&events::schedule()?).await?;
            anyhow::ensure!(swept["failed"] == 0, "a sweep says what it did: {swept}");
            let reply = keys.http(&read).await?;
            if swept["settled"] != 0 && reply.status == 200 {
                return reply.json();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let token = minted.await??["token"].as_str().unwrap_or_default().to_owned();
    assert!(deployment.stripe.token_works(&token), "the sweep minted the key");
    let idle = rotate.answer(&json!({ "any": ["other", "input"] })).await?;
    assert_eq!(idle["failed"], 0, "what the schedule says does not matter");
    Ok(())
}

#[tokio::test]
async fn the_stream_applies_what_the_webhook_stored() -> anyhow::Result<()> {
    let (deployment, _install, _) = installed("acct_1Stream").await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let mut lifecycle = deployment.function(Name::Lifecycle).await?;
    let mut rows = Vec::new();
    for (body, signature) in deployment.deliveries() {
        let answer = webhook.http(&events::http_webhook_base64(&body, &signature)?).await?;
        assert_eq!(answer.status, 200);
        rows.extend(stored_as(&body)?);
    }
    assert!(!rows.is_empty(), "an installation makes events");
    assert_eq!(open_events(&deployment)?, rows.len());
    let batch: Vec<(&str, &str, &str)> =
        rows.iter().map(|(pk, sk)| (pk.as_str(), sk.as_str(), "1")).collect();
    let answer = lifecycle.answer(&events::stream(&batch)?).await?;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(open_events(&deployment)?, 0, "each is done");
    Ok(())
}

#[tokio::test]
async fn of_a_batch_that_fails_halfway_the_rest_is_handed_back() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let mut lifecycle = deployment.function(Name::Lifecycle).await?;
    let mut rows = Vec::new();
    for n in 1..=3 {
        let body = thin("acct_1Batch", &format!("evt_test_batch{n}")).to_string();
        webhook.http(&events::http_webhook(body.as_bytes(), &signed(body.as_bytes()))?).await?;
        rows.extend(stored_as(body.as_bytes())?);
    }
    let batch: Vec<(&str, &str, String)> = rows
        .iter()
        .zip(100..)
        .map(|((pk, sk), sequence)| (pk.as_str(), sk.as_str(), sequence.to_string()))
        .collect();
    let batch: Vec<(&str, &str, &str)> = batch.iter().map(|(p, s, n)| (*p, *s, &**n)).collect();

    let before = deployment.table.calls();
    lifecycle.answer(&events::stream(&batch[..1])?).await?;
    let calls_of_one = deployment.table.calls() - before;
    // The first of two goes through, then the table is gone, for good.
    deployment.table.fail(calls_of_one, When::BeforeEffect, true);
    let answer = lifecycle.answer(&events::stream(&batch[1..])?).await?;
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": "102" }] }));

    deployment.table.heal();
    let answer = lifecycle.answer(&events::stream(&batch[2..])?).await?;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(open_events(&deployment)?, 0);
    Ok(())
}

#[tokio::test]
async fn records_that_are_not_new_events_are_passed_over() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut lifecycle = deployment.function(Name::Lifecycle).await?;
    let row = ("ACCOUNT#test#acct_1", "EVENT#2026-11-24T12:00:00.000Z#evt_test_1", "1");
    let mut removed = events::stream(&[row])?;
    removed["Records"][0]["eventName"] = json!("REMOVE");
    let state = events::stream(&[("ACCOUNT#test#acct_1", "STATE#ACCOUNT", "1")])?;
    let before = deployment.table.calls();
    for batch in [removed, state] {
        let answer = lifecycle.answer(&batch).await?;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
    }
    assert_eq!(deployment.table.calls(), before, "nothing was read or written");
    Ok(())
}

#[tokio::test]
async fn the_partner_bus_is_taken_without_a_signature_and_only_from_stripe() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let event = events::partner(&thin("acct_1Bus", "evt_test_bus"))?;
    webhook.answer(&event).await?;
    assert_eq!(deployment.rows()?.len(), 1);

    let mut forged = events::partner(&thin("acct_1Bus", "evt_test_forged"))?;
    forged["source"] = json!("my.own/stripe.com");
    let report = webhook.failure(&forged).await?;
    assert_eq!(report.body["errorType"], "caller");
    assert_eq!(deployment.rows()?.len(), 1);
    Ok(())
}

fn open_events(deployment: &Deployment) -> anyhow::Result<usize> {
    let rows = deployment.rows()?;
    let is_event = |row: &serde_json::Value| {
        row["sk"]["S"].as_str().is_some_and(|key| key.starts_with("EVENT#"))
    };
    Ok(rows.iter().filter(|row| is_event(row) && row["due_at"].is_object()).count())
}
