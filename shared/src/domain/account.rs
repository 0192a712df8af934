//! One account in one mode as it is loaded, and a change to it as it is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit::{self, Action, Actor, Entry, Phase};
use super::event::Notification;
use super::id::{KeyId, Kid};
use super::intent::Intent;
use super::lifecycle::{Ending, Happened, Illegal, State};
use super::orders::Epoch;
use super::plan::Because;
use super::policy::Policy;
use super::sealed::KeyPair;
use super::slot::{AccountRef, Generation, Slot};
use super::time::Timestamp;

/// Everything that a decision about one account needs; no history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which account.
    pub at: AccountRef,
    /// The account's own row.
    pub head: Head,
    /// Its slots.
    pub slots: BTreeMap<Slot, SlotState>,
    /// The generations of each slot that are still in the working set.
    pub generations: BTreeMap<(Slot, Generation), State>,
    /// Its key pairs.
    pub pairs: BTreeMap<Kid, KeyPair>,
}

/// The account's own row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whether the app is installed.
    pub status: Status,
    /// Counts writes; every write names the one it builds on.
    pub version: u64,
    /// The fencing token: counts claims.
    pub fence: u64,
    /// Until when the holder of the current token may act; `None` when nobody holds it.
    pub lease_until: Option<Timestamp>,
    /// Where the audit trail ends.
    pub audit: audit::Head,
    /// The earliest deadline of anything in the account; `None` when nothing waits.
    pub due_at: Option<Timestamp>,
    /// The restore of the table since which the account was reconciled; behind it, nothing is done.
    #[serde(default)]
    pub epoch: Epoch,
    /// When Stripe's list is next held against the account; `None`: at once.
    #[serde(default)]
    pub reconcile_at: Option<Timestamp>,
    /// How that went last.
    #[serde(default)]
    pub reconciled: Option<Reconciled>,
    /// Up to when Stripe's own record of events was read.
    #[serde(default)]
    pub events_read_to: Option<Timestamp>,
    /// Since when an operator wants no rotation by age here.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
}

/// How Stripe's list compared to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// When.
    pub at: Timestamp,
    /// How many differences stand: what was set right is not counted.
    pub drift: u32,
}

/// Whether the app is installed on the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Keys may be minted and served.
    Installed {
        /// Since when.
        since: Timestamp,
    },
    /// Access is gone; nothing is served.
    Uninstalled {
        /// Since when.
        at: Timestamp,
    },
}

/// One slot's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// When the slot was opened; part of its idempotency keys.
    pub opened_at: Timestamp,
    /// The number that the next generation gets.
    pub next: Generation,
    /// Why no key is being acquired for now.
    pub hold: Option<Hold>,
}

/// A named condition that keeps a slot from acquiring a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it waits for.
    pub why: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// When to try again; `None` waits for somebody.
    pub until: Option<Timestamp>,
}

/// What a held slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// The user ended the key and the policy is to wait.
    RevokedByUser,
    /// The account is not activated, or Stripe refuses for a reason that has no code.
    NotPermitted,
    /// Stripe's limit on keys is reached.
    LimitReached,
    /// The app's key and the account are of different modes.
    ModeMismatch,
    /// Stripe gave no answer that settles the intent.
    NoAnswer,
    /// The vault could not be reached, so the key could not be opened yet.
    VaultUnavailable,
    /// The sandbox went live: the keys are on the owner's live account now.
    MovedToLive,
}

impl HoldReason {
    /// The word for responses, logs and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevokedByUser => "revoked_by_user",
            Self::NotPermitted => "not_permitted",
            Self::LimitReached => "limit_reached",
            Self::ModeMismatch => "mode_mismatch",
            Self::NoAnswer => "no_answer",
            Self::VaultUnavailable => "vault_unavailable",
            Self::MovedToLive => "moved_to_live",
        }
    }
}

impl Account {
    /// An account that nothing is stored of yet.
    pub fn new(at: AccountRef, now: Timestamp) -> Self {
        Self {
            at,
            head: Head {
                status: Status::Installed { since: now },
                version: 0,
                fence: 0,
                lease_until: None,
                audit: audit::Head::default(),
                due_at: None,
                epoch: 0,
                reconcile_at: Some(now.plus(Policy::RECONCILE_EVERY)),
                reconciled: None,
                events_read_to: Some(now),
                paused_since: None,
            },
            slots: BTreeMap::new(),
            generations: BTreeMap::new(),
            pairs: BTreeMap::new(),
        }
    }

    /// The generations of one slot, oldest first.
    pub fn generations_of(
        &self,
        slot: &Slot,
    ) -> impl Iterator<Item = (Generation, &State)> + use<'_> {
        self.generations
            .range((slot.clone(), Generation::FIRST)..=(slot.clone(), Generation::LAST))
            .map(|((_, generation), state)| (*generation, state))
    }

    /// The slot's one current key.
    pub fn current(&self, slot: &Slot) -> Option<(Generation, &State)> {
        self.generations_of(slot).find(|(_, state)| matches!(state, State::Current { .. }))
    }

    /// The slot's key on its way to become current.
    pub fn pending(&self, slot: &Slot) -> Option<(Generation, &State)> {
        self.generations_of(slot).find(|(_, state)| state.is_pending())
    }

    /// The youngest pair that may still be used for a new key.
    pub fn usable_pair(&self, now: Timestamp) -> Option<&KeyPair> {
        self.pairs
            .values()
            .filter(|pair| now.since(pair.made_at) < Policy::PAIR_AGE)
            .max_by_key(|pair| pair.made_at)
    }

    /// Whether the holder of some earlier token may still be acting.
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.head.lease_until.is_some_and(|until| until > now)
    }
}

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
        self.account.head.fence += 1;
        self.extend_lease();
    }

    /// Keeps the lease for another while.
    pub fn extend_lease(&mut self) {
        let until = self.now.plus(Policy::STALL);
        self.account.head.lease_until = Some(until);
        self.account.head.due_at = Some(until);
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

    /// Opens a slot that is not open yet, or lifts what holds it.
    pub fn open_slot(&mut self, slot: &Slot) {
        let now = self.now;
        let state = self.account.slots.entry(slot.clone()).or_insert(SlotState {
            opened_at: now,
            next: Generation::FIRST,
            hold: None,
        });
        state.hold = None;
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
    pub fn adopt(&mut self, slot: &Slot, key: KeyId, dies_at: Timestamp) -> bool {
        let Some(state) = self.account.slots.get_mut(slot) else { return false };
        let generation = state.next;
        state.next = generation.next();
        let retiring = State::Retiring {
            key,
            material: None,
            dies_at,
            try_at: dies_at,
            attempts: 0,
            ending: Ending::Superseded,
        };
        self.touched.insert(RowName::Slot(slot.clone()));
        self.touched.insert(RowName::Key(slot.clone(), generation));
        self.account.generations.insert((slot.clone(), generation), retiring);
        let about = Some((slot, generation));
        self.entry(Action::Retire, Phase::Begin, about, Some(Because::KeyIsOrphaned), None);
        true
    }

    /// Lets the account act after a restore. Its generations go on with numbers that cannot have been used
    /// since the copy was made: with the number, the idempotency key would be that of another call (I3).
    pub fn enter_epoch(&mut self, epoch: Epoch) {
        self.account.head.epoch = epoch;
        for (slot, state) in &mut self.account.slots {
            state.next = state.next.skip(GENERATIONS_A_COPY_MAY_LACK);
            self.touched.insert(RowName::Slot(slot.clone()));
        }
    }

    /// Records how the account compared to Stripe's list; the next comparison is due in a day.
    pub fn reconciled(&mut self, reconciled: Reconciled) {
        self.account.head.reconciled = Some(reconciled);
        self.account.head.reconcile_at = Some(self.now.plus(Policy::RECONCILE_EVERY));
    }

    /// Puts off a comparison that could not be made.
    pub fn put_off_reconciling(&mut self, pause: Duration) {
        self.account.head.reconcile_at = Some(self.now.plus(pause));
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
