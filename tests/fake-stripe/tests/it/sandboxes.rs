//! Claimable sandboxes.

use fake_stripe::{AppInstall, SandboxContext};
use serde_json::{Value, json};

use crate::support::*;

const BOX: &str = "acct_1Box";
const OWNER: &str = "acct_1Owner";

async fn fetched(setup: &Setup, key: &str, id: &str) -> Reply {
    let url = setup.url(&format!("/v2/core/claimable_sandboxes/{id}"));
    send(setup.client.get(url).bearer_auth(key).header("stripe-version", VERSION)).await
}

fn last_event(setup: &Setup) -> Value {
    setup.delivered().pop().expect("a notification")
}

#[tokio::test]
async fn a_sandbox_is_told_of_thin_and_read_with_the_test_key_in_nobodys_context() {
    let setup = setup().await;
    let id = setup.fake.add_sandbox(BOX);
    assert!(id.starts_with("clmsbx_test_"));
    let event = last_event(&setup);
    assert_eq!(event["type"], "v2.core.claimable_sandbox.created");
    assert_eq!(event["related_object"]["id"], id);
    assert_eq!((&event["context"], &event["livemode"]), (&Value::Null, &json!(false)));
    assert!(event.get("data").is_none());
    let sandbox = fetched(&setup, TEST, &id).await;
    assert_eq!(sandbox.status, 200, "{}", sandbox.message());
    assert_eq!(sandbox.body["status"], "unclaimed");
    assert_eq!(sandbox.body["sandbox_details"], json!({"account": BOX, "api_keys": null}));
    assert_eq!(sandbox.body["owner_details"], Value::Null);
    assert_eq!(fetched(&setup, LIVE, &id).await.status, 404);
    assert_eq!(fetched(&setup, "sk_test_fake_other", &id).await.status, 401);
    assert_eq!(fetched(&setup, TEST, "clmsbx_test_2").await.status, 404);
    let path = format!("/v2/core/claimable_sandboxes/{id}");
    assert_eq!(setup.get(TEST, &path).await.status, 404, "not in the context of an account");
}

#[tokio::test]
async fn it_is_taken_and_goes_live_and_its_owner_is_named() {
    let setup = setup().await;
    let id = setup.fake.add_sandbox(BOX);
    assert!(!setup.fake.take_sandbox_live(&id, AppInstall::Installed), "nobody has taken it");
    assert!(setup.fake.claim_sandbox(&id, OWNER));
    assert!(!setup.fake.claim_sandbox(&id, OWNER));
    assert_eq!(last_event(&setup)["type"], "v2.core.claimable_sandbox.claimed");
    let owner = |install: &str| json!({"account": OWNER, "app_install_status": install});
    assert_eq!(fetched(&setup, TEST, &id).await.body["owner_details"], owner("pending_onboarding"));
    for (install, word, keys) in [
        (AppInstall::PendingInstall, "pending_install", 403),
        (AppInstall::Installed, "installed", 200),
    ] {
        assert!(setup.fake.take_sandbox_live(&id, install));
        assert_eq!(last_event(&setup)["type"], "v2.core.claimable_sandbox.updated");
        let sandbox = fetched(&setup, TEST, &id).await.body;
        assert_eq!((&sandbox["status"], &sandbox["owner_details"]), (&json!("live"), &owner(word)));
        let request = setup.client.get(setup.url("/v2/iam/api_keys")).bearer_auth(LIVE);
        let request = request.header("stripe-version", VERSION).header("stripe-context", OWNER);
        assert_eq!(send(request).await.status, keys);
    }
    assert!(!setup.fake.expire_sandbox(&id), "it was taken");
}

#[tokio::test]
async fn one_that_nobody_takes_expires_with_the_apps_access() {
    let setup = setup().await;
    let id = setup.fake.add_sandbox(BOX);
    assert!(setup.fake.expire_sandbox(&id));
    assert_eq!(last_event(&setup)["type"], "v2.core.claimable_sandbox.expired");
    assert_eq!(fetched(&setup, TEST, &id).await.body["status"], "expired");
    assert!(!setup.fake.claim_sandbox(&id, OWNER));
    let request = setup.client.get(setup.url("/v2/iam/api_keys")).bearer_auth(TEST);
    let request = request.header("stripe-version", VERSION).header("stripe-context", BOX);
    assert_eq!(send(request).await.status, 403);
}

#[tokio::test]
async fn whose_its_events_are_is_a_switch() {
    let setup = setup().await;
    for (context, named) in [
        (SandboxContext::Null, Value::Null),
        (SandboxContext::Platform, json!("acct_fakeplatform")),
        (SandboxContext::Sandbox, json!(BOX)),
    ] {
        setup.fake.set_behaviour(|it| it.sandbox_context = context);
        setup.fake.add_sandbox(BOX);
        assert_eq!(last_event(&setup)["context"], named);
    }
}
