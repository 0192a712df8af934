//! The double against what stripe-api.md and the OpenAPI slice say of Stripe.
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
