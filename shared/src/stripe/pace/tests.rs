//! The pace against a Stripe that counts calls by the second, as the double does: simulated, so that an hour takes no time and every run is
//! the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use futures_util::FutureExt;

use super::kept::{Gate, Kept};
use super::{Endpoint, Pace, TooLate};
use crate::stripe::error::LimitReason;

/// As many callers as a sweep has, each asking again as soon as it was answered.
const CALLERS: u64 = 32;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Asks,
    /// It waited at the first gate.
    Waited {
        asked: Duration,
    },
    /// It waited at the second.
    WaitedForAll {
        asked: Duration,
    },
    Arrives {
        turn: Duration,
    },
    Answered {
        turn: Duration,
        reason: Option<LimitReason>,
    },
}

/// What came of a simulated run, without its beginning.
#[derive(Debug, Default)]
struct Came {
    calls: u32,
    refused: u32,
    seconds: u64,
}

impl Came {
    fn rate(&self) -> f64 {
        f64::from(self.calls - self.refused) / self.seconds as f64
    }

    fn share_refused(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.calls)
    }
}

/// Calls a whole second of the clock, over all endpoints and for each.
#[derive(Clone, Default)]
struct Limits {
    all: Option<u32>,
    endpoint: Option<u32>,
    second: u64,
    counts: BTreeMap<Option<Endpoint>, u32>,
}

impl Limits {
    fn refuse(&mut self, now: Duration, endpoint: Endpoint) -> Option<LimitReason> {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.counts.clear();
        }
        for (of, limit, reason) in [
            (None, self.all, LimitReason::GlobalRate),
            (Some(endpoint), self.endpoint, LimitReason::EndpointRate),
        ] {
            let Some(limit) = limit else { continue };
            let count = self.counts.entry(of).or_default();
            if *count >= limit {
                return Some(reason);
            }
            *count += 1;
        }
        None
    }
}

struct Run {
    max_rps: u32,
    limits: Limits,
    endpoints: &'static [Endpoint],
    learning: u64,
    seconds: u64,
}

impl Run {
    fn new(max_rps: u32, all: Option<u32>, endpoint: Option<u32>) -> Self {
        let limits = Limits { all, endpoint, ..Limits::default() };
        Self { max_rps, limits, endpoints: &[Endpoint::RotateKey], learning: 0, seconds: 3600 }
    }

    fn run(&self) -> Came {
        let mut kept = Kept::new(self.max_rps);
        let mut limits = self.limits.clone();
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        // Latency on the way there and back, which shakes the spacing of the turns: 20 to 40 ms.
        let mut way = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Duration::from_micros(20_000 + (dice >> 33) % 20_000)
        };
        let mut events: BinaryHeap<_> =
            (0..CALLERS).map(|n| Reverse((Duration::from_millis(n), n, What::Asks))).collect();
        let end = Duration::from_secs(self.learning + self.seconds);
        let mut came = Came { seconds: self.seconds, ..Came::default() };
        while let Some(Reverse((now, n, what))) = events.pop() {
            if now >= end {
                break;
            }
            let endpoint = self.endpoints[n as usize % self.endpoints.len()];
            let next = match what {
                What::Asks => {
                    let at = kept.take(Gate::Endpoint(endpoint), now, None).unwrap();
                    (at, What::Waited { asked: now })
                }
                What::Waited { asked } if !kept.is_open(Gate::Endpoint(endpoint), asked, now) => {
                    (now, What::Asks)
                }
                What::WaitedForAll { asked } if kept.is_open(Gate::All, asked, now) => {
                    (now + way(), What::Arrives { turn: now })
                }
                What::Waited { .. } | What::WaitedForAll { .. } => {
                    let at = kept.take(Gate::All, now, None).unwrap();
                    (at, What::WaitedForAll { asked: now })
                }
                What::Arrives { turn } => {
                    let reason = limits.refuse(now, endpoint);
                    if now >= Duration::from_secs(self.learning) {
                        came.calls += 1;
                        came.refused += u32::from(reason.is_some());
                    }
                    (now + way(), What::Answered { turn, reason })
                }
                What::Answered { turn, reason } => {
                    if let Some(reason) = reason {
                        kept.refused(now, endpoint, turn, reason, None);
                    }
                    (now, What::Asks)
                }
            };
            events.push(Reverse((next.0, n, next.1)));
        }
        came
    }
}

/// Seconds until it is found out that an endpoint allows more than Stripe's default of 25.
const ABOVE_STRIPES_DEFAULT: u64 = 900;

#[test]
fn paced_at_the_limit_ninety_five_percent_of_it_are_used_and_no_call_in_a_thousand_is_refused() {
    for (limit, learning) in [(10, 0), (25, 0), (50, ABOVE_STRIPES_DEFAULT)] {
        for run in [Run::new(limit, None, Some(limit)), Run::new(limit, Some(limit), None)] {
            let came = Run { learning, ..run }.run();
            assert!(came.rate() >= 0.95 * f64::from(limit), "{limit}: {came:?}");
            assert!(came.share_refused() <= 0.001, "{limit}: {came:?}");
        }
    }
}

#[test]
fn paced_at_twice_the_limit_it_learns_the_limit_and_stays_near() {
    for (limit, learning) in [(10, 60), (25, 60), (40, ABOVE_STRIPES_DEFAULT)] {
        for run in [Run::new(2 * limit, None, Some(limit)), Run::new(2 * limit, Some(limit), None)]
        {
            let came = Run { learning, ..run }.run();
            assert!(came.rate() >= 0.95 * f64::from(limit), "{limit}: {came:?}");
            assert!(came.share_refused() <= 0.001, "{limit}: {came:?}");
        }
    }
}

#[test]
fn a_slow_endpoint_does_not_slow_the_others() {
    let run = Run::new(100, None, Some(10));
    let one = Run { learning: 60, ..run }.run();
    let run = Run::new(100, None, Some(10));
    let endpoints = &[Endpoint::RotateKey, Endpoint::RetrieveKey];
    let two = Run { learning: 60, endpoints, ..run }.run();
    assert!(two.rate() >= 1.9 * one.rate(), "{one:?} {two:?}");
}

/// Takes every turn at an endpoint from one second to another, and answers the rate then.
fn use_up(kept: &mut Kept, from: u64, to: u64) -> f64 {
    let (mut now, to) = (Duration::from_secs(from), Duration::from_secs(to));
    while now < to {
        now = kept.take(Gate::Endpoint(Endpoint::RotateKey), now, None).unwrap();
    }
    rate_at(kept, now)
}

fn rate_at(kept: &mut Kept, now: Duration) -> f64 {
    kept.take_measures(now).endpoints[&Endpoint::RotateKey].allowed_rps
}

#[test]
fn a_limit_that_is_raised_is_found_out() {
    let mut kept = Kept::new(100);
    for turn in [1, 3].map(Duration::from_secs) {
        kept.refused(turn, Endpoint::RotateKey, turn, LimitReason::EndpointRate, None);
    }
    let fallen = rate_at(&mut kept, Duration::from_secs(3));
    assert!((17.0..17.2).contains(&fallen), "a fifth is off, twice: {fallen}");
    let near = use_up(&mut kept, 4, 60);
    assert!((20.6..21.0).contains(&near), "it comes back to just below: {near}");
    assert!(use_up(&mut kept, 60, 500) < 21.5, "and creeps past where it was refused");
    assert!(use_up(&mut kept, 500, 1000) > 96.0, "when nothing is refused it is free again");
}

#[test]
fn a_limit_that_nobody_came_near_is_not_forgotten() {
    let mut kept = Kept::new(100);
    let hour = Duration::from_secs(3600);
    for n in 1..200 {
        // A burst that does not fill a second: as much as no limit of 25 a second would refuse.
        for _ in 0..10 {
            kept.take(Gate::Endpoint(Endpoint::RotateKey), n * hour, None).unwrap();
        }
        let rate = rate_at(&mut kept, n * hour);
        assert!(rate < 25.0, "after {n} hours: {rate}");
    }
}

#[test]
fn a_refusal_that_comes_alone_is_no_lower_limit() {
    let mut kept = Kept::new(100);
    let turn = Duration::from_secs(100);
    kept.refused(turn, Endpoint::RotateKey, turn, LimitReason::EndpointRate, None);
    assert!(rate_at(&mut kept, turn) < 20.0);
    let back = rate_at(&mut kept, turn + Duration::from_secs(20));
    assert!((24.2..24.3).contains(&back), "{back}");
    let again = turn + Duration::from_secs(30);
    kept.refused(again, Endpoint::RotateKey, again, LimitReason::EndpointRate, None);
    let back = rate_at(&mut kept, again + Duration::from_secs(20));
    assert!(back < 24.0, "the second in a minute is: {back}");
}

#[test]
fn turns_that_were_spaced_at_a_rate_that_fell_are_void() {
    let mut kept = Kept::new(20);
    let (gate, now) = (Gate::All, Duration::from_secs(5));
    let turns: Vec<Duration> = (0..32).map(|_| kept.take(gate, now, None).unwrap()).collect();
    kept.refused(now, Endpoint::RotateKey, now, LimitReason::GlobalRate, None);
    let second = now + Duration::from_secs(1);
    assert!(turns.iter().all(|at| !kept.is_open(gate, now, *at)), "those after the pause too");
    let asked = now + Duration::from_millis(1);
    let at = kept.take(gate, asked, None).unwrap();
    assert_eq!((at, kept.is_open(gate, asked, at)), (second, true), "their place is free");
}

#[test]
fn one_burst_of_refusals_is_one_fall() {
    let mut kept = Kept::new(20);
    let turn = Duration::from_secs(1);
    let now = Duration::from_millis(1200);
    for _ in 0..8 {
        kept.refused(now, Endpoint::RotateKey, turn, LimitReason::GlobalRate, None);
    }
    let measures = kept.take_measures(now);
    assert!((15.0..16.0).contains(&measures.allowed_rps), "{measures:?}");
    assert_eq!(measures.refused[&LimitReason::GlobalRate], 8, "all of them are counted");
    assert!(kept.take_measures(now).refused.is_empty(), "once");
}

#[test]
fn each_reason_slows_what_it_names_and_nothing_else() {
    use LimitReason::{
        EndpointConcurrency, EndpointRate, GlobalConcurrency, GlobalRate, ResourceSpecific, Unnamed,
    };
    for (reason, all, endpoint, at_once) in [
        (GlobalRate, true, false, false),
        (EndpointRate, false, true, false),
        (GlobalConcurrency, false, false, true),
        (EndpointConcurrency, false, false, true),
        (ResourceSpecific, false, false, false),
        (Unnamed, false, true, false),
    ] {
        let mut kept = Kept::new(20);
        let now = Duration::from_secs(1);
        for endpoint in [Endpoint::RotateKey, Endpoint::CreateKey] {
            kept.take(Gate::Endpoint(endpoint), now, None).unwrap();
        }
        let before = kept.take_measures(now);
        kept.refused(now, Endpoint::RotateKey, now, reason, None);
        let after = kept.take_measures(now);
        let rate = |of: &super::Measures, endpoint| of.endpoints[&endpoint].allowed_rps;
        assert_eq!(after.allowed_rps < before.allowed_rps, all, "{reason:?}");
        assert_eq!(after.allowed_at_once < before.allowed_at_once, at_once, "{reason:?}");
        let named = Endpoint::RotateKey;
        assert_eq!(rate(&after, named) < rate(&before, named), endpoint, "{reason:?}");
        let other = Endpoint::CreateKey;
        assert_eq!(rate(&after, other), rate(&before, other), "{reason:?}");
    }
}

#[test]
fn no_turn_is_handed_out_within_a_pause_that_stripe_asks_for() {
    let mut kept = Kept::new(20);
    let (now, pause) = (Duration::from_secs(1), Duration::from_secs(7));
    let gate = Gate::Endpoint(Endpoint::RotateKey);
    let waiting = kept.take(gate, now, None).unwrap();
    kept.refused(now, Endpoint::RotateKey, now, LimitReason::EndpointRate, Some(pause));
    assert!(!kept.is_open(gate, now, waiting), "whoever waited already asks again");
    assert_eq!(kept.take(gate, now, None), Some(now + pause));
    assert_eq!(kept.take(Gate::All, now, None), Some(now), "the others go on");
    let day = Duration::from_secs(86_400);
    kept.refused(now + day, Endpoint::RotateKey, now + day, LimitReason::EndpointRate, Some(day));
    assert!(kept.take(gate, now + day, None).unwrap() < now + day + day, "but not for a day");
}

#[test]
fn turns_are_evenly_spaced_and_none_are_saved_up() {
    let mut kept = Kept::new(10);
    let gate = Gate::Endpoint(Endpoint::RotateKey);
    for start in [0, 60_000] {
        let now = Duration::from_millis(start);
        let turns: Vec<u128> =
            (0..4).map(|_| (kept.take(gate, now, None).unwrap() - now).as_millis()).collect();
        assert_eq!(turns, [0, 103, 206, 309]);
    }
}

#[tokio::test]
async fn turns_come_in_the_order_in_which_they_were_asked_for() {
    let pace = Pace::new(200);
    let order = std::sync::Mutex::new(vec![]);
    let turns = (0..10).map(|n| {
        let (pace, order) = (&pace, &order);
        async move {
            drop(pace.turn(Endpoint::RotateKey, None).await.unwrap());
            order.lock().unwrap().push(n);
        }
    });
    futures_util::future::join_all(turns).await;
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_turn_past_the_deadline_is_not_taken() {
    let mut kept = Kept::new(1);
    let gate = Gate::Endpoint(Endpoint::RotateKey);
    let (now, latest) = (Duration::ZERO, Some(Duration::from_millis(500)));
    assert_eq!(kept.take(gate, now, latest), Some(now));
    for _ in 0..3 {
        assert_eq!(kept.take(gate, now, latest), None);
    }
    let next = kept.take(gate, now, None).unwrap();
    assert!(next < Duration::from_millis(1100), "the next turn is still there: {next:?}");
    assert_eq!(kept.take_measures(now).turned_away, 3);
}

#[tokio::test]
async fn a_turn_past_the_deadline_is_not_waited_for() {
    let pace = Pace::new(1);
    drop(pace.turn(Endpoint::RotateKey, None).await.unwrap());
    let latest = Some(tokio::time::Instant::now());
    let refused = pace.turn(Endpoint::RotateKey, latest).now_or_never();
    assert!(matches!(refused, Some(Err(TooLate))), "{refused:?}");
}

/// As many turns as there are places, at a rate that is none.
fn all_places(pace: &Pace) -> Vec<super::Turn<'_>> {
    std::iter::from_fn(|| pace.turn(Endpoint::RotateKey, None).now_or_never()?.ok()).collect()
}

#[tokio::test]
async fn a_refusal_for_concurrency_halves_how_many_calls_are_under_way() {
    let pace = Pace::new(u32::MAX);
    let turns = all_places(&pace);
    assert_eq!(turns.len(), 32);
    turns[31].refused(LimitReason::GlobalConcurrency, None);
    drop(turns);
    assert_eq!(all_places(&pace).len(), 16);
}

#[test]
fn places_come_back_one_a_minute() {
    let mut at_once = super::at_once::AtOnce::new();
    let now = Duration::from_secs(5);
    at_once.refused(now, now);
    at_once.refused(now, now);
    assert_eq!(at_once.allowed(), 16, "one burst of refusals is one fall");
    assert_eq!((0..40).filter(|_| at_once.gives_up_a_place()).count(), 16);
    assert_eq!(at_once.takes_new_places(now + Duration::from_secs(59)), 0);
    assert_eq!(at_once.takes_new_places(now + Duration::from_secs(125)), 2);
    assert_eq!(at_once.takes_new_places(now + Duration::from_secs(86_400)), 14);
}
