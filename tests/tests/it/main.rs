//! End to end through the functions' handlers, on a real DynamoDB engine and a stateful Stripe.

mod budget;
mod crash;
mod emergency;
mod events;
mod fencing;
mod install;
mod invariants;
mod keys;
mod lost;
mod main_path;
mod reconcile;
mod restore;
mod rotation;
mod simulation;
mod webhook;
