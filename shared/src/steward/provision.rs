//! Provisioning: an account is opened, or a slot started afresh, without an install callback.

use super::{Advanced, Error, Steward};
use crate::domain::account::{Account, Change, Status};
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::lifecycle::Happened;
use crate::domain::slot::{AccountRef, Slot};
use crate::domain::time::Timestamp;

impl Steward {
    /// Opens an account and one slot in it as an install callback would, and brings its key as far as it
    /// comes. For an operator: what holds the slot is lifted, keys for which it asks a person are given up,
    /// and an account that counts as uninstalled counts as installed again.
    ///
    /// Whether the app is installed there, Stripe says when it is asked for the key.
    pub async fn provision(
        &self,
        at: &AccountRef,
        slot: &Slot,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let account = self.loaded_or_new(at).await?;
        let now = self.clock.now();
        if let Some(until) = account.leased_until(now) {
            return Ok(Advanced::Busy(until));
        }
        let mut change = Change::of(account, now, actor);
        change.claim();
        change.note(Action::Request, Phase::Note, None, Some("provision"));
        install(&mut change)?;
        change.start_afresh(slot)?;
        self.go_on(change, actor, deadline).await
    }

    /// Opens an account that Stripe said was there at `as_of`. A slot that is open, and an uninstall that was
    /// heard of later, stay as they are.
    pub(crate) async fn open_account(
        &self,
        at: &AccountRef,
        as_of: Timestamp,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        let account = self.loaded_or_new(at).await?;
        let now = self.clock.now();
        if let Some(until) = account.leased_until(now) {
            return Ok(Advanced::Busy(until));
        }
        let slots = Slot::of_an_installation();
        let is_open = slots.iter().all(|slot| account.slots.contains_key(slot));
        match account.head.status {
            Status::Uninstalled { at } if at >= as_of => {
                return Ok(Advanced::Settled(Box::new(account)));
            }
            Status::Installed { .. } if is_open => {
                return Ok(Advanced::Settled(Box::new(account)));
            }
            Status::Installed { .. } | Status::Uninstalled { .. } => {}
        }
        let mut change = Change::of(account, now, actor);
        change.claim();
        let is_anew = install(&mut change)?;
        for slot in slots {
            if is_anew || !change.account().slots.contains_key(&slot) {
                change.open_slot(&slot);
            }
        }
        self.go_on(change, actor, deadline).await
    }

    /// The account as it is stored, or a new one that acts in the present epoch.
    pub(crate) async fn loaded_or_new(&self, at: &AccountRef) -> Result<Account, Error> {
        if let Some(account) = self.store.load(at).await? {
            return Ok(account);
        }
        let mut account = Account::new(at.clone(), self.clock.now());
        account.head.epoch = self.orders().await?.epoch;
        Ok(account)
    }

    async fn go_on(
        &self,
        change: Change,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Advanced, Error> {
        match self.record(change).await? {
            Some(account) => self.drive_held(account, true, actor, deadline).await,
            None => Ok(Advanced::Overtaken),
        }
    }
}

/// Makes the account count as installed where it does not; answers whether that was news.
fn install(change: &mut Change) -> Result<bool, Error> {
    let (now, is_new) = (change.now(), change.account().head.version == 0);
    if !is_new && matches!(change.account().head.status, Status::Installed { .. }) {
        return Ok(false);
    }
    change.set_status(Status::Installed { since: now }, Action::Install);
    if !is_new {
        look_at_all(change)?;
    }
    Ok(true)
}

/// Makes current keys due for a look, as many as one change holds: the others are looked at within a day.
pub(crate) fn look_at_all(change: &mut Change) -> Result<(), Error> {
    let slots: Vec<Slot> = change.account().slots.keys().cloned().collect();
    let now = change.now();
    for slot in slots.into_iter().take(change.room()) {
        if let Some((current, _)) = change.account().current(&slot) {
            change.apply(&slot, current, Happened::LookedAt { look_at: now }, None)?;
        }
    }
    Ok(())
}
