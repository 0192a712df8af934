//! The only place that changes a key: load, plan, carry out, record.
//!
//! Level-triggered: [`Steward::advance`] takes no instructions. It may be called twice, late, or by two
//! callers at once; whoever finds the account leased by another backs off, because the account is due
//! again when that lease runs out.

mod backfill;
mod lease;
mod look;
mod mint;
pub mod operator;
mod orders;
mod prove;
mod provision;
mod reconcile;
mod recover;
mod retire;
mod set_right;
mod steps;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::class::Class;
use crate::domain::account::{Account, Change};
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::breaker::{Breaker, Outcome};
use crate::domain::intent::RequestShape;
use crate::domain::lifecycle::{Happened, Illegal};
use crate::domain::orders::Orders;
use crate::domain::plan::{Planned, Step, plan};
use crate::domain::policy::Policy;
use crate::domain::slot::{AccountRef, Slot};
use crate::domain::time::Timestamp;
use crate::fault::Fault;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::{Line, Metric, Tally};
use crate::store::{self, Store};
use crate::stripe::{self, Stripe, TimeLeft};
use crate::vault::Keyring;

pub use orders::OrderBook;
pub(crate) use provision::look_at_all;
pub use set_right::Report;

/// What the use cases that change keys work with.
#[expect(missing_debug_implementations, reason = "its client holds the app's keys")]
pub struct Steward {
    /// The table.
    pub store: Store,
    /// The key pairs.
    pub keyring: Keyring,
    /// Stripe.
    pub stripe: Stripe,
    /// The rules.
    pub policy: Policy,
    /// How requests are written.
    pub shape: RequestShape,
    /// The Stripe App.
    pub app: String,
    /// How new rotations fared of late; stops them when most fail.
    pub breaker: Mutex<Breaker>,
    /// What time it is.
    pub clock: Clock,
    /// Random numbers, for jitter.
    pub draw: fn() -> u64,
    /// What holds for the whole bundle for now.
    pub orders: OrderBook,
    /// What is counted below, until the function's edge takes it.
    pub tally: Tally,
}

/// How an advance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// Nothing is due any more. The account as it is now.
    Settled(Box<Account>),
    /// Nothing is stored of this account.
    Unknown,
    /// Somebody else holds the account until then.
    Busy(Timestamp),
    /// Somebody else changed the account meanwhile; they carry on.
    Overtaken,
    /// The time was over before everything was done; the account is due at once.
    OutOfTime,
}

/// Why an advance failed. What was recorded stands; the sweep repeats the rest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table did not take or give what was asked.
    #[error("could not read or record the account")]
    Store(#[from] store::Error),
    /// The event, or the list of them, could not be fetched from Stripe.
    #[error("could not fetch the event")]
    Event(#[source] stripe::Error),
    /// The claimable sandbox could not be fetched from Stripe.
    #[error("could not fetch the sandbox")]
    Sandbox(#[source] stripe::Error),
    /// The keys of the account could not be listed or retrieved at Stripe.
    #[error("could not list the keys of the account")]
    List(#[source] stripe::Error),
    /// The plan asked for something that the lifecycle does not allow: a defect.
    #[error("the plan and the lifecycle disagree")]
    Illegal(#[from] Illegal),
    /// There is no such slot with a current key.
    #[error("there is no current key in this slot")]
    NoCurrentKey,
    /// The table was restored from a copy: nothing is changed at Stripe before an operator releases it and
    /// the account was reconciled.
    #[error("the table was restored and the bundle only reports")]
    OnlyReports,
}

impl Error {
    /// The class of the failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Event(error) | Self::Sandbox(error) | Self::List(error) => error.class(),
            Self::Illegal(_) => Class::Fault,
            Self::NoCurrentKey | Self::OnlyReports => Class::Caller,
        }
    }

    /// Under which name it is counted; `None` for a race and for what a caller asked wrongly.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Store(error) => error.fault(),
            Self::Event(_) | Self::Sandbox(_) | Self::List(_) => Some(Fault::Stripe),
            Self::Illegal(_) => Some(Fault::Defect),
            Self::NoCurrentKey | Self::OnlyReports => None,
        }
    }
}

impl Steward {
    /// What was counted since the last time, calls to Stripe included.
    pub fn counts(&self) -> Line {
        let mut line = self.tally.take();
        match self.stripe.take_measures().refused.values().sum() {
            0 => {}
            refused => line.add(Metric::StripeThrottled, refused),
        }
        line
    }

    /// Brings one account as far as it can be brought now.
    ///
    /// `deadline` bounds when the last step may start, not when it ends.
    pub async fn advance(
        &self,
        at: &AccountRef,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        match self.store.load(at).await? {
            Some(account) => self.drive(account, actor, deadline).await,
            None => Ok(Advanced::Unknown),
        }
    }

    /// As [`Steward::advance`], from an account that was just loaded. Whoever holds its lease keeps it, this process
    /// too: what it holds, it hands to [`Steward::drive_held`].
    pub(crate) async fn drive(
        &self,
        account: Account,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let now = self.clock.now();
        if let Some(until) = account.leased_until(now) {
            return Ok(Advanced::Busy(until));
        }
        self.drive_held(account, false, actor, deadline).await
    }

    /// Carries out step after step. `held`: whether this process holds the account's lease.
    pub(crate) async fn drive_held(
        &self,
        mut account: Account,
        mut held: bool,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let mut orders = self.orders().await?;
        loop {
            let now = self.clock.now();
            let plan = plan(now, &self.policy, &orders, &account);
            let Some(planned) = plan.steps.into_iter().next() else {
                let change = Change::of(account, now, actor);
                return self.come_to_rest(change, held, plan.wake_at).await;
            };
            if now >= deadline {
                return self.put_off(Change::of(account, now, actor)).await;
            }
            if !self.admits(now, &orders, &account, &planned) {
                orders.breaker_is_open = true;
                continue;
            }
            let left = lease::time_for_step(now, deadline);
            let is_covered = held && lease::covers(account.head.lease_until, now, left);
            let mut change = Change::of(account, now, actor);
            take_or_keep(&mut change, held);
            held = if planned.step.has_effect() && !is_covered {
                // I8: the token is durable before anything outside is touched.
                true
            } else {
                match self.take_step(&mut change, &orders, planned, left).await? {
                    TimeLeft::RanOut => return self.put_off(change).await,
                    TimeLeft::Enough => self.settle(&mut change, &orders)?,
                }
            };
            match self.record(change).await? {
                Some(recorded) => account = recorded,
                None => return Ok(Advanced::Overtaken),
            }
        }
    }

    /// Nothing is due any more: has the account wake when something will be, and gives the lease back.
    async fn come_to_rest(
        &self,
        mut change: Change,
        held: bool,
        wake_at: Option<Timestamp>,
    ) -> Result<Advanced, Error> {
        if !held && change.account().head.due_at == wake_at {
            return Ok(Advanced::Settled(Box::new(change.into_account())));
        }
        change.release(wake_at);
        Ok(match self.record(change).await? {
            Some(account) => Advanced::Settled(Box::new(account)),
            None => Advanced::Overtaken,
        })
    }

    /// There is no time for what is due: gives the lease back, and leaves the account due at once.
    async fn put_off(&self, mut change: Change) -> Result<Advanced, Error> {
        change.release(Some(change.now()));
        self.record(change).await?;
        Ok(Advanced::OutOfTime)
    }

    /// Carries out one step. Where the time for its calls runs out, `change` says nothing of it: as if the process
    /// had died here.
    async fn take_step(
        &self,
        change: &mut Change,
        orders: &Orders,
        planned: Planned,
        left: Duration,
    ) -> Result<TimeLeft, Error> {
        let (before, is_a_look) = (change.account().clone(), planned.step == Step::Reconcile);
        match stripe::within(left, self.carry_out(change, orders, planned)).await {
            (_, TimeLeft::RanOut) => {
                *change = Change::of(before, change.now(), change.actor());
                if is_a_look {
                    // It comes before all else: a list without end must not keep the rest waiting.
                    change.put_off_reconciling(Policy::LOOK_AGAIN);
                }
                Ok(TimeLeft::RanOut)
            }
            (carried_out, TimeLeft::Enough) => carried_out.map(|()| TimeLeft::Enough),
        }
    }

    /// Asks for the slot's current key to be replaced now, and brings that about.
    pub async fn rotate(
        &self,
        at: &AccountRef,
        slot: &Slot,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let now = self.clock.now();
        let Some(account) = self.store.load(at).await? else { return Ok(Advanced::Unknown) };
        if let Some(until) = account.leased_until(now) {
            return Ok(Advanced::Busy(until));
        }
        let Some((generation, _)) = account.current(slot) else { return Err(Error::NoCurrentKey) };
        let mut change = Change::of(account, now, actor);
        change.claim();
        change.apply(slot, generation, Happened::RotationAsked { at: now }, None)?;
        change.note(Action::Request, Phase::Note, Some((slot, generation)), Some("rotate"));
        match self.record(change).await? {
            Some(account) => self.drive_held(account, true, actor, deadline).await,
            None => Ok(Advanced::Overtaken),
        }
    }

    /// The breaker as it is now, for whoever stores it.
    pub fn breaker(&self) -> Breaker {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on from a breaker that was stored.
    pub fn set_breaker(&self, stored: Breaker) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }

    /// Tells the breaker how a rotation's call ended, and the log when that changes anything.
    pub(crate) fn report_rotation(&self, change: &Change, outcome: Outcome) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.record(change.now(), &change.account().at, outcome) {
            tracing::error!(breaker = ?breaker.state(), "the breaker for new rotations changed");
        }
    }

    /// Whether a step may be taken as far as the breaker is concerned. What an open one would hold back takes one
    /// of the few places after its pause, before anybody knows how it ends.
    fn admits(
        &self,
        now: Timestamp,
        orders: &Orders,
        account: &Account,
        planned: &Planned,
    ) -> bool {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.trials_left(now).is_none() || !matches!(planned.step, Step::Request { .. }) {
            return true;
        }
        let held_back = Orders { breaker_is_open: true, ..orders.clone() };
        let first = plan(now, &self.policy, &held_back, account).steps.into_iter().next();
        first.as_ref() == Some(planned) || breaker.begin(now, &account.at)
    }

    /// Records a change; `None` when somebody else was faster.
    pub(crate) async fn record(&self, change: Change) -> Result<Option<Account>, Error> {
        match self.store.record(change).await {
            Ok(account) => Ok(Some(account)),
            Err(error) if error.class() == Class::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes every further step that touches nothing outside into the same change, then keeps the
    /// lease if there is more to do, or gives it back. Answers whether the lease is kept.
    pub(crate) fn settle(&self, change: &mut Change, orders: &Orders) -> Result<bool, Error> {
        loop {
            let next = plan(change.now(), &self.policy, orders, change.account());
            match next.steps.into_iter().next() {
                None => {
                    change.release(next.wake_at);
                    return Ok(false);
                }
                Some(planned)
                    if planned.step.is_pure() && change.touched().len() < ROWS_PER_CHANGE =>
                {
                    self.take_pure_step(change, orders, &planned)?;
                }
                Some(_) => {
                    // The next step begins under a whole lease (I8) without a write of its own for that.
                    change.extend_lease_from(self.clock.now());
                    return Ok(true);
                }
            }
        }
    }
}

/// Has `change` carry the lease: the one that is held, for another while, or the next.
fn take_or_keep(change: &mut Change, held: bool) {
    if held { change.extend_lease() } else { change.claim() }
}

/// Well below the 100 items of a transaction, since each row may bring audit entries with it.
const ROWS_PER_CHANGE: usize = 30;
