//! End to end through the functions' handlers, on a real DynamoDB engine and a stateful Stripe.

mod backfill;
mod budget;
mod crash;
mod events;
mod fencing;
mod install;
mod keys;
mod lost;
mod main_path;
mod rotation;
mod sandbox;
mod simulation;
mod webhook;
