//! `rotate`: one key now; with `--all`, an order for the sweep.

use anyhow::bail;
use keysteward::domain::account::Account;
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{AccountRef, Slot};

use crate::args::Rotate;
use crate::emergency;
use crate::one::{patience, settled};
use crate::output::instant;
use crate::session::{Found, Session, Usage};
use crate::show::Shown;

pub(crate) async fn run(asked: Rotate, session: &mut Session) -> anyhow::Result<Found> {
    let Some(account) = &asked.account else {
        return emergency::run(asked, session).await;
    };
    if asked.order.is_given() {
        Err(Usage("an order for all keys is given with --all and without an account"))?;
    }
    let at = session.find_in(account, asked.mode).await?;
    let slot = asked.kind.slot(asked.slot);
    let steward = session.parts.steward().await?;
    let before = steward.store.load(&at).await?;
    let before = before.as_ref().and_then(|account| current(account, &slot));
    let deadline = patience(session.now());
    let rotated = steward.rotate(&at, &slot, Actor::Operator, deadline).await?;
    let account = settled(rotated)?;
    session.show(&Shown::of(&account), Shown::as_text)?;
    if current(&account, &slot) == before {
        bail!("{}", waits(&account, &slot));
    }
    Ok(Found::NothingWrong)
}

/// The number of the slot's current generation.
pub(crate) fn current(account: &Account, slot: &Slot) -> Option<u32> {
    account.current(slot).map(|(generation, _)| generation.number())
}

/// Why a slot did not get its next key although it was asked to.
pub(crate) fn waits(account: &Account, slot: &Slot) -> String {
    if account.generations_of(slot).any(|(_, state)| state.is_stuck()) {
        let (AccountRef { id, mode }, Slot { kind, name }) = (&account.at, slot);
        let name = name.as_str();
        return format!(
            "it could not be done and needs an operator: see its state; \
             `keysteward resume {id} {name} --kind {kind} --mode {mode}` has it tried anew"
        );
    }
    let hold = account.slots.get(slot).and_then(|state| state.hold);
    let why = match hold.map(|hold| (hold.why.as_str(), hold.until)) {
        Some((why, Some(until))) => format!("{why} until {}", instant(until)),
        Some((why, None)) => why.to_owned(),
        None => "see its state".to_owned(),
    };
    format!("it is recorded and not done yet ({why}): the sweep carries on")
}
