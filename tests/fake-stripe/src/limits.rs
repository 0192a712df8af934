//! Rate limits: calls a second, over all endpoints and for each, separately by mode and by whose
//! key calls.

use std::collections::HashMap;

use crate::behaviour::Behaviour;
use crate::error::ApiError;

/// Whose limits a call counts against: those of the account whose key it came with, in the key's mode. The app's keys
/// are the platform's, whatever account a call of theirs is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) account: String,
    pub(crate) live: bool,
}

/// Counts of the second that the clock is in.
#[derive(Debug, Default)]
pub(crate) struct RateLimits {
    second: i64,
    counts: HashMap<(Owner, String), u32>,
}

impl RateLimits {
    /// Counts a call to `endpoint` (method and path without ids), or refuses it.
    pub(crate) fn admit(
        &mut self,
        now_ms: i64,
        owner: &Owner,
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
            let count = self.counts.entry((owner.clone(), bucket.to_owned())).or_default();
            if *count >= limit {
                return Err(ApiError::rate_limited(reason));
            }
            *count += 1;
        }
        Ok(())
    }
}
