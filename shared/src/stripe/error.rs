//! What can go wrong between us and Stripe, and whether it may have happened nevertheless.

use std::error::Error as StdError;

use crate::class::Class;
use crate::domain::slot::Mode;

/// A call that did not do what was asked, or is not known to have.
///
/// Stripe's messages are dropped: they quote what was sent. `request_id` finds the call in Stripe's own log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client cannot be built from these options.
    #[error("the stripe client is misconfigured")]
    Misconfigured(#[source] Misconfigured),
    /// There is no app key for this mode.
    #[error("there is no app key for {0} mode")]
    MissingAppKey(Mode),
    /// Its turn, or its end, would have been after the time that there is: nothing was sent.
    #[error("there was no time left to call stripe")]
    OutOfTime,
    /// The request cannot be written: a stored path or header has a form that nothing here makes.
    #[error("the request to stripe cannot be written")]
    Unsendable,
    /// No connection was made, so Stripe has not seen the request.
    #[error("stripe was not reached")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// No answer in time.
    #[error("stripe did not answer in time")]
    Timeout(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection broke before the whole answer was there.
    #[error("the connection to stripe broke")]
    Interrupted(#[source] Box<dyn StdError + Send + Sync>),
    /// Stripe answered that it failed itself.
    #[error("stripe answered with status {status}")]
    Unavailable {
        /// 500 or more.
        status: u16,
        /// `Request-Id`.
        request_id: Option<String>,
    },
    /// Stripe answered that it will not.
    #[error("stripe refused the request")]
    Refused {
        /// For which reason.
        #[source]
        why: Refusal,
        /// `Request-Id`.
        request_id: Option<String>,
    },
    /// The last attempt failed for good, but after an earlier one that may have worked: a refusal then can be
    /// the consequence of our own success.
    #[error("a repeated call failed after an attempt that may have worked")]
    Unsettled(#[source] Box<Self>),
    /// Stripe answered 200 with something that is not the expected object, or is larger than 1 MiB.
    #[error("stripe's answer cannot be read")]
    Malformed {
        /// `Request-Id`.
        request_id: Option<String>,
    },
    /// The next page of a list is not on the configured host; the app's key is not sent there.
    #[error("a list continues on another host")]
    ForeignPage,
    /// A list comes back to a page that was read, or has more than 100.
    #[error("a list does not end")]
    EndlessList,
}

/// Why the client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Misconfigured {
    /// Not an absolute `http` or `https` URL of a host alone.
    #[error("the api base is not the url of a host")]
    Base,
    /// `http:` to a host that is not this machine: the app's key would go over the wire in the clear.
    #[error("the api base is http and not on this machine")]
    InsecureBase,
    /// Not a key at all, a publishable one, or one of the other mode.
    #[error("the app key for {0} mode is not a secret key of that mode")]
    AppKey(Mode),
    /// A rate of zero never sends anything.
    #[error("the rate limit is zero")]
    Rate,
    /// The TLS or HTTP stack refuses its settings.
    #[error("the http client cannot be built")]
    Client(#[source] Box<dyn StdError + Send + Sync>),
}

/// Why Stripe refuses. Source of the codes: `tests/fake-stripe/openapi-iam.json`; ADR 22 says what each settles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `api_key_already_rotated`
    #[error("the key was already rotated")]
    AlreadyRotated,
    /// `api_key_direct_operation_not_supported`: the context is missing or is the app's own account.
    #[error("the operation needs the context of another account")]
    DirectOperationNotSupported,
    /// `api_key_expired`
    #[error("the key is already expired")]
    KeyExpired,
    /// `api_key_limit_reached`
    #[error("the account has as many keys as it may")]
    LimitReached,
    /// `api_key_livemode_mismatch`
    #[error("the app key and the account are of different modes")]
    LivemodeMismatch,
    /// `api_key_permissions_invalid`
    #[error("a permission asked for is not one that may be given")]
    PermissionsInvalid,
    /// `invalid_fields`, and every other 400.
    #[error("the request is not one that stripe understands")]
    BadRequest,
    /// 404: no such object, or none that this context sees.
    #[error("there is no such object")]
    NotFound,
    /// `idempotency_error`: the key was sent with another body before.
    #[error("the idempotency key was used with another body")]
    IdempotencyError,
    /// `idempotency_conflict`: a call with the same key is under way, or its repeat conflicts.
    #[error("a call with the same idempotency key is in the way")]
    IdempotencyConflict,
    /// 429 `lock_timeout`: the object is locked.
    #[error("the object is locked by another request")]
    LockTimeout,
    /// 429: too many requests.
    #[error("too many requests")]
    RateLimited(LimitReason),
    /// 401: the key that authenticated the call is not valid.
    #[error("the key is not accepted")]
    Unauthorized,
    /// 403: the app is not installed, or lacks a permission. Stripe does not say which. Or `secret_key_required`: the
    /// key is a publishable one.
    #[error("the key may not do this")]
    Forbidden,
    /// A refusal of the OAuth token endpoint.
    #[error("the authorization code was not accepted")]
    OAuth(OAuthRefusal),
    /// A status that nothing above covers; 3xx too, since redirects are not followed.
    #[error("the answer has the unexpected status {status}")]
    Other {
        /// Below 500.
        status: u16,
        /// Stripe's code, when it has the form of one.
        code: Option<String>,
    },
}

/// Which limit was hit: `Stripe-Rate-Limited-Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitReason {
    /// `global-rate`
    GlobalRate,
    /// `endpoint-rate`
    EndpointRate,
    /// `global-concurrency`
    GlobalConcurrency,
    /// `endpoint-concurrency`
    EndpointConcurrency,
    /// `resource-specific`
    ResourceSpecific,
    /// None given, or one that is not known here.
    Unnamed,
}

impl LimitReason {
    /// Stripe's word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GlobalRate => "global-rate",
            Self::EndpointRate => "endpoint-rate",
            Self::GlobalConcurrency => "global-concurrency",
            Self::EndpointConcurrency => "endpoint-concurrency",
            Self::ResourceSpecific => "resource-specific",
            Self::Unnamed => "unnamed",
        }
    }
}

/// The error types of OAuth 2.0 that Stripe names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthRefusal {
    /// `invalid_grant`: used, older than five minutes, or of another mode or app.
    InvalidGrant,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_scope`
    InvalidScope,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `unsupported_response_type`
    UnsupportedResponseType,
    /// Any other.
    Unnamed,
}

impl Error {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Misconfigured(_)
            | Self::MissingAppKey(_)
            | Self::Unsendable
            | Self::Malformed { .. }
            | Self::ForeignPage
            | Self::EndlessList => Class::Fault,
            Self::OutOfTime
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Interrupted(_)
            | Self::Unavailable { .. } => Class::Transient,
            Self::Refused { why, .. } => why.class(),
            Self::Unsettled(last) => last.class(),
        }
    }

    /// Whether a call that changes something may have changed it nevertheless: after such an error nothing may
    /// be destroyed (I1) and the same call is to be repeated with the same idempotency key (I3).
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout(_)
            | Self::Interrupted(_)
            | Self::Unavailable { .. }
            | Self::Unsettled(_)
            | Self::Malformed { .. } => true,
            Self::Refused { why, .. } => why.is_ambiguous(),
            Self::Misconfigured(_)
            | Self::MissingAppKey(_)
            | Self::OutOfTime
            | Self::Unsendable
            | Self::Connect(_)
            | Self::ForeignPage
            | Self::EndlessList => false,
        }
    }

    /// Stripe's refusal, when it answered with one. Ask [`Error::is_ambiguous`] first.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { why, .. } => Some(why),
            Self::Unsettled(last) => last.refusal(),
            Self::Misconfigured(_)
            | Self::MissingAppKey(_)
            | Self::OutOfTime
            | Self::Unsendable
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Interrupted(_)
            | Self::Unavailable { .. }
            | Self::Malformed { .. }
            | Self::ForeignPage
            | Self::EndlessList => None,
        }
    }

    /// Stripe's name of the call (`req_…`), for the log beside the error.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Unavailable { request_id, .. }
            | Self::Refused { request_id, .. }
            | Self::Malformed { request_id } => request_id.as_deref(),
            Self::Unsettled(last) => last.request_id(),
            Self::Misconfigured(_)
            | Self::MissingAppKey(_)
            | Self::OutOfTime
            | Self::Unsendable
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Interrupted(_)
            | Self::ForeignPage
            | Self::EndlessList => None,
        }
    }
}

impl Refusal {
    /// What kind of failure it is. A key that changed behind our back is a conflict: reload and decide anew.
    pub fn class(&self) -> Class {
        match self {
            Self::AlreadyRotated | Self::KeyExpired | Self::IdempotencyConflict => Class::Conflict,
            Self::LockTimeout | Self::RateLimited(_) => Class::Transient,
            Self::NotFound => Class::Caller,
            Self::OAuth(why) => why.class(),
            Self::DirectOperationNotSupported
            | Self::LimitReached
            | Self::LivemodeMismatch
            | Self::PermissionsInvalid
            | Self::BadRequest
            | Self::IdempotencyError
            | Self::Unauthorized
            | Self::Forbidden
            | Self::Other { .. } => Class::Fault,
        }
    }

    /// Both idempotency refusals say that a call with the same key was made, and not what became of it.
    fn is_ambiguous(&self) -> bool {
        match self {
            Self::IdempotencyConflict | Self::IdempotencyError => true,
            Self::AlreadyRotated
            | Self::DirectOperationNotSupported
            | Self::KeyExpired
            | Self::LimitReached
            | Self::LivemodeMismatch
            | Self::PermissionsInvalid
            | Self::BadRequest
            | Self::NotFound
            | Self::LockTimeout
            | Self::RateLimited(_)
            | Self::Unauthorized
            | Self::Forbidden
            | Self::OAuth(_)
            | Self::Other { .. } => false,
        }
    }
}

impl OAuthRefusal {
    /// A bad code came with the browser; everything else is about the app's registration.
    fn class(self) -> Class {
        match self {
            Self::InvalidGrant | Self::InvalidRequest => Class::Caller,
            Self::InvalidClient
            | Self::InvalidScope
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::Unnamed => Class::Fault,
        }
    }
}
