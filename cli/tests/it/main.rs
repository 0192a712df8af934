//! The command against a real DynamoDB engine, doubles of KMS and Secrets Manager, and a stateful Stripe.

mod binary;
mod desk;
mod doctor;
mod emergency;
mod looking;
mod one_account;
mod orders;
