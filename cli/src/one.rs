//! Commands that do to one account at once what the sweep would do.

use std::time::Duration;

use anyhow::bail;
use keysteward::domain::account::Account;
use keysteward::domain::time::Timestamp;
use keysteward::steward::Advanced;
use keysteward::steward::operator::Asked;

use crate::output::instant;

/// Until when steps may be begun for a person who waits.
pub(crate) fn patience(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_secs(60))
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
