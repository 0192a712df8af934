//! What lies in `infra/`: the bodies, events and the manifest that `docs/deploy.md` hands out.

use std::collections::BTreeSet;

use keysteward::domain::event::Topic;
use keysteward::webhook::payload::{self, Parsed};
use serde_json::{Value, json};

use crate::cloudformation::listed;
use crate::source::{code, functions, read};

/// The bodies, how their events come, and whose events they are.
const DESTINATIONS: [(&str, &str, &str); 3] = [
    ("infra/event-destinations/thin.json", "thin", "@accounts"),
    ("infra/event-destinations/snapshot.json", "snapshot", "@accounts"),
    ("infra/event-destinations/sandbox.json", "thin", "@self"),
];

/// The events that the destinations ask for together.
fn asked() -> anyhow::Result<BTreeSet<String>> {
    let mut asked = BTreeSet::new();
    for (path, ..) in DESTINATIONS {
        let body: Value = serde_json::from_str(&read(path)?)?;
        for event in listed(&body["enabled_events"]) {
            let event = event.as_str().unwrap_or_default().to_owned();
            assert!(asked.insert(event.clone()), "{path}: {event} is asked for twice");
        }
    }
    Ok(asked)
}

/// The words in quotation marks of a piece of code.
fn quoted(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

#[test]
fn the_destinations_ask_for_every_event_that_is_used_and_no_other() -> anyhow::Result<()> {
    let code = code("shared/src/domain/event.rs")?;
    let mut functions = functions(&code);
    let of_accounts = functions.remove("of_type").unwrap_or_default();
    let of_sandboxes = functions.remove("is_of_sandbox").unwrap_or_default();
    let mut used: BTreeSet<String> =
        quoted(&of_accounts).filter(|word| *word != "v1.").map(str::to_owned).collect();
    let mut of_sandboxes = quoted(&of_sandboxes);
    let prefix = of_sandboxes.next().unwrap_or_default();
    used.extend(of_sandboxes.map(|what| format!("{prefix}{what}")));
    assert_eq!(asked()?, used, "asked for, used");
    Ok(())
}

#[test]
fn each_destination_asks_for_events_that_happen_there_in_the_form_that_they_have()
-> anyhow::Result<()> {
    for (path, payload, from) in DESTINATIONS {
        let body: Value = serde_json::from_str(&read(path)?)?;
        assert_eq!(body["event_payload"], payload, "{path}");
        assert_eq!(body["events_from"], json!([from]), "{path}");
        for event in listed(&body["enabled_events"]) {
            let event = event.as_str().unwrap_or_default();
            let is_the_apps_own = Topic::is_of_sandbox(event);
            assert!(is_the_apps_own || Topic::of_type(event).is_some(), "{path}: {event}");
            assert_eq!(is_the_apps_own, from == "@self", "{path}: {event}");
            assert_eq!(event.starts_with("v2."), payload == "thin", "{path}: {event}");
        }
    }
    Ok(())
}

#[test]
fn what_the_destinations_ask_for_is_looked_up_in_stripes_record_too() -> anyhow::Result<()> {
    let code = code("shared/src/steward/backfill.rs")?;
    let names = quoted(&code).filter(|word| word.starts_with("v2.") || word.starts_with("v1."));
    let read: BTreeSet<String> =
        names.map(|name| name.strip_prefix("v1.").unwrap_or(name).to_owned()).collect();
    assert_eq!(asked()?, read, "asked for, read");
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
