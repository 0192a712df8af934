//! Bodies as Stripe sends them, as nobody should, and as nobody would.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn thin() -> Value {
    json!({
        "id": "evt_65TmHFBSnNfhOEeJL7d16TlVCA0TSQwIamfRyosU2EKFuy", "object": "v2.core.event",
        "type": "v2.iam.api_key.rotated", "created": "2025-12-10T19:42:56.897Z",
        "livemode": true, "context": "acct_123", "related_object": {},
        "reason": {"type": "request", "request": {"id": "req_1", "idempotency_key": ""}},
    })
}

fn snapshot() -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": "account.application.deauthorized",
        "account": "acct_123", "livemode": true, "created": 1_349_654_313,
        "pending_webhooks": 2, "api_version": "2020-08-27",
        "data": {"object": {"id": "ca_1", "object": "application", "name": "My app"}},
        "request": {"id": null, "idempotency_key": null},
    })
}

fn with(mut event: Value, changes: Value) -> Result<Parsed, BadPayload> {
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    parse(&serde_json::to_vec(&event).unwrap())
}

fn without(mut event: Value, name: &str) -> Result<Parsed, BadPayload> {
    event.as_object_mut().unwrap().remove(name);
    parse(&serde_json::to_vec(&event).unwrap())
}

fn notification(parsed: Result<Parsed, BadPayload>) -> Notification {
    match parsed {
        Ok(Parsed::Event(notification)) => notification,
        other => panic!("expected an event, got {other:?}"),
    }
}

#[test]
fn a_thin_notification_is_reduced_to_five_facts() {
    let kept = notification(with(thin(), json!({})));
    assert_eq!(kept.id.as_str(), "evt_65TmHFBSnNfhOEeJL7d16TlVCA0TSQwIamfRyosU2EKFuy");
    assert_eq!(kept.account.to_string(), "live/acct_123");
    assert_eq!(kept.created, Timestamp::parse("2025-12-10T19:42:56.897Z").unwrap());
    assert_eq!(kept.topic, Topic::KeyRotated);
}

#[test]
fn related_object_reason_and_data_may_be_anything_or_absent() {
    let kept = notification(with(thin(), json!({})));
    for changes in [
        json!({"related_object": null}),
        json!({"related_object": {"id": "mk_1", "type": "v2.iam.api_key", "url": "/x"}}),
        json!({"reason": null}),
        json!({"data": {"api_key": "mk_1"}, "changes": {"before": null}}),
        json!({"data": "not even an object"}),
        json!({"snapshot_event": "evt_2", "something_new": [[{}]]}),
    ] {
        assert_eq!(notification(with(thin(), changes.clone())), kept, "{changes}");
    }
    assert_eq!(notification(without(thin(), "related_object")), kept);
    assert_eq!(notification(without(thin(), "reason")), kept);
}

#[test]
fn time_is_read_in_any_precision_and_cut_to_milliseconds() {
    let kept = with(thin(), json!({"created": "2025-10-04T15:13:32.232083866Z"}));
    assert_eq!(notification(kept).created.to_string(), "2025-10-04T15:13:32.232Z");
    let kept = with(thin(), json!({"created": "2025-10-04T15:13:32Z"}));
    assert_eq!(notification(kept).created.to_string(), "2025-10-04T15:13:32.000Z");
}

#[test]
fn the_last_segment_of_a_context_is_the_account() {
    let kept = with(thin(), json!({"context": "acct_platform/acct_9", "livemode": false}));
    assert_eq!(notification(kept).account.to_string(), "test/acct_9");
}

#[test]
fn an_event_without_account_or_context_is_of_our_own_account() {
    let own = Ok(Parsed::Ignored(Ignored::OwnAccount));
    assert_eq!(without(thin(), "context"), own);
    assert_eq!(with(thin(), json!({"context": null})), own);
    assert_eq!(with(thin(), json!({"context": ""})), own);
    assert_eq!(without(snapshot(), "account"), own);
}

#[test]
fn a_snapshot_is_read_alone_for_access_is_gone() {
    let kept = notification(with(snapshot(), json!({})));
    assert_eq!(kept.account.to_string(), "live/acct_123");
    assert_eq!(kept.created, Timestamp::from_seconds(1_349_654_313).unwrap());
    assert_eq!(kept.topic, Topic::Deauthorized);
    let kept = with(snapshot(), json!({"account": null, "context": "acct_7"}));
    assert_eq!(notification(kept).account.to_string(), "live/acct_7");
    let kept = with(snapshot(), json!({"context": "acct_platform/acct_123"}));
    assert_eq!(notification(kept).account.to_string(), "live/acct_123");
}

#[test]
fn account_updated_carries_whether_it_may_charge_and_its_thin_form_does_not() {
    for (object, charges_enabled) in [
        (json!({"charges_enabled": true, "payouts_enabled": false}), Some(true)),
        (json!({"charges_enabled": false}), Some(false)),
        (json!({"charges_enabled": null}), None),
        (json!({}), None),
    ] {
        let event = json!({"type": "account.updated", "data": {"object": object}});
        let kept = notification(with(snapshot(), event));
        assert_eq!(kept.topic, Topic::AccountUpdated { charges_enabled });
    }
    let kept = notification(with(thin(), json!({"type": "v1.account.updated"})));
    assert_eq!(kept.topic, Topic::AccountUpdated { charges_enabled: None });
    let broken = json!({"type": "account.updated", "data": {"object": {"charges_enabled": 1}}});
    assert_eq!(with(snapshot(), broken), Err(BadPayload::Malformed));
}

#[test]
fn v1_events_in_thin_form_are_the_same_topics() {
    let kept = with(thin(), json!({"type": "v1.account.application.deauthorized"}));
    assert_eq!(notification(kept).topic, Topic::Deauthorized);
}

#[test]
fn an_event_of_a_sandbox_names_it_and_is_the_apps_own_unless_it_names_an_account() {
    let event = |what: &str, changes: Value| {
        let mut event = json!({
            "type": format!("v2.core.claimable_sandbox.{what}"), "context": null, "livemode": false,
            "related_object": {
                "id": "clmsbx_test_1", "type": "v2.core.claimable_sandbox",
                "url": "/v2/core/claimable_sandboxes/clmsbx_test_1",
            },
        });
        for (name, value) in changes.as_object().unwrap() {
            event[name] = value.clone();
        }
        with(thin(), event)
    };
    for what in ["created", "claimed", "updated", "expiring", "expired"] {
        let kept = notification(event(what, json!({})));
        let sandbox = SandboxId::parse("clmsbx_test_1").unwrap();
        assert_eq!(kept.topic, Topic::Sandbox { sandbox });
        assert_eq!(kept.account.to_string(), "test/acct_own");
    }
    let kept = notification(event("claimed", json!({"context": "acct_platform/acct_box"})));
    assert_eq!(kept.account.to_string(), "test/acct_box");
    assert_eq!(event("painted", json!({})), Ok(Parsed::Ignored(Ignored::UnknownTopic)));
    for related in [json!(null), json!({}), json!({"id": "acct_1"}), json!({"id": 1}), json!("x")] {
        let refused = event("claimed", json!({"related_object": related.clone()}));
        assert_eq!(refused, Err(BadPayload::Sandbox), "{related}");
    }
}

#[test]
fn a_type_that_nothing_depends_on_is_acknowledged_whatever_its_ids() {
    let ignored = Ok(Parsed::Ignored(Ignored::UnknownTopic));
    assert_eq!(with(thin(), json!({"type": "v2.core.event_destination.ping"})), ignored);
    assert_eq!(with(thin(), json!({"type": "x", "id": "?", "context": "?"})), ignored);
    assert_eq!(parse(include_bytes!("../testdata/event_test_signature.json")), ignored);
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    for (changes, refusal) in [
        (json!({"object": "customer"}), BadPayload::UnknownObject),
        (json!({"object": "event"}), BadPayload::Created),
        (json!({"object": 1}), BadPayload::Malformed),
        (json!({"livemode": "true"}), BadPayload::Malformed),
        (json!({"created": []}), BadPayload::Malformed),
        (json!({"created": 1.5}), BadPayload::Malformed),
        (json!({"created": 1_700_000_000}), BadPayload::Created),
        (json!({"created": "yesterday"}), BadPayload::Created),
        (json!({"id": "evt_a/b"}), BadPayload::EventId),
        (json!({"id": "mk_1"}), BadPayload::EventId),
        (json!({"context": "acct_1/"}), BadPayload::Account),
        (json!({"context": "cus_1"}), BadPayload::Account),
        (json!({"context": "acct_a#b"}), BadPayload::Account),
    ] {
        assert_eq!(with(thin(), changes.clone()), Err(refusal), "{changes}");
    }
    for name in ["id", "object", "type", "created", "livemode"] {
        assert_eq!(without(thin(), name), Err(BadPayload::Malformed), "{name}");
    }
    for body in ["", "null", "[]", "{", "\"evt_1\"", "{}\u{0}", "\u{feff}{}"] {
        assert_eq!(parse(body.as_bytes()), Err(BadPayload::Malformed), "{body:?}");
    }
    assert_eq!(with(snapshot(), json!({"created": -1})), Err(BadPayload::Created));
    assert_eq!(with(snapshot(), json!({"created": i64::MAX})), Err(BadPayload::Created));
}

#[test]
fn deep_and_large_bodies_are_read_or_refused_but_do_not_panic() {
    let deep = "[".repeat(200_000);
    assert_eq!(parse(deep.as_bytes()), Err(BadPayload::Malformed));
    for name in ["data", "created", "id", "something_new"] {
        let body = format!("{{\"{name}\":{}{}", deep, "]".repeat(200_000));
        assert!(parse(body.as_bytes()).is_err(), "{name}");
        assert!(unwrap_envelope(body.as_bytes()).is_err(), "{name}");
    }
    let large = with(thin(), json!({"something_new": "a".repeat(2_000_000)}));
    assert_eq!(notification(large).topic, Topic::KeyRotated);
}

#[test]
fn an_envelope_gives_up_its_event_and_the_aws_account_is_not_looked_at() {
    let envelope = |changes: Value| {
        let mut envelope = json!({
            "version": "0", "id": "17e8dff5-d6cd-3770-ace9-aeac02b6ac3f",
            "detail-type": "v2.iam.api_key.expired", "source": "aws.partner/stripe.com/ed_61Pgt",
            "account": "123456789012", "time": "2024-03-07T18:27:56Z", "region": "us-west-2",
            "resources": [], "detail": thin(),
        });
        for (name, value) in changes.as_object().unwrap() {
            envelope[name] = value.clone();
        }
        serde_json::to_vec(&envelope).unwrap()
    };
    let body = envelope(json!({}));
    let kept = notification(parse(unwrap_envelope(&body).unwrap()));
    assert_eq!(kept.account.to_string(), "live/acct_123");
    for changes in [
        json!({"source": "aws.partner/stripe.com/"}),
        json!({"source": "aws.partner/stripe.com.evil/ed_1"}),
        json!({"source": "my.app"}),
        json!({"detail-type": ""}),
        json!({"detail-type": null}),
    ] {
        let body = envelope(changes.clone());
        assert_eq!(unwrap_envelope(&body), Err(BadPayload::Envelope), "{changes}");
    }
    assert_eq!(unwrap_envelope(b"{}"), Err(BadPayload::Envelope));
    assert_eq!(parse(&body), Err(BadPayload::Malformed), "an envelope is not an event");
}

proptest! {
    #[test]
    fn no_body_panics(body: Vec<u8>, text: String) {
        let _ = (parse(&body), parse(text.as_bytes()));
        let _ = (unwrap_envelope(&body), unwrap_envelope(text.as_bytes()));
    }

    #[test]
    fn no_field_panics(name in "id|object|type|created|livemode|context|account|data", text: String, number: i64) {
        for value in [json!(text), json!(number), json!({ &text: number })] {
            let _ = with(thin(), json!({ &name: value.clone() }));
            let _ = with(snapshot(), json!({ &name: value, "type": "account.updated" }));
        }
    }
}
