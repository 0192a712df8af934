//! HTTP API, payload 2.0: install, webhook and keys.

use keysteward_tests::deployment::signed;
use keysteward_tests::{Name, events};
use serde_json::json;

use crate::{account, installed, key_path, thin};

#[tokio::test]
async fn an_installation_through_the_binary_makes_a_key_that_keys_serves_to_an_iam_caller()
-> anyhow::Result<()> {
    let (deployment, _install, at) = installed("acct_1Runtime").await?;
    let mut keys = deployment.function(Name::Keys).await?;
    let answer = keys.http(&events::http_key(&key_path(&at))?).await?;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json()?;
    let token = body["token"].as_str().unwrap_or_default();
    assert!(deployment.stripe.token_works(token), "the key is one that Stripe takes");
    assert_eq!(body["account"], "acct_1Runtime");
    assert_eq!(answer.headers["content-type"], "application/json");
    let etag = answer.headers["etag"].as_str().unwrap_or_default().to_owned();

    let mut again = events::http_key(&key_path(&at))?;
    again["headers"]["if-none-match"] = json!(etag);
    let unchanged = keys.http(&again).await?;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

    let log = keys.stdout()?;
    let caller = "arn:aws:sts::123456789012:assumed-role/billing/billing";
    assert!(log.contains(caller), "the access record names the caller of the authorizer: {log}");
    assert!(!log.contains(token), "the access record does not hold the key");
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_taken_whether_its_body_comes_as_text_or_in_base64() -> anyhow::Result<()> {
    let deployment = keysteward_tests::Deployment::start().await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let text = thin("acct_1Text", "evt_test_text").to_string();
    let base64 = thin("acct_1Base64", "evt_test_base64").to_string();
    for event in [
        events::http_webhook(text.as_bytes(), &signed(text.as_bytes()))?,
        events::http_webhook_base64(base64.as_bytes(), &signed(base64.as_bytes()))?,
        events::http_webhook(text.as_bytes(), &signed(text.as_bytes()))?,
    ] {
        let answer = webhook.http(&event).await?;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()?, json!({ "received": true }));
    }
    assert_eq!(deployment.rows()?.len(), 2, "each event is stored once");
    Ok(())
}

#[tokio::test]
async fn a_forged_webhook_is_an_answer_and_not_an_error_and_writes_nothing() -> anyhow::Result<()> {
    let deployment = keysteward_tests::Deployment::start().await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let body = thin("acct_1Forged", "evt_test_forged").to_string();
    let other = thin("acct_1Forged", "evt_test_other").to_string();
    let forged = events::http_webhook_base64(body.as_bytes(), &signed(other.as_bytes()))?;
    let answer = webhook.http(&forged).await?;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()?["code"], "bad_signature");
    assert_eq!(deployment.rows()?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn an_installation_from_another_browser_is_refused_by_the_binary() -> anyhow::Result<()> {
    let deployment = keysteward_tests::Deployment::start().await?;
    let mut install = deployment.function(Name::Install).await?;
    let at = account("acct_1Other")?;
    deployment.stripe.add_account("acct_1Other", fake_stripe::AccountSpec::default());
    let (_, callback) = deployment.click_install(&mut install, &at).await?;
    let page = install.http(&events::http_install(&callback, None)?).await?;
    assert_eq!(page.status, 400, "{}", String::from_utf8_lossy(&page.body));
    assert_eq!(deployment.rows()?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn every_http_function_is_healthy_and_knows_no_other_path() -> anyhow::Result<()> {
    let deployment = keysteward_tests::Deployment::start().await?;
    for name in [Name::Install, Name::Webhook, Name::Keys] {
        let mut function = deployment.function(name).await?;
        let healthy = function.http(&events::http_key("/health")?).await?;
        assert_eq!(healthy.status, 200, "{name:?}");
        let stranger = function.http(&events::http_key("/nowhere")?).await?;
        assert_eq!(stranger.status, 404, "{name:?}");
        assert!(stranger.json()?["code"].is_string(), "{name:?}");
    }
    Ok(())
}
