//! Answers against the schemas of `openapi-iam.json`, read so that what is not `required` may be null.

use serde_json::{Value, json};

use crate::support::*;

/// Panics with all violations if `value` is not a `schema` of the slice.
pub(crate) fn check(schema: &str, value: &Value) {
    let errors = violations(schema, value);
    assert!(errors.is_empty(), "{schema}: {errors:#?}\n{value:#}");
}

fn violations(schema: &str, value: &Value) -> Vec<String> {
    let slice: Value = serde_json::from_str(include_str!("../../openapi-iam.json")).expect("JSON");
    let mut document = json!({"components": {"schemas": slice["components"]["schemas"]}});
    nullable(&mut document);
    document["$ref"] = json!(format!("#/components/schemas/{schema}"));
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&document).expect("a schema");
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn nullable(schema: &mut Value) {
    if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(nullable);
        return;
    }
    let Some(object) = schema.as_object_mut() else { return };
    let required: Vec<String> = object
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties.iter_mut() {
            if !required.contains(name) || property["nullable"] == true {
                let inner = property.take();
                *property = json!({"anyOf": [inner, {"type": "null"}]});
            }
        }
    }
    object.values_mut().for_each(nullable);
}

#[tokio::test]
async fn every_answer_of_every_key_operation_is_what_the_spec_says() {
    let setup = setup().await;
    for key in [LIVE, TEST] {
        let created = setup.post(key, "/v2/iam/api_keys", secret_key()).await;
        check("v2.iam.api_key", &created.body);
        let path = format!("/v2/iam/api_keys/{}", created.id());
        check("v2.iam.api_key", &setup.get(key, &path).await.body);
        check("v2.iam.api_key", &setup.post(key, &path, json!({"name": "b"})).await.body);
        let body = json!({"expire_current_key_in_minutes": 5, "public_key": public_key()});
        let rotated = setup.post(key, &format!("{path}/rotate"), body).await;
        check("v2.iam.api_key", &rotated.body);
        let expired = setup.post(key, &format!("{path}/expire"), json!({})).await;
        check("v2.iam.api_key", &expired.body);
        assert_eq!(expired.body["status"], "expired");
        let publishable = json!({"type": "publishable_key"});
        let publishable = setup.post(key, "/v2/iam/api_keys", publishable).await;
        check("v2.iam.api_key", &publishable.body);
        let list = setup.get(key, "/v2/iam/api_keys?include_expired=true").await;
        assert_eq!(list.body["data"].as_array().map(Vec::len), Some(3));
        for item in list.body["data"].as_array().expect("data") {
            check("v2.iam.api_key", item);
        }
    }
    let restricted = json!({"type": "secret_key", "permissions": ["customer_read"],
        "expires_at": "2027-01-01T00:00:00Z"});
    let restricted = setup.post_restricted(TEST, "/v2/iam/api_keys", restricted).await;
    check("v2.iam.api_key", &restricted.body);
    assert_eq!(restricted.body["permissions"], json!(["customer_read"]));
}

#[tokio::test]
async fn every_event_of_a_key_is_what_the_spec_says() {
    let setup = setup().await;
    let body = json!({"type": "secret_key", "permissions": ["customer_read"]});
    let id = setup.post_restricted(TEST, "/v2/iam/api_keys", body).await.id();
    let path = format!("/v2/iam/api_keys/{id}");
    let change = json!({"name": "b", "permissions": ["customer_write"]});
    setup.post_restricted(TEST, &path, change).await.id();
    let rotate = json!({"expire_current_key_in_minutes": 5});
    setup.post(TEST, &format!("{path}/rotate"), rotate).await.id();
    setup.clock.advance(5 * MINUTE);
    setup.fake.tick();

    let notifications = setup.delivered();
    let kinds = ["created", "updated", "permissions_updated", "rotated", "expired"];
    assert_eq!(notifications.len(), kinds.len());
    for (notification, kind) in notifications.iter().zip(kinds) {
        let kind = format!("v2.iam.api_key.{kind}");
        assert_eq!(notification["type"], kind.as_str());
        check("x.event_notification", notification);
        assert!(notification.get("data").is_none() && notification.get("changes").is_none());
        let id = notification["id"].as_str().expect("an id");
        let event = setup.get(TEST, &format!("/v2/core/events/{id}")).await;
        check(&kind, &event.body);
        let event = format!("/v2/core/events/{id}?include[0]=reason.request.client");
        check("v2.core.event", &setup.get(TEST, &event).await.body);
    }
}

#[tokio::test]
async fn errors_have_the_form_of_their_code() {
    let setup = setup().await;
    let unknown = setup.get(LIVE, "/v2/iam/api_keys/mk_none").await;
    check("v2.error.not_found", &unknown.body);
    let bad = setup.post(LIVE, "/v2/iam/api_keys", json!({"type": "other"})).await;
    check("v2.error.invalid_fields", &bad.body);
    let direct = setup.client.get(setup.url("/v2/iam/api_keys")).bearer_auth(LIVE);
    let direct = send(direct.header("stripe-version", VERSION)).await;
    check("v2.error.api_key_direct_operation_not_supported", &direct.body);
    let id = setup.create_test().await.id();
    let other_mode = setup.get(LIVE, &format!("/v2/iam/api_keys/{id}")).await;
    check("v2.error.api_key_livemode_mismatch", &other_mode.body);
}

#[tokio::test]
async fn the_check_itself_sees_what_is_missing_misspelt_or_mistyped() {
    let key = setup().await.create_test().await.body;
    for (pointer, wrong) in [
        ("/status", json!("asleep")),
        ("/created", json!(1_795_521_600)),
        ("/created", json!("noon")),
        ("/livemode", json!(null)),
        ("/secret_key/token", json!(7)),
        ("/managed_by", json!({})),
    ] {
        let mut spoilt = key.clone();
        *spoilt.pointer_mut(pointer).expect("the field is there") = wrong;
        assert_eq!(violations("v2.iam.api_key", &spoilt).len(), 1, "{pointer}");
    }
}
