//! The calls to Stripe: one client, one place where its wire form is known.
//!
//! Sources: <https://docs.stripe.com/keys/managed-api-keys>, `tests/fake-stripe/openapi-iam.json`,
//! <https://docs.stripe.com/stripe-apps/api-authentication/oauth>. What nobody has seen: ADR 16.
//!
//! Answers are read by allow-list: a body may hold keys of the whole account in the clear (a sandbox's list does), so
//! nothing is kept but the named fields, and no body and no message of Stripe's reaches a log or an error. What to do
//! about a failure is the caller's decision: [`Error::class`], [`Error::is_ambiguous`] and [`Error::refusal`] say what
//! is known.

mod answer;
mod client;
mod error;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod greet;
mod key;
mod oauth;
mod origin;
mod pace;
mod page;
mod probe;
mod retry;
mod sandbox;
#[cfg(test)]
mod testing;
mod time_left;
mod tls;
mod transport;

pub use client::{AppKeys, Options, Stripe};
pub use error::{Error, LimitReason, Misconfigured, OAuthRefusal, Refusal};
pub use event::{EventKeys, EventQuery, FullEvent};
pub use greet::Greeting;
pub use key::{ApiKey, Delivered, KeyStatus, Minted};
pub use oauth::Authorized;
pub use pace::{Endpoint, EndpointMeasures, Measures};
pub use probe::Liveness;
pub use time_left::{TimeLeft, aside, within};
