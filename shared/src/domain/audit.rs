//! The audit trail: who did what to which key and why, hash-chained per account.

use serde::{Deserialize, Serialize};

use super::id::KeyId;
use super::intent::sha256_hex;
use super::plan::Because;
use super::slot::{Generation, Slot};
use super::time::Timestamp;

/// One entry. Its JSON, in this field order, is what is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the account's trail, from 1, without gaps.
    pub sequence: u64,
    /// Hex SHA-256 of the previous entry's JSON; 64 zeros for the first.
    pub previous: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who acted.
    pub actor: Actor,
    /// The fencing token under which it was written.
    pub fence: u64,
    /// What it is about.
    pub action: Action,
    /// Whether this opens the action, closes it, or stands alone.
    pub phase: Phase,
    /// The slot, for actions on a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The generation, for actions on a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Stripe's name of the key, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The plan's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
    /// How it ended: the state's name, or a word of this program's own. Never text from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The app was installed on the account.
    Install,
    /// The app was uninstalled.
    Uninstall,
    /// A key is minted: opened with the intent, closed when it is current or given up.
    Issue,
    /// A key is ended: opened when it is replaced, closed when it is seen dead.
    Retire,
    /// Something was asked of the slot by a person.
    Request,
    /// Stripe told us of something.
    Notice,
    /// Stripe's list was held against the account.
    Reconcile,
}

/// Where in an action an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Written before the effect.
    Begin,
    /// Written when the effect is known.
    Complete,
    /// An entry of its own.
    Note,
}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The install callback.
    Install,
    /// The scheduled sweep.
    Sweep,
    /// An event of Stripe's.
    Event,
    /// A person with operator rights.
    Operator,
}

/// Where an account's trail ends: the next entry chains to this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry's number; 0 for an empty trail.
    pub sequence: u64,
    /// The last entry's hash; 64 zeros for an empty trail.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { sequence: 0, hash: "0".repeat(64) }
    }
}

/// Why a trail does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is missing or out of place.
    #[error("entry {0} is missing or out of place")]
    Gap(u64),
    /// An entry does not chain to the one before it.
    #[error("entry {0} does not chain to the one before it")]
    Chain(u64),
    /// The last entry is not the one that the account's head names.
    #[error("the trail ends elsewhere than the account says")]
    Head,
}

impl Entry {
    /// The bytes that are hashed and stored: this entry as compact JSON in field order.
    pub fn canonical(&self) -> String {
        // Serialising a struct of strings and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Hex SHA-256 of [`Entry::canonical`].
    pub fn hash(&self) -> String {
        sha256_hex(self.canonical().as_bytes())
    }
}

/// Checks a whole trail from its first entry: order, chain, and that it ends where `head` says.
pub fn verify(entries: &[Entry], head: &Head) -> Result<(), Broken> {
    let mut last = Head::default();
    for entry in entries {
        if entry.sequence != last.sequence + 1 {
            return Err(Broken::Gap(last.sequence + 1));
        }
        if entry.previous != last.hash {
            return Err(Broken::Chain(entry.sequence));
        }
        last = Head { sequence: entry.sequence, hash: entry.hash() };
    }
    if last == *head { Ok(()) } else { Err(Broken::Head) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(length: u64) -> (Vec<Entry>, Head) {
        let mut head = Head::default();
        let entries = (1..=length)
            .map(|sequence| {
                let entry = Entry {
                    sequence,
                    previous: head.hash.clone(),
                    at: Timestamp::EPOCH,
                    actor: Actor::Sweep,
                    fence: 1,
                    action: Action::Notice,
                    phase: Phase::Note,
                    slot: None,
                    generation: None,
                    key_id: None,
                    because: None,
                    outcome: None,
                };
                head = Head { sequence, hash: entry.hash() };
                entry
            })
            .collect();
        (entries, head)
    }

    #[test]
    fn an_untouched_trail_verifies() {
        let (entries, head) = trail(5);
        assert_eq!(verify(&entries, &head), Ok(()));
        assert_eq!(verify(&[], &Head::default()), Ok(()));
    }

    #[test]
    fn a_changed_removed_or_cut_entry_is_found() {
        let (entries, head) = trail(5);
        let mut changed = entries.clone();
        changed[2].outcome = Some("edited".into());
        assert_eq!(verify(&changed, &head), Err(Broken::Chain(4)));
        let mut removed = entries.clone();
        removed.remove(1);
        assert_eq!(verify(&removed, &head), Err(Broken::Gap(2)));
        assert_eq!(verify(&entries[..4], &head), Err(Broken::Head));
    }
}
