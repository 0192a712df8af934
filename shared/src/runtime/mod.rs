//! The edges: clock, environment, secrets, AWS clients, logs and the Lambda runtime.

pub mod assemble;
pub mod aws;
pub mod clock;
pub mod lambda;
pub mod log;
pub mod secrets;
pub mod settings;
