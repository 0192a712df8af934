//! Reading events back.

use fake_stripe::{KeepOrExpire, RelatedObject};
use serde_json::json;

use crate::support::*;

const EVENTS: &str = "/v2/core/events";

async fn listed(setup: &Setup, query: &str) -> Vec<String> {
    let list = setup.get(TEST, &format!("{EVENTS}{query}")).await;
    assert_eq!(list.status, 200, "{}", list.message());
    let data = list.body["data"].as_array().expect("data");
    data.iter().map(|event| event["type"].as_str().unwrap_or("?").to_owned()).collect()
}

#[tokio::test]
async fn the_key_id_is_only_in_the_fetched_event() {
    let setup = setup().await;
    let old = setup.create_test().await.id();
    let path = format!("/v2/iam/api_keys/{old}/rotate");
    let new = setup.post_with(TEST, &path, "turn", &json!({})).await.id();
    let notification = setup.delivered().pop().expect("a notification");
    assert!(!notification.to_string().contains("mk_"));
    assert_eq!(notification["context"], ACCOUNT);
    assert_eq!(notification["reason"]["request"]["idempotency_key"], "turn");
    let id = notification["id"].as_str().expect("an id");
    let event = setup.get(TEST, &format!("{EVENTS}/{id}")).await;
    assert_eq!(event.body["data"], json!({"api_key": old, "new_api_key": new}));
    assert_eq!(event.body["changes"]["after"]["status"], "expired");
    assert_eq!(setup.get(LIVE, &format!("{EVENTS}/{id}")).await.status, 404);
}

#[tokio::test]
async fn lists_filter_by_type_object_and_time() {
    let setup = setup().await;
    let first = setup.create_test().await.id();
    setup.clock.advance(MINUTE);
    setup.post(TEST, &format!("/v2/iam/api_keys/{first}"), json!({"name": "b"})).await.id();
    setup.create_test().await.id();
    assert_eq!(listed(&setup, "").await.len(), 3);
    let updated = listed(&setup, "?types[0]=v2.iam.api_key.updated&types[1]=other").await;
    assert_eq!(updated, ["v2.iam.api_key.updated"]);
    assert_eq!(listed(&setup, &format!("?object_id={first}")).await.len(), 2);
    assert_eq!(listed(&setup, "?created[gte]=2026-11-24T12:01:00Z").await.len(), 2);
    assert_eq!(listed(&setup, "?created[lt]=2026-11-24T12:01:00Z").await.len(), 1);
    assert_eq!(listed(&setup, "?limit=1").await, ["v2.iam.api_key.created"]);
    assert_eq!(setup.get(TEST, &format!("{EVENTS}?created[gt]=noon")).await.status, 400);
}

#[tokio::test]
async fn events_may_be_listed_later_than_keys_and_not_be_found_by_the_keys_id() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.events_lag_ms = MINUTE;
        it.object_id_finds_keys = false;
    });
    let key = setup.create_test().await.id();
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.body["data"][0]["id"], key);
    assert!(listed(&setup, "").await.is_empty());
    setup.clock.advance(MINUTE);
    assert_eq!(listed(&setup, "").await.len(), 1);
    assert!(listed(&setup, &format!("?object_id={key}")).await.is_empty());
}

#[tokio::test]
async fn events_last_thirty_days() {
    let setup = setup().await;
    setup.create_test().await.id();
    setup.clock.advance(30 * 24 * 60 * MINUTE - 1);
    assert_eq!(listed(&setup, "").await.len(), 1);
    setup.clock.advance(1);
    assert!(listed(&setup, "").await.is_empty());
}

#[tokio::test]
async fn after_an_uninstall_no_event_can_be_read() {
    let setup = setup().await;
    setup.create_test().await.id();
    let id = setup.delivered()[0]["id"].as_str().expect("an id").to_owned();
    setup.fake.uninstall(ACCOUNT, false, KeepOrExpire::Expire);
    assert_eq!(setup.get(TEST, EVENTS).await.status, 403);
    assert_eq!(setup.get(TEST, &format!("{EVENTS}/{id}")).await.status, 403);
}

#[tokio::test]
async fn whether_events_can_be_read_after_an_uninstall_is_a_switch() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| {
        it.thin_account_events = true;
        it.events_readable_after_uninstall = true;
    });
    setup.fake.uninstall(ACCOUNT, false, KeepOrExpire::Expire);
    assert_eq!(listed(&setup, "").await, ["v1.account.application.deauthorized"]);
    assert_eq!(setup.get(TEST, "/v2/iam/api_keys").await.status, 403);
}

#[tokio::test]
async fn a_list_may_begin_at_either_end_and_pages_the_same() {
    let setup = setup().await;
    let first = setup.create_test().await.id();
    for n in 0..4 {
        setup.clock.advance(MINUTE);
        setup
            .post(TEST, &format!("/v2/iam/api_keys/{first}"), json!({"name": n.to_string()}))
            .await;
    }
    let mut newest_first = Vec::new();
    for oldest_first in [false, true] {
        setup.fake.set_behaviour(|it| it.events_oldest_first = oldest_first);
        let (mut ids, mut path) = (Vec::new(), Some(format!("{EVENTS}?limit=2")));
        while let Some(at) = path {
            let list = setup.get(TEST, &at).await.body;
            let data = list["data"].as_array().expect("data").clone();
            ids.extend(data.iter().map(|event| event["id"].clone()));
            path = list["next_page_url"].as_str().map(str::to_owned);
        }
        assert_eq!(ids.len(), 5);
        if oldest_first {
            ids.reverse();
            assert_eq!(ids, newest_first);
        }
        newest_first = ids;
    }
}

#[tokio::test]
async fn a_lagging_list_shows_an_event_later_and_a_retrieve_at_once() {
    let setup = setup().await;
    setup.fake.set_behaviour(|it| it.list_lag_ms = MINUTE);
    setup.create_test().await.id();
    let id = setup.delivered()[0]["id"].as_str().expect("an id").to_owned();
    assert!(listed(&setup, "").await.is_empty());
    assert_eq!(setup.get(TEST, &format!("{EVENTS}/{id}")).await.status, 200);
    setup.clock.advance(MINUTE);
    assert_eq!(listed(&setup, "").await.len(), 1);
}

#[tokio::test]
async fn related_object_takes_each_of_its_three_shapes() {
    let setup = setup().await;
    let mut shapes = Vec::new();
    for shape in [RelatedObject::Empty, RelatedObject::Null, RelatedObject::Absent] {
        setup.fake.set_behaviour(|it| it.related_object = shape);
        setup.create_test().await.id();
        shapes.push(setup.delivered()[0].get("related_object").cloned());
    }
    assert_eq!(shapes, [Some(json!({})), Some(json!(null)), None]);
}

#[tokio::test]
async fn installation_and_activation_are_v1_events_with_their_object() {
    let setup = uninstalled().await;
    setup.fake.install(ACCOUNT, true);
    setup.fake.set_activated(ACCOUNT, false);
    setup.fake.uninstall(ACCOUNT, true, KeepOrExpire::Keep);
    let events = setup.delivered();
    let kinds: Vec<_> = events.iter().map(|it| it["type"].as_str().unwrap_or("?")).collect();
    assert_eq!(
        kinds,
        ["account.application.authorized", "account.updated", "account.application.deauthorized"]
    );
    for event in &events {
        assert_eq!(event["object"], "event");
        assert_eq!(event["account"], ACCOUNT);
        assert_eq!(event["livemode"], true);
    }
    assert_eq!(events[0]["data"]["object"]["object"], "application");
    assert_eq!(events[1]["data"]["object"]["charges_enabled"], false);
    assert_eq!(events[2]["data"]["object"]["id"], "ca_fake_app");
}

#[tokio::test]
async fn installations_can_also_be_thin() {
    let setup = uninstalled().await;
    setup.fake.set_behaviour(|it| it.thin_account_events = true);
    setup.fake.install(ACCOUNT, false);
    setup.fake.uninstall(ACCOUNT, false, KeepOrExpire::Keep);
    let types = setup.delivered_types();
    assert!(types.contains(&"v1.account.application.authorized".to_owned()));
    assert!(types.contains(&"v1.account.application.deauthorized".to_owned()));
}
