//! What the end-to-end tests share.

pub mod kms_double;

pub use kms_double::KmsDouble;
