//! The whole bundle on this machine alone: the five functions behind one port, an embedded table, a local
//! vault, and fake Stripe beside it.
//!
//! [`Bundle`] is the library; `cargo dev` ([`dev`]) puts a page for a person in front of it, `cargo demo`
//! ([`demo`]) goes through the main flow by itself and proves it. Binds to loopback and nothing else, knows
//! test mode and nothing else, and does not start where a live key of Stripe's is in sight.

pub mod browser;
mod bundle;
mod clock;
pub mod demo;
pub mod dev;
mod folder;
pub mod guard;
mod page;
mod parts;
mod pump;
mod rows;
mod server;

pub use bundle::{Bundle, Options, StartError, Table};
pub use clock::PlayClock;
