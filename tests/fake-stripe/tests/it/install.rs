//! The pages a user sees and what comes back from them.

use std::collections::BTreeMap;

use fake_stripe::{AccountSpec, sign};
use serde_json::json;
use url::Url;

use crate::support::*;

const BACK: &str = "http://127.0.0.1:9/install/callback";
const LINK: &str = "/apps/install/link/lnk_1";
const OAUTH: &str = "/oauth/v2/chnlink_61_test/authorize";

async fn post(setup: &Setup, path: &str, fields: &[(&str, &str)]) -> Reply {
    send(setup.client.post(setup.url(path)).form(fields)).await
}

/// Fields of the address that a 303 leads to.
fn landed(reply: &Reply) -> BTreeMap<String, String> {
    assert_eq!(reply.status, 303, "{}", reply.text);
    let location = Url::parse(reply.header("location").expect("a location")).expect("a URL");
    assert!(location.as_str().starts_with(BACK));
    location.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn an_install_link_shows_the_accounts_and_comes_back_signed() {
    let setup = uninstalled().await;
    let query = format!("{LINK}?redirect_uri={BACK}&state=st%3C1");
    let page = send(setup.client.get(setup.url(&query))).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains(ACCOUNT) && page.text.contains("live mode"));
    assert!(page.text.contains("value=\"st&lt;1\""));
    let fields =
        [("redirect_uri", BACK), ("state", "st<1"), ("account", ACCOUNT), ("decision", "install")];
    let back = landed(&post(&setup, LINK, &fields).await);
    assert_eq!((back["user_id"].as_str(), back["account_id"].as_str()), ("usr_1User", ACCOUNT));
    assert_eq!(back["state"], "st<1");
    assert!(!back.contains_key("livemode"));
    let signed = r#"{"state":"st<1","user_id":"usr_1User","account_id":"acct_1User"}"#;
    let expected = sign(&["absec_fake_app"], NOON / 1000, signed.as_bytes());
    assert_eq!(back["install_signature"], expected);
    assert_eq!(setup.delivered_types(), ["account.application.authorized"]);
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 200);
}

#[tokio::test]
async fn a_test_link_says_that_it_is_not_live() {
    let setup = uninstalled().await;
    let fields = [("redirect_uri", BACK), ("account", ACCOUNT), ("decision", "install")];
    let back = landed(&post(&setup, "/apps/install/link/lnk_1_test", &fields).await);
    assert_eq!(back["livemode"], "false");
    let signed = r#"{"user_id":"usr_1User","account_id":"acct_1User"}"#;
    let expected = sign(&["absec_fake_app"], NOON / 1000, signed.as_bytes());
    assert_eq!(back["install_signature"], expected);
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 200);
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 403);
}

#[tokio::test]
async fn a_refusal_comes_back_as_one() {
    let setup = uninstalled().await;
    let fields = [("redirect_uri", BACK), ("state", "s"), ("decision", "cancel")];
    let back = landed(&post(&setup, LINK, &fields).await);
    assert_eq!(back["error"], "access_denied");
    assert_eq!(back["error_description"], "The user denied your request");
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 403);
}

#[tokio::test]
async fn a_link_elsewhere_or_of_another_app_does_not_work() {
    let setup = uninstalled().await;
    for path in [
        format!("{LINK}?redirect_uri=https://example.com/"),
        format!("{LINK}?redirect_uri=javascript:alert(1)"),
        LINK.to_owned(),
        format!("{OAUTH}?client_id=ca_other&redirect_uri={BACK}"),
    ] {
        assert_eq!(send(setup.client.get(setup.url(&path))).await.status, 400, "{path}");
    }
}

async fn oauth_install(setup: &Setup) -> String {
    let fields = [
        ("client_id", "ca_fake_app"),
        ("redirect_uri", BACK),
        ("state", "s"),
        ("account", ACCOUNT),
        ("decision", "install"),
    ];
    let back = landed(&post(setup, OAUTH, &fields).await);
    assert_eq!(back["state"], "s");
    back["code"].clone()
}

async fn exchange(setup: &Setup, key: &str, fields: &[(&str, &str)]) -> Reply {
    let request = setup.client.post(setup.url("/v1/oauth/token")).basic_auth(key, Some(""));
    send(request.form(fields)).await
}

#[tokio::test]
async fn a_code_is_exchanged_once_within_five_minutes_in_its_mode() {
    let setup = uninstalled().await;
    let code = oauth_install(&setup).await;
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str())];
    let other_mode = exchange(&setup, LIVE, &fields).await;
    assert_eq!((other_mode.status, &other_mode.body["error"]), (400, &json!("invalid_grant")));
    let granted = exchange(&setup, TEST, &fields).await;
    assert_eq!(granted.status, 200);
    assert_eq!(granted.body["stripe_user_id"], ACCOUNT);
    assert_eq!(granted.body["livemode"], false);
    assert_eq!(granted.body["scope"], "stripe_apps");
    let again = exchange(&setup, TEST, &fields).await;
    assert_eq!((again.status, &again.body["error"]), (400, &json!("invalid_grant")));

    let refresh = granted.body["refresh_token"].as_str().expect("a refresh token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(exchange(&setup, TEST, &fields).await.status, 200);
    assert_eq!(exchange(&setup, TEST, &fields).await.status, 400);

    let late = oauth_install(&setup).await;
    setup.clock.advance(5 * MINUTE);
    let fields = [("grant_type", "authorization_code"), ("code", late.as_str())];
    assert_eq!(exchange(&setup, TEST, &fields).await.body["error"], "invalid_grant");
}

#[tokio::test]
async fn oauth_errors_name_what_is_wrong() {
    let setup = setup().await;
    let error = async |key: &str, fields: &[(&str, &str)]| {
        let reply = exchange(&setup, key, fields).await;
        (reply.status, reply.body["error"].as_str().unwrap_or("?").to_owned())
    };
    let code = ("code", "ac_1");
    let unknown = error("sk_test_other", &[code]).await;
    assert_eq!(unknown, (401, "invalid_client".into()));
    assert_eq!(error(TEST, &[code]).await, (400, "invalid_request".into()));
    let grant = ("grant_type", "password");
    assert_eq!(error(TEST, &[code, grant]).await, (400, "unsupported_grant_type".into()));
    let grant = ("grant_type", "authorization_code");
    assert_eq!(error(TEST, &[grant]).await, (400, "invalid_request".into()));
    assert_eq!(error(TEST, &[grant, code]).await, (400, "invalid_grant".into()));
}

#[tokio::test]
async fn the_dashboard_shows_keys_without_tokens_and_does_what_a_user_does() {
    let setup = setup().await;
    let id = setup.create_test().await.id();
    let token = setup.token(&id);
    let base = format!("/dashboard/{ACCOUNT}");
    let page = send(setup.client.get(setup.url(&base))).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains(&id) && !page.text.contains(&token));

    let rotated =
        post(&setup, &format!("{base}/keys/{id}/rotate"), &[("overlap_minutes", "5")]).await;
    assert_eq!((rotated.status, rotated.header("location")), (303, Some(base.as_str())));
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 2);
    let back = [("return_to", BACK)];
    let expired = post(&setup, &format!("{base}/keys/{id}/expire"), &back).await;
    assert_eq!((expired.status, expired.header("location")), (303, Some(BACK)));
    assert!(!setup.fake.token_works(&token));

    let publishable = json!({"type": "publishable_key"});
    let publishable = setup.post(TEST, "/v2/iam/api_keys", publishable).await.id();
    let refused = post(&setup, &format!("{base}/keys/{publishable}/expire"), &[]).await;
    assert_eq!(refused.status, 400);

    post(&setup, &format!("{base}/deactivate"), &[]).await;
    assert_eq!(setup.create_live().await.code(), "account_not_activated");
    post(&setup, &format!("{base}/activate"), &[]).await;
    assert_eq!(setup.create_live().await.status, 200);
    post(&setup, &format!("{base}/uninstall"), &[("mode", "test"), ("keys", "expire")]).await;
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 403);
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 200);
}

#[tokio::test]
async fn an_account_that_is_not_there_cannot_install() {
    let setup = uninstalled().await;
    setup.fake.add_account("acct_sandbox", AccountSpec { live: false, ..AccountSpec::default() });
    let page = send(setup.client.get(setup.url(&format!("{LINK}?redirect_uri={BACK}")))).await;
    assert!(!page.text.contains("acct_sandbox"));
    let fields = [("redirect_uri", BACK), ("account", "acct_sandbox"), ("decision", "install")];
    assert_eq!(post(&setup, LINK, &fields).await.status, 400);
}
