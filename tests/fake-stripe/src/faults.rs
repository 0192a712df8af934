//! Faults to order: the places where a call to Stripe can go wrong, each repeatable.

/// One fault: which calls it strikes, how, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The calls it is for.
    pub on: CallMatch,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many matching calls are struck, one after the other.
    pub times: u32,
}

impl Fault {
    /// A fault that strikes once.
    #[must_use]
    pub fn once(on: CallMatch, kind: FaultKind) -> Self {
        Self { on, kind, times: 1 }
    }
}

/// Which API calls (paths under `/v1` and `/v2`) are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallMatch {
    /// `GET` or `POST`; empty matches both.
    pub method: String,
    /// End of the path without query, such as `/rotate`; empty matches every path.
    pub path_suffix: String,
    /// 1-based: the first matching call, counted from the injection, that is struck. `None` is the next.
    pub nth: Option<u32>,
}

impl CallMatch {
    /// The next POST to a path that ends with `path_suffix`.
    #[must_use]
    pub fn post(path_suffix: &str) -> Self {
        Self { method: "POST".into(), path_suffix: path_suffix.into(), nth: None }
    }

    /// The next GET of a path that ends with `path_suffix`.
    #[must_use]
    pub fn get(path_suffix: &str) -> Self {
        Self { method: "GET".into(), ..Self::post(path_suffix) }
    }

    /// The `nth` such call instead of the next (1-based).
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = Some(nth);
        self
    }

    fn covers(&self, method: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method == method) && path.ends_with(&self.path_suffix)
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is done; an error with this status and code is answered.
    BeforeEffect {
        /// HTTP status.
        status: u16,
        /// `error.code`.
        code: String,
    },
    /// The call takes effect, but an error with this status is answered.
    AfterEffect {
        /// HTTP status.
        status: u16,
    },
    /// The call takes effect, and the connection closes without an answer.
    LostResponse,
    /// The connection closes before anything is done.
    Refused,
    /// The call is carried out this many real milliseconds later.
    Delay(u64),
    /// Nothing is done; 429 with this `Stripe-Rate-Limited-Reason`.
    RateLimited {
        /// `global-rate`, `endpoint-rate`, `global-concurrency`, `endpoint-concurrency`, `resource-specific`.
        reason: String,
    },
}

/// Injected faults with what is left of them.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Armed>);

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u32,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.0.push(Armed { fault, seen: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults that strike this call: all delays, and the first of anything else.
    pub(crate) fn strike(&mut self, method: &str, path: &str) -> Vec<FaultKind> {
        let mut struck = Vec::new();
        let mut decided = false;
        for armed in &mut self.0 {
            if !armed.fault.on.covers(method, path) {
                continue;
            }
            armed.seen += 1;
            let first = armed.fault.on.nth.unwrap_or(1).max(1);
            if armed.seen < first || armed.fault.times == 0 {
                continue;
            }
            let delays = matches!(armed.fault.kind, FaultKind::Delay(_));
            if !delays && decided {
                continue;
            }
            decided |= !delays;
            armed.fault.times -= 1;
            struck.push(armed.fault.kind.clone());
        }
        self.0.retain(|armed| armed.fault.times > 0);
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_nth_matching_call_and_then_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.inject(Fault {
            on: CallMatch::post("/rotate").nth(2),
            kind: FaultKind::LostResponse,
            times: 2,
        });
        let mut hits = || !faults.strike("POST", "/v2/iam/api_keys/mk_1/rotate").is_empty();
        assert_eq!([hits(), hits(), hits(), hits()], [false, true, true, false]);
    }

    #[test]
    fn another_method_or_path_is_left_alone() {
        let mut faults = Faults::default();
        faults.inject(Fault::once(CallMatch::get("/api_keys"), FaultKind::Refused));
        assert!(faults.strike("POST", "/v2/iam/api_keys").is_empty());
        assert!(faults.strike("GET", "/v2/iam/api_keys/mk_1").is_empty());
        assert_eq!(faults.strike("GET", "/v2/iam/api_keys").len(), 1);
    }
}
