//! Making, showing and changing keys.

use fake_stripe::JweAlg;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use serde_json::json;

use crate::support::*;

/// RSA of 1024 bits.
const SMALL: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDE+91L9aHbWaoFJKSfSAP52Jr8\n\
iEGykbS4by5YTypHv4wUT2chX79KSjcZNGWx65Jl3Bs2NJbDfB+St2oDEMbMdx8G\n\
YdfJUfnjlr7bs2gwRrwiu2ThnuqwrcrgkjSBTNQEVWPM7KItOFlUFOopZqMKGcQH\n\
Q0c90wTuu7/GKRcjmQIDAQAB\n\
-----END PUBLIC KEY-----";

#[tokio::test]
async fn a_live_secret_arrives_only_sealed_and_only_once() {
    let setup = setup().await;
    let created = setup.create_live().await;
    let secret = &created.body["secret_key"];
    assert!(secret["token"].is_null());
    assert_eq!(secret["encrypted_secret"]["format"], "jwe_compact");
    assert_eq!(secret["encrypted_secret"]["recipient_key_id"], "kid_1");
    let ciphertext = secret["encrypted_secret"]["ciphertext"].as_str().expect("a JWE");
    let token = open(ciphertext, RsaesJweAlgorithm::RsaOaep256);
    assert_eq!(token, setup.token(&created.id()));
    assert!(token.starts_with("sk_live_") && token.len() == 107);
    let redacted = secret["secret_token_redacted"].as_str().expect("redacted");
    assert_eq!(redacted, format!("sk_live_...{}", &token[103..]));
    assert_eq!(setup.probe(&token).await, 200);

    let again = setup.get(LIVE, &format!("/v2/iam/api_keys/{}", created.id())).await;
    assert!(again.body["secret_key"]["encrypted_secret"].is_null());
    let list = setup.get(LIVE, "/v2/iam/api_keys").await;
    for answer in [&created, &again, &list] {
        assert!(!answer.text.contains(&token));
    }
}

#[tokio::test]
async fn the_algorithm_of_the_jwe_can_be_switched() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.jwe_alg = JweAlg::RsaOaep);
    let created = setup.create_live().await;
    let ciphertext = created.body["secret_key"]["encrypted_secret"]["ciphertext"].as_str();
    let alg = RsaesJweAlgorithm::RsaOaep;
    assert_eq!(open(ciphertext.expect("a JWE"), alg), setup.token(&created.id()));
}

#[tokio::test]
async fn a_sandbox_secret_arrives_in_the_clear_and_lists_show_it() {
    let setup = setup().await;
    let created = setup.post(TEST, "/v2/iam/api_keys", secret_key()).await;
    let token = setup.token(&created.id());
    assert!(token.starts_with("sk_test_"));
    assert_eq!(created.body["secret_key"]["token"], token.as_str());
    assert!(created.body["secret_key"]["encrypted_secret"].is_null());
    let list = setup.get(TEST, "/v2/iam/api_keys").await;
    assert_eq!(list.body["data"][0]["secret_key"]["token"], token.as_str());
}

#[tokio::test]
async fn a_publishable_key_is_plain_and_takes_no_public_key() {
    let setup = setup().await;
    let body = json!({"type": "publishable_key"});
    let created = setup.post(LIVE, "/v2/iam/api_keys", body).await;
    let token = setup.token(&created.id());
    assert!(token.starts_with("pk_live_"));
    assert_eq!(created.body["publishable_key"]["token"], token.as_str());
    assert!(created.body.get("secret_key").is_none());
    assert_eq!(setup.probe(&token).await, 403);
    setup.fake.set_behaviour(|it| it.publishable_answers_401 = true);
    assert_eq!(setup.probe(&token).await, 401);
    let body = json!({"type": "publishable_key", "public_key": public_key()});
    let refused = setup.post(LIVE, "/v2/iam/api_keys", body).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_fields"));
}

#[tokio::test]
async fn a_public_key_that_is_missing_small_or_malformed_is_refused() {
    let setup = setup().await;
    let keys = [
        json!(null),
        json!("text"),
        json!({"pem_key": {"algorithm": "EC", "data": public_key()["pem_key"]["data"]}}),
        json!({"pem_key": {"algorithm": "RSA", "data": "no PEM"}}),
        json!({"pem_key": {"algorithm": "RSA",
            "data": "-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----"}}),
        json!({"pem_key": {"algorithm": "RSA", "data": SMALL}}),
    ];
    for key in keys {
        let body = json!({"type": "secret_key", "public_key": key});
        let refused = setup.post(LIVE, "/v2/iam/api_keys", body).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_fields"), "{key}");
    }
    assert!(setup.fake.keys(ACCOUNT).is_empty());
}

#[tokio::test]
async fn a_pem_may_have_its_body_on_one_line() {
    let setup = setup().await;
    let mut body = secret_key();
    let pem = body["public_key"]["pem_key"]["data"].as_str().expect("a PEM").replace('\n', "");
    let pem = pem.replace("KEY-----M", "KEY-----\nM").replace("-----END", "\n-----END");
    body["public_key"]["pem_key"]["data"] = json!(pem);
    assert_eq!(setup.post(LIVE, "/v2/iam/api_keys", body).await.status, 200);
}

#[tokio::test]
async fn the_two_versions_of_the_request_differ_in_permissions() {
    let setup = setup().await;
    let body = json!({"type": "secret_key", "permissions": ["customer_read"]});
    let old = setup.post(TEST, "/v2/iam/api_keys", body.clone()).await;
    assert_eq!((old.status, old.message()), (400, "permissions: Unknown field."));

    let new = setup.post_restricted(TEST, "/v2/iam/api_keys", body).await;
    let token = setup.token(&new.id());
    assert!(token.starts_with("rk_test_"));
    assert_eq!(setup.probe(&token).await, 200);
    let body = json!({"type": "secret_key", "permissions": ["charge_read"]});
    let narrow = setup.post_restricted(TEST, "/v2/iam/api_keys", body).await.id();
    assert_eq!(setup.probe(&setup.token(&narrow)).await, 403);

    let plain = json!({"type": "secret_key"});
    let unrestricted = setup.post_restricted(TEST, "/v2/iam/api_keys", plain.clone()).await.id();
    assert!(setup.token(&unrestricted).starts_with("sk_test_"));
    setup.fake.set_behaviour(|it| it.restricted_only = true);
    let refused = setup.post_restricted(TEST, "/v2/iam/api_keys", plain).await;
    assert_eq!((refused.status, refused.code()), (400, "api_key_permissions_invalid"));
    let odd = json!({"type": "secret_key", "permissions": ["everything"]});
    let refused = setup.post_restricted(TEST, "/v2/iam/api_keys", odd).await;
    assert_eq!(refused.code(), "api_key_permissions_invalid");
}

#[tokio::test]
async fn an_update_leaves_blanks_alone_and_names_unknown_fields() {
    let setup = setup().await;
    let path = format!("/v2/iam/api_keys/{}", setup.create_live().await.id());
    let updated = setup.post(LIVE, &path, json!({"name": "", "note": "second"})).await;
    assert_eq!(updated.body["name"], "Integration");
    assert_eq!(updated.body["note"], "second");
    let refused = setup.post(LIVE, &path, json!({"status": "expired"})).await;
    assert_eq!(refused.message(), "status: Unknown field, did you mean name, note?");
    let refused = setup.post(LIVE, &path, json!({"ip_allowlist": []})).await;
    assert_eq!((refused.status, refused.message()), (400, "ip_allowlist: Unknown field."));
    let nothing = setup.post_restricted(LIVE, &path, json!({"permissions": []})).await;
    assert_eq!(nothing.status, 200);
}

#[tokio::test]
async fn a_key_with_an_end_dies_at_it() {
    let setup = setup().await;
    let body = json!({"type": "secret_key", "expires_at": "2026-11-24T12:10:00Z"});
    let created = setup.post_restricted(TEST, "/v2/iam/api_keys", body).await;
    assert_eq!(created.body["expires_at"], "2026-11-24T12:10:00.000Z");
    let token = setup.token(&created.id());
    setup.clock.advance(10 * MINUTE - 1);
    assert_eq!(setup.probe(&token).await, 200);
    setup.clock.advance(1);
    assert_eq!(setup.probe(&token).await, 401);
    assert_eq!(setup.delivered_types().last().expect("events"), "v2.iam.api_key.expired");
    let body = json!({"type": "secret_key", "expires_at": "2020-01-01T00:00:00Z"});
    let past = setup.post_restricted(TEST, "/v2/iam/api_keys", body).await;
    assert_eq!((past.status, past.code()), (400, "invalid_fields"));
}

#[tokio::test]
async fn lists_page_newest_first_by_paths_or_absolute_urls() {
    let setup = setup().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(setup.create_test().await.id());
    }
    made.reverse();
    for host in [String::new(), setup.fake.url()] {
        setup.fake.set_behaviour(|it| it.absolute_page_urls = !host.is_empty());
        let mut seen = Vec::new();
        let mut next = Some(format!("{host}/v2/iam/api_keys?limit=2"));
        let mut last = serde_json::Value::Null;
        while let Some(url) = next {
            let path = url.strip_prefix(&host).expect("the own host").to_owned();
            assert!(path.starts_with('/'));
            last = setup.get(TEST, &path).await.body;
            for key in last["data"].as_array().expect("data") {
                seen.push(key["id"].as_str().expect("id").to_owned());
            }
            next = last["next_page_url"].as_str().map(str::to_owned);
        }
        assert_eq!(seen, made);
        let back = last["previous_page_url"].as_str().expect("a page before the last");
        let page = setup.get(TEST, back.strip_prefix(&host).expect("the own host")).await.body;
        assert_eq!(page["data"][0]["id"], made[2].as_str());
    }
    let refused = setup.get(TEST, "/v2/iam/api_keys?limit=101").await;
    assert_eq!(refused.message(), "limit: The maximum page limit is 100");
}

#[tokio::test]
async fn a_lagging_list_shows_the_past_while_a_retrieve_does_not() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.list_lag_ms = 5_000);
    let count = async |query: &str| {
        let list = setup.get(TEST, &format!("/v2/iam/api_keys{query}")).await;
        list.body["data"].as_array().map_or(0, Vec::len)
    };
    let path = format!("/v2/iam/api_keys/{}", setup.create_test().await.id());
    assert_eq!(count("").await, 0);
    setup.clock.advance(5_000);
    assert_eq!(count("").await, 1);
    setup.post(TEST, &format!("{path}/expire"), json!({})).await.id();
    let list = setup.get(TEST, "/v2/iam/api_keys").await;
    assert_eq!(list.body["data"][0]["status"], "active");
    assert!(list.body["data"][0]["expires_at"].is_null());
    assert_eq!(setup.get(TEST, &path).await.body["status"], "expired");
    setup.clock.advance(5_000);
    assert_eq!((count("").await, count("?include_expired=true").await), (0, 1));
}

#[tokio::test]
async fn the_manager_is_named_only_on_demand_and_only_for_the_apps_keys() {
    let setup = setup().await;
    setup.create_test().await.id();
    setup.fake.add_users_own_key(ACCOUNT, false, "mine");
    let list = setup.get(TEST, "/v2/iam/api_keys").await;
    assert!(list.body["data"][1]["managed_by"].is_null());
    setup.fake.set_behaviour(|it| it.managed_by_application = true);
    let list = setup.get(TEST, "/v2/iam/api_keys").await;
    assert!(list.body["data"][0]["managed_by"].is_null());
    assert_eq!(list.body["data"][1]["managed_by"]["application"]["id"], "ca_fake_app");
}

#[tokio::test]
async fn a_key_shows_when_it_was_last_used() {
    let setup = setup().await;
    let created = setup.create_test().await;
    assert!(created.body["last_used"].is_null());
    setup.probe(&setup.token(&created.id())).await;
    let key = setup.get(TEST, &format!("/v2/iam/api_keys/{}", created.id())).await;
    assert_eq!(key.body["last_used"], "2026-11-24T12:00:00.000Z");
}
