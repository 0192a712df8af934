//! What was to be reached, and whether it was.

/// Whether every goal that is counted, rather than timed, was met.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    missed: u32,
}

impl Goals {
    /// The word for a goal that is counted: the machine has no part in it, so a miss fails the run.
    pub(crate) fn counted(&mut self, is_met: bool) -> &'static str {
        self.missed += u32::from(!is_met);
        word(is_met)
    }

    pub(crate) fn are_met(&self) -> bool {
        self.missed == 0
    }
}

/// The second as a multiple of the first, and the word for whether that is within a goal that is timed.
pub(crate) fn ratio([few, many]: [f64; 2], most: f64) -> (String, &'static str) {
    (format!("{:.3}", many / few), word(many / few <= most))
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn word(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}
