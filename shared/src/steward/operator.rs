//! What a person with operator rights asks of one account: end a key now, pause it, let it carry on.
//!
//! Everything here is recorded before anything is done about it, so a command that dies half-way is carried
//! out by the sweep.

use super::{Advanced, Error, Steward, lease};
use crate::domain::account::{Account, Change};
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::lifecycle::{Doom, DoomedBy, Happened, State};
use crate::domain::plan::Because;
use crate::domain::policy::Policy;
use crate::domain::slot::{AccountRef, Generation, Slot};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::stripe::{self, TimeLeft};

/// When a key that an operator wants dead is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The current key, as soon as another one has taken its place.
    OnceReplaced,
    /// The current key, now: the slot has no key until the next one is minted.
    AtOnce,
    /// The replaced keys of the slot that still work, now rather than at the end of their overlap.
    Replaced,
}

/// What became of a request that only changes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is recorded. The account as it is now; the next sweep does what follows.
    Recorded(Box<Account>),
    /// Nothing is stored of this account, or it has no such slot.
    Unknown,
    /// Somebody else holds the account until then; nothing was changed.
    Busy(Timestamp),
}

/// What kept a slot from acquiring a key, and does no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Whether a hold was lifted.
    pub hold: bool,
    /// How many generations that needed an operator, or did not open, were given up.
    pub given_up: u32,
}

impl Steward {
    /// Ends keys of a slot before their time.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentKey`] when there is nothing to end; [`Error::OnlyReports`] when the table was
    /// restored and the bundle, or this account, does not act yet.
    pub async fn expire(
        &self,
        at: &AccountRef,
        slot: &Slot,
        expiry: Expiry,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let now = self.clock.now();
        let orders = self.orders().await?;
        let Some(account) = self.store.load(at).await? else { return Ok(Advanced::Unknown) };
        if orders.report_only.is_some() || account.head.epoch < orders.epoch {
            return Err(Error::OnlyReports);
        }
        if let Some(until) = account.leased_until(now) {
            return Ok(Advanced::Busy(until));
        }
        let unwanted = unwanted(&account, slot, expiry);
        if unwanted.is_empty() {
            return Err(Error::NoCurrentKey);
        }
        let mut change = Change::of(account, now, actor);
        change.claim();
        for generation in &unwanted {
            change.note(Action::Request, Phase::Note, Some((slot, *generation)), Some("expire"));
            let happened = match expiry {
                Expiry::OnceReplaced => {
                    if let Some(end) = stripes_end(change.account(), slot, *generation) {
                        // At once where that is over: nothing else keeps it from being served then.
                        let look_at = end.clamp(now, now.plus(Policy::LOOK_EVERY));
                        change.apply(slot, *generation, Happened::LookedAt { look_at }, None)?;
                    }
                    Happened::Doomed(Doom { at: now, by: DoomedBy::Operator })
                }
                Expiry::AtOnce | Expiry::Replaced => Happened::Revoked { at: now },
            };
            change.apply(slot, *generation, happened, Some(Because::OperatorWantsItDead))?;
        }
        if expiry != Expiry::Replaced {
            // Somebody is waiting: what the slot waited for is tried now, and held again if it is still so.
            change.hold(slot, None);
        }
        let Some(mut account) = self.record(change).await? else { return Ok(Advanced::Overtaken) };
        if expiry != Expiry::OnceReplaced {
            // Before the plan has its turn: it would mint the next one first.
            let mut change = Change::of(account, self.clock.now(), actor);
            change.extend_lease();
            let left = lease::time_for_step(self.clock.now(), deadline);
            match stripe::within(left, self.retire_all(&mut change, slot, unwanted)).await {
                (retired, TimeLeft::Enough) => retired?,
                // It is recorded that they are to die: the sweep goes on when the lease is over.
                (_, TimeLeft::RanOut) => return Ok(Advanced::OutOfTime),
            }
            match self.record(change).await? {
                Some(recorded) => account = recorded,
                None => return Ok(Advanced::Overtaken),
            }
        }
        self.drive_held(account, true, actor, deadline).await
    }

    async fn retire_all(
        &self,
        change: &mut Change,
        slot: &Slot,
        unwanted: Vec<Generation>,
    ) -> Result<(), Error> {
        for generation in unwanted {
            self.retire(change, slot, generation, Because::OperatorWantsItDead).await?;
        }
        Ok(())
    }
}

/// When Stripe ends the key by itself, as far as that was seen.
fn stripes_end(account: &Account, slot: &Slot, generation: Generation) -> Option<Timestamp> {
    match account.generations.get(&(slot.clone(), generation))? {
        State::Current { doom: Some(doom), .. } if doom.by != DoomedBy::Operator => Some(doom.at),
        _ => None,
    }
}

/// The generations of a slot that are to be ended.
fn unwanted(account: &Account, slot: &Slot, expiry: Expiry) -> Vec<Generation> {
    account
        .generations_of(slot)
        .filter(|(_, state)| match expiry {
            Expiry::OnceReplaced | Expiry::AtOnce => matches!(state, State::Current { .. }),
            Expiry::Replaced => matches!(state, State::Retiring { .. }),
        })
        .map(|(generation, _)| generation)
        .collect()
}

/// Holds back rotations by age of one account from now on, or no longer.
///
/// # Errors
///
/// [`Error::Store`]; one of the class `Conflict` when somebody else wrote first.
pub async fn pause(
    store: &Store,
    at: &AccountRef,
    paused: bool,
    now: Timestamp,
) -> Result<Asked, Error> {
    let Some(account) = store.load(at).await? else { return Ok(Asked::Unknown) };
    if let Some(until) = account.leased_until(now) {
        return Ok(Asked::Busy(until));
    }
    if account.head.paused_since.is_some() == paused {
        return Ok(Asked::Recorded(Box::new(account)));
    }
    let mut change = Change::of(account, now, Actor::Operator);
    change.set_paused(paused);
    Ok(Asked::Recorded(Box::new(store.record(change).await?)))
}

/// Lets a slot that waits for a person acquire a key again: lifts its hold, and gives up the generations
/// that needed an operator. The keys of those, where Stripe named them, are ended: nobody can read them.
///
/// # Errors
///
/// [`Error::Store`]; one of the class `Conflict` when somebody else wrote first.
pub async fn carry_on(
    store: &Store,
    at: &AccountRef,
    slot: &Slot,
    now: Timestamp,
) -> Result<(Asked, Cleared), Error> {
    let unknown = (Asked::Unknown, Cleared::default());
    let Some(account) = store.load(at).await? else { return Ok(unknown) };
    let Some(state) = account.slots.get(slot).cloned() else { return Ok(unknown) };
    if let Some(until) = account.leased_until(now) {
        return Ok((Asked::Busy(until), Cleared::default()));
    }
    let given_up = count_stuck(&account, slot);
    let cleared = Cleared { hold: state.hold.is_some(), given_up };
    if !cleared.hold && given_up == 0 {
        return Ok((Asked::Recorded(Box::new(account)), cleared));
    }
    let mut change = Change::of(account, now, Actor::Operator);
    change.note(Action::Request, Phase::Note, Some((slot, state.next)), Some("carry_on"));
    change.start_afresh(slot)?;
    change.release(Some(now));
    Ok((Asked::Recorded(Box::new(store.record(change).await?)), cleared))
}

/// How many generations of a slot a fresh start gives up.
fn count_stuck(account: &Account, slot: &Slot) -> u32 {
    let stuck = account.generations_of(slot).filter(|(_, state)| state.is_stuck());
    u32::try_from(stuck.count()).unwrap_or(u32::MAX)
}
