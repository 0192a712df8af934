//! What the pace tells of itself.

use std::collections::BTreeMap;

use super::Endpoint;
use crate::stripe::error::LimitReason;

/// Counted since it was last taken, and the rates at that instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures {
    /// Attempts that were sent at the app's pace, repeats among them.
    pub calls: u64,
    /// Attempts that Stripe answered with 429 for its limits, by its reason.
    pub refused: BTreeMap<LimitReason, u64>,
    /// Calls that were not made because their turn would have been too late.
    pub turned_away: u64,
    /// Calls a second over all endpoints that are allowed now.
    pub allowed_rps: f64,
    /// Calls under way at once that are allowed now.
    pub allowed_at_once: usize,
    /// The endpoints that were ever called.
    pub endpoints: BTreeMap<Endpoint, EndpointMeasures>,
}

/// Of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointMeasures {
    /// Attempts that were sent.
    pub calls: u64,
    /// Calls a second that are allowed now.
    pub allowed_rps: f64,
}
