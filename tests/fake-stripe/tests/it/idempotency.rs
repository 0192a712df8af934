//! Replays of v2.

use fake_stripe::{CallMatch, Fault, FaultKind};
use serde_json::json;

use crate::support::*;

const KEYS: &str = "/v2/iam/api_keys";

#[tokio::test]
async fn a_replay_makes_no_second_key_and_brings_the_secret_again() {
    let setup = setup().await;
    let first = setup.post_with(LIVE, KEYS, "once", &secret_key()).await;
    let again = setup.post_with(LIVE, KEYS, "once", &secret_key()).await;
    assert_eq!(first.id(), again.id());
    assert_eq!(first.body["secret_key"], again.body["secret_key"]);
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
    assert_eq!(setup.delivered_types(), ["v2.iam.api_key.created"]);
    let replayed: Vec<bool> = setup.fake.log().iter().map(|call| call.replayed).collect();
    assert_eq!(replayed, [false, true]);
}

#[tokio::test]
async fn a_replay_can_be_told_to_withhold_the_secret() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.replay_returns_ciphertext = false;
        it.replay_returns_token = false;
    });
    for key in [LIVE, TEST] {
        let first = setup.post_with(key, KEYS, "once", &secret_key()).await;
        let again = setup.post_with(key, KEYS, "once", &secret_key()).await;
        assert_eq!(first.id(), again.id());
        assert!(again.body["secret_key"]["encrypted_secret"].is_null());
        assert!(again.body["secret_key"]["token"].is_null());
        assert!(again.body["secret_key"]["secret_token_redacted"].is_string());
    }
}

#[tokio::test]
async fn a_replay_answers_with_the_key_as_it_is_now() {
    let setup = setup().await;
    let first = setup.post_with(LIVE, KEYS, "once", &secret_key()).await.id();
    setup.post(LIVE, &format!("{KEYS}/{first}"), json!({"name": "Renamed"})).await.id();
    let again = setup.post_with(LIVE, KEYS, "once", &secret_key()).await;
    assert_eq!(again.body["name"], "Renamed");
    setup.post(LIVE, &format!("{KEYS}/{first}/expire"), json!({})).await.id();
    let again = setup.post_with(LIVE, KEYS, "once", &secret_key()).await;
    assert_eq!(again.body["status"], "expired");
    assert!(again.body["secret_key"]["encrypted_secret"].is_null());
}

#[tokio::test]
async fn a_replayed_rotate_answers_the_same_successor_after_the_old_id_is_gone() {
    let setup = setup().await;
    let old = setup.create_live().await.id();
    let path = format!("{KEYS}/{old}/rotate");
    let body = json!({"public_key": public_key()});
    let first = setup.post_with(LIVE, &path, "turn", &body).await;
    let again = setup.post_with(LIVE, &path, "turn", &body).await;
    assert_eq!(first.id(), again.id());
    assert_eq!(first.body["secret_key"], again.body["secret_key"]);
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 2);
}

#[tokio::test]
async fn a_failure_is_carried_out_anew() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.key_limit = 0);
    let refused = setup.post_with(LIVE, KEYS, "once", &secret_key()).await;
    assert_eq!(refused.code(), "api_key_limit_reached");
    setup.fake.set_behaviour(|it| it.key_limit = 1);
    assert_eq!(setup.post_with(LIVE, KEYS, "once", &secret_key()).await.status, 200);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_an_error_not_to_be_retried() {
    let setup = setup().await;
    setup.post_with(TEST, KEYS, "once", &json!({"type": "secret_key"})).await.id();
    let other = json!({"type": "publishable_key"});
    let refused = setup.post_with(TEST, KEYS, "once", &other).await;
    assert_eq!((refused.status, refused.code()), (409, "idempotency_error"));
    assert_eq!(refused.header("stripe-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_key_is_remembered_for_thirty_days_in_its_mode() {
    let setup = setup().await;
    let test = setup.post_with(TEST, KEYS, "once", &secret_key()).await.id();
    let live = setup.post_with(LIVE, KEYS, "once", &secret_key()).await.id();
    assert_ne!(test, live);
    setup.clock.advance(30 * 24 * 60 * MINUTE - 1);
    assert_eq!(setup.post_with(TEST, KEYS, "once", &secret_key()).await.id(), test);
    setup.clock.advance(1);
    assert_ne!(setup.post_with(TEST, KEYS, "once", &secret_key()).await.id(), test);
}

#[tokio::test]
async fn two_calls_at_once_with_one_key_conflict() {
    let setup = setup().await;
    setup.fake.inject(Fault::once(CallMatch::post(KEYS), FaultKind::Delay(300)));
    let body = secret_key();
    let slow = setup.post_with(LIVE, KEYS, "once", &body);
    let quick = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        setup.post_with(LIVE, KEYS, "once", &body).await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow.status, 200);
    assert_eq!((quick.status, quick.code()), (409, "idempotency_conflict"));
    assert_eq!(quick.header("stripe-should-retry"), Some("true"));
}
