//! From a verified body to the little that is kept of it.
//!
//! Sources: `tests/fake-stripe/openapi-iam.json` (`v2.core.event`), <https://docs.stripe.com/connect/webhooks> (which
//! account and mode a v1 event is of), stripe-node's `src/utils.ts` (EventBridge's envelope). One endpoint receives thin
//! notifications (`v2.core.event`) and v1 snapshots (`event`); both become a [`Notification`]. Everything else in them,
//! `data` of a thin event included, is skipped without being looked at.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::class::Class;
use crate::domain::event::{Notification, Topic};
use crate::domain::id::{AccountId, EventId, SandboxId};
use crate::domain::slot::{AccountRef, Mode};
use crate::domain::time::Timestamp;

/// A body, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Something happened on a user's account that changes something here.
    Event(Notification),
    /// Well formed and not for us: to be acknowledged and forgotten.
    Ignored(Ignored),
}

/// Why an event is acknowledged and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is about the app's own account: it names no other.
    OwnAccount,
    /// Nothing here depends on events of this type.
    UnknownTopic,
}

/// A body that is no event. Parsers' own messages quote what they read, so they are not kept as sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// Not JSON, or a field that every event has is missing or of another type.
    #[error("the body is not an event")]
    Malformed,
    /// `object` names neither of the two kinds of event.
    #[error("the body is an object of another kind")]
    UnknownObject,
    /// `id` is not an event's.
    #[error("the event has no well-formed id")]
    EventId,
    /// `account` or `context` does not end in an account.
    #[error("the event names no well-formed account")]
    Account,
    /// `created` is no instant, or not in the form that goes with `object`.
    #[error("the event has no well-formed time")]
    Created,
    /// The event is about a claimable sandbox and does not name it.
    #[error("the event names no well-formed sandbox")]
    Sandbox,
    /// Not an envelope of EventBridge's with Stripe as its source.
    #[error("the envelope is not one of a stripe event source")]
    Envelope,
}

impl BadPayload {
    /// Always the caller's.
    pub fn class(&self) -> Class {
        match self {
            Self::Malformed
            | Self::UnknownObject
            | Self::EventId
            | Self::Account
            | Self::Created
            | Self::Sandbox
            | Self::Envelope => Class::Caller,
        }
    }
}

/// Reads the body of a webhook, or the `detail` of an envelope, after it was verified.
///
/// # Errors
///
/// [`BadPayload`] when it is no event. An event of a type that nothing here depends on is not looked at
/// further, so its ids cannot make it fail: refusing it would only have Stripe send it again for days.
pub fn parse(body: &[u8]) -> Result<Parsed, BadPayload> {
    let wire: Wire = read(body)?;
    let form = match wire.object.as_str() {
        "v2.core.event" => Form::Thin,
        "event" => Form::Snapshot,
        _ => return Err(BadPayload::UnknownObject),
    };
    let is_of_sandbox = Topic::is_of_sandbox(&wire.event_type);
    let mut topic = match Topic::of_type(&wire.event_type) {
        Some(topic) => topic,
        None if is_of_sandbox => Topic::Sandbox { sandbox: sandbox_of(body)? },
        None => return Ok(Parsed::Ignored(Ignored::UnknownTopic)),
    };
    // v1 puts the plain account into `account`; `context` may be a path from the organisation down.
    let account = match named(wire.account).or_else(|| named(wire.context)) {
        Some(account) => {
            let account = account.rsplit('/').next().unwrap_or_default();
            AccountId::parse(account).map_err(|_| BadPayload::Account)?
        }
        // Sandboxes are the app's own objects until somebody claims them.
        None if is_of_sandbox => AccountId::own(),
        None => return Ok(Parsed::Ignored(Ignored::OwnAccount)),
    };
    let created = match (form, wire.created) {
        (Form::Thin, Created::Text(text)) => Timestamp::parse(&text),
        (Form::Snapshot, Created::Seconds(seconds)) => Timestamp::from_seconds(seconds),
        (Form::Thin, Created::Seconds(_)) | (Form::Snapshot, Created::Text(_)) => {
            return Err(BadPayload::Created);
        }
    };
    if let (Topic::AccountUpdated { charges_enabled }, Form::Snapshot) = (&mut topic, form) {
        *charges_enabled = read::<AccountSnapshot>(body)?.data.object.charges_enabled;
    }
    Ok(Parsed::Event(Notification {
        id: EventId::parse(&wire.id).map_err(|_| BadPayload::EventId)?,
        account: AccountRef::new(Mode::of_livemode(wire.livemode), account),
        created: created.map_err(|_| BadPayload::Created)?,
        topic,
    }))
}

fn sandbox_of(body: &[u8]) -> Result<SandboxId, BadPayload> {
    let about: AboutSandbox = serde_json::from_slice(body).map_err(|_| BadPayload::Sandbox)?;
    SandboxId::parse(&about.related_object.id).map_err(|_| BadPayload::Sandbox)
}

/// Takes the event out of the envelope in which EventBridge delivers it; hand the result to [`parse`].
///
/// The envelope is not signed. It is trusted because nobody but AWS can put events with a source that starts
/// with `aws.` on a bus, and because only that bus may invoke the function. Its `account` is the AWS account's
/// number and is not read.
///
/// # Errors
///
/// [`BadPayload::Envelope`] when the source is not Stripe's or there is no `detail`.
pub fn unwrap_envelope(body: &[u8]) -> Result<&[u8], BadPayload> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| BadPayload::Envelope)?;
    let source_named = envelope.source.strip_prefix(SOURCE_PREFIX).is_some_and(|id| !id.is_empty());
    if envelope.detail_type.is_empty() || !source_named {
        return Err(BadPayload::Envelope);
    }
    Ok(envelope.detail.get().as_bytes())
}

const SOURCE_PREFIX: &str = "aws.partner/stripe.com/";

#[derive(Clone, Copy)]
enum Form {
    Thin,
    Snapshot,
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    object: String,
    #[serde(rename = "type")]
    event_type: String,
    created: Created,
    livemode: bool,
    account: Option<String>,
    context: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Seconds(i64),
    Text(String),
}

#[derive(Deserialize)]
struct AccountSnapshot {
    data: AccountData,
}

#[derive(Deserialize)]
struct AccountData {
    object: AccountObject,
}

#[derive(Deserialize)]
struct AccountObject {
    charges_enabled: Option<bool>,
}

#[derive(Deserialize)]
struct AboutSandbox {
    related_object: RelatedObject,
}

#[derive(Deserialize)]
struct RelatedObject {
    id: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "detail-type")]
    detail_type: String,
    source: String,
    #[serde(borrow)]
    detail: &'a RawValue,
}

/// Nesting is bounded by serde_json (128), and what is skipped is skipped without recursion.
fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, BadPayload> {
    serde_json::from_slice(body).map_err(|_| BadPayload::Malformed)
}

/// Stripe's SDKs take an empty context for none.
fn named(account: Option<String>) -> Option<String> {
    account.filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests;
