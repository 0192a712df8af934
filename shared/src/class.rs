//! What kind of failure something is: the one thing that decides status codes and retries.

/// The class of a failure. Every error type of this crate answers `class()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller sent something that can never work. 4xx, never retried.
    Caller,
    /// Somebody else holds the account, or it changed meanwhile. 409, retried after a reload.
    Conflict,
    /// Nothing is known to be wrong; the same call may work later. 503, retried with backoff.
    Transient,
    /// Something that an operator has to look at. 500, never retried in the same run.
    Fault,
}

impl Class {
    /// The word used in logs, metrics and the Lambda error type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Fault => "fault",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Conflict | Self::Transient => true,
            Self::Caller | Self::Fault => false,
        }
    }
}
