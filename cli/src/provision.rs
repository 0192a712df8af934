//! `provision`: a slot is opened, and its key minted.

use anyhow::bail;
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::AccountRef;

use crate::args::Provision;
use crate::one::{ask_to_give_up, patience, settled};
use crate::rotate::waits;
use crate::session::{Found, Session};
use crate::show::Shown;

pub(crate) async fn run(asked: Provision, session: &mut Session) -> anyhow::Result<Found> {
    let at = AccountRef::new(asked.mode, asked.account);
    let slot = asked.kind.slot(asked.slot);
    let steward = session.parts.steward().await?;
    ask_to_give_up(session, &steward.store, (&at, &slot), asked.yes).await?;
    let deadline = patience(steward.clock.now());
    let provisioned = steward.provision(&at, &slot, Actor::Operator, deadline).await?;
    let account = settled(provisioned)?;
    session.show(&Shown::of(&account), Shown::as_text)?;
    if account.current(&slot).is_none() {
        bail!("{}", waits(&account, &slot));
    }
    Ok(Found::NothingWrong)
}
