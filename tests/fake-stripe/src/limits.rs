//! Rate limits (stripe-api.md §6): calls a second, over all endpoints and for each, separately by mode.

use std::collections::HashMap;

use crate::behaviour::Behaviour;
use crate::error::ApiError;

/// Counts of the second that the clock is in.
#[derive(Debug, Default)]
pub(crate) struct RateLimits {
    second: i64,
    counts: HashMap<(bool, String), u32>,
}

impl RateLimits {
    /// Counts a call to `endpoint` (method and path without ids), or refuses it.
    pub(crate) fn admit(
        &mut self,
        now_ms: i64,
        live: bool,
        endpoint: &str,
        behaviour: &Behaviour,
    ) -> Result<(), ApiError> {
        let second = now_ms.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.counts.clear();
        }
        let limits = [
            ("", behaviour.rate_limit_per_second, "global-rate"),
            (endpoint, behaviour.endpoint_rate_limit_per_second, "endpoint-rate"),
        ];
        for (bucket, limit, reason) in limits {
            let Some(limit) = limit else { continue };
            let count = self.counts.entry((live, bucket.to_owned())).or_default();
            if *count >= limit {
                return Err(ApiError::rate_limited(reason));
            }
            *count += 1;
        }
        Ok(())
    }
}
