//! Following a claimable sandbox: its event says that something changed, the sandbox says what, and the
//! accounts that it is and leads to are opened, vacated or closed.

use crate::domain::account::{Account, Change, Status};
use crate::domain::audit::{Action, Actor};
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
        for errand in &errands {
            if !self.run(errand, event.created, deadline).await? {
                let (due, now) = (Due::Event(event.into()), self.clock.now());
                self.store.set_aside(&due, now, now.plus(Policy::HELD_BACK)).await?;
                return Ok(Ingested::Deferred);
            }
        }
        self.store.close_event(event, self.clock.now()).await?;
        Ok(if errands.is_empty() { Ingested::Nothing } else { Ingested::Applied })
    }

    /// `false` when the account is somebody else's for now, so that the errand has to wait.
    async fn run(
        &self,
        errand: &Errand,
        as_of: Timestamp,
        deadline: Timestamp,
    ) -> Result<bool, Error> {
        let advanced = match errand {
            Errand::Open(at) => self.open_account(at, as_of, Actor::Event, deadline).await?,
            Errand::Vacate(at) => return self.vacate(at, deadline).await,
            Errand::Close(at) => self.close(at, deadline).await?,
        };
        Ok(match advanced {
            // What is left to do, the account's own due time brings about.
            Advanced::Settled(_) | Advanced::Unknown | Advanced::OutOfTime => true,
            Advanced::Busy(_) | Advanced::Overtaken => false,
        })
    }

    async fn vacate(&self, at: &AccountRef, deadline: Timestamp) -> Result<bool, Error> {
        // What is on its way arrives first.
        let account = match self.advance(at, Actor::Event, deadline).await? {
            Advanced::Settled(account) => account,
            Advanced::Unknown => return Ok(true),
            Advanced::Busy(_) | Advanced::Overtaken | Advanced::OutOfTime => return Ok(false),
        };
        if matches!(account.head.status, Status::Uninstalled { .. }) {
            return Ok(true);
        }
        let now = self.clock.now();
        let mut change = Change::of(*account, now, Actor::Event);
        change.claim();
        if !change.vacate(now.plus(self.policy.overlap()))? {
            return Ok(false);
        }
        self.wind_up(change, deadline).await.map(|recorded| recorded.is_some())
    }

    async fn close(&self, at: &AccountRef, deadline: Timestamp) -> Result<Advanced, Error> {
        let Some(account) = self.store.load(at).await? else { return Ok(Advanced::Unknown) };
        let now = self.clock.now();
        if matches!(account.head.status, Status::Uninstalled { .. }) {
            return Ok(Advanced::Settled(Box::new(account)));
        }
        if account.is_leased(now) {
            return Ok(Advanced::Busy(account.head.lease_until.unwrap_or(now)));
        }
        let mut change = Change::of(account, now, Actor::Event);
        change.claim();
        change.set_status(Status::Uninstalled { at: now }, Action::Uninstall);
        Ok(self.wind_up(change, deadline).await?.unwrap_or(Advanced::Overtaken))
    }

    async fn wind_up(
        &self,
        mut change: Change,
        deadline: Timestamp,
    ) -> Result<Option<Advanced>, Error> {
        let orders = self.orders().await?;
        let held = self.settle(&mut change, &orders)?;
        let account: Account = match self.record(change).await? {
            Some(account) => account,
            None => return Ok(None),
        };
        self.drive_held(account, held, Actor::Event, deadline).await.map(Some)
    }
}
