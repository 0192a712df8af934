//! What must hold of Stripe's answers, should somebody else write them.
#![expect(clippy::expect_used, reason = "only fuzzing and tests have this")]

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::answer::{Answer, failure};
use super::error::{Error, Refusal};
use super::event::read_event;
use super::key::{Delivered, WireKey, read_minted};
use super::oauth::read_grant;
use super::page::{Item, Page};
use super::{AppKeys, Options, Stripe};
use crate::domain::id::EventId;
use crate::domain::slot::{Kind, Mode};
use crate::fuzzing::fields;

/// Where a list goes on: on the configured host or nowhere, for the app's key goes along.
pub(crate) fn page_url(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    for (base, stripe) in CLIENTS.iter() {
        let Ok(url) = stripe.url(text) else { continue };
        let rest = url.as_str().strip_prefix(base);
        assert!(rest.is_some_and(|rest| rest.starts_with('/')), "{url} is not on {base}");
        assert!(url.username().is_empty() && url.password().is_none());
        // What is on the host stays there when it is read again, as it is for the next page.
        assert_eq!(stripe.url(url.as_str()).ok(), Some(url));
    }
}

/// A status, a header and a body as every answer that is read. No secret gets into an error, a key, or
/// what counts as public or as sealed.
pub(crate) fn stripe_answer(data: &[u8]) {
    let [status, request_id, body] = fields(data);
    let answer = Answer::new(None, Zeroizing::new(body.clone().into_bytes()));
    minted(&answer);
    if let Ok(id) = EventId::parse("evt_1")
        && let Ok(event) = read_event(&answer, &id)
    {
        assert_eq!(event.id, id);
    }
    if let Ok(granted) = read_grant(&answer, Mode::Live) {
        assert!(body.contains("livemode") || granted.mode == Mode::Live);
    }
    if let Ok(page) = answer.read::<Page<WireKey>>() {
        for wire in page.data {
            if let Item::Kept(key) = wire.item() {
                assert!(body.contains(key.id.as_str()));
            }
        }
        page_url(page.next_page_url.unwrap_or_default().as_bytes());
    }
    refused(status.parse().unwrap_or(400), &request_id, &body);
}

fn minted(answer: &Answer) {
    let Ok(minted) = read_minted(answer) else { return };
    match &minted.secret {
        Delivered::Sealed { compact, .. } => {
            assert_eq!(compact.matches('.').count(), 4);
            assert_eq!(minted.key.kind, Kind::Secret);
        }
        Delivered::Publishable(token) => {
            assert!(token.starts_with("pk_live_") || token.starts_with("pk_test_"));
            assert_eq!(minted.key.kind, Kind::Publishable);
        }
        Delivered::Clear(token) => {
            assert!(!token.expose().is_empty());
            assert!(format!("{:?}", minted.secret) == "Clear");
        }
        Delivered::Absent => {}
    }
}

fn refused(status: u16, request_id: &str, body: &str) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("request-id", value);
    }
    let error = failure(status, &headers, body.as_bytes());
    assert_eq!(matches!(error, Error::Unavailable { .. }), status >= 500);
    // I1: what says that a key is over is an answer about that key, and a 401 is about the app's own.
    let is_over = matches!(error.refusal(), Some(Refusal::KeyExpired | Refusal::AlreadyRotated));
    assert!(!is_over || status != 401);
    let told = format!("{error} {error:?}");
    let has_key = ["sk_live_", "sk_test_", "rk_live_", "whsec_"];
    assert!(!has_key.iter().any(|mark| told.contains(mark)), "{told}");
    assert!(told.len() < 512);
}

/// Clients of Stripe and of a double on this machine, each with its base.
static CLIENTS: LazyLock<Vec<(&'static str, Stripe)>> = LazyLock::new(|| {
    ["https://api.stripe.com", "http://127.0.0.1:12111", "http://localhost"]
        .into_iter()
        .map(|base| {
            let options = Options {
                api_base: base.to_owned(),
                stripe_version: "2026-04-22.preview".to_owned(),
                keys: AppKeys::default(),
                max_rps: 1,
                timeout: Duration::from_secs(1),
            };
            (base, Stripe::new(options).expect("good options"))
        })
        .collect()
});
