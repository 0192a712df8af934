//! What strangers can send: to the webhook, to the bus, to the install callback.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use url::Url;

use super::fields;
use crate::domain::event::{Notification, Topic};
use crate::domain::secret::SecretToken;
use crate::domain::slot::Mode;
use crate::domain::time::Timestamp;
use crate::install::link::{InstallLink, web_address};
use crate::install::state;
use crate::webhook::install_link::{self as redirect, Claim};
use crate::webhook::payload::{self, Parsed};
use crate::webhook::signature::{self, Rejected};

fn ours() -> [SecretToken; 1] {
    [SecretToken::new("whsec_ours".to_owned())]
}

fn another() -> SecretToken {
    SecretToken::new("whsec_another".to_owned())
}

fn now() -> Timestamp {
    Timestamp::EPOCH.plus(Duration::from_secs(1_700_000_000))
}

/// A header and a body. Nothing unsigned verifies, nor what somebody else signed, whatever stands beside
/// it; and beside a good signature nothing that is well formed does harm.
pub(super) fn signature_header(data: &[u8]) {
    let [header, body] = fields(data);
    let body = body.as_bytes();
    assert!(signature::verify(&header, body, &ours(), now()).is_err());

    let forged = signature::sign(&another(), now(), body);
    assert!(signature::verify(&forged, body, &ours(), now()).is_err());
    let beside = format!("{header},{forged}");
    assert!(signature::verify(&beside, body, &ours(), now()).is_err());
    let (time, tag) = forged.split_once(',').unwrap_or_default();
    let beside = format!("{time},{header},{tag}");
    assert!(signature::verify(&beside, body, &ours(), now()).is_err());

    let good = signature::sign(&ours()[0], now(), body);
    assert_eq!(signature::verify(&good, body, &ours(), now()), Ok(now()));
    let verdict = signature::verify(&format!("{good},{header}"), body, &ours(), now());
    assert!(matches!(verdict, Ok(_) | Err(Rejected::Header)), "{verdict:?}");
}

/// A body. What is kept of it can be written down again as a body and is read back as the same.
pub(super) fn event_body(data: &[u8]) {
    let Ok(Parsed::Event(event)) = payload::parse(data) else { return };
    let row = serde_json::to_vec(&event).unwrap_or_default();
    assert_eq!(serde_json::from_slice::<Notification>(&row).ok().as_ref(), Some(&event));
    let charges_enabled = match event.topic {
        Topic::AccountUpdated { charges_enabled } => charges_enabled,
        _ => None,
    };
    // A sandbox's events are thin alone.
    if matches!(event.topic, Topic::Sandbox { .. }) {
        return;
    }
    let seconds = Timestamp::from_seconds(event.created.seconds());
    let snapshot = json!({
        "id": event.id, "object": "event", "type": type_of(&event.topic),
        "created": event.created.seconds(), "livemode": event.account.mode == Mode::Live,
        "account": event.account.id, "data": { "object": { "charges_enabled": charges_enabled } },
    });
    let again = payload::parse(snapshot.to_string().as_bytes());
    let expected = seconds.map(|created| Parsed::Event(Notification { created, ..event }));
    assert_eq!(again.ok(), expected.ok());
}

/// An envelope, or what stands in one: the bus and the endpoint read the same event alike.
pub(super) fn event_envelope(data: &[u8]) {
    if let Ok(detail) = payload::unwrap_envelope(data) {
        let _ = payload::parse(detail);
    }
    let Ok(detail) = serde_json::from_slice::<&RawValue>(data) else { return };
    let source = "aws.partner/stripe.com/ed_1";
    let envelope = json!({ "detail-type": "t", "source": source }).to_string();
    let open = envelope.trim_end_matches('}');
    let envelope = format!("{open},\"detail\":{}}}", detail.get());
    let unwrapped = payload::unwrap_envelope(envelope.as_bytes());
    assert_eq!(unwrapped.ok(), Some(detail.get().as_bytes()));
    let other = envelope.replace(source, "my.own/thing");
    assert!(other.contains(source) || payload::unwrap_envelope(other.as_bytes()).is_err());
}

/// State, nonce, user, account and signature of a callback. None of them opens anything unless we and
/// Stripe signed it, for this browser and for no other parameters.
pub(super) fn install_callback(data: &[u8]) {
    let [state, nonce, user, account, tag] = fields(data);
    let key = SecretToken::new("state key".to_owned());
    assert!(state::verify(&key, &state, &nonce, now()).is_err());

    let signed = state::sign(&key, Mode::Test, &nonce, now());
    assert_eq!(state::verify(&key, &signed, &nonce, now()), Ok(Mode::Test));
    assert!(state::verify(&another(), &signed, &nonce, now()).is_err());
    let other_browser = format!("{nonce}0");
    assert!(state::verify(&key, &signed, &other_browser, now()).is_err());
    assert!(state::verify(&key, &signed, &nonce, now().plus(state::LIFETIME)).is_err());
    for touched in [format!("{signed}{user}"), format!("{user}{signed}")] {
        assert!(touched == signed || state::verify(&key, &touched, &nonce, now()).is_err());
    }
    assert!(!state::is_nonce(&nonce) || nonce.bytes().all(|b| b.is_ascii_hexdigit()));

    let claim = Claim { state: Some(&state), user_id: &user, account_id: &account };
    assert!(redirect::verify(&claim, &tag, &ours(), now()).is_err());
    let good = signature::sign(&ours()[0], now(), &claim.signed_bytes());
    assert_eq!(redirect::verify(&claim, &good, &ours(), now()), Ok(now()));
    for other in [
        Claim { account_id: &tag, ..claim },
        Claim { user_id: &tag, ..claim },
        Claim { state: Some(&tag), ..claim },
        Claim { state: None, ..claim },
        Claim { user_id: &account, account_id: &user, ..claim },
    ] {
        assert!(other == claim || redirect::verify(&other, &good, &ours(), now()).is_err());
    }
}

/// A link and a state: people are sent to the link's own host, with our state and no other.
pub(super) fn install_link(data: &[u8]) {
    let [text, state] = fields(data);
    let Ok(link) = InstallLink::parse(&text) else { return };
    let (written, given) = (link.with(&state, "https://a.example/cb"), web_address(&text));
    let written = Url::parse(&written);
    assert!(written.is_ok() && given.is_ok());
    let (Ok(written), Ok(given)) = (written, given) else { return };
    assert_eq!(written.origin(), given.origin());
    assert_eq!(written.path(), given.path());
    let states: Vec<_> = written.query_pairs().filter(|(name, _)| name == "state").collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].1, state);
    assert!(written.query_pairs().any(|(name, _)| name == "redirect_uri"));
}

fn type_of(topic: &Topic) -> &'static str {
    match topic {
        Topic::KeyCreated => "v2.iam.api_key.created",
        Topic::KeyUpdated => "v2.iam.api_key.updated",
        Topic::KeyRotated => "v2.iam.api_key.rotated",
        Topic::KeyExpired => "v2.iam.api_key.expired",
        Topic::KeyPermissionsUpdated => "v2.iam.api_key.permissions_updated",
        Topic::KeyDefaultSecretRevealed => "v2.iam.api_key.default_secret_revealed",
        Topic::Authorized => "account.application.authorized",
        Topic::Deauthorized => "account.application.deauthorized",
        Topic::AccountUpdated { .. } => "account.updated",
        Topic::Sandbox { .. } => "v2.core.claimable_sandbox.updated",
    }
}
