//! The only place with status codes of failures: RFC 9457 problem documents.

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Reply, json};
use crate::class::Class;

/// A named failure as a caller sees it. The caller sees a constant; the log sees everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such path.
    NoSuchPath,
    /// The path takes another method; names those that it takes.
    Method(&'static str),
    /// The body is larger than 256 KiB.
    TooLarge,
    /// The body is not JSON by its content type.
    NotJson,
    /// The signature, its timestamp or its header does not hold. One body for all of them.
    Signature,
    /// The signed body is not an event.
    BadEvent,
    /// A parameter is missing or not what it should be; names it.
    Parameter(&'static str),
    /// Nothing is known of this account and slot.
    NoSuchKey,
    /// There is no usable key; says why.
    NoUsableKey(&'static str),
    /// The install callback's `state` is not one we gave to this browser lately.
    State,
    /// Stripe does not confirm the installation.
    Installation,
    /// Something failed that is not the caller's doing.
    Failed(Class),
}

impl Problem {
    /// The status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoSuchPath | Self::NoSuchKey => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Signature
            | Self::BadEvent
            | Self::Parameter(_)
            | Self::State
            | Self::Installation => StatusCode::BAD_REQUEST,
            Self::NoUsableKey(_) => StatusCode::CONFLICT,
            Self::Failed(class) => match class {
                Class::Caller => StatusCode::BAD_REQUEST,
                Class::Conflict => StatusCode::CONFLICT,
                Class::Transient => StatusCode::SERVICE_UNAVAILABLE,
                Class::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// The stable word that programs match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSuchPath => "no_such_path",
            Self::Method(_) => "method_not_allowed",
            Self::TooLarge => "body_too_large",
            Self::NotJson => "unsupported_media_type",
            Self::Signature => "bad_signature",
            Self::BadEvent => "bad_event",
            Self::Parameter(_) => "bad_parameter",
            Self::NoSuchKey => "no_such_key",
            Self::NoUsableKey(reason) => reason,
            Self::State => "bad_state",
            Self::Installation => "installation_not_confirmed",
            Self::Failed(class) => match class {
                Class::Caller => "bad_request",
                Class::Conflict => "conflict",
                Class::Transient => "try_again",
                Class::Fault => "internal",
            },
        }
    }

    /// The sentence that people read.
    pub fn title(self) -> &'static str {
        match self {
            Self::NoSuchPath => "There is nothing at this path.",
            Self::Method(_) => "This path does not take that method.",
            Self::TooLarge => "The body is larger than 256 KiB.",
            Self::NotJson => "The body has to be application/json.",
            Self::Signature => "The signature does not hold.",
            Self::BadEvent => "The body is not an event of Stripe's.",
            Self::Parameter(_) => "A parameter is missing or not valid.",
            Self::NoSuchKey => "Nothing is known of this account and slot.",
            Self::NoUsableKey(_) => "There is no usable key in this slot.",
            Self::State => "This installation was not started in this browser, or too long ago.",
            Self::Installation => "Stripe does not confirm this installation.",
            Self::Failed(class) => match class {
                Class::Caller => "The request cannot be carried out.",
                Class::Conflict => "Somebody else is changing this account; try again.",
                Class::Transient => "This cannot be done right now; try again.",
                Class::Fault => "This failed on our side.",
            },
        }
    }

    /// The problem document.
    pub fn reply(self, request_id: &str) -> Reply {
        let status = self.status();
        let body = Document {
            kind: format!("urn:keysteward:problem:{}", self.code()),
            title: self.title(),
            status: status.as_u16(),
            code: self.code(),
            detail: match self {
                Self::Parameter(name) => Some(name),
                _ => None,
            },
            request_id: Some(request_id).filter(|id| !id.is_empty()),
        };
        let mut reply = json(status, "application/problem+json", &body);
        if let Self::Method(allowed) = self {
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        reply
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}
