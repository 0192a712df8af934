//! How many calls are under way at once.

use std::time::Duration;

/// Halved by a refusal for concurrency; one place comes back a minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce {
    /// How many there may be.
    allowed: usize,
    /// How many there are, taken or free.
    places: usize,
    fell_at: Option<Duration>,
    grown_at: Duration,
}

impl AtOnce {
    pub(super) fn new() -> Self {
        Self { allowed: MOST, places: MOST, fell_at: None, grown_at: Duration::ZERO }
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// How many there may be.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// A call whose turn was at `turn` was refused because too many were under way.
    pub(super) fn refused(&mut self, now: Duration, turn: Duration) {
        if self.fell_at.is_none_or(|fell_at| turn > fell_at) {
            self.allowed = (self.allowed / 2).max(1);
            self.fell_at = Some(now);
            self.grown_at = now;
        }
    }

    /// Whether a place that becomes free is given up.
    pub(super) fn gives_up_a_place(&mut self) -> bool {
        let too_many = self.places > self.allowed;
        self.places -= usize::from(too_many);
        too_many
    }

    /// How many places there are more, by now.
    pub(super) fn takes_new_places(&mut self, now: Duration) -> usize {
        while self.allowed < MOST && now.saturating_sub(self.grown_at) >= GROWS_EVERY {
            self.allowed += 1;
            self.grown_at += GROWS_EVERY;
        }
        let new = self.allowed.saturating_sub(self.places);
        self.places += new;
        new
    }
}

/// As many as a sweep has under way; what keeps a call that hangs from being followed by hundreds.
const MOST: usize = 32;
const GROWS_EVERY: Duration = Duration::from_secs(60);
