//! The scheduled run: every account and event that is due, nothing else.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::domain::audit::Actor;
use crate::domain::backlog;
use crate::domain::time::Timestamp;
use crate::steward::{Advanced, Error, Steward};
use crate::store::{Due, SHARDS};

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
    /// How far behind the back-fill of events is, of the settled account where it is furthest; `None` when no
    /// installed account was settled.
    pub oldest_cursor_seconds: Option<u64>,
}

impl Swept {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn count(mut self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Settled(age) => {
                self.settled += 1;
                let age = age.map(|age| age.as_secs());
                self.oldest_cursor_seconds = self.oldest_cursor_seconds.max(age);
            }
            Outcome::Event => self.events += 1,
            Outcome::Deferred => self.deferred += 1,
            Outcome::Failed => self.failed += 1,
        }
        self
    }
}

impl Steward {
    /// Takes everything that is due now once, the shards in turn, a few accounts at a time.
    ///
    /// One account's failure is logged and leaves the others alone. No work starts after `deadline`.
    pub async fn sweep(&self, deadline: Timestamp) -> Result<Swept, Error> {
        let standing = self.standing().await?;
        self.summon(&standing, deadline).await?;
        let mut swept = Swept::default();
        for shard in 0..SHARDS {
            let now = self.clock.now();
            if now >= deadline {
                break;
            }
            let due = self.store.due(shard, now, DUE_PER_SHARD).await?;
            swept = stream::iter(due)
                .map(|due| self.take(due, deadline))
                .buffer_unordered(AT_ONCE)
                .fold(swept, |swept, outcome| async move { swept.count(outcome) })
                .await;
        }
        Ok(swept)
    }

    async fn take(&self, due: Due, deadline: Timestamp) -> Outcome {
        if self.clock.now() >= deadline {
            return Outcome::Deferred;
        }
        let (account, taken) = match &due {
            Due::Account(at) => {
                let advanced = self.advance(at, Actor::Sweep, deadline).await;
                (
                    at,
                    advanced.map(|advanced| match advanced {
                        Advanced::Settled(account) => {
                            Outcome::Settled(backlog::age(&account.head, self.clock.now()))
                        }
                        Advanced::Unknown => Outcome::Settled(None),
                        Advanced::Busy(_) | Advanced::Overtaken | Advanced::OutOfTime => {
                            Outcome::Deferred
                        }
                    }),
                )
            }
            Due::Event(event) => {
                let ingested = self.ingest(event, deadline).await;
                (
                    &event.account,
                    ingested.map(|ingested| match ingested {
                        crate::ingest::Ingested::Applied | crate::ingest::Ingested::Nothing => {
                            Outcome::Event
                        }
                        crate::ingest::Ingested::Deferred => Outcome::Deferred,
                    }),
                )
            }
        };
        let error = match taken {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        tracing::error!(
            account.id = %account.id,
            account.mode = account.mode.as_str(),
            class = error.class().as_str(),
            error = crate::runtime::log::chain(&error),
            "an account could not be advanced"
        );
        // Whatever fails every time must not stand at the head of every sweep.
        let now = self.clock.now();
        if let Err(error) = self.store.set_aside(&due, now, now.plus(FAILED_PAUSE)).await {
            tracing::error!(
                error = crate::runtime::log::chain(&error),
                "it could not be set aside"
            );
        }
        Outcome::Failed
    }
}

enum Outcome {
    /// With the age of the account's cursor.
    Settled(Option<Duration>),
    Event,
    Deferred,
    Failed,
}

/// How long something that failed is left alone.
const FAILED_PAUSE: Duration = Duration::from_secs(300);
/// How much of a shard one sweep takes; the next one takes the rest.
const DUE_PER_SHARD: u32 = 200;
/// How many accounts are advanced at once. Stripe's rate is kept by the client's own bucket.
const AT_ONCE: usize = 8;
