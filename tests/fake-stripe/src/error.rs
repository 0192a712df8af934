//! Errors as the API words them (`v2.error` in `openapi-iam.json`).

use serde_json::{Value, json};

use crate::http::Answer;

/// An API error: status, machine-readable code and message.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    kind: Option<&'static str>,
    header: Option<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), kind: None, header: None }
    }

    fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// `invalid_fields`, the v2 code of a bad request.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_fields", message)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("No such {what}."))
    }

    /// The status is as measured (README, "Sources"); the code is [X], nobody has published it.
    pub(crate) fn forbidden(code: &str, message: impl Into<String>) -> Self {
        Self::new(403, code, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", message).of_kind("invalid_request_error")
    }

    pub(crate) fn direct_operation() -> Self {
        Self::new(
            400,
            "api_key_direct_operation_not_supported",
            "This operation is not supported on a direct account: name the user's account in Stripe-Context.",
        )
    }

    pub(crate) fn livemode_mismatch() -> Self {
        Self::new(400, "api_key_livemode_mismatch", "The API key belongs to the other mode.")
    }

    pub(crate) fn permissions_invalid(message: impl Into<String>) -> Self {
        Self::new(400, "api_key_permissions_invalid", message)
    }

    pub(crate) fn idempotency_error() -> Self {
        Self::new(
            409,
            "idempotency_error",
            "This Idempotency-Key was used with different parameters.",
        )
        .of_kind("idempotency_error")
    }

    pub(crate) fn idempotency_conflict() -> Self {
        Self::new(
            409,
            "idempotency_conflict",
            "A request with this Idempotency-Key is in progress.",
        )
        .of_kind("idempotency_error")
    }

    /// 429 with its reason (`global-rate`, `endpoint-rate`, …).
    pub(crate) fn rate_limited(reason: &str) -> Self {
        let mut error =
            Self::new(429, "rate_limit", "Request rate limit exceeded.").of_kind("rate_limit");
        error.header = Some(("stripe-rate-limited-reason", reason.to_owned()));
        error
    }

    /// Status of an injected fault.
    pub(crate) fn injected(status: u16, code: &str) -> Self {
        Self::new(status, code, "Injected by fake-stripe.")
    }

    /// `stripe-should-retry` overrides what an SDK would do by itself, so it is sent only where the
    /// SDK's rule (retry 409 and 5xx, nothing else) would be wrong or the answer is certain.
    fn should_retry(&self) -> Option<bool> {
        match (self.status, self.code.as_str()) {
            (409, "idempotency_error") => Some(false),
            (409, _) | (500..=599, _) => Some(true),
            (400..=404, _) => Some(false),
            _ => None,
        }
    }

    fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(kind) = self.kind {
            error["type"] = json!(kind);
        }
        if self.code == "invalid_fields" {
            // Required by v2.error.invalid_fields; its meaning is not published.
            error["flag_set_id"] = json!("");
        }
        json!({"error": error})
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        let mut answer = Self::json(error.status, error.body());
        if let Some(retry) = error.should_retry() {
            answer = answer.with("stripe-should-retry", retry.to_string());
        }
        if let Some((name, value)) = error.header {
            answer = answer.with(name, value);
        }
        answer
    }
}
