//! From an HTTP answer to what it says: bounded, and without Stripe's words.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::{Error, LimitReason, OAuthRefusal, Refusal};
use super::retry::Code;

/// An answer of the 2xx kind, read whole. Its body may hold secrets and is wiped when dropped; the transport's
/// own buffers are beyond reach.
pub(super) struct Answer {
    pub(super) request_id: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) fn new(request_id: Option<String>, body: Zeroizing<Vec<u8>>) -> Self {
        Self { request_id, body }
    }

    /// Reads the fields that `T` names. The parser's own message quotes the body, so it is dropped.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|_| self.malformed())
    }

    pub(super) fn malformed(&self) -> Error {
        Error::Malformed { request_id: self.request_id.clone() }
    }
}

/// Reads a body of up to 1 MiB; `None` when it is larger.
pub(super) async fn read_body(
    response: &mut Response,
) -> Result<Option<Zeroizing<Vec<u8>>>, reqwest::Error> {
    let mut chunks = Vec::new();
    let mut size = 0;
    while let Some(chunk) = response.chunk().await? {
        size += chunk.len();
        if size > MAX_BODY_BYTES {
            return Ok(None);
        }
        chunks.push(chunk);
    }
    // Sized once: a vector that grows leaves copies behind that nobody wipes.
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    for chunk in chunks {
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Stripe's name of the call, when the header has the form of one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    word(headers.get("request-id")?.to_str().ok()?)
}

/// What `Stripe-Should-Retry` says.
pub(super) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("stripe-should-retry")?.to_str().ok()? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// What `Retry-After` asks for, in seconds. Stripe does not document it; a date is not understood.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What an answer outside 2xx says.
pub(super) fn failure(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let request_id = request_id(headers);
    if status >= 500 {
        return Error::Unavailable { status, request_id };
    }
    let reported = serde_json::from_slice::<Body>(body).map(|body| body.error).ok();
    let why = match reported {
        // About the call, not about the key: the official SDKs showed it as an error of authentication (401) in 2016
        // and of permission (403) from 2023 on.
        Some(Reported::Api { code: Some(code), .. }) if code == "secret_key_required" => {
            Refusal::Forbidden
        }
        // With 401, `api_key_expired` is about the key that authenticated the call, not about the key that the
        // call was about; taken for the latter, a good key would be given up.
        Some(Reported::Api { .. }) if status == 401 => Refusal::Unauthorized,
        Some(Reported::OAuth(error)) => Refusal::OAuth(oauth(&error)),
        Some(Reported::Api { code, error_type }) => {
            // The api_key codes come without a type, and some of v1's errors without a code.
            let named = [code.as_deref(), error_type.as_deref()];
            let named = named.into_iter().flatten().find_map(named_refusal);
            named.unwrap_or_else(|| by_status(status, headers, code.as_deref()))
        }
        None => by_status(status, headers, None),
    };
    Error::Refused { why, request_id }
}

/// What an error means for a repeat.
pub(super) fn code(error: &Error) -> Code {
    match error.refusal() {
        Some(Refusal::LockTimeout) => Code::LockTimeout,
        Some(Refusal::IdempotencyError) => Code::IdempotencyError,
        _ => Code::Other,
    }
}

fn named_refusal(code: &str) -> Option<Refusal> {
    Some(match code {
        "api_key_already_rotated" => Refusal::AlreadyRotated,
        "api_key_direct_operation_not_supported" => Refusal::DirectOperationNotSupported,
        "api_key_expired" => Refusal::KeyExpired,
        "api_key_limit_reached" => Refusal::LimitReached,
        "api_key_livemode_mismatch" => Refusal::LivemodeMismatch,
        "api_key_permissions_invalid" => Refusal::PermissionsInvalid,
        "invalid_fields" => Refusal::BadRequest,
        "not_found" => Refusal::NotFound,
        "idempotency_error" => Refusal::IdempotencyError,
        "idempotency_conflict" => Refusal::IdempotencyConflict,
        "lock_timeout" => Refusal::LockTimeout,
        "too_many_concurrent_requests" => Refusal::RateLimited(LimitReason::Unnamed),
        _ => return None,
    })
}

fn by_status(status: u16, headers: &HeaderMap, code: Option<&str>) -> Refusal {
    match status {
        400 => Refusal::BadRequest,
        401 => Refusal::Unauthorized,
        403 => Refusal::Forbidden,
        404 => Refusal::NotFound,
        429 => Refusal::RateLimited(limit_reason(headers)),
        _ => Refusal::Other { status, code: code.and_then(word) },
    }
}

fn limit_reason(headers: &HeaderMap) -> LimitReason {
    let reason = headers.get("stripe-rate-limited-reason").and_then(|value| value.to_str().ok());
    match reason {
        Some("global-rate") => LimitReason::GlobalRate,
        Some("endpoint-rate") => LimitReason::EndpointRate,
        Some("global-concurrency") => LimitReason::GlobalConcurrency,
        Some("endpoint-concurrency") => LimitReason::EndpointConcurrency,
        Some("resource-specific") => LimitReason::ResourceSpecific,
        Some(_) | None => LimitReason::Unnamed,
    }
}

fn oauth(error: &str) -> OAuthRefusal {
    match error {
        "invalid_grant" => OAuthRefusal::InvalidGrant,
        "invalid_client" => OAuthRefusal::InvalidClient,
        "invalid_request" => OAuthRefusal::InvalidRequest,
        "invalid_scope" => OAuthRefusal::InvalidScope,
        "unsupported_grant_type" => OAuthRefusal::UnsupportedGrantType,
        "unsupported_response_type" => OAuthRefusal::UnsupportedResponseType,
        _ => OAuthRefusal::Unnamed,
    }
}

/// Lets only what looks like an identifier or a code into errors and logs; a key does too, so none of those.
fn word(text: &str) -> Option<String> {
    let plausible = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && !["sk_", "rk_", "pk_"].iter().any(|prefix| text.starts_with(prefix))
        && !["k_live_", "k_test_", "whsec_", "absec_"].iter().any(|mark| text.contains(mark));
    plausible.then(|| text.to_owned())
}

#[derive(Deserialize)]
struct Body {
    error: Reported,
}

/// OAuth puts a word where the API puts an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reported {
    OAuth(String),
    Api {
        code: Option<String>,
        #[serde(rename = "type")]
        error_type: Option<String>,
    },
}

/// A full page of keys is about 100 KiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Class;

    fn refusal(status: u16, body: &str) -> Refusal {
        match failure(status, &HeaderMap::new(), body.as_bytes()) {
            Error::Refused { why, .. } => why,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn every_code_of_stripes_is_an_error_of_its_own() {
        use Class::{Caller, Conflict, Fault, Transient};
        let rate_limited = Refusal::RateLimited(LimitReason::Unnamed);
        let other =
            |code: Option<&str>| Refusal::Other { status: 418, code: code.map(str::to_owned) };
        for (status, code, expected, class, ambiguous) in [
            (400, "api_key_already_rotated", Refusal::AlreadyRotated, Conflict, false),
            (
                400,
                "api_key_direct_operation_not_supported",
                Refusal::DirectOperationNotSupported,
                Fault,
                false,
            ),
            (400, "api_key_expired", Refusal::KeyExpired, Conflict, false),
            (400, "api_key_limit_reached", Refusal::LimitReached, Fault, false),
            (400, "api_key_livemode_mismatch", Refusal::LivemodeMismatch, Fault, false),
            (400, "api_key_permissions_invalid", Refusal::PermissionsInvalid, Fault, false),
            (400, "invalid_fields", Refusal::BadRequest, Fault, false),
            (400, "something_new", Refusal::BadRequest, Fault, false),
            (404, "not_found", Refusal::NotFound, Caller, false),
            (404, "resource_missing", Refusal::NotFound, Caller, false),
            (401, "", Refusal::Unauthorized, Fault, false),
            (401, "api_key_expired", Refusal::Unauthorized, Fault, false),
            (401, "secret_key_required", Refusal::Forbidden, Fault, false),
            (403, "", Refusal::Forbidden, Fault, false),
            (409, "idempotency_error", Refusal::IdempotencyError, Fault, true),
            (409, "idempotency_conflict", Refusal::IdempotencyConflict, Conflict, true),
            (429, "lock_timeout", Refusal::LockTimeout, Transient, false),
            (429, "rate_limit", rate_limited.clone(), Transient, false),
            (429, "too_many_concurrent_requests", rate_limited, Transient, false),
            (418, "teapot", other(Some("teapot")), Fault, false),
            (418, "sk_live_1", other(None), Fault, false),
            (418, "not_sk_live_1", other(None), Fault, false),
            (418, "a b", other(None), Fault, false),
        ] {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
            let error = failure(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.refusal(), Some(&expected), "{status} {code}");
            assert_eq!(error.class(), class, "{status} {code}");
            assert_eq!(error.is_ambiguous(), ambiguous, "{status} {code}");
        }
    }

    #[test]
    fn a_type_names_an_error_that_has_no_code() {
        let body = r#"{"error":{"type":"idempotency_error","message":"m"}}"#;
        assert_eq!(refusal(400, body), Refusal::IdempotencyError);
    }

    #[test]
    fn the_reason_of_a_rate_limit_is_kept() {
        for (reason, expected) in [
            ("global-rate", LimitReason::GlobalRate),
            ("endpoint-rate", LimitReason::EndpointRate),
            ("global-concurrency", LimitReason::GlobalConcurrency),
            ("endpoint-concurrency", LimitReason::EndpointConcurrency),
            ("resource-specific", LimitReason::ResourceSpecific),
            ("moon-phase", LimitReason::Unnamed),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("stripe-rate-limited-reason", reason.parse().unwrap());
            let error = failure(429, &headers, b"{}");
            assert_eq!(error.refusal(), Some(&Refusal::RateLimited(expected)), "{reason}");
        }
    }

    #[test]
    fn a_rest_is_asked_for_in_whole_seconds_and_any_other_form_is_passed_over() {
        for (value, rest) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("86400", Some(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("7 s", None),
            ("soon", None),
            ("99999999999999999999999", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            assert_eq!(retry_after(&headers), rest.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
        let mut bytes = HeaderMap::new();
        let value = reqwest::header::HeaderValue::from_bytes(b"\xff").unwrap();
        bytes.insert("retry-after", value);
        assert_eq!(retry_after(&bytes), None, "not even text");
    }

    #[test]
    fn whether_to_come_again_is_said_in_two_words_and_no_others() {
        for (value, told) in
            [("true", Some(true)), ("false", Some(false)), ("True", None), ("1", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("stripe-should-retry", value.parse().unwrap());
            assert_eq!(should_retry(&headers), told, "{value}");
        }
        assert_eq!(should_retry(&HeaderMap::new()), None);
    }

    #[test]
    fn oauth_errors_are_words() {
        for (word, expected, class) in [
            ("invalid_grant", OAuthRefusal::InvalidGrant, Class::Caller),
            ("invalid_client", OAuthRefusal::InvalidClient, Class::Fault),
            ("invalid_request", OAuthRefusal::InvalidRequest, Class::Caller),
            ("invalid_scope", OAuthRefusal::InvalidScope, Class::Fault),
            ("unsupported_grant_type", OAuthRefusal::UnsupportedGrantType, Class::Fault),
            ("unsupported_response_type", OAuthRefusal::UnsupportedResponseType, Class::Fault),
            ("no", OAuthRefusal::Unnamed, Class::Fault),
        ] {
            let why = refusal(400, &format!(r#"{{"error":"{word}","error_description":"d"}}"#));
            assert_eq!(why, Refusal::OAuth(expected));
            assert_eq!(why.class(), class, "{word}");
        }
    }

    #[test]
    fn a_status_alone_is_enough_and_5xx_wins_over_any_code() {
        for body in ["", "<html>", "null", "[]", "{}", r#"{"error":null}"#, r#"{"error":{}}"#] {
            assert_eq!(refusal(400, body), Refusal::BadRequest, "{body}");
            assert_eq!(refusal(404, body), Refusal::NotFound, "{body}");
        }
        let body = br#"{"error":{"code":"api_key_expired","message":"m"}}"#;
        let error = failure(503, &HeaderMap::new(), body);
        assert!(matches!(error, Error::Unavailable { status: 503, .. }));
        assert!(error.is_ambiguous());
        assert_eq!(error.class(), Class::Transient);
    }

    #[test]
    fn a_request_id_is_kept_when_it_looks_like_one() {
        for (value, kept) in
            [("req_1aB-2", true), ("req 1", false), ("sk_live_1", false), ("req_sk_live_1", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("request-id", value.parse().unwrap());
            assert_eq!(failure(400, &headers, b"").request_id().is_some(), kept, "{value}");
        }
    }
}
