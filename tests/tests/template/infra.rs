//! What lies in `infra/`: the bodies, events and the manifest that `docs/deploy.md` hands out.

use std::collections::BTreeSet;

use keysteward::domain::event::Topic;
use keysteward::webhook::payload::{self, Parsed};
use serde_json::{Value, json};

use crate::cloudformation::listed;
use crate::source::{code, functions, read};

#[test]
fn the_destinations_ask_for_every_event_that_is_used_and_no_other() -> anyhow::Result<()> {
    let mut asked = BTreeSet::new();
    for (path, payload) in [
        ("infra/event-destinations/thin.json", "thin"),
        ("infra/event-destinations/snapshot.json", "snapshot"),
    ] {
        let body: Value = serde_json::from_str(&read(path)?)?;
        assert_eq!(body["event_payload"], payload);
        assert_eq!(
            body["events_from"],
            json!(["@accounts"]),
            "{path}: they happen on users' accounts"
        );
        for event in listed(&body["enabled_events"]) {
            let event = event.as_str().unwrap_or_default();
            assert!(Topic::of_type(event).is_some(), "{path}: nothing here depends on {event}");
            assert_eq!(event.starts_with("v2."), payload == "thin", "{path}: {event}");
            asked.insert(event.to_owned());
        }
    }
    let used = code("shared/src/domain/event.rs")?;
    let used = functions(&used).remove("of_type").unwrap_or_default();
    let used: BTreeSet<String> = used
        .split('"')
        .filter(|text| text.starts_with("v2.") || text.starts_with("account."))
        .map(str::to_owned)
        .collect();
    assert_eq!(asked, used, "asked for, used");
    Ok(())
}

#[test]
fn the_sample_events_are_ones_that_the_code_takes() -> anyhow::Result<()> {
    let samples = [
        "http-install",
        "http-key",
        "http-webhook",
        "http-webhook-base64",
        "partner",
        "schedule",
        "stream",
    ];
    for name in samples {
        let event: Value = serde_json::from_str(&read(&format!("infra/events/{name}.json"))?)?;
        if name.starts_with("http-") {
            assert_eq!(event["version"], "2.0", "{name}");
            let method = &event["requestContext"]["http"]["method"];
            let route = event["routeKey"].as_str().unwrap_or_default();
            assert!(method.is_string() && route.starts_with("ANY /"), "{name}");
        }
    }
    let partner = read("infra/events/partner.json")?;
    let event = payload::parse(payload::unwrap_envelope(partner.as_bytes())?)?;
    assert!(matches!(event, Parsed::Event(_)), "{event:?}");
    let stream: Value = serde_json::from_str(&read("infra/events/stream.json")?)?;
    for record in listed(&stream["Records"]) {
        let key = |name: &str| record["dynamodb"]["Keys"][name]["S"].as_str().unwrap_or_default();
        let named = keysteward::store::parse_stream_key(key("pk"), key("sk"));
        assert!(named.is_some(), "{record}");
    }
    Ok(())
}

#[test]
fn the_manifest_asks_for_what_the_app_needs() -> anyhow::Result<()> {
    let manifest: Value = serde_json::from_str(&read("infra/stripe-app.json")?)?;
    let asked: BTreeSet<&str> = listed(&manifest["permissions"])
        .into_iter()
        .filter_map(|entry| entry["permission"].as_str())
        .collect();
    assert!(asked.contains("api_key_write") && asked.contains("event_read"), "{asked:?}");
    for entry in listed(&manifest["permissions"]) {
        assert!(entry["purpose"].as_str().is_some_and(|text| !text.is_empty()));
    }
    for uri in listed(&manifest["allowed_redirect_uris"]) {
        assert!(uri.as_str().is_some_and(|uri| uri.ends_with("/install/callback")), "{uri}");
    }
    assert_eq!(manifest["sandbox_install_compatible"], true);
    Ok(())
}
