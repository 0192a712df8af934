//! Keysteward: custody of the API keys that a Stripe App manages for its users.
//!
//! `domain` is pure: it decides, and has no async, I/O, clock or randomness. `steward`, `install`,
//! `ingest`, `sandbox`, `emergency`, `serve` and `sweep` are the use cases. `store`, `vault`, `stripe` and `runtime` are
//! the adapters; no type of an SDK leaves them.

pub mod class;
pub mod domain;
mod emergency;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
pub mod ingest;
pub mod install;
pub mod runtime;
mod sandbox;
pub mod serve;
pub mod steward;
pub mod store;
pub mod stripe;
pub mod sweep;
pub mod vault;
pub mod webhook;

pub use class::Class;
pub use fault::Fault;
