//! The pure core: values that are parsed or refused, the lifecycle, the policy and the plan.

pub mod account;
pub mod attention;
pub mod audit;
pub mod backlog;
pub mod breaker;
pub mod changeover;
pub mod drift;
pub mod event;
pub mod id;
pub mod intent;
pub mod lifecycle;
pub mod orders;
pub mod plan;
pub mod policy;
pub mod recovery;
pub mod sandbox;
pub mod sealed;
pub mod secret;
pub mod slot;
pub mod time;
mod window;
