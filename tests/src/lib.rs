//! The world of the end-to-end tests: the five functions on a real DynamoDB engine, a KMS double and a
//! stateful Stripe, with one clock that the test moves.

pub mod kms_double;
pub mod secrets_double;
pub mod table;
pub mod world;

pub use kms_double::KmsDouble;
pub use secrets_double::SecretsDouble;
pub use world::{Setting, World};
