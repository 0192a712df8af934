//! `rotate --all`: the order that every key be replaced which was issued before an instant.
//!
//! Nothing is remembered of what is done: a key that was issued since is not condemned any more. So the
//! progress is what is left, and the command can be interrupted and given again.

use std::time::Duration;

use anyhow::bail;
use keysteward::domain::account::{Account, Status};
use keysteward::domain::attention::needs_operator;
use keysteward::domain::lifecycle::State;
use keysteward::domain::orders::{Emergency, Standing};
use keysteward::domain::policy::Policy;
use keysteward::domain::slot::{Kind, Slot};
use keysteward::domain::time::Timestamp;
use keysteward::steward::OrderBook;
use keysteward::store::Store;
use serde::Serialize;

use crate::args::Rotate;
use crate::output::{count, instant, rfc3339};
use crate::session::{Found, Session, Usage};
use crate::walk;

pub(crate) async fn run(asked: Rotate, session: &mut Session) -> anyhow::Result<Found> {
    let now = session.now();
    let store = session.parts.store().await?;
    // Read as it is: a dry run writes nothing, not even which table this is.
    let standing = store.standing().await?;
    if asked.order.cancel {
        return cancel(&store, &standing, session).await;
    }
    let emergency = wanted(&asked, &standing, now)?;
    let before = tally(&store, &emergency, session).await?;
    if asked.order.dry_run {
        let counted = Counted { order: "dry_run", before, emergency: &emergency };
        session.show(&counted, Counted::as_text)?;
        return Ok(Found::NothingWrong);
    }
    let is_on = standing.emergency.as_ref() == Some(&emergency);
    if !is_on {
        let question = question(&emergency, before, &standing);
        session.confirm(asked.order.yes, &question, &before.keys.to_string())?;
        let order = emergency.clone();
        let orders = OrderBook::default();
        orders.give(&store, now, move |standing| standing.order(order.clone())).await?;
    }
    if asked.order.watch {
        let every = Duration::from_secs(asked.order.every);
        let left = watch(&store, &emergency, every, session).await?;
        let (order, counted, found) = match left {
            None => ("done", before, Found::NothingWrong),
            Some(left) => ("waits", left, Found::SomethingWrong),
        };
        let counted = Counted { order, before: counted, emergency: &emergency };
        session.show(&counted, Counted::as_text)?;
        return Ok(found);
    }
    let order = if is_on { "on_already" } else { "given" };
    session.show(&Counted { order, before, emergency: &emergency }, Counted::as_text)?;
    Ok(Found::NothingWrong)
}

/// The emergency that is meant: the one that is on when it says the same and is not over.
fn wanted(asked: &Rotate, standing: &Standing, now: Timestamp) -> anyhow::Result<Emergency> {
    if asked.order.issued_before.is_some_and(|before| before > now) {
        Err(Usage("--issued-before is in the future: keys would be replaced over and over"))?;
    }
    let new = Emergency {
        since: now,
        issued_before: asked.order.issued_before.unwrap_or(now),
        mode: asked.mode,
        publishable: asked.order.publishable,
        overlap_minutes: asked.order.overlap_minutes,
    };
    let Some(on) = standing.emergency.clone() else { return Ok(new) };
    let is_same = Emergency {
        since: on.since,
        issued_before: asked.order.issued_before.unwrap_or(on.issued_before),
        ..new.clone()
    } == on;
    match (is_same, asked.order.dry_run) {
        (true, _) => Ok(on),
        (false, true) => Ok(new),
        (false, false) => bail!(
            "another emergency is on since {}: `keysteward rotate --all --cancel` takes it back first",
            instant(on.since)
        ),
    }
}

async fn cancel(
    store: &Store,
    standing: &Standing,
    session: &mut Session,
) -> anyhow::Result<Found> {
    let Some(emergency) = &standing.emergency else {
        bail!("no emergency is on");
    };
    let left = tally(store, emergency, session).await?;
    take_back(store, emergency.since, session.now()).await?;
    let counted = Counted { order: "cancelled", before: left, emergency };
    session.show(&counted, Counted::as_text)?;
    Ok(Found::NothingWrong)
}

/// Ends the emergency of this instant; one that was ordered meanwhile is left alone.
async fn take_back(store: &Store, since: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    let orders = OrderBook::default();
    let stand_down = |standing: &mut Standing| {
        if standing.emergency.as_ref().is_some_and(|emergency| emergency.since == since) {
            standing.stand_down();
        }
    };
    orders.give(store, now, stand_down).await?;
    Ok(())
}

/// Counts again and again until nothing is left, twice in a row: an account that was moved in the index
/// while we looked is seen by the second look. What is left when it waits for something else, or cannot be
/// read, and that does not change: the order stays on, and no time brings it to an end.
async fn watch(
    store: &Store,
    emergency: &Emergency,
    every: Duration,
    session: &mut Session,
) -> anyhow::Result<Option<Tally>> {
    let first = tally(store, emergency, session).await?;
    let bar = session.terminal.progress("keys replaced", Some(first.keys));
    let (mut last, mut since) = (first, session.now());
    loop {
        tokio::time::sleep(every).await;
        let left = tally(store, emergency, session).await?;
        bar.set_position(first.keys.saturating_sub(left.keys));
        if left != last {
            since = session.now();
            bar.suspend(|| session.terminal.say(&left.as_line()));
        }
        if left.is_nothing() && last.is_nothing() {
            break;
        }
        let standing = store.standing().await?;
        if standing.emergency.as_ref() != Some(emergency) {
            bar.finish_and_clear();
            bail!("the emergency was taken back, or another was ordered; {} were left", left.keys);
        }
        if left.only_waits() && session.now().since(since) >= PATIENCE {
            bar.finish_and_clear();
            return Ok(Some(left));
        }
        last = left;
    }
    bar.finish_and_clear();
    take_back(store, emergency.since, session.now()).await?;
    Ok(None)
}

/// How long nothing changes before nobody waits any longer: sweeps came between, and had their chance.
const PATIENCE: Duration = Policy::SWEEP_INTERVAL.saturating_mul(5);

/// How many keys an emergency still wants replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    keys: u64,
    accounts: u64,
    /// Of the keys, those in slots that wait for something.
    held: u64,
    unreadable_accounts: u64,
}

impl Tally {
    fn is_nothing(self) -> bool {
        self.keys == 0 && self.unreadable_accounts == 0
    }

    /// Whether the sweep can do nothing about what is left.
    fn only_waits(self) -> bool {
        self.keys == self.held
    }

    fn as_line(self) -> String {
        let Self { keys, accounts: _, held, unreadable_accounts } = self;
        let mut line = format!("{} left", count(keys, "key", "keys"));
        if held > 0 {
            line.push_str(&format!(", {held} of them in slots that wait"));
        }
        if unreadable_accounts > 0 {
            let accounts = count(unreadable_accounts, "account", "accounts");
            line.push_str(&format!(", {accounts} unreadable"));
        }
        line
    }
}

async fn tally(store: &Store, emergency: &Emergency, session: &Session) -> anyhow::Result<Tally> {
    let bar = session.terminal.progress("counting accounts", None);
    let mut tally = Tally::default();
    let unreadable = walk::accounts(store, |account| {
        bar.inc(1);
        let keys = left(emergency, account);
        tally.keys += keys;
        tally.accounts += u64::from(keys > 0);
        tally.held +=
            slots_left(emergency, account).filter(|slot| waits(account, slot)).count() as u64;
    })
    .await?;
    bar.finish_and_clear();
    tally.unreadable_accounts = unreadable;
    Ok(tally)
}

/// How many keys of an account it still wants replaced: those that are served, and those on their way that
/// were issued before it.
pub(crate) fn left(emergency: &Emergency, account: &Account) -> u64 {
    slots_left(emergency, account).count() as u64
}

/// The slot of each such key.
fn slots_left<'a>(
    emergency: &'a Emergency,
    account: &'a Account,
) -> impl Iterator<Item = &'a Slot> {
    let is_installed = !matches!(account.head.status, Status::Uninstalled { .. });
    let is_left = move |kind: Kind, state: &State| match state {
        State::Issued { issued_at, .. } | State::Proven { issued_at, .. } => {
            let is_wanted = kind == Kind::Secret || emergency.publishable;
            is_wanted && emergency.covers(&account.at) && *issued_at < emergency.issued_before
        }
        State::Requested { .. }
        | State::Current { .. }
        | State::Retiring { .. }
        | State::Ended { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => emergency.condemns(&account.at, kind, state),
    };
    let generations = account.generations.iter().filter(move |_| is_installed);
    generations
        .filter(move |((slot, _), state)| is_left(slot.kind, state))
        .map(|((slot, _), _)| slot)
}

fn waits(account: &Account, slot: &Slot) -> bool {
    let is_held = account.slots.get(slot).is_some_and(|state| state.hold.is_some());
    is_held || needs_operator(account, slot).is_some()
}

fn question(emergency: &Emergency, before: Tally, standing: &Standing) -> String {
    let mut text = format!(
        "This replaces {} of {}: every {} key{} that was issued before {}.\n",
        count(before.keys, "key", "keys"),
        count(before.accounts, "account", "accounts"),
        emergency.mode.map_or("live and test", |mode| mode.as_str()),
        if emergency.publishable {
            ", secret and publishable,"
        } else {
            ", publishable ones aside,"
        },
        instant(emergency.issued_before)
    );
    match emergency.overlap_minutes {
        Some(minutes) => text.push_str(&format!(
            "The replaced keys die {} later, or as the policy says if that is sooner.\n",
            count(u64::from(minutes), "minute", "minutes")
        )),
        None => text.push_str("The replaced keys live on for the overlap of the policy.\n"),
    }
    text.push_str("The deployed sweep carries it out; pauses do not hold it back.\n");
    if standing.report_only.is_some() {
        text.push_str(
            "The table was restored: nothing is replaced before `resume --after-restore`.\n",
        );
    }
    text
}

#[derive(Serialize)]
struct Counted<'a> {
    /// `dry_run`, `given`, `on_already`, `done`, `waits` or `cancelled`.
    order: &'static str,
    #[serde(rename = "left")]
    before: Tally,
    #[serde(serialize_with = "as_order")]
    emergency: &'a Emergency,
}

#[derive(Serialize)]
struct Order {
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    issued_before: Timestamp,
    mode: Option<&'static str>,
    publishable: bool,
    overlap_minutes: Option<u32>,
}

fn as_order<S: serde::Serializer>(emergency: &&Emergency, to: S) -> Result<S::Ok, S::Error> {
    Order {
        since: emergency.since,
        issued_before: emergency.issued_before,
        mode: emergency.mode.map(|mode| mode.as_str()),
        publishable: emergency.publishable,
        overlap_minutes: emergency.overlap_minutes,
    }
    .serialize(to)
}

impl Counted<'_> {
    fn as_text(&self) -> String {
        let Tally { keys, accounts, held, unreadable_accounts } = self.before;
        let number = count(keys, "key", "keys");
        let mut text = match self.order {
            "dry_run" => format!(
                "{number} of {} would be replaced\n",
                count(accounts, "account", "accounts")
            ),
            "cancelled" => format!("the order is taken back; {number} were not replaced\n"),
            "done" => {
                format!("all is replaced and the order is taken back; {number} at the start\n")
            }
            "waits" => format!(
                "{number} left that no sweep can replace now: `keysteward status` shows what they wait for; the order \
                 stays on\n"
            ),
            "on_already" if keys == 0 => format!(
                "the order is on since {} and nothing is left; `rotate --all --cancel` takes it back, \
                 then another can be given\n",
                instant(self.emergency.since)
            ),
            "on_already" => {
                format!("the order is on since {}; {number} left\n", instant(self.emergency.since))
            }
            _ => format!(
                "ordered: {number} to be replaced; `keysteward status` shows what is left\n"
            ),
        };
        if held > 0 && self.order != "done" {
            text.push_str(&format!("{held} of them in slots that wait for something\n"));
        }
        if unreadable_accounts > 0 {
            let accounts = count(unreadable_accounts, "account", "accounts");
            text.push_str(&format!("{accounts} could not be read and are not counted\n"));
        }
        text
    }
}
