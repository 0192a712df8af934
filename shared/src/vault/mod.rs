//! Custody of the private keys that open the users' API keys.

pub mod error;
pub mod jwe;
pub mod pair;
