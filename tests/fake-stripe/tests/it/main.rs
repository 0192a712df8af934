//! The double against what is known of Stripe (README, "Sources").
#![cfg(test)]

mod binary;
mod deliveries;
mod events;
mod faults;
mod gates;
mod idempotency;
mod install;
mod keys;
mod rotation;
mod sandboxes;
mod spec;
mod support;
