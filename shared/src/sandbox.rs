//! Following a claimable sandbox: its event says that something changed, the sandbox says what, and the
//! accounts that it is and leads to are opened, vacated or closed.

use crate::domain::account::{Account, Change, Status};
use crate::domain::audit::{Action, Actor};
use crate::domain::changeover::Vacated;
use crate::domain::event::Notification;
use crate::domain::id::SandboxId;
use crate::domain::policy::Policy;
use crate::domain::sandbox::{Errand, errands};
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;
use crate::ingest::Ingested;
use crate::steward::{Advanced, Error, Steward};
use crate::store::Due;
use crate::stripe::Refusal;

impl Steward {
    /// Fetches the sandbox and runs its errands; the event's row is marked done after the last. Each errand
    /// may be run again, so a crash in between costs a repetition.
    pub(crate) async fn follow(
        &self,
        event: &Notification,
        id: &SandboxId,
        deadline: Timestamp,
    ) -> Result<Ingested, Error> {
        let sandbox = match self.stripe.sandbox(id, &event.id).await {
            Ok(sandbox) => sandbox,
            // Not ours, or gone: there is nothing to go by.
            Err(error) => match error.refusal() {
                Some(Refusal::NotFound | Refusal::Forbidden) => {
                    self.store.close_event(event, self.clock.now()).await?;
                    return Ok(Ingested::Nothing);
                }
                _ => return Err(Error::Sandbox(error)),
            },
        };
        let errands = errands(&sandbox);
        let mut left = errands.iter().peekable();
        while let Some(errand) = left.next() {
            let pause = match self.run(errand, event.created, deadline).await? {
                Ran::Done => continue,
                // What is left to do, the account's own due time brings about.
                Ran::Keyless if left.peek().is_none() => continue,
                // Nothing is retired before what takes its place is there.
                Ran::Keyless => Policy::LOOK_AGAIN,
                Ran::Busy => Policy::HELD_BACK,
            };
            let (due, now) = (Due::Event(event.into()), self.clock.now());
            self.store.set_aside(&due, now, now.plus(pause)).await?;
            return Ok(Ingested::Deferred);
        }
        self.store.close_event(event, self.clock.now()).await?;
        Ok(if errands.is_empty() { Ingested::Nothing } else { Ingested::Applied })
    }

    async fn run(
        &self,
        errand: &Errand,
        as_of: Timestamp,
        deadline: Timestamp,
    ) -> Result<Ran, Error> {
        match errand {
            Errand::Open(at) => {
                Ok(match self.open_account(at, as_of, Actor::Event, deadline).await? {
                    Advanced::Settled(account) if has_keys(&account) => Ran::Done,
                    Advanced::Settled(_) | Advanced::Unknown | Advanced::OutOfTime => Ran::Keyless,
                    Advanced::Busy(_) | Advanced::Overtaken => Ran::Busy,
                })
            }
            Errand::Vacate(at) => self.vacate(at, deadline).await,
            Errand::Close(at) => self.close(at, deadline).await,
        }
    }

    async fn vacate(&self, at: &AccountRef, deadline: Timestamp) -> Result<Ran, Error> {
        // What is on its way arrives first.
        let account = match self.advance(at, Actor::Event, deadline).await? {
            Advanced::Settled(account) => account,
            Advanced::Unknown => return Ok(Ran::Done),
            Advanced::Busy(_) | Advanced::Overtaken | Advanced::OutOfTime => return Ok(Ran::Busy),
        };
        if matches!(account.head.status, Status::Uninstalled { .. }) {
            return Ok(Ran::Done);
        }
        let now = self.clock.now();
        let mut change = Change::of(*account, now, Actor::Event);
        change.claim();
        match change.vacate(now.plus(self.policy.overlap()))? {
            Vacated::NotYet => Ok(Ran::Busy),
            Vacated::Wholly => self.wind_up(change, deadline).await,
            Vacated::InPart => {
                self.wind_up(change, deadline).await?;
                Ok(Ran::Busy)
            }
        }
    }

    async fn close(&self, at: &AccountRef, deadline: Timestamp) -> Result<Ran, Error> {
        let Some(account) = self.store.load(at).await? else { return Ok(Ran::Done) };
        let now = self.clock.now();
        if matches!(account.head.status, Status::Uninstalled { .. }) {
            return Ok(Ran::Done);
        }
        if account.leased_until(now).is_some() {
            return Ok(Ran::Busy);
        }
        let mut change = Change::of(account, now, Actor::Event);
        change.claim();
        change.set_status(Status::Uninstalled { at: now }, Action::Uninstall);
        self.wind_up(change, deadline).await
    }

    async fn wind_up(&self, mut change: Change, deadline: Timestamp) -> Result<Ran, Error> {
        let orders = self.orders().await?;
        let held = self.settle(&mut change, &orders)?;
        let Some(account) = self.record(change).await? else { return Ok(Ran::Busy) };
        self.drive_held(account, held, Actor::Event, deadline).await?;
        Ok(Ran::Done)
    }
}

/// How an errand went.
enum Ran {
    /// It is recorded.
    Done,
    /// The account is open and has not all its keys yet.
    Keyless,
    /// The account is somebody else's for now.
    Busy,
}

fn has_keys(account: &Account) -> bool {
    account.slots.keys().all(|slot| account.current(slot).is_some())
}
