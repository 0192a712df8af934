//! Ends of keys: rotate, expire, uninstall.

use fake_stripe::KeepOrExpire;
use serde_json::json;

use crate::support::*;

async fn rotate(setup: &Setup, id: &str, minutes: Option<i64>) -> Reply {
    let mut body = json!({"public_key": public_key()});
    if let Some(minutes) = minutes {
        body["expire_current_key_in_minutes"] = json!(minutes);
    }
    setup.post(LIVE, &format!("/v2/iam/api_keys/{id}/rotate"), body).await
}

#[tokio::test]
async fn a_rotate_without_overlap_kills_the_old_key_at_once() {
    let setup = setup().await;
    let old = setup.create_live().await.id();
    let new = rotate(&setup, &old, None).await;
    assert_ne!(new.id(), old);
    assert_eq!(new.body["name"], "Integration");
    assert_eq!(new.body["note"], "n1");
    assert!(new.body["secret_key"]["encrypted_secret"].is_object());
    assert_eq!(setup.probe(&setup.token(&old)).await, 401);
    assert_eq!(setup.probe(&setup.token(&new.id())).await, 200);
    assert_eq!(setup.get(LIVE, &format!("/v2/iam/api_keys/{old}")).await.status, 404);
}

#[tokio::test]
async fn a_rotate_with_overlap_lets_both_live_until_the_deadline() {
    let setup = setup().await;
    let old = setup.create_live().await.id();
    let new = rotate(&setup, &old, Some(10)).await.id();
    let shown = setup.get(LIVE, &format!("/v2/iam/api_keys/{old}")).await;
    assert_eq!(shown.body["status"], "active");
    assert_eq!(shown.body["expires_at"], "2026-11-24T12:10:00.000Z");
    let again = rotate(&setup, &old, Some(10)).await;
    assert_eq!((again.status, again.code()), (400, "api_key_already_rotated"));
    setup.clock.advance(10 * MINUTE - 1);
    assert_eq!(setup.probe(&setup.token(&old)).await, 200);
    setup.clock.advance(1);
    assert_eq!(setup.probe(&setup.token(&old)).await, 401);
    assert_eq!(setup.probe(&setup.token(&new)).await, 200);
    let types = setup.delivered_types();
    assert_eq!(types[1..], ["v2.iam.api_key.rotated", "v2.iam.api_key.expired"]);
}

#[tokio::test]
async fn the_old_id_and_its_last_event_can_be_switched_off() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.old_id_retrievable = false;
        it.expired_event_after_rotate = false;
    });
    let old = setup.create_live().await.id();
    rotate(&setup, &old, Some(10)).await.id();
    assert_eq!(setup.get(LIVE, &format!("/v2/iam/api_keys/{old}")).await.status, 404);
    setup.clock.advance(10 * MINUTE);
    assert_eq!(setup.probe(&setup.token(&old)).await, 401);
    assert_eq!(setup.delivered_types().last().expect("events"), "v2.iam.api_key.rotated");
}

#[tokio::test]
async fn an_overlap_is_one_minute_to_seven_days() {
    let setup = setup().await;
    let id = setup.create_live().await.id();
    for minutes in [0, -1, 10_081] {
        let refused = rotate(&setup, &id, Some(minutes)).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_fields"), "{minutes}");
    }
    assert_eq!(rotate(&setup, &id, Some(10_080)).await.status, 200);
}

#[tokio::test]
async fn an_expired_key_authenticates_until_the_lag_is_over_and_cannot_be_changed() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.expire_lag_ms = 9_000);
    let id = setup.create_live().await.id();
    let path = format!("/v2/iam/api_keys/{id}");
    let token = setup.token(&id);
    let expired = setup.post(LIVE, &format!("{path}/expire"), json!({})).await;
    assert_eq!(expired.body["status"], "expired");
    assert_eq!(expired.body["expires_at"], "2026-11-24T12:00:00.000Z");
    assert!(expired.body["secret_key"]["secret_token_redacted"].is_null());
    setup.clock.advance(8_999);
    assert_eq!(setup.probe(&token).await, 200);
    assert!(setup.fake.token_works(&token));
    setup.clock.advance(1);
    assert_eq!(setup.probe(&token).await, 401);
    assert!(!setup.fake.token_works(&token));
    for path in [path.clone(), format!("{path}/expire"), format!("{path}/rotate")] {
        let refused = setup.post(LIVE, &path, json!({})).await;
        assert_eq!((refused.status, refused.code()), (400, "api_key_expired"), "{path}");
    }
}

#[tokio::test]
async fn an_expire_without_a_body_is_understood() {
    let setup = setup().await;
    let path = format!("/v2/iam/api_keys/{}/expire", setup.create_live().await.id());
    let reply = send(setup.request(reqwest::Method::POST, LIVE, &path)).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn an_uninstall_keeps_or_expires_the_keys_as_the_user_wants() {
    let setup = setup().await;
    let live = setup.create_live().await.id();
    let test = setup.create_test().await.id();
    let (live, test) = (setup.token(&live), setup.token(&test));
    let _ = setup.fake.take_deliveries();
    assert!(setup.fake.uninstall(ACCOUNT, true, KeepOrExpire::Keep));
    assert!(setup.fake.token_works(&live));
    assert!(setup.fake.uninstall(ACCOUNT, false, KeepOrExpire::Expire));
    assert!(!setup.fake.token_works(&test));
    assert!(!setup.fake.uninstall(ACCOUNT, false, KeepOrExpire::Expire));
    // Keys that go with the app go silently.
    assert_eq!(setup.delivered_types(), ["account.application.deauthorized"; 2]);
    assert_eq!(setup.get(LIVE, "/v2/iam/api_keys").await.status, 403);
}

#[tokio::test]
async fn a_user_expires_and_rotates_a_key_behind_the_apps_back() {
    let setup = setup().await;
    let id = setup.create_live().await.id();
    let _ = setup.fake.take_deliveries();
    let new = setup.fake.rotate_in_dashboard(ACCOUNT, &id, 5).expect("rotated");
    assert!(setup.fake.token_works(&setup.token(&new)));
    assert!(setup.fake.expire_in_dashboard(ACCOUNT, &id));
    assert!(!setup.fake.expire_in_dashboard(ACCOUNT, &id));
    assert!(!setup.fake.expire_in_dashboard("acct_other", &new));
    let types = setup.delivered_types();
    assert_eq!(types, ["v2.iam.api_key.rotated", "v2.iam.api_key.expired"]);
}
