//! What is sent and what is kept of the answers, against a server of scripted answers.

use serde_json::{Value, json};

use super::*;
use crate::domain::intent::How;
use crate::stripe::testing::{Reply, Server, account, client, client_at, key_id};
use crate::stripe::{Refusal, testing};

const JWE: &str = "eyJhbGciOiJSU0EtT0FFUC0yNTYifQ.a_b-c.iv.ciphertext.tag";

fn intent() -> Intent {
    Intent {
        idempotency_key: "keysteward-1".to_owned(),
        path: "/v2/iam/api_keys".to_owned(),
        // Odd spacing: what is sent is what was recorded, not what a serialiser makes of it.
        body: "{ \"type\" :\"secret_key\",\n\"name\":\"é\" }".to_owned(),
        stripe_version: "2026-08-26.preview".to_owned(),
        kid: None,
        how: How::Create,
        asked_at: Timestamp::EPOCH,
        attempts: 0,
    }
}

fn api_key(id: &str, tokens: Value) -> Value {
    let mut key = json!({
        "id": id, "object": "v2.iam.api_key", "created": "2025-01-01T00:00:00.000Z",
        "expires_at": null, "ip_allowlist": [], "last_used": null, "livemode": true,
        "managed_by": {"type": "application", "application": {"id": "ca_1"}},
        "name": "Keysteward", "note": null, "status": "active", "type": "secret_key",
        "permissions": null,
    });
    for (name, value) in tokens.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

async fn sent(answer: Value) -> Result<Minted, Error> {
    let server = Server::start([Reply::json(200, answer).header("request-id", "req_1")]).await;
    client(&server).send(&account(), &intent()).await
}

#[tokio::test]
async fn an_intent_is_sent_byte_for_byte_with_its_own_version_and_key() {
    let server = Server::start([Reply::json(200, api_key("mk_1", json!({})))]).await;
    client(&server).send(&account(), &intent()).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "POST /v2/iam/api_keys");
    assert_eq!(seen.body, intent().body.as_bytes());
    for (name, value) in [
        ("authorization", "Bearer sk_live_app"),
        ("stripe-version", "2026-08-26.preview"),
        ("stripe-context", "acct_1"),
        ("content-type", "application/json"),
        ("idempotency-key", "keysteward-1"),
        ("user-agent", concat!("keysteward/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_test_account_is_asked_with_the_test_key() {
    let server = Server::start([Reply::json(200, api_key("mk_1", json!({})))]).await;
    let at = AccountRef::new(Mode::Test, account().id);
    client(&server).retrieve(&at, &key_id("mk_1")).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "GET /v2/iam/api_keys/mk_1");
    assert_eq!(seen.header("authorization"), Some("Bearer sk_test_app"));
    assert_eq!(seen.header("stripe-version"), Some("2026-04-22.preview"));
    assert_eq!(seen.header("content-type"), None);
}

#[tokio::test]
async fn a_live_secret_is_delivered_sealed_and_as_received() {
    let tokens = json!({"secret_key": {
        "encrypted_secret": {"ciphertext": JWE, "format": "jwe_compact", "recipient_key_id": "kid_1"},
        "secret_token_redacted": "sk_live_...qLsu", "token": null,
    }});
    let minted = sent(api_key("mk_1", tokens)).await.unwrap();
    assert_eq!(minted.key.id, key_id("mk_1"));
    assert_eq!(minted.key.managed_by.as_deref(), Some("ca_1"));
    match minted.secret {
        Delivered::Sealed { compact, recipient } => {
            assert_eq!(compact, JWE);
            assert_eq!(recipient.as_deref(), Some("kid_1"));
        }
        other => panic!("expected a sealed secret, got {other:?}"),
    }
}

#[tokio::test]
async fn a_sandbox_secret_is_delivered_in_the_clear_and_never_printed() {
    let tokens = json!({"secret_key": {"encrypted_secret": null, "token": "sk_test_plain"}, "livemode": false});
    let minted = sent(api_key("mk_1", tokens)).await.unwrap();
    assert_eq!(minted.key.mode, Mode::Test);
    assert!(!format!("{minted:?}").contains("plain"));
    match minted.secret {
        Delivered::Clear(token) => assert_eq!(token.expose(), "sk_test_plain"),
        other => panic!("expected a token, got {other:?}"),
    }
}

#[tokio::test]
async fn a_publishable_key_is_delivered_as_such() {
    let tokens = json!({"type": "publishable_key", "publishable_key": {"token": "pk_live_1"}});
    let minted = sent(api_key("mk_1", tokens)).await.unwrap();
    assert!(matches!(minted.secret, Delivered::Publishable(token) if token == "pk_live_1"));
}

#[tokio::test]
async fn a_secret_that_is_not_usable_is_absent_and_a_key_in_the_clear_is_never_taken_for_a_jwe() {
    for tokens in [
        json!({}),
        json!({"secret_key": null}),
        json!({"secret_key": {}}),
        json!({"secret_key": {"encrypted_secret": {}}}),
        json!({"secret_key": {"encrypted_secret": {"ciphertext": "sk_live_plain"}}}),
        json!({"secret_key": {"encrypted_secret": {"ciphertext": "a.b..c.d"}}}),
        json!({"secret_key": {"token": ""}}),
        json!({"type": "publishable_key", "publishable_key": {"token": "sk_live_plain"}}),
        json!({"type": "publishable_key", "secret_key": {"token": "sk_live_plain"}}),
    ] {
        let minted = sent(api_key("mk_1", tokens.clone())).await.unwrap();
        assert!(matches!(minted.secret, Delivered::Absent), "{tokens}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_key_is_malformed_and_ambiguous_and_says_nothing_of_itself() {
    for answer in [
        json!("sk_live_plain"),
        json!({"id": "sk_live_plain"}),
        api_key("sk_live_plain", json!({})),
        api_key("mk_1", json!({"created": "sk_live_plain"})),
        api_key("mk_1", json!({"type": "sk_live_plain"})),
        api_key("mk_1", json!({"secret_key": "sk_live_plain"})),
    ] {
        let error = sent(answer.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{answer}");
        assert!(error.is_ambiguous());
        assert_eq!(error.request_id(), Some("req_1"));
        assert!(!format!("{error:?} {error}").contains("plain"), "{answer}");
    }
}

#[tokio::test]
async fn a_stored_path_cannot_lead_to_another_host() {
    let server = Server::start([Reply::json(200, api_key("mk_1", json!({})))]).await;
    // Its origin is the server's own, and it is nothing that can be asked.
    let blob = format!("blob:{}/x", server.base);
    for path in [
        "//127.0.0.2/v2/iam/api_keys",
        "http://127.0.0.2/",
        "\\\\127.0.0.2/",
        "http://a@127.0.0.1/",
        &blob,
    ] {
        let intent = Intent { path: path.to_owned(), ..intent() };
        let sent = client(&server).send(&account(), &intent).await;
        assert!(matches!(sent, Err(Error::ForeignPage)), "{path}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_header_that_cannot_be_written_is_not_sent() {
    let server = Server::start([Reply::json(200, api_key("mk_1", json!({})))]).await;
    let intent = Intent { idempotency_key: "a\nb".to_owned(), ..intent() };
    let error = client(&server).send(&account(), &intent).await.unwrap_err();
    assert!(matches!(error, Error::Unsendable));
    assert!(!error.is_ambiguous());
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn without_the_key_of_a_mode_nothing_is_sent() {
    let options = crate::stripe::Options {
        api_base: "http://127.0.0.1:1".to_owned(),
        stripe_version: "v".to_owned(),
        keys: crate::stripe::AppKeys { live: None, test: None },
        max_rps: 1,
        timeout: std::time::Duration::from_secs(1),
    };
    let sent = Stripe::new(options).unwrap().send(&account(), &intent()).await;
    assert!(matches!(sent, Err(Error::MissingAppKey(Mode::Live))));
}

#[tokio::test]
async fn a_list_is_read_to_its_end_and_its_tokens_are_dropped() {
    let token = json!({"secret_key": {"token": "sk_test_plain", "encrypted_secret": null}});
    let server = Server::start([
        Reply::json(
            200,
            json!({"data": [api_key("mk_1", token.clone()), api_key("mk_2", json!({"type": "new_kind"}))],
                   "next_page_url": "{base}/v2/iam/api_keys?page=2", "previous_page_url": null}),
        ),
        Reply::json(
            200,
            json!({"data": [api_key("mk_3", json!({"status": "expired", "expires_at": "2025-02-01T00:00:00Z"})),
                            api_key("mk_4", json!({"status": "paused"}))],
                   "next_page_url": null, "previous_page_url": "{base}/v2/iam/api_keys?page=1"}),
        ),
    ])
    .await;
    let keys = client(&server).list(&account(), true).await.unwrap();
    let ids: Vec<(&str, KeyStatus)> =
        keys.iter().map(|key| (key.id.as_str(), key.status)).collect();
    assert_eq!(
        ids,
        [("mk_1", KeyStatus::Active), ("mk_3", KeyStatus::Expired), ("mk_4", KeyStatus::Other)]
    );
    assert_eq!(keys[1].expires_at, Some(Timestamp::parse("2025-02-01T00:00:00Z").unwrap()));
    assert!(!format!("{keys:?}").contains("plain"));
    let lines: Vec<String> = server.seen().iter().map(testing::Seen::line).collect();
    assert_eq!(
        lines,
        ["GET /v2/iam/api_keys?limit=100&include_expired=true", "GET /v2/iam/api_keys?page=2"]
    );
    assert_eq!(server.seen()[1].header("stripe-context"), Some("acct_1"));
}

#[tokio::test]
async fn a_list_that_leaves_the_host_or_does_not_end_is_given_up() {
    let page = |next: &str| Reply::json(200, json!({"data": [], "next_page_url": next}));
    for next in [
        "https://evil.example/v2/iam/api_keys",
        "http://127.0.0.1:1/v2/iam/api_keys",
        "http://localhost/v2",
        "//evil.example/",
        "file:///etc/passwd",
    ] {
        let server = Server::start([page(next)]).await;
        let listed = client(&server).list(&account(), false).await;
        assert!(matches!(listed, Err(Error::ForeignPage)), "{next}");
        assert_eq!(server.seen().len(), 1);
    }
    let server = Server::start([page("{base}/v2/iam/api_keys?page=2")]).await;
    assert!(matches!(client(&server).list(&account(), false).await, Err(Error::EndlessList)));
    assert_eq!(server.seen().len(), 2, "the page that was read is not asked for again");
    let endless: [Reply; 101] =
        std::array::from_fn(|page_number| page(&format!("/v2/iam/api_keys?page={page_number}")));
    let server = Server::start(endless).await;
    assert!(matches!(client(&server).list(&account(), false).await, Err(Error::EndlessList)));
    assert_eq!(server.seen().len(), 100);
}

#[tokio::test]
async fn an_expiry_has_an_empty_body() {
    let server =
        Server::start([Reply::json(200, api_key("mk_1", json!({"status": "expired"})))]).await;
    let stripe = client(&server);
    let key = stripe.expire(&account(), &key_id("mk_1"), "idem_3").await.unwrap();
    assert_eq!(key.status, KeyStatus::Expired);
    let seen = server.seen();
    assert_eq!(seen[0].line(), "POST /v2/iam/api_keys/mk_1/expire");
    assert_eq!(seen[0].body, b"{}");
    assert_eq!(seen[0].header("idempotency-key"), Some("idem_3"));
    assert_eq!(seen[0].header("stripe-version"), Some("2026-04-22.preview"));
}

#[tokio::test]
async fn a_refusal_is_named() {
    let body = json!({"error": {"code": "api_key_limit_reached", "message": "sk_live_plain"}});
    let server = Server::start([Reply::json(400, body).header("request-id", "req_9")]).await;
    let error = client(&server).send(&account(), &intent()).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::LimitReached));
    assert_eq!(error.request_id(), Some("req_9"));
    assert!(!format!("{error:?} {error}").contains("plain"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_beyond_its_bound_is_not_read() {
    let server = Server::start([Reply::text(200, " ".repeat(1024 * 1024 + 1))]).await;
    let timeout = std::time::Duration::from_secs(5);
    let error = client_at(&server.base, timeout).send(&account(), &intent()).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }));
    assert!(error.is_ambiguous());
}
