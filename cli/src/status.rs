//! `status`: counts over all accounts, and the orders in force.

use std::collections::BTreeMap;

use keysteward::domain::account::{Account, Status as Installed};
use keysteward::domain::attention::{out_of_reach, stuck_since};
use keysteward::domain::orders::{Emergency, Standing};
use keysteward::domain::slot::{AccountRef, Mode, Slot};
use keysteward::domain::time::Timestamp;
use serde::Serialize;

use crate::emergency;
use crate::output::{about, columns, count, instant, rfc3339, rfc3339_or_null};
use crate::session::{Found, Session};
use crate::walk;

pub(crate) async fn run(session: &mut Session) -> anyhow::Result<Found> {
    let now = session.now();
    let store = session.parts.store().await?;
    let mut standing = store.standing().await?;
    // Only looked at here: the sweep is who writes down that the table is another one.
    standing.recognise(&store.table_id().await?, now);
    let mut status = Status::new(&standing, now);
    let bar = session.terminal.progress("reading accounts", None);
    status.unreadable = walk::accounts(&store, |account| {
        bar.inc(1);
        status.count(account, standing.emergency.as_ref());
    })
    .await?;
    bar.finish_and_clear();
    session.show(&status, Status::as_text)?;
    Ok(Found::NothingWrong)
}

#[derive(Serialize)]
struct Status {
    #[serde(skip)]
    now: Option<Timestamp>,
    accounts: Accounts,
    /// Generations by state.
    keys: BTreeMap<&'static str, u64>,
    /// Slots by what they wait for.
    held: BTreeMap<&'static str, u64>,
    orders: Orders,
    oldest_overdue: Option<Overdue>,
    /// How many differences to Stripe's list stand.
    drift: u64,
    needs_operator: Vec<Stuck>,
    /// Accounts that Stripe refuses us: uninstalled unheard, perhaps.
    out_of_reach: Vec<OutOfReach>,
    /// Accounts whose rows this program does not understand.
    unreadable: u64,
}

#[derive(Default, Serialize)]
struct Accounts {
    live: u64,
    test: u64,
    /// Of those, uninstalled and not yet forgotten.
    uninstalled: u64,
    paused: u64,
}

#[derive(Serialize)]
struct Orders {
    #[serde(serialize_with = "rfc3339_or_null")]
    paused_since: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    only_reports_since: Option<Timestamp>,
    emergency: Option<Ordered>,
}

#[derive(Serialize)]
struct Ordered {
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    issued_before: Timestamp,
    mode: Option<Mode>,
    publishable: bool,
    overlap_minutes: Option<u32>,
    /// Keys that are still to be replaced.
    left: u64,
}

#[derive(Serialize)]
struct Overdue {
    account: String,
    mode: Mode,
    #[serde(serialize_with = "rfc3339")]
    due_at: Timestamp,
}

#[derive(Serialize)]
struct OutOfReach {
    account: String,
    mode: Mode,
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
}

#[derive(Serialize)]
struct Stuck {
    account: String,
    mode: Mode,
    kind: keysteward::domain::slot::Kind,
    slot: String,
    why: &'static str,
}

impl Status {
    fn new(standing: &Standing, now: Timestamp) -> Self {
        let orders = Orders {
            paused_since: standing.paused_since,
            only_reports_since: standing.report_only,
            emergency: standing.emergency.as_ref().map(Ordered::of),
        };
        Self {
            now: Some(now),
            accounts: Accounts::default(),
            keys: BTreeMap::new(),
            held: BTreeMap::new(),
            orders,
            oldest_overdue: None,
            drift: 0,
            needs_operator: Vec::new(),
            out_of_reach: Vec::new(),
            unreadable: 0,
        }
    }

    fn count(&mut self, account: &Account, emergency: Option<&Emergency>) {
        match account.at.mode {
            Mode::Live => self.accounts.live += 1,
            Mode::Test => self.accounts.test += 1,
        }
        self.accounts.uninstalled +=
            u64::from(matches!(account.head.status, Installed::Uninstalled { .. }));
        self.accounts.paused += u64::from(account.head.paused_since.is_some());
        self.drift += account.head.reconciled.map_or(0, |last| u64::from(last.drift));
        for state in account.generations.values() {
            *self.keys.entry(state.name()).or_default() += 1;
        }
        for (slot, state) in &account.slots {
            if let Some(hold) = state.hold {
                *self.held.entry(hold.why.as_str()).or_default() += 1;
            }
            if let Some(why) = stuck(account, slot) {
                let AccountRef { id, mode } = &account.at;
                let (account, mode) = (id.to_string(), *mode);
                let (kind, slot) = (slot.kind, slot.name.as_str().to_owned());
                self.needs_operator.push(Stuck { account, mode, kind, slot, why });
            }
        }
        let is_installed = matches!(account.head.status, Installed::Installed { .. });
        if let Some(since) = out_of_reach(&account.head).filter(|_| is_installed)
            && self.now.is_some_and(|now| since <= now)
        {
            let AccountRef { id, mode } = &account.at;
            self.out_of_reach.push(OutOfReach { account: id.to_string(), mode: *mode, since });
        }
        if let (Some(emergency), Some(ordered)) = (emergency, &mut self.orders.emergency) {
            ordered.left += emergency::left(emergency, account);
        }
        self.see_due(account);
    }

    fn see_due(&mut self, account: &Account) {
        let (Some(due_at), Some(now)) = (account.head.due_at, self.now) else { return };
        let is_older = self.oldest_overdue.as_ref().is_none_or(|oldest| due_at < oldest.due_at);
        if due_at < now && is_older {
            let AccountRef { id, mode } = &account.at;
            self.oldest_overdue = Some(Overdue { account: id.to_string(), mode: *mode, due_at });
        }
    }

    fn as_text(&self) -> String {
        let Accounts { live, test, uninstalled, paused } = self.accounts;
        let mut text = format!(
            "{} live, {test} in test mode ({uninstalled} of them uninstalled, {paused} paused)\n\n",
            count(live, "account", "accounts")
        );
        let keys = self
            .keys
            .iter()
            .map(|(state, count)| ["key", state, &count.to_string()].map(str::to_owned));
        let held = self
            .held
            .iter()
            .map(|(why, count)| ["slot held", why, &count.to_string()].map(str::to_owned));
        text.push_str(&columns(["what", "state", "count"], keys.chain(held)));
        text.push('\n');
        text.push_str(&self.orders_as_text());
        if let (Some(Overdue { account, mode, due_at }), Some(now)) =
            (&self.oldest_overdue, self.now)
        {
            let late = about(now.since(*due_at));
            text.push_str(&format!("longest waiting: {account} ({mode}), due for {late}\n"));
        }
        if self.drift > 0 {
            text.push_str(&format!("differences to Stripe's lists: {}\n", self.drift));
        }
        for Stuck { account, mode, kind, slot, why } in &self.needs_operator {
            text.push_str(&format!(
                "needs an operator: {account} ({mode}) {kind}/{slot}: {why}; \
                 `keysteward resume {account} {slot} --kind {kind} --mode {mode}` lets it carry on\n"
            ));
        }
        for OutOfReach { account, mode, since } in &self.out_of_reach {
            text.push_str(&format!(
                "out of reach: {account} ({mode}) since {}: Stripe refuses to list its keys; if the app was \
                 uninstalled there, have Stripe send the event again\n",
                instant(*since)
            ));
        }
        if self.unreadable > 0 {
            let accounts = count(self.unreadable, "account", "accounts");
            text.push_str(&format!("{accounts} could not be read: see the functions' logs\n"));
        }
        text
    }

    fn orders_as_text(&self) -> String {
        let Orders { paused_since, only_reports_since, emergency } = &self.orders;
        let mut text = String::new();
        if let Some(since) = paused_since {
            text.push_str(&format!(
                "paused since {}: no rotation by age is begun\n",
                instant(*since)
            ));
        }
        if let Some(since) = only_reports_since {
            text.push_str(&format!(
                "only reports since {}: the table was restored; `keysteward resume --after-restore` lets it act\n",
                instant(*since)
            ));
        }
        if let Some(Ordered { since, issued_before, left, .. }) = emergency {
            text.push_str(&format!(
                "emergency since {}: keys issued before {} are replaced, {} left\n",
                instant(*since),
                instant(*issued_before),
                count(*left, "key", "keys")
            ));
        }
        if text.is_empty() { "no orders in force\n".to_owned() } else { text }
    }
}

impl Ordered {
    fn of(emergency: &Emergency) -> Self {
        let Emergency { since, issued_before, mode, publishable, overlap_minutes } =
            emergency.clone();
        Self { since, issued_before, mode, publishable, overlap_minutes, left: 0 }
    }
}

/// Why a slot waits for a person, or holds a key that only a person can end.
fn stuck(account: &Account, slot: &Slot) -> Option<&'static str> {
    let waits_for_ever = account.slots.get(slot)?.hold.filter(|hold| hold.until.is_none());
    if stuck_since(account, slot).is_some() {
        let stuck = account.generations_of(slot).find(|(_, state)| state.is_stuck());
        return stuck.map(|(_, state)| state.name());
    }
    waits_for_ever.map(|hold| hold.why.as_str())
}
