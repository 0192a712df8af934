//! The edges: clock, environment, secrets, AWS clients, logs, metrics and the Lambda runtime.

pub mod assemble;
pub mod aws;
pub mod clock;
pub mod lambda;
pub mod log;
pub mod metrics;
pub mod secrets;
pub mod settings;
