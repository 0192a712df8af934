//! A change to one account: what it becomes, which rows that touches, and what the trail says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::{Account, Hold, Reconciled, Refused, SlotState, Status};
use crate::domain::audit::{self, Action, Actor, Entry, Phase};
use crate::domain::event::Notification;
use crate::domain::id::{KeyId, Kid};
use crate::domain::intent::Intent;
use crate::domain::lifecycle::{Ending, Happened, Illegal, State};
use crate::domain::orders::Epoch;
use crate::domain::plan::Because;
use crate::domain::policy::Policy;
use crate::domain::sealed::KeyPair;
use crate::domain::slot::{Generation, Mode, Slot};
use crate::domain::time::Timestamp;

/// A row of the account's working set, named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowName {
    /// `STATE#SLOT#…`
    Slot(Slot),
    /// `STATE#KEY#…`
    Key(Slot, Generation),
    /// `STATE#PAIR#…`
    Pair(Kid),
}

/// A change to one account: what it becomes, which rows that touches, and what the trail says of it.
///
/// Pure: [`crate::domain`] makes it, the store records it as one transaction.
#[derive(Clone, Debug)]
pub struct Change {
    account: Account,
    now: Timestamp,
    actor: Actor,
    touched: BTreeSet<RowName>,
    entries: Vec<Entry>,
    finished: Option<Notification>,
}

impl Change {
    /// Starts a change of `account`, recorded at `now` in the name of `actor`.
    pub fn of(account: Account, now: Timestamp, actor: Actor) -> Self {
        Self { account, now, actor, touched: BTreeSet::new(), entries: Vec::new(), finished: None }
    }

    /// The account as it will be.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// When it is recorded.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// In whose name it is recorded.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// The rows to write; one that is not in the account any more is deleted.
    pub fn touched(&self) -> &BTreeSet<RowName> {
        &self.touched
    }

    /// The audit entries to append.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The event whose row is marked done by this change.
    pub fn finished(&self) -> Option<&Notification> {
        self.finished.as_ref()
    }

    /// Gives up the draft for the account that it describes.
    pub fn into_account(self) -> Account {
        self.account
    }

    /// Takes the next fencing token and the lease. The account is due again when the lease runs out,
    /// so that a holder that dies is found (I7).
    pub fn claim(&mut self) {
        if self.account.head.lease_until.is_some() {
            self.count_unheard();
        }
        self.account.head.fence += 1;
        self.extend_lease();
    }

    /// Whoever held the lease before died, or is overtaken: a call of theirs may have been made, and nobody heard the
    /// answer.
    fn count_unheard(&mut self) {
        for ((slot, generation), state) in &mut self.account.generations {
            if matches!(state, State::Requested { intent } if intent.attempts == 0)
                && let Ok(asked) = state.clone().apply(Happened::AskedInVain)
            {
                *state = asked;
                self.touched.insert(RowName::Key(slot.clone(), *generation));
            }
        }
    }

    /// Keeps the lease for another while.
    pub fn extend_lease(&mut self) {
        self.extend_lease_from(self.now);
    }

    /// As [`Change::extend_lease`], after work that took its time.
    pub fn extend_lease_from(&mut self, now: Timestamp) {
        let until = now.plus(Policy::STALL);
        self.account.head.lease_until = Some(until);
        self.account.head.due_at = Some(until);
    }

    /// Leaves the lease to whoever holds it; the account is due again when it runs out.
    pub fn wait_for_lease(&mut self) {
        self.account.head.due_at = self.account.head.lease_until;
    }

    /// Gives the lease back; the account is next due at `due_at`.
    pub fn release(&mut self, due_at: Option<Timestamp>) {
        self.account.head.lease_until = None;
        self.account.head.due_at = due_at;
    }

    /// Sets whether the app is installed.
    pub fn set_status(&mut self, status: Status, action: Action) {
        self.account.head.status = status;
        self.note(action, Phase::Note, None, None);
    }

    /// Opens a slot that is not open yet, or lifts what holds it: somebody asks for a key.
    pub fn open_slot(&mut self, slot: &Slot) {
        let now = self.now;
        let state = self.account.slots.entry(slot.clone()).or_insert(SlotState {
            opened_at: now,
            next: Generation::FIRST,
            hold: None,
            asked_at: None,
            epoch: 0,
        });
        state.hold = None;
        state.asked_at = Some(now);
        self.touched.insert(RowName::Slot(slot.clone()));
    }

    /// Holds a slot, or lifts the hold with `None`.
    pub fn hold(&mut self, slot: &Slot, hold: Option<Hold>) {
        if let Some(state) = self.account.slots.get_mut(slot)
            && state.hold != hold
        {
            state.hold = hold;
            self.touched.insert(RowName::Slot(slot.clone()));
        }
    }

    /// Whoever asked for a key has one: what becomes of it after this is another matter.
    pub fn ask_is_met(&mut self, slot: &Slot) {
        if let Some(state) = self.account.slots.get_mut(slot)
            && state.asked_at.take().is_some()
        {
            self.touched.insert(RowName::Slot(slot.clone()));
        }
    }

    /// Adds a key pair.
    pub fn add_pair(&mut self, pair: KeyPair) {
        self.touched.insert(RowName::Pair(pair.kid.clone()));
        self.account.pairs.insert(pair.kid.clone(), pair);
    }

    /// Deletes a key pair: what was sealed to it can never be opened again.
    pub fn shred_pair(&mut self, kid: &Kid) {
        if self.account.pairs.remove(kid).is_some() {
            self.touched.insert(RowName::Pair(kid.clone()));
        }
    }

    /// Records an intent as the slot's next generation and opens its audit entry.
    pub fn request(
        &mut self,
        slot: &Slot,
        generation: Generation,
        intent: Intent,
        because: Because,
    ) {
        if let Some(state) = self.account.slots.get_mut(slot) {
            state.next = generation.next();
        }
        self.touched.insert(RowName::Slot(slot.clone()));
        self.touched.insert(RowName::Key(slot.clone(), generation));
        self.account.generations.insert((slot.clone(), generation), State::Requested { intent });
        self.entry(Action::Issue, Phase::Begin, Some((slot, generation)), Some(because), None);
    }

    /// Applies what happened to a generation, and writes what the trail has to say of it.
    pub fn apply(
        &mut self,
        slot: &Slot,
        generation: Generation,
        happened: Happened,
        because: Option<Because>,
    ) -> Result<(), Illegal> {
        let at = (slot.clone(), generation);
        let state = self.account.generations.get(&at).ok_or(Illegal { from: "absent" })?;
        let before = state.clone();
        let after = before.clone().apply(happened)?;
        self.touched.insert(RowName::Key(slot.clone(), generation));
        self.account.generations.insert(at, after.clone());
        if matches!((&before, &after), (State::Proven { .. }, State::Current { .. })) {
            self.ask_is_met(slot);
        }
        for (action, phase) in entries_of(&before, &after) {
            let outcome = Some(outcome_of(&after));
            self.entry(action, phase, Some((slot, generation)), because, outcome);
        }
        Ok(())
    }

    /// Drops an ended generation from the working set; the audit trail keeps its story.
    pub fn forget(&mut self, slot: &Slot, generation: Generation) {
        if self.account.generations.remove(&(slot.clone(), generation)).is_some() {
            self.touched.insert(RowName::Key(slot.clone(), generation));
        }
    }

    /// Holds back rotations by age from now on, or no longer; the account is due at once, to plan anew.
    pub fn set_paused(&mut self, paused: bool) {
        let since = self.account.head.paused_since;
        self.account.head.paused_since = paused.then_some(since.unwrap_or(self.now));
        self.account.head.due_at = Some(self.now);
        let outcome = if paused { "pause" } else { "resume" };
        self.note(Action::Request, Phase::Note, None, Some(outcome));
    }

    /// Takes a key into the working set that Stripe has and no generation knows, to be retired: nobody can
    /// read its secret. `false` when there is no such slot.
    pub fn adopt(&mut self, slot: &Slot, key: KeyId, dies_at: Timestamp, ending: Ending) -> bool {
        let Some(state) = self.account.slots.get_mut(slot) else { return false };
        let generation = state.next;
        state.next = generation.next();
        let retiring =
            State::Retiring { key, material: None, dies_at, try_at: dies_at, attempts: 0, ending };
        self.touched.insert(RowName::Slot(slot.clone()));
        self.touched.insert(RowName::Key(slot.clone(), generation));
        self.account.generations.insert((slot.clone(), generation), retiring);
        let about = Some((slot, generation));
        self.entry(Action::Retire, Phase::Begin, about, Some(Because::KeyIsOrphaned), None);
        true
    }

    /// Lets the account act after a restore, once all its slots are ready for that: of `most` slots their
    /// generations go on with numbers that cannot have been used since the copy was made: with the number, the
    /// idempotency key would be that of another call (I3). `false` while there are other slots.
    ///
    /// Call this only just after Stripe listed the keys: that proves the app has access, whatever older events say.
    pub fn enter_epoch(&mut self, epoch: Epoch, most: usize) -> bool {
        let mut behind = self.account.slots.iter_mut().filter(|(_, state)| state.epoch < epoch);
        for (slot, state) in behind.by_ref().take(most) {
            state.next = state.next.skip(GENERATIONS_A_COPY_MAY_LACK);
            state.epoch = epoch;
            self.touched.insert(RowName::Slot(slot.clone()));
        }
        if behind.next().is_some() {
            return false;
        }
        self.account.head.epoch = epoch;
        if let Status::Installed { since } = &mut self.account.head.status {
            *since = self.now;
        }
        if self.account.at.mode == Mode::Live {
            // The list says what all of it came to. In test mode the record also tells of sandboxes.
            self.events_read(self.now);
        }
        true
    }

    /// Records how the account compared to Stripe's list; the next comparison is due in a day.
    pub fn reconciled(&mut self, reconciled: Reconciled) {
        self.account.head.refused = None;
        self.account.head.reconciled = Some(reconciled);
        self.account.head.reconcile_at = Some(self.now.plus(Policy::RECONCILE_EVERY));
    }

    /// Has a comparison go on at once: there was more to set right than one change holds.
    pub fn go_on_reconciling(&mut self) {
        self.account.head.refused = None;
        self.account.head.reconcile_at = Some(self.now);
    }

    /// How many more rows are well within what one transaction holds (100 items): what one key takes, and the pure
    /// steps that follow, fit on top.
    pub fn room(&self) -> usize {
        MOST_ROWS.saturating_sub(self.touched.len() + self.entries.len())
    }

    /// Puts off a comparison that could not be made.
    pub fn put_off_reconciling(&mut self, pause: Duration) {
        self.account.head.reconcile_at = Some(self.now.plus(pause));
    }

    /// Counts that Stripe refuses to list the account's keys.
    pub fn refused(&mut self) {
        let before = self.account.head.refused;
        let (since, times) = before.map_or((self.now, 0), |refused| (refused.since, refused.times));
        self.account.head.refused = Some(Refused { since, times: times.saturating_add(1) });
    }

    /// Has the account compared again by then.
    pub fn reconcile_by(&mut self, at: Timestamp) {
        let due = &mut self.account.head.reconcile_at;
        *due = due.map(|before| before.min(at));
    }

    /// Records up to when Stripe's own record of events was read. Never moves back.
    pub fn events_read(&mut self, to: Timestamp) {
        let read_to = &mut self.account.head.events_read_to;
        *read_to = Some(read_to.map_or(to, |before| before.max(to)));
    }

    /// Marks an event's row done within this change.
    pub fn finish(&mut self, event: &Notification) {
        self.finished = Some(event.clone());
    }

    /// Appends an entry about the account or a slot as a whole.
    pub fn note(
        &mut self,
        action: Action,
        phase: Phase,
        about: Option<(&Slot, Generation)>,
        outcome: Option<&str>,
    ) {
        self.entry(action, phase, about, None, outcome.map(str::to_owned));
    }

    fn entry(
        &mut self,
        action: Action,
        phase: Phase,
        about: Option<(&Slot, Generation)>,
        because: Option<Because>,
        outcome: Option<String>,
    ) {
        let key_id = about.and_then(|(slot, generation)| {
            self.account.generations.get(&(slot.clone(), generation))?.key().cloned()
        });
        let head = &mut self.account.head;
        let entry = Entry {
            sequence: head.audit.sequence + 1,
            previous: head.audit.hash.clone(),
            at: self.now,
            actor: self.actor,
            fence: head.fence,
            action,
            phase,
            slot: about.map(|(slot, _)| slot.clone()),
            generation: about.map(|(_, generation)| generation),
            key_id,
            because,
            outcome,
        };
        head.audit = audit::Head { sequence: entry.sequence, hash: entry.hash() };
        self.entries.push(entry);
    }
}

/// Which audit entries a step from one state to another writes. Every `Begin` meets one `Complete`.
fn entries_of(before: &State, after: &State) -> Vec<(Action, Phase)> {
    let issue_over = (Action::Issue, Phase::Complete);
    let retire_begun = (Action::Retire, Phase::Begin);
    match after {
        State::Requested { .. } | State::Issued { .. } | State::Proven { .. } => vec![],
        State::Current { .. } if matches!(before, State::Current { .. }) => vec![],
        State::Current { .. } | State::Undecryptable { .. } => vec![issue_over],
        State::Retiring { .. } => match before {
            State::Requested { .. } => vec![issue_over, retire_begun],
            State::Retiring { .. } => vec![],
            _ => vec![retire_begun],
        },
        State::Ended { .. } | State::NeedsOperator { .. } => match before {
            State::Requested { .. } | State::Issued { .. } | State::Proven { .. } => {
                vec![issue_over]
            }
            State::Retiring { .. } => vec![(Action::Retire, Phase::Complete)],
            State::Current { .. } | State::Undecryptable { .. } | State::NeedsOperator { .. } => {
                vec![(Action::Retire, Phase::Note)]
            }
            State::Ended { .. } => vec![],
        },
    }
}

fn outcome_of(state: &State) -> String {
    match state {
        State::Ended { why, .. } => format!("ended_{}", word(why)),
        State::NeedsOperator { trouble, .. } => format!("needs_operator_{}", word(trouble)),
        other => other.name().to_owned(),
    }
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A copy is at most 35 days old and a key is rotated at most daily, emergencies aside.
const GENERATIONS_A_COPY_MAY_LACK: u32 = 1000;
const MOST_ROWS: usize = 50;
