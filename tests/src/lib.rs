//! The world of the end-to-end tests: the five functions on a real DynamoDB engine, a KMS double and a
//! stateful Stripe, with one clock that the test moves.
//!
//! Beside it, for `tests/runtime` and `tests/bench`, the functions as Lambda runs them: release binaries in
//! processes of their own ([`function`]) under a Runtime API ([`runtime_api`]), in a [`deployment`].

mod captured;
pub mod crowd;
pub mod deployment;
pub mod door;
pub mod emf;
mod engine;
pub mod events;
pub mod function;
pub mod invariants;
pub mod kms_double;
pub mod marketplace;
pub mod pairs;
pub mod race;
pub mod runtime_api;
pub mod secrets_double;
pub mod table;
mod witness;
pub mod world;

pub use captured::Captured;
pub use crowd::Crowd;
pub use deployment::Deployment;
pub use emf::Emf;
pub use function::{Function, Name};
pub use kms_double::KmsDouble;
pub use secrets_double::SecretsDouble;
pub use witness::Witness;
pub use world::{Setting, World};
