//! Why the table did not do what it was asked, and what the SDK's errors mean here.

use std::error::Error as StdError;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;

use crate::class::Class;
use crate::fault::Fault;

type Source = Box<dyn StdError + Send + Sync>;

/// Why the table did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else wrote the account first. Load it again and decide anew.
    #[error("the account changed since it was loaded")]
    Conflict,
    /// The table was busy, or the connection to it failed. A write may or may not have happened.
    #[error("the table could not be reached or is busy")]
    Unavailable(#[source] Source),
    /// A change was still being written while it was read. Reading again later shows it whole.
    #[error("the account was read in the middle of a change")]
    Torn,
    /// There is no such table, or it lacks the index.
    #[error("there is no such table")]
    NoTable(#[source] Source),
    /// The table refuses the request: rights, names, sizes.
    #[error("the table refused the request")]
    Refused(#[source] Source),
    /// A row is not what this program writes. It stays as it is; a person has to look.
    #[error("a stored {what} cannot be read")]
    UnreadableRow {
        /// The kind of row.
        what: &'static str,
        /// What is wrong with it, where something can be said.
        source: Option<Source>,
    },
    /// A later version of this program wrote the row: nothing is assumed of what it means.
    #[error("a stored {what} was written by a later version of this program")]
    NewerSchema {
        /// The kind of row.
        what: &'static str,
    },
    /// A value has no form as a row.
    #[error("a {what} cannot be written as a row")]
    UnwritableRow {
        /// The kind of row.
        what: &'static str,
        /// What is wrong with it.
        source: Source,
    },
    /// An audit entry is not the text that was hashed when it was written.
    #[error("audit entry {sequence} is not what was recorded")]
    Tampered {
        /// The entry's number.
        sequence: u64,
    },
    /// The trail already holds an entry where the account says that it ends.
    #[error("the audit trail is longer than the account says")]
    TrailDiverged,
    /// More rows than one transaction takes.
    #[error("the change touches {rows} rows; one transaction takes {MAX_ROWS}")]
    TooManyRows {
        /// How many it touches.
        rows: usize,
    },
    /// An event is to be marked done that was never recorded, or ran out of its retention.
    #[error("the event has no row")]
    NoSuchEvent,
}

impl Error {
    /// What kind of failure this is.
    pub fn class(&self) -> Class {
        match self {
            Self::Conflict => Class::Conflict,
            Self::Unavailable(_) | Self::Torn => Class::Transient,
            Self::NoTable(_)
            | Self::Refused(_)
            | Self::UnreadableRow { .. }
            | Self::NewerSchema { .. }
            | Self::UnwritableRow { .. }
            | Self::Tampered { .. }
            | Self::TrailDiverged
            | Self::TooManyRows { .. }
            | Self::NoSuchEvent => Class::Fault,
        }
    }

    /// Under which name it is counted; `None` for what the next load settles.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Conflict | Self::Torn => None,
            Self::Unavailable(_) => Some(Fault::TableUnavailable),
            Self::NoTable(_) => Some(Fault::TableMissing),
            Self::Refused(_) | Self::UnwritableRow { .. } | Self::TooManyRows { .. } => {
                Some(Fault::TableRefused)
            }
            Self::UnreadableRow { .. }
            | Self::NewerSchema { .. }
            | Self::Tampered { .. }
            | Self::TrailDiverged
            | Self::NoSuchEvent => Some(Fault::RowUnreadable),
        }
    }

    pub(super) fn unreadable(what: &'static str) -> Self {
        Self::UnreadableRow { what, source: None }
    }

    pub(super) fn unwritable(
        what: &'static str,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::UnwritableRow { what, source: Box::new(source) }
    }
}

/// What a place in a transaction is for; decides what its failed condition means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The account's own row, which carries the version.
    Head,
    /// A row of the working set; written without a condition, under the head's.
    Row,
    /// A new audit entry.
    Audit,
    /// An event's row that is marked done.
    Event,
}

/// What a failed call means, its conditions aside.
///
/// Time-outs and broken connections are [`Error::Unavailable`] even after a write was sent: whether it
/// happened is unknown, and whoever repeats it does so from a fresh load.
pub(super) fn of_call<E>(failed: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match failed {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            // The raw response is left behind here: it can hold whole rows.
            let error = service.into_err();
            match error.code() {
                Some("ConditionalCheckFailedException" | "TransactionConflictException") => {
                    Error::Conflict
                }
                Some("ResourceNotFoundException") => Error::NoTable(Box::new(error)),
                Some(code) if TRANSIENT.contains(&code) => Error::Unavailable(Box::new(error)),
                _ if status >= 500 || status == 429 => Error::Unavailable(Box::new(error)),
                _ => Error::Refused(Box::new(error)),
            }
        }
        SdkError::ConstructionFailure(_) => Error::Refused(Box::new(failed)),
        // An answer that is none: a proxy's page, or one cut short.
        SdkError::ResponseError(_) => match failed.into_source() {
            Ok(source) => Error::Unavailable(source),
            Err(failed) => Error::Unavailable(Box::new(failed)),
        },
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => {
            Error::Unavailable(Box::new(failed))
        }
        // The SDK keeps the right to add cases; one that is not known is not known to be lasting.
        failed => Error::Unavailable(Box::new(failed)),
    }
}

/// What a failed transaction means: the first condition that failed, the account's own before the rest.
pub(super) fn of_transaction(
    failed: SdkError<TransactWriteItemsError, HttpResponse>,
    roles: &[Role],
) -> Error {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        failed.as_service_error()
    else {
        return of_call(failed);
    };
    let codes: Vec<(Role, &str)> = roles
        .iter()
        .zip(cancelled.cancellation_reasons())
        .map(|(role, reason)| (*role, reason.code().unwrap_or("None")))
        .collect();
    let has = |role: Role, wanted: &str| codes.iter().any(|(r, c)| *r == role && *c == wanted);
    // Another transaction in flight on the same rows, or one that came before.
    if has(Role::Head, FAILED_CONDITION) || codes.iter().any(|(_, c)| *c == "TransactionConflict") {
        return Error::Conflict;
    }
    // The account is at the loaded version and still its trail is not as it should be.
    if has(Role::Audit, FAILED_CONDITION) {
        return Error::TrailDiverged;
    }
    // Its row was read before the account was: somebody applied it in between.
    if has(Role::Event, FAILED_CONDITION) {
        return Error::Conflict;
    }
    let busy = codes
        .iter()
        .any(|(_, c)| matches!(*c, "ThrottlingError" | "ProvisionedThroughputExceeded"));
    // The reasons' text is not kept: a reason can hold the row that is in the way.
    let source: Source = if busy {
        "the transaction was throttled".into()
    } else {
        "the transaction was cancelled".into()
    };
    if busy { Error::Unavailable(source) } else { Error::Refused(source) }
}

/// Codes of a table that is busy or ill, besides every status from 500 on.
const TRANSIENT: [&str; 9] = [
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionInProgressException",
    "LimitExceededException",
    "ResourceInUseException",
];
const FAILED_CONDITION: &str = "ConditionalCheckFailed";
/// `TransactWriteItems`: "up to 100 distinct actions" (API reference).
pub(super) const MAX_ROWS: usize = 100;
