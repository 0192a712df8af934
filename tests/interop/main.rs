//! Real input, made by others: Stripe's own packages from PyPI and npm, and the JWEs of jwcrypto and jose.
//!
//! Needs a Python and a Node with the packages pinned beside this file, so plain `cargo test` leaves it out;
//! `.ci/run` installs both and runs it (`just interop` does that alone).

mod install_link;
mod jwe;
mod keys;
mod script;
mod webhooks;
