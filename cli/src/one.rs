//! Commands about one account: what they wait for, ask, and answer.

use std::time::Duration;

use anyhow::bail;
use keysteward::domain::account::Account;
use keysteward::domain::slot::{AccountRef, Slot};
use keysteward::domain::time::Timestamp;
use keysteward::steward::Advanced;
use keysteward::steward::operator::Asked;
use keysteward::store::Store;

use crate::output::{count, instant};
use crate::session::Session;

/// Until when steps may be begun for a person who waits.
pub(crate) fn patience(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_secs(60))
}

/// Asks before a slot is started afresh: keys that are given up are ended at Stripe, which nobody can take back.
pub(crate) async fn ask_to_give_up(
    session: &mut Session,
    store: &Store,
    (at, slot): (&AccountRef, &Slot),
    is_agreed: bool,
) -> anyhow::Result<()> {
    let Some(account) = store.load(at).await? else { return Ok(()) };
    let stuck = account.generations_of(slot).filter(|(_, state)| state.is_stuck()).count() as u64;
    if stuck == 0 {
        return Ok(());
    }
    let question = format!(
        "{} given up of {slot}; what key Stripe named is ended there, and another is minted if the slot has none.",
        count(stuck, "generation is", "generations are")
    );
    session.confirm(is_agreed, &question, at.id.as_str())
}

/// The account as it is after an advance that came to rest; an error that says what to do after any other.
pub(crate) fn settled(advanced: Advanced) -> anyhow::Result<Account> {
    match advanced {
        Advanced::Settled(account) => Ok(*account),
        Advanced::Unknown => bail!("nothing is stored of this account"),
        Advanced::Busy(until) => bail!(
            "somebody else is working on the account, until {} at most: give the command again",
            instant(until)
        ),
        Advanced::Overtaken => bail!(
            "somebody else changed the account meanwhile: look at it and give the command again"
        ),
        Advanced::OutOfTime => {
            bail!("it is recorded and not done yet: the next sweep carries on")
        }
    }
}

/// The account as it is after a change of rows alone.
pub(crate) fn recorded(asked: Asked) -> anyhow::Result<Account> {
    match asked {
        Asked::Recorded(account) => Ok(*account),
        Asked::Unknown => bail!("nothing is stored of this account or slot"),
        Asked::Busy(until) => settled(Advanced::Busy(until)),
    }
}
