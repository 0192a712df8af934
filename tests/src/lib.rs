//! The world of the end-to-end tests: the five functions on a real DynamoDB engine, a KMS double and a
//! stateful Stripe, with one clock that the test moves.

pub mod door;
mod engine;
pub mod kms_double;
pub mod pairs;
pub mod race;
pub mod table;
mod witness;
pub mod world;

pub use kms_double::KmsDouble;
pub use witness::Witness;
pub use world::{Setting, World};
