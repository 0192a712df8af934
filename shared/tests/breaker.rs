//! Properties of the breaker: it opens for a fault that many accounts meet and for nothing less, and never
//! stays open without knowing until when.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use std::time::Duration;

use keysteward::domain::breaker::{Breaker, BreakerState, Outcome};
use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::domain::time::Timestamp;
use proptest::prelude::*;

fn account(n: usize) -> AccountRef {
    AccountRef::new(Mode::Live, AccountId::parse(&format!("acct_{n}")).unwrap())
}

fn start() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000).unwrap()
}

fn outcomes() -> impl Strategy<Value = Vec<(usize, bool, u64)>> {
    proptest::collection::vec((0..12usize, any::<bool>(), 0..600u64), 0..120)
}

fn outcome(failed: bool) -> Outcome {
    if failed { Outcome::Failed } else { Outcome::Succeeded }
}

/// Whether a rotation may begin.
fn lets_through(breaker: &Breaker, now: Timestamp) -> bool {
    breaker.trials_left(now) != Some(0)
}

/// A breaker that failures of many accounts have just opened, and the instant.
fn opened() -> (Breaker, Timestamp) {
    let mut breaker = Breaker::default();
    for n in 0..Breaker::LEAST_OUTCOMES {
        assert!(lets_through(&breaker, start()));
        breaker.record(start(), &account(n), Outcome::Failed);
    }
    assert!(!lets_through(&breaker, start()));
    (breaker, start())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_never_open_without_an_end_and_lets_some_through_after_it(outcomes in outcomes()) {
        let (mut breaker, mut now) = (Breaker::default(), start());
        for (n, failed, seconds) in outcomes {
            now = now.plus(Duration::from_secs(seconds));
            let before = breaker.state();
            let changed = breaker.record(now, &account(n), outcome(failed));
            prop_assert_eq!(changed, breaker.state() != before);
            if let BreakerState::Open { since, until, failed, of } = breaker.state() {
                prop_assert!(since <= now && until == since.plus(Breaker::PAUSE));
                prop_assert!(failed <= of && failed * 2 >= of);
                prop_assert!(lets_through(&breaker, until));
                prop_assert!(!lets_through(&breaker, since));
            }
            let stored = serde_json::to_string(&breaker).unwrap();
            prop_assert_eq!(serde_json::from_str::<Breaker>(&stored).unwrap(), breaker.clone());
        }
    }

    #[test]
    fn fewer_outcomes_than_the_least_within_the_window_never_open_it(
        failing in 0..Breaker::LEAST_OUTCOMES,
    ) {
        let mut breaker = Breaker::default();
        for n in 0..failing {
            breaker.record(start(), &account(n), Outcome::Failed);
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
        let later = start().plus(Breaker::WINDOW);
        for n in 0..Breaker::LEAST_OUTCOMES - 1 {
            breaker.record(later, &account(n), Outcome::Failed);
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed, "the old ones do not count");
    }

    #[test]
    fn one_failing_account_never_opens_it(outcomes in outcomes()) {
        let (mut breaker, mut now) = (Breaker::default(), start());
        for (n, _, seconds) in outcomes {
            now = now.plus(Duration::from_secs(seconds));
            breaker.record(now, &account(n), outcome(n < Breaker::LEAST_ACCOUNTS - 1));
            breaker.record(now, &account(0), Outcome::Failed);
            prop_assert!(lets_through(&breaker, now));
        }
    }
}

#[test]
fn it_says_how_many_of_how_many_failed() {
    let (breaker, now) = opened();
    let until = now.plus(Breaker::PAUSE);
    let expected = BreakerState::Open { since: now, until, failed: 20, of: 20 };
    assert_eq!(breaker.state(), expected);
}

#[test]
fn half_of_them_failing_is_not_enough() {
    let mut breaker = Breaker::default();
    for n in 0..100 {
        breaker.record(start(), &account(n), outcome(n % 2 == 1));
        assert!(lets_through(&breaker, start()));
    }
}

#[test]
fn after_the_pause_a_few_decide() {
    let (opened, now) = opened();
    let after = now.plus(Breaker::PAUSE);
    assert_eq!(opened.trials_left(now), Some(0));
    assert_eq!(opened.trials_left(after), Some(Breaker::TRIALS));

    let mut closes = opened.clone();
    for n in 0..3 {
        assert_eq!(closes.trials_left(after), Some(Breaker::TRIALS - n));
        closes.record(after, &account(n), Outcome::Succeeded);
    }
    assert_eq!((closes.state(), closes.trials_left(after)), (BreakerState::Closed, None));

    let mut stays = opened.clone();
    for n in 0..Breaker::TRIALS {
        stays.record(after, &account(n), outcome(n < 4));
    }
    let until = after.plus(Breaker::PAUSE);
    let expected = BreakerState::Open { since: after, until, failed: 4, of: 5 };
    assert_eq!(stays.state(), expected, "and for another pause");
}

#[test]
fn what_was_under_way_when_it_opened_does_not_count_as_a_trial() {
    let (mut breaker, now) = opened();
    for n in 0..10 {
        breaker.record(now, &account(n), Outcome::Succeeded);
    }
    assert!(!lets_through(&breaker, now));
    assert_eq!(breaker.trials_left(now.plus(Breaker::PAUSE)), Some(Breaker::TRIALS));
}

#[test]
fn one_failing_account_is_one_trial() {
    let (mut breaker, now) = opened();
    let after = now.plus(Breaker::PAUSE);
    for _ in 0..10 {
        breaker.record(after, &account(0), Outcome::Failed);
        assert!(lets_through(&breaker, after));
    }
    assert_eq!(breaker.trials_left(after), Some(Breaker::TRIALS - 1));
}

#[test]
fn a_trial_takes_its_place_when_it_begins_and_gives_it_back_when_nothing_comes_of_it() {
    let (mut breaker, now) = opened();
    assert!(!breaker.begin(now, &account(0)), "within the pause nobody");
    let after = now.plus(Breaker::PAUSE);
    let begun: Vec<usize> = (0..32).filter(|n| breaker.begin(after, &account(*n))).collect();
    assert_eq!(begun, [0, 1, 2, 3, 4], "32 at once");
    assert!(breaker.begin(after, &account(4)), "the same one again");
    assert_eq!(breaker.trials_left(after), Some(0));
    breaker.record(after, &account(0), Outcome::Failed);
    assert_eq!(breaker.trials_left(after), Some(0), "its outcome takes no other place");
    let later = after.plus(Breaker::TRIAL);
    assert_eq!(breaker.trials_left(later), Some(Breaker::TRIALS - 1));

    let mut closed = Breaker::default();
    assert!((0..32).all(|n| closed.begin(now, &account(n))));
    assert_eq!(closed, Breaker::default());
}
