//! End to end through the functions' handlers, on a real DynamoDB engine and a stateful Stripe.

mod backfill;
mod budget;
mod crash;
mod emergency;
mod events;
mod faults;
mod fencing;
mod install;
mod invariants;
mod keys;
mod lost;
mod main_path;
mod metrics;
mod named_faults;
mod out_of_time;
mod provision;
mod reconcile;
mod restore;
mod rotation;
mod sandbox;
mod scale;
mod simulation;
mod threats;
mod unanswered;
mod unheard;
mod webhook;
