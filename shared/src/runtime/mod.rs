//! What a running program is made of: clients, settings, logging.

pub mod aws;
