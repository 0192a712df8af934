//! `resume`: the end of a pause, a way out for a slot that waits for a person, the release after a restore.

use anyhow::bail;
use keysteward::domain::account::Account;
use keysteward::domain::orders::Standing;
use keysteward::domain::slot::{AccountRef, Slot};
use keysteward::domain::time::Timestamp;
use keysteward::steward::OrderBook;
use keysteward::steward::operator::{self, Cleared};
use keysteward::store::Store;
use serde::Serialize;

use crate::args::Resume;
use crate::one::{ask_to_give_up, recorded};
use crate::output::{count, instant, rfc3339};
use crate::pause::Paused;
use crate::session::{Found, Session};
use crate::walk;

pub(crate) async fn run(asked: Resume, session: &mut Session) -> anyhow::Result<Found> {
    let now = session.now();
    let store = session.parts.store().await?;
    if asked.after_restore {
        return release(&store, asked.yes, session).await;
    }
    let Some(account) = &asked.account else {
        let resume = |standing: &mut Standing| standing.paused_since = None;
        let standing = OrderBook::default().give(&store, now, resume).await?;
        let paused = Paused { account: None, paused_since: standing.paused_since };
        session.show(&paused, Paused::as_text)?;
        return Ok(Found::NothingWrong);
    };
    let at = session.find_in(account, asked.mode).await?;
    match asked.slot {
        Some(name) => {
            let slot = asked.kind.slot(name);
            ask_to_give_up(session, &store, (&at, &slot), asked.yes).await?;
            carry_on(&store, &at, &slot, session).await
        }
        None => {
            let account = recorded(operator::pause(&store, &at, false, now).await?)?;
            let paused_since = account.head.paused_since;
            let paused = Paused { account: Some(at.to_string()), paused_since };
            session.show(&paused, Paused::as_text)?;
            Ok(Found::NothingWrong)
        }
    }
}

async fn carry_on(
    store: &Store,
    at: &AccountRef,
    slot: &Slot,
    session: &mut Session,
) -> anyhow::Result<Found> {
    let (asked, cleared) = operator::carry_on(store, at, slot, session.now()).await?;
    recorded(asked)?;
    let Cleared { hold, given_up } = cleared;
    let carried = CarriedOn { account: at.to_string(), slot: slot.to_string(), hold, given_up };
    session.show(&carried, CarriedOn::as_text)?;
    Ok(Found::NothingWrong)
}

#[derive(Serialize)]
struct CarriedOn {
    account: String,
    slot: String,
    /// Whether a hold was lifted.
    #[serde(rename = "lifted_hold")]
    hold: bool,
    /// Generations that needed an operator, or did not open, and were given up.
    given_up: u32,
}

impl CarriedOn {
    fn as_text(&self) -> String {
        let Self { account, slot, hold, given_up } = self;
        match (hold, given_up) {
            (false, 0) => format!("{slot} of {account} waits for nobody: nothing was changed"),
            (hold, given_up) => format!(
                "{slot} of {account}: {}{} given up; the next sweep mints its key if it has none",
                if *hold { "its hold is lifted, " } else { "" },
                count(u64::from(*given_up), "generation", "generations")
            ),
        }
    }
}

async fn release(store: &Store, is_agreed: bool, session: &mut Session) -> anyhow::Result<Found> {
    let now = session.now();
    let orders = OrderBook::default();
    let standing = orders.standing(store, now).await?;
    let Some(since) = standing.report_only else {
        bail!("the bundle acts: it does not wait for a release");
    };
    let mut ahead = Ahead { since, accounts: 0, not_looked_at: 0, drift: 0, unreadable: 0 };
    let bar = session.terminal.progress("reading accounts", None);
    ahead.unreadable = walk::accounts(store, |account| {
        bar.inc(1);
        ahead_of(&mut ahead, account, standing.epoch);
    })
    .await?;
    bar.finish_and_clear();
    session.confirm(is_agreed, &ahead.question(), "release")?;
    orders.give(store, now, Standing::release).await?;
    session.show(&ahead, |_| {
        "released: each account is reconciled when it comes due, within a day, and then acts; \
         `keysteward reconcile --all --apply` has all do it at once"
            .to_owned()
    })?;
    Ok(Found::NothingWrong)
}

/// What a release lets happen.
#[derive(Serialize)]
struct Ahead {
    #[serde(rename = "reported_since", serialize_with = "rfc3339")]
    since: Timestamp,
    /// Accounts that are reconciled and set right before anything else is done to them.
    accounts: u64,
    /// Of those, accounts that no sweep has held against Stripe since the restore.
    not_looked_at: u64,
    /// Differences that the sweep found since.
    drift: u64,
    unreadable: u64,
}

fn ahead_of(ahead: &mut Ahead, account: &Account, epoch: u32) {
    if account.head.epoch >= epoch {
        return;
    }
    ahead.accounts += 1;
    match account.head.reconciled.filter(|last| last.at >= ahead.since) {
        Some(last) => ahead.drift += u64::from(last.drift),
        None => ahead.not_looked_at += 1,
    }
}

impl Ahead {
    fn question(&self) -> String {
        let Self { since, accounts, not_looked_at, drift, unreadable } = self;
        format!(
            "The table was restored; since {} the bundle only reports.\n\
             {} found so far in {} ({not_looked_at} not looked at yet, {unreadable} unreadable).\n\
             Once released, each account is held against Stripe's list again and set right: a key of ours that \
             the table forgot is retired after a whole overlap, one that the table still serves and Stripe ended \
             is replaced. Keys that the app did not mint are never touched.",
            instant(*since),
            count(*drift, "difference", "differences"),
            count(*accounts, "account", "accounts"),
        )
    }
}
