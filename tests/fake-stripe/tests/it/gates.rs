//! What a call must bring, and what it is refused for.

use fake_stripe::{AccountSpec, Options};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_call_needs_a_key_a_version_and_a_users_account() {
    let setup = setup().await;
    let url = setup.url("/v2/iam/api_keys");
    let nobody = send(setup.client.get(&url)).await;
    assert_eq!(nobody.status, 401);
    let stranger = send(setup.client.get(&url).bearer_auth("sk_live_other")).await;
    assert_eq!(stranger.status, 401);
    let versionless = setup.client.get(&url).bearer_auth(LIVE).header("stripe-context", ACCOUNT);
    let versionless = send(versionless).await;
    assert_eq!((versionless.status, versionless.code()), (400, "invalid_fields"));
    for context in ["", "acct_fakeplatform"] {
        let direct = setup.client.get(&url).bearer_auth(LIVE).header("stripe-version", VERSION);
        let direct = send(direct.header("stripe-context", context)).await;
        assert_eq!(direct.status, 400);
        assert_eq!(direct.code(), "api_key_direct_operation_not_supported");
    }
    let basic = setup.client.get(&url).basic_auth(LIVE, Some("")).header("stripe-version", VERSION);
    assert_eq!(send(basic.header("stripe-context", ACCOUNT)).await.status, 200);
    let account = setup.client.get(&url).bearer_auth(LIVE).header("stripe-version", VERSION);
    assert_eq!(send(account.header("stripe-account", ACCOUNT)).await.status, 200);
}

#[tokio::test]
async fn a_minted_key_cannot_manage_keys() {
    let setup = setup().await;
    let token = setup.token(&setup.create_live().await.id());
    let refused = setup.get(&token, "/v2/iam/api_keys").await;
    assert_eq!(refused.code(), "api_key_direct_operation_not_supported");
}

#[tokio::test]
async fn an_account_must_exist_and_have_the_app_in_the_mode_of_the_key() {
    let setup = uninstalled().await;
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 403);
    assert!(setup.fake.install(ACCOUNT, true));
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 200);
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 403);
    let only_test = AccountSpec { live: false, ..AccountSpec::default() };
    setup.fake.add_account("acct_sandbox", only_test);
    assert!(!setup.fake.install("acct_sandbox", true));
    assert!(!setup.fake.install("acct_nobody", true));
}

#[tokio::test]
async fn live_keys_wait_for_activation_and_test_keys_do_not() {
    let setup = setup().await;
    setup.fake.set_activated(ACCOUNT, false);
    let refused = setup.create_live().await;
    assert_eq!((refused.status, refused.code()), (403, "account_not_activated"));
    assert_eq!(setup.create_test().await.status, 200);
    setup.fake.set_activated(ACCOUNT, true);
    assert_eq!(setup.create_live().await.status, 200);
}

#[tokio::test]
async fn the_app_needs_the_permission_to_write_keys() {
    let setup = setup().await;
    setup.fake.set_permissions(false, true);
    let refused = setup.create_test().await;
    assert_eq!((refused.status, refused.code()), (403, "permission_missing"));
    assert_eq!(setup.get(TEST, "/v2/core/events").await.status, 200);
}

#[tokio::test]
async fn a_key_is_found_only_in_its_account_and_mode() {
    let setup = setup().await;
    let id = setup.create_live().await.id();
    let path = format!("/v2/iam/api_keys/{id}");
    let other_mode = setup.get(TEST, &path).await;
    assert_eq!((other_mode.status, other_mode.code()), (400, "api_key_livemode_mismatch"));
    setup.fake.add_account("acct_other", AccountSpec::default());
    setup.fake.install("acct_other", true);
    let elsewhere = setup.client.get(setup.url(&path)).bearer_auth(LIVE);
    let elsewhere = elsewhere.header("stripe-version", VERSION);
    let elsewhere = send(elsewhere.header("stripe-context", "acct_other")).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (404, "not_found"));
}

#[tokio::test]
async fn the_number_of_active_keys_is_limited() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.key_limit = 2);
    let first = setup.create_test().await.id();
    setup.create_test().await.id();
    let refused = setup.create_test().await;
    assert_eq!((refused.status, refused.code()), (400, "api_key_limit_reached"));
    assert_eq!(setup.create_live().await.status, 200);
    setup.post(TEST, &format!("/v2/iam/api_keys/{first}/expire"), json!({})).await.id();
    assert_eq!(setup.create_test().await.status, 200);
}

#[tokio::test]
async fn a_body_must_be_a_json_object_and_say_so() {
    let setup = setup().await;
    let request = setup.request(reqwest::Method::POST, TEST, "/v2/iam/api_keys");
    let form = send(request.form(&[("type", "secret_key")])).await;
    assert_eq!((form.status, form.code()), (400, "invalid_fields"));
    let list = setup.post(TEST, "/v2/iam/api_keys", json!([])).await;
    assert_eq!((list.status, list.code()), (400, "invalid_fields"));
    let lost = setup.post(TEST, "/v2/iam/nothing", json!({})).await;
    assert_eq!(lost.status, 404);
}

#[tokio::test]
async fn every_answer_names_its_request_and_its_version() {
    let setup = setup().await;
    let created = setup.create_test().await;
    let id = created.header("request-id").expect("a request id");
    assert!(id.starts_with("req_"));
    assert_eq!(created.header("stripe-version"), Some(VERSION));
    assert!(created.header("idempotency-key").is_some());
    let call = &setup.fake.log()[0];
    assert_eq!((call.request_id.as_str(), call.status), (id, Some(200)));
    let refused = setup.get(TEST, "/v2/iam/api_keys/mk_none").await;
    assert_eq!(refused.header("stripe-should-retry"), Some("false"));
}

#[tokio::test]
async fn rate_limits_name_what_was_exceeded() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.rate_limit_per_second = Some(3);
        it.endpoint_rate_limit_per_second = Some(2);
    });
    let mut reasons = Vec::new();
    for path in ["/v2/iam/api_keys", "/v2/iam/api_keys", "/v2/iam/api_keys", "/v2/core/events"] {
        let reply = setup.get(TEST, path).await;
        reasons.push(reply.header("stripe-rate-limited-reason").unwrap_or("").to_owned());
    }
    assert_eq!(reasons, ["", "", "endpoint-rate", "global-rate"]);
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 200);
    setup.clock.advance(1_000);
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 200);
}

#[tokio::test]
async fn a_call_counts_against_the_limits_of_the_account_whose_key_it_came_with() {
    let setup = setup().await;
    let token = setup.token(&setup.create_test().await.id());
    setup.clock.advance(1_000);
    setup.fake.set_behaviour(|it| it.rate_limit_per_second = Some(1));
    assert_eq!(setup.probe(&token).await, 200);
    assert_eq!(setup.probe(&token).await, 429, "the account's own limit");
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 200, "the app's is another");
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 429);
}

#[tokio::test]
async fn a_call_takes_as_long_as_it_was_told_to() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.arrives_after_ms = (20, 30);
        it.answers_after_ms = (20, 30);
    });
    let asked = std::time::Instant::now();
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 200);
    assert!(asked.elapsed().as_millis() >= 40, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn keys_that_could_be_real_are_refused_at_the_start() {
    let mut options = Options::default();
    options.app.api_key_live = "sk_live_51abc".into();
    let error = fake_stripe::FakeStripe::start(options).await.expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn no_debug_output_shows_a_token() {
    let setup = setup().await;
    let id = setup.create_test().await.id();
    let token = setup.token(&id);
    setup.probe(&token).await;
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        setup.fake,
        setup.fake.log(),
        setup.fake.keys(ACCOUNT),
        setup.fake.take_deliveries(),
        Options::default(),
    );
    for secret in [token.as_str(), LIVE, TEST, "absec_", "whsec_"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
