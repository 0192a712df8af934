//! `show`: one account, without anything that is secret.

use keysteward::domain::account::{Account, Hold, SlotState, Status};
use keysteward::domain::id::{KeyId, Kid};
use keysteward::domain::lifecycle::{DoomedBy, Ending, State, Trouble};
use keysteward::domain::slot::{AccountRef, Generation, Mode, Slot};
use keysteward::domain::time::Timestamp;
use serde::Serialize;

use crate::args::OneAccount;
use crate::output::{columns, instant, instant_or_dash, or_dash, rfc3339, rfc3339_or_null, word};
use crate::session::{Found, Session};

pub(crate) async fn run(asked: OneAccount, session: &mut Session) -> anyhow::Result<Found> {
    let at = session.find(&asked).await?;
    let account = session.parts.store().await?.load(&at).await?;
    if let Some(account) = account {
        session.show(&Shown::of(&account), Shown::as_text)?;
    }
    Ok(Found::NothingWrong)
}

/// An account as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    account: String,
    mode: Mode,
    status: &'static str,
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    paused_since: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    due_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    reconciled_at: Option<Timestamp>,
    drift: Option<u32>,
    slots: Vec<ShownSlot>,
    key_pairs: Vec<ShownPair>,
}

#[derive(Serialize)]
struct ShownSlot {
    kind: keysteward::domain::slot::Kind,
    slot: String,
    hold: Option<ShownHold>,
    generations: Vec<ShownGeneration>,
}

#[derive(Serialize)]
struct ShownHold {
    why: &'static str,
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
    /// Null: until a person lifts it.
    #[serde(serialize_with = "rfc3339_or_null")]
    until: Option<Timestamp>,
}

#[derive(Serialize)]
struct ShownGeneration {
    generation: u32,
    state: &'static str,
    key_id: Option<KeyId>,
    #[serde(serialize_with = "rfc3339_or_null")]
    issued_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    rotates_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    dies_at: Option<Timestamp>,
    /// Since when it is in its state, where that is known.
    #[serde(serialize_with = "rfc3339_or_null")]
    at: Option<Timestamp>,
    doomed_by: Option<DoomedBy>,
    ending: Option<Ending>,
    trouble: Option<Trouble>,
}

#[derive(Serialize)]
struct ShownPair {
    kid: Kid,
    #[serde(serialize_with = "rfc3339")]
    made_at: Timestamp,
}

impl Shown {
    pub(crate) fn of(account: &Account) -> Self {
        let (status, since) = match account.head.status {
            Status::Installed { since } => ("installed", since),
            Status::Uninstalled { at } => ("uninstalled", at),
        };
        let AccountRef { id, mode } = &account.at;
        Self {
            account: id.to_string(),
            mode: *mode,
            status,
            since,
            paused_since: account.head.paused_since,
            due_at: account.head.due_at,
            reconciled_at: account.head.reconciled.map(|last| last.at),
            drift: account.head.reconciled.map(|last| last.drift),
            slots: account
                .slots
                .iter()
                .map(|(slot, state)| ShownSlot::of(account, slot, state))
                .collect(),
            key_pairs: account
                .pairs
                .values()
                .map(|pair| ShownPair { kid: pair.kid.clone(), made_at: pair.made_at })
                .collect(),
        }
    }

    pub(crate) fn as_text(&self) -> String {
        let mut text = format!(
            "{}  {}  {} since {}\n",
            self.account,
            self.mode,
            self.status,
            instant(self.since)
        );
        text.push_str(&format!("due: {}", instant_or_dash(self.due_at)));
        text.push_str(&format!(
            "   reconciled: {} ({} differ)\n",
            instant_or_dash(self.reconciled_at),
            or_dash(self.drift)
        ));
        if let Some(since) = self.paused_since {
            text.push_str(&format!("paused since {}\n", instant(since)));
        }
        let heading = ["slot", "gen", "state", "key", "issued", "rotates", "dies", "note"];
        let rows =
            self.slots.iter().flat_map(|slot| slot.generations.iter().map(|it| it.row(slot)));
        text.push('\n');
        text.push_str(&columns(heading, rows));
        for slot in &self.slots {
            if let Some(hold) = &slot.hold {
                text.push_str(&format!(
                    "\n{}/{} is held: {} since {}, until {}\n",
                    slot.kind,
                    slot.slot,
                    hold.why,
                    instant(hold.since),
                    hold.until.map_or_else(|| "somebody lifts it".to_owned(), instant)
                ));
            }
        }
        text
    }
}

impl ShownSlot {
    fn of(account: &Account, slot: &Slot, state: &SlotState) -> Self {
        let hold = state.hold.map(|Hold { why, since, until }| ShownHold {
            why: why.as_str(),
            since,
            until,
        });
        Self {
            kind: slot.kind,
            slot: slot.name.as_str().to_owned(),
            hold,
            generations: account
                .generations_of(slot)
                .map(|(generation, state)| ShownGeneration::of(generation, state))
                .collect(),
        }
    }
}

impl ShownGeneration {
    fn of(generation: Generation, state: &State) -> Self {
        let mut shown = Self {
            generation: generation.number(),
            state: state.name(),
            key_id: state.key().cloned(),
            issued_at: None,
            rotates_at: None,
            dies_at: None,
            at: None,
            doomed_by: None,
            ending: None,
            trouble: None,
        };
        match state {
            State::Requested { intent } => shown.at = Some(intent.asked_at),
            State::Issued { issued_at, .. } | State::Proven { issued_at, .. } => {
                shown.issued_at = Some(*issued_at);
            }
            State::Current { issued_at, rotates_at, doom, .. } => {
                shown.issued_at = Some(*issued_at);
                shown.rotates_at = *rotates_at;
                shown.dies_at = doom.map(|doom| doom.at);
                shown.doomed_by = doom.map(|doom| doom.by);
            }
            State::Retiring { dies_at, ending, .. } => {
                shown.dies_at = Some(*dies_at);
                shown.ending = Some(*ending);
            }
            State::Ended { at, why, .. } => {
                shown.at = Some(*at);
                shown.ending = Some(*why);
            }
            State::Undecryptable { at, .. } => shown.at = Some(*at),
            State::NeedsOperator { at, trouble, .. } => {
                shown.at = Some(*at);
                shown.trouble = Some(*trouble);
            }
        }
        shown
    }

    fn row(&self, slot: &ShownSlot) -> [String; 8] {
        let about = [
            self.doomed_by.as_ref().map(|by| format!("doomed by {}", word(by))),
            self.ending.as_ref().map(word),
            self.trouble.as_ref().map(word),
            self.at.map(|at| format!("since {}", instant(at))),
        ];
        let note: Vec<String> = about.into_iter().flatten().collect();
        [
            format!("{}/{}", slot.kind, slot.slot),
            self.generation.to_string(),
            self.state.to_owned(),
            or_dash(self.key_id.as_ref()),
            instant_or_dash(self.issued_at),
            instant_or_dash(self.rotates_at),
            instant_or_dash(self.dies_at),
            if note.is_empty() { "-".to_owned() } else { note.join(", ") },
        ]
    }
}
