//! A rate that is learnt: it falls at a refusal and comes back slowly.

use std::time::Duration;

/// Calls a second, as far as they are known to be allowed. Instants are counted from the pace's start.
///
/// A refusal takes a fifth off. From there the rate comes back fast until just below where it was refused,
/// creeps past that point, and is free again above it: a limit is tried once in ten minutes and not once in
/// ten seconds. Only what is known comes back with time; more is tried while the rate is used up, because a
/// limit that nobody came near was not found to be gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Learned {
    /// Never more than this.
    most: f64,
    rate: f64,
    /// Where it is believed to be refused.
    wall: Option<f64>,
    /// Until when the rate was brought up to date.
    seen: Duration,
    fell_at: Option<Duration>,
}

impl Learned {
    /// `most` is what was configured; `wall` where a limit is expected below that.
    pub(super) fn new(most: f64, wall: f64) -> Self {
        let most = (most * HEADROOM).max(LEAST);
        let rate = most.min(wall * HEADROOM).max(LEAST);
        Self { most, rate, wall: Some(wall), seen: Duration::ZERO, fell_at: None }
    }

    /// The rate at `now`.
    pub(super) fn rate(&mut self, now: Duration) -> f64 {
        let left = self.seconds_until(now);
        self.climb(self.known(), self.most * FAST, left);
        self.rate
    }

    /// The rate at `now`, having been used up since it was last asked for.
    pub(super) fn rate_in_use(&mut self, now: Duration) -> f64 {
        let (fast, left) = (self.most * FAST, self.seconds_until(now));
        let mut left = self.climb(self.known(), fast, left);
        if let Some(wall) = self.wall {
            left = self.climb(wall * PAST, wall * (PAST - HEADROOM) / SLOW_SECONDS, left);
            if left > 0.0 {
                self.wall = None;
            }
        }
        self.climb(self.most, fast, left);
        self.rate
    }

    /// What there is no reason to doubt.
    fn known(&self) -> f64 {
        self.wall.map_or(self.rate, |wall| wall * HEADROOM)
    }

    fn seconds_until(&mut self, now: Duration) -> f64 {
        let left = now.saturating_sub(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        left
    }

    /// Climbs to `top` at `slope` a second, and answers how much of the time was left over.
    fn climb(&mut self, top: f64, slope: f64, seconds: f64) -> f64 {
        let top = top.min(self.most);
        if self.rate >= top {
            return seconds;
        }
        let takes = (top - self.rate) / slope;
        if takes <= seconds {
            self.rate = top;
            seconds - takes
        } else {
            self.rate += slope * seconds;
            0.0
        }
    }

    /// A call whose turn was at `turn` was refused. Refusals of calls that were made before the rate last fell
    /// say nothing about the rate as it is. One that comes alone, below where a limit is believed to be, is a hiccup
    /// that moved calls together: it costs a moment and moves no limit. Answers whether the rate fell.
    pub(super) fn refused(&mut self, now: Duration, turn: Duration) -> bool {
        if self.fell_at.is_some_and(|fell_at| turn <= fell_at) {
            return false;
        }
        let rate = self.rate(now);
        let is_alone = self.fell_at.is_none_or(|fell_at| now.saturating_sub(fell_at) > ALONE);
        if !is_alone || self.wall.is_none_or(|wall| rate > wall) {
            self.wall = Some(rate);
        }
        self.rate = (rate * FALL).max(LEAST);
        self.fell_at = Some(now);
        true
    }
}

/// Paced at its very limit, every hiccup of the network that moves two calls together would be refused.
const HEADROOM: f64 = 0.97;
/// How far past the wall the rate creeps before the wall is forgotten.
const PAST: f64 = 1.01;
/// How long the creeping takes.
const SLOW_SECONDS: f64 = 600.0;
/// A refusal this long after the last one comes alone.
const ALONE: Duration = Duration::from_secs(60);
/// What part of the most comes back a second.
const FAST: f64 = 0.01;
/// What is left after a refusal.
const FALL: f64 = 0.8;
/// However often it was refused, somebody has to find out when that is over: calls a second.
const LEAST: f64 = 0.5;
