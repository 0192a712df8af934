//! The scheduled run: every account and event that is due, nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::class::Class;
use crate::domain::attention::is_reminder_due;
use crate::domain::audit::Actor;
use crate::domain::backlog;
use crate::domain::breaker::BreakerState;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;
use crate::ingest::Ingested;
use crate::runtime::log::chain;
use crate::runtime::metrics::Metric;
use crate::steward::{Advanced, Error, Steward};
use crate::store::{Due, SHARDS};
use crate::stripe;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Accounts brought to where nothing is due.
    pub settled: u32,
    /// Events applied or found to say nothing.
    pub events: u32,
    /// Accounts or events that somebody else holds, or whose time ran out: due again.
    pub deferred: u32,
    /// Accounts or events that failed: due again.
    pub failed: u32,
    /// Accounts among the settled that wait for an operator, each counted once a day.
    pub need_operator: u32,
    /// Rows of the index that were passed over because they name nothing.
    pub unknown_rows: u32,
    /// How long what waited longest had been due when its shard was read, in seconds.
    pub oldest_overdue: u64,
    /// How far behind the back-fill of events is: of the settled accounts and the app's own record, whichever is
    /// furthest. `None` when nothing of that was read for.
    pub oldest_cursor_seconds: Option<u64>,
}

impl Swept {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.settled + self.events + self.deferred + self.failed == 0
    }

    fn count(mut self, late: u64, outcome: Outcome) -> Self {
        self.oldest_overdue = self.oldest_overdue.max(late);
        match outcome {
            Outcome::Settled { needs_operator, cursor_age } => {
                self.settled += 1;
                self.need_operator += u32::from(needs_operator);
                self = self.with_cursor(cursor_age);
            }
            Outcome::Event => self.events += 1,
            Outcome::Deferred => self.deferred += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::NamesNothing => self.unknown_rows += 1,
        }
        self
    }

    fn with_cursor(mut self, age: Option<Duration>) -> Self {
        let age = age.map(|age| age.as_secs());
        self.oldest_cursor_seconds = self.oldest_cursor_seconds.max(age);
        self
    }
}

impl Steward {
    /// Takes everything that is due now once, the shards in turn, a few accounts at a time.
    ///
    /// One account's failure is logged and leaves the others alone. No work starts after `deadline`.
    pub async fn sweep(&self, deadline: Timestamp) -> Result<Swept, Error> {
        let standing = self.recognise().await?;
        self.take_up_breaker(&standing);
        if standing.report_only.is_some() {
            self.tally.count(Metric::ReportOnly);
        }
        self.summon(&standing, deadline).await?;
        let (swept, unread) = self
            .find(deadline)
            .map(|found| async move {
                Ok(match found? {
                    Found::OfOneAccount(rows) => self.take_in_turn(rows, deadline).await,
                    Found::NamesNothing => vec![(0, Outcome::NamesNothing)],
                })
            })
            .buffer_unordered(AT_ONCE)
            .fold((Swept::default(), None), |(swept, unread), taken| async move {
                match taken {
                    Ok(taken) => {
                        let count = |swept: Swept, (late, outcome)| swept.count(late, outcome);
                        (taken.into_iter().fold(swept, count), unread)
                    }
                    Err(error) => (swept, Some(error)),
                }
            })
            .await;
        // What was under way when a shard could not be read has come to its end all the same.
        if let Some(error) = unread {
            return Err(error);
        }
        let left = deadline.since(self.clock.now());
        let own = stripe::within(left, self.back_fill_own(&standing)).await.0?;
        let swept = swept.with_cursor(own);
        if self.breaker().state() != BreakerState::Closed {
            self.tally.count(Metric::BreakerOpen);
        }
        self.leave_breaker(&standing).await?;
        Ok(swept)
    }

    /// What the index gives, a shard as soon as all that the one before gave is under way: were its last
    /// accounts waited for first, turns at Stripe would go by unused. Ends after a shard that cannot be read.
    fn find(&self, deadline: Timestamp) -> impl Stream<Item = Result<Found, Error>> {
        stream::try_unfold(0, move |shard| async move {
            if shard == SHARDS {
                return Ok::<_, Error>(None);
            }
            let now = self.clock.now();
            // When there is no time left for the work, how late it is shall still be known.
            let limit = if now < deadline { DUE_PER_SHARD } else { 1 };
            let queue = self.store.queue(shard, now, limit).await?;
            let waiting = by_account(queue.waiting, now).into_iter().map(Found::OfOneAccount);
            let unknown = (0..queue.unknown).map(|_| Found::NamesNothing);
            Ok(Some((stream::iter(waiting.chain(unknown).map(Ok)), shard + 1)))
        })
        .try_flatten()
    }

    /// One after the other: they would keep each other from the account.
    async fn take_in_turn(&self, rows: Vec<Waiting>, deadline: Timestamp) -> Vec<(u64, Outcome)> {
        let mut taken = Vec::with_capacity(rows.len());
        for Waiting { due, since, late } in rows {
            taken.push((late, self.take(due, since, deadline).await));
        }
        taken
    }

    async fn take(&self, due: Due, since: Timestamp, deadline: Timestamp) -> Outcome {
        if self.clock.now() >= deadline {
            return Outcome::Deferred;
        }
        let taken = match &due {
            Due::Account(at) => {
                let advanced = self.advance(at, Actor::Sweep, deadline).await;
                advanced.map(|advanced| self.outcome_of(advanced, since))
            }
            Due::Event(event) => {
                self.ingest(event, deadline).await.map(|ingested| match ingested {
                    Ingested::Applied | Ingested::Nothing => Outcome::Event,
                    Ingested::Deferred => Outcome::Deferred,
                })
            }
        };
        let error = match taken {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        self.tally.fault(error.fault());
        if error.class() == Class::Fault {
            self.tally.count(Metric::AccountFaults);
        }
        tracing::error!(
            account.id = %due.account().id,
            account.mode = due.account().mode.as_str(),
            class = error.class().as_str(),
            error = chain(&error),
            "an account could not be advanced"
        );
        // Whatever fails every time must not stand at the head of every sweep.
        let now = self.clock.now();
        if let Err(error) = self.store.set_aside(&due, now, now.plus(FAILED_PAUSE)).await {
            tracing::error!(error = chain(&error), "it could not be set aside");
        }
        Outcome::Failed
    }

    fn outcome_of(&self, advanced: Advanced, since: Timestamp) -> Outcome {
        match advanced {
            Advanced::Settled(account) => {
                let now = self.clock.now();
                Outcome::Settled {
                    needs_operator: is_reminder_due(&account, since, now),
                    cursor_age: backlog::age(&account.head, now),
                }
            }
            Advanced::Unknown => Outcome::Settled { needs_operator: false, cursor_age: None },
            Advanced::Busy(_) | Advanced::Overtaken | Advanced::OutOfTime => Outcome::Deferred,
        }
    }
}

/// What stands in the due index.
enum Found {
    /// All that is due of one account in its shard: itself, events, or both.
    OfOneAccount(Vec<Waiting>),
    NamesNothing,
}

struct Waiting {
    due: Due,
    since: Timestamp,
    /// How long it had been due when its shard was read, in seconds.
    late: u64,
}

/// Accounts in the order of what waits longest of each.
fn by_account(waiting: Vec<(Due, Timestamp)>, now: Timestamp) -> Vec<Vec<Waiting>> {
    let mut places: BTreeMap<AccountRef, usize> = BTreeMap::new();
    let mut accounts: Vec<Vec<Waiting>> = Vec::new();
    for (due, since) in waiting {
        let place = *places.entry(due.account().clone()).or_insert(accounts.len());
        let row = Waiting { due, since, late: now.since(since).as_secs() };
        match accounts.get_mut(place) {
            Some(rows) => rows.push(row),
            None => accounts.push(vec![row]),
        }
    }
    accounts
}

enum Outcome {
    Settled {
        needs_operator: bool,
        /// How far behind the account's back-fill of events is.
        cursor_age: Option<Duration>,
    },
    Event,
    Deferred,
    Failed,
    NamesNothing,
}

/// How long something that failed is left alone.
pub(crate) const FAILED_PAUSE: Duration = Duration::from_secs(300);
/// How much of a shard one sweep takes; the next one takes the rest.
const DUE_PER_SHARD: u32 = 200;
/// How many accounts are advanced at once. Stripe's rate is kept by the client's own pace; to use it up, at 25 a
/// second to an endpoint, a rotation may take a second and a quarter in all.
const AT_ONCE: usize = 32;
