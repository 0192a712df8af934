//! Applying an event: it is a hint, so everything but an uninstall is checked with Stripe first.

use crate::domain::account::{Account, Change, HoldReason, Status};
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::event::{Notification, Topic};
use crate::domain::id::KeyId;
use crate::domain::intent::How;
use crate::domain::lifecycle::State;
use crate::domain::orders::Orders;
use crate::domain::policy::Policy;
use crate::domain::slot::{Generation, Slot};
use crate::domain::time::Timestamp;
use crate::steward::{Error, Steward, look_at_all};
use crate::store::{Due, EventRef};
use crate::stripe::{self, Refusal, TimeLeft};
use crate::sweep::FAILED_PAUSE;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// It changed the account, or woke it.
    Applied,
    /// It says nothing that matters here: an unknown account, a key not ours, or applied before.
    Nothing,
    /// The account is held by somebody else, or Stripe could not be asked: the row stays open and the
    /// sweep takes it.
    Deferred,
}

impl Steward {
    /// Applies the event of one row, and marks the row done in the same transaction.
    pub async fn ingest(&self, event: &EventRef, deadline: Timestamp) -> Result<Ingested, Error> {
        let Some(stored) = self.store.event(event).await? else { return Ok(Ingested::Nothing) };
        if !stored.open {
            return Ok(Ingested::Nothing);
        }
        let event = stored.notification;
        if let Topic::Sandbox { sandbox } = &event.topic {
            return self.follow(&event, sandbox, deadline).await;
        }
        let now = self.clock.now();
        let Some(account) = self.store.load(&event.account).await? else {
            self.store.close_event(&event, now).await?;
            return Ok(Ingested::Nothing);
        };
        let orders = self.orders().await?;
        let is_of_the_past = may_be_of_the_past(&orders, &account, &event.topic);
        if account.leased_until(now).is_some() {
            return Ok(Ingested::Deferred);
        }
        if is_of_the_past {
            self.drive(account, Actor::Event, deadline).await?;
            let due = Due::Event((&event).into());
            self.store.set_aside(&due, now, now.plus(Policy::HELD_BACK)).await?;
            return Ok(Ingested::Deferred);
        }
        let mut change = Change::of(account, now, Actor::Event);
        change.claim();
        let understood = if event.topic.names_a_key() {
            let left = deadline.since(now);
            match stripe::within(left, self.apply_key_event(&mut change, &event)).await {
                (_, TimeLeft::RanOut) => return Ok(Ingested::Deferred),
                (understood, TimeLeft::Enough) => understood?,
            }
        } else {
            apply_account_event(&mut change, &event)?;
            true
        };
        if !understood {
            // As if it had failed: what waits for Stripe must not stand at the head of every sweep.
            let due = Due::Event((&event).into());
            self.store.set_aside(&due, now, now.plus(FAILED_PAUSE)).await?;
            return Ok(Ingested::Deferred);
        }
        change.finish(&event);
        let held = self.settle(&mut change, &orders)?;
        match self.record(change).await? {
            Some(account) => {
                self.drive_held(account, held, Actor::Event, deadline).await?;
                Ok(Ingested::Applied)
            }
            None => Ok(Ingested::Deferred),
        }
    }

    /// `false` when Stripe could not be asked, so that the event has to wait.
    async fn apply_key_event(
        &self,
        change: &mut Change,
        event: &Notification,
    ) -> Result<bool, Error> {
        if matches!(change.account().head.status, Status::Uninstalled { .. }) {
            return Ok(true);
        }
        let full = match self.stripe.event(&event.account, &event.id).await {
            Ok(full) => full,
            // Older than Stripe keeps it, or access is gone: the hint is spent, the account is woken.
            Err(error) => match error.refusal() {
                Some(Refusal::NotFound | Refusal::Forbidden) => return Ok(true),
                _ => return Err(Error::Event(error)),
            },
        };
        let Some(key) = full.keys.key else { return Ok(true) };
        let Some((slot, generation)) = generation_of(change.account(), &key) else {
            return Ok(true);
        };
        match event.topic {
            Topic::KeyRotated => {
                let by_us = full.keys.new_key.as_ref().is_some_and(|successor| {
                    generation_of(change.account(), successor).is_some()
                        || is_being_rotated(change.account(), &slot, generation)
                });
                if by_us {
                    return Ok(true);
                }
                self.look_at(change, &slot, generation, &key).await
            }
            Topic::KeyExpired => self.look_at(change, &slot, generation, &key).await,
            Topic::KeyUpdated | Topic::KeyPermissionsUpdated | Topic::KeyDefaultSecretRevealed => {
                let about = Some((&slot, generation));
                change.note(Action::Notice, Phase::Note, about, Some(event.topic.name()));
                Ok(true)
            }
            Topic::KeyCreated
            | Topic::Authorized
            | Topic::Deauthorized
            | Topic::AccountUpdated { .. }
            | Topic::Sandbox { .. } => Ok(true),
        }
    }
}

/// After a restore, what a key came to is the reconciliation's to say, not an old event's. So is whether the app
/// was installed again since an uninstall, which Stripe's list tells: the account is in it then.
fn may_be_of_the_past(orders: &Orders, account: &Account, topic: &Topic) -> bool {
    let only_reports = orders.report_only.is_some();
    let is_behind = only_reports || account.head.epoch < orders.epoch;
    match topic {
        Topic::Deauthorized => is_behind && (only_reports || account.head.refused.is_none()),
        topic => is_behind && topic.names_a_key(),
    }
}

/// What the payload alone says: after an uninstall there is nobody left to ask.
fn apply_account_event(change: &mut Change, event: &Notification) -> Result<(), Error> {
    match event.topic {
        Topic::Deauthorized => {
            // One that was made before the last installation is about an earlier one, however late it comes.
            // The callback of that installation may have failed here: a key that was issued after the event
            // shows it all the same.
            let is_about_this_one = match change.account().head.status {
                Status::Installed { since } => {
                    event.created.seconds() + CLOCKS_DIFFER >= since.seconds()
                        && !issued_after(change.account(), event.created)
                }
                Status::Uninstalled { at } => event.created > at,
            };
            if is_about_this_one {
                // By Stripe's clock, as what comes after it will be: heard of, it may have been late.
                let at = event.created.min(change.now());
                change.set_status(Status::Uninstalled { at }, Action::Uninstall);
            }
        }
        Topic::Authorized => {
            authorized(change, event.created)?;
            try_what_was_not_permitted(change);
        }
        Topic::AccountUpdated { charges_enabled: Some(true) | None } => {
            try_what_was_not_permitted(change);
        }
        Topic::AccountUpdated { charges_enabled: Some(false) }
        | Topic::Sandbox { .. }
        | Topic::KeyCreated
        | Topic::KeyUpdated
        | Topic::KeyRotated
        | Topic::KeyExpired
        | Topic::KeyPermissionsUpdated
        | Topic::KeyDefaultSecretRevealed => {}
    }
    Ok(())
}

fn try_what_was_not_permitted(change: &mut Change) {
    let slots = change.account().slots.iter();
    let held: Vec<Slot> = slots
        .filter(|(_, state)| state.hold.is_some_and(|hold| hold.why == HoldReason::NotPermitted))
        .map(|(slot, _)| slot.clone())
        .collect();
    // The holds of more end by themselves, in an hour.
    for slot in held.into_iter().take(change.room()) {
        change.hold(&slot, None);
    }
}

/// A user let the app in, which only the account's own user can, and Stripe signed that it was so. After an uninstall
/// it is an installation even if the browser never came back to us; it opens what its callback would have opened.
/// Where the app counts as installed it lifts nothing that the user brought about: whether it was before or after
/// that, nobody knows.
fn authorized(change: &mut Change, at: Timestamp) -> Result<(), Error> {
    let is_anew = match change.account().head.status {
        Status::Uninstalled { at: left } if at > left => true,
        // An uninstall from before, which may still be on its way here, must not end it.
        Status::Installed { since } if at > since => false,
        Status::Installed { .. } | Status::Uninstalled { .. } => return Ok(()),
    };
    change.set_status(Status::Installed { since: at }, Action::Install);
    if is_anew {
        look_at_all(change)?;
        for slot in Slot::of_an_installation() {
            change.open_slot(&slot);
        }
    }
    Ok(())
}

/// Whether Stripe issued a key since: the app had access then. By whole seconds, as Stripe's events tell the time: one
/// of the same second may have been before or after, and is believed.
fn issued_after(account: &Account, at: Timestamp) -> bool {
    account.generations.values().any(|state| match state {
        State::Issued { issued_at, .. }
        | State::Proven { issued_at, .. }
        | State::Current { issued_at, .. } => issued_at.seconds() > at.seconds() + CLOCKS_DIFFER,
        State::Requested { .. }
        | State::Retiring { .. }
        | State::Ended { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => false,
    })
}

/// Whether a call of ours to rotate this very key is under way.
fn is_being_rotated(account: &Account, slot: &Slot, generation: Generation) -> bool {
    match account.pending(slot) {
        Some((_, State::Requested { intent })) => {
            matches!(intent.how, How::Rotate { from, .. } if from == generation)
        }
        _ => false,
    }
}

/// Which generation a key of Stripe's belongs to, among those that are not over.
fn generation_of(account: &Account, key: &KeyId) -> Option<(Slot, Generation)> {
    account
        .generations
        .iter()
        .find(|(_, state)| state.key() == Some(key) && !matches!(state, State::Ended { .. }))
        .map(|((slot, generation), _)| (slot.clone(), *generation))
}

/// By how many seconds Stripe's clock may be behind ours. Nobody uninstalls the app and installs it again within so short
/// a time: an uninstall that seems to be that much older than an installation, or than a key, came after it.
const CLOCKS_DIFFER: i64 = 2;
