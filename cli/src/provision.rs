//! `provision`: a slot is opened, and its key minted.

use anyhow::bail;
use keysteward::domain::account::{Account, Change};
use keysteward::domain::audit::{Action, Actor, Phase};
use keysteward::domain::slot::{AccountRef, Slot};
use keysteward::steward::{Advanced, Error, Steward};

use crate::args::Provision;
use crate::one::{patience, settled};
use crate::rotate::waits;
use crate::session::{Found, Session};
use crate::show::Shown;

pub(crate) async fn run(asked: Provision, session: &mut Session) -> anyhow::Result<Found> {
    let at = AccountRef::new(asked.mode, asked.account);
    let slot = asked.kind.slot(asked.slot);
    let steward = session.parts.steward().await?;
    let account = settled(open(&steward, &at, &slot).await?)?;
    session.show(&Shown::of(&account), Shown::as_text)?;
    if account.current(&slot).is_none() {
        bail!("{}", waits(&account, &slot));
    }
    Ok(Found::NothingWrong)
}

/// Opens the slot, of a new account if need be, and brings its key as far as it comes.
async fn open(steward: &Steward, at: &AccountRef, slot: &Slot) -> Result<Advanced, Error> {
    let now = steward.clock.now();
    let account = match steward.store.load(at).await? {
        Some(account) => account,
        None => {
            let mut account = Account::new(at.clone(), now);
            account.head.epoch = steward.orders().await?.epoch;
            account
        }
    };
    if account.is_leased(now) {
        return Ok(Advanced::Busy(account.head.lease_until.unwrap_or(now)));
    }
    let mut change = Change::of(account, now, Actor::Operator);
    change.open_slot(slot);
    let next = change.account().slots.get(slot).map(|state| state.next);
    let about = next.map(|next| (slot, next));
    change.note(Action::Request, Phase::Note, about, Some("provision"));
    change.release(Some(now));
    let account = steward.store.record(change).await?;
    steward.drive(account, Actor::Operator, patience(now)).await
}
