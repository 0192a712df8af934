//! What the page shows, read through the code that is deployed.

use std::time::Duration;

use keysteward::domain::account::{Account, Status};
use keysteward::domain::audit::{self, Entry};
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{AccountRef, Kind, Slot};
use keysteward::domain::time::Timestamp;
use keysteward::serve::Answer;
use keysteward::store::{Error, StoredEvent};

use super::actions::Done;
use crate::bundle::Running;

/// Everything on the page.
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) ahead: Duration,
    pub(super) url: String,
    pub(super) stripe_url: String,
    pub(super) done: Option<Done>,
    pub(super) accounts: Vec<AccountView>,
}

/// One account that exists at fake Stripe.
pub(super) struct AccountView {
    pub(super) at: AccountRef,
    /// `None` when the app was never installed on it.
    pub(super) status: Option<Status>,
    pub(super) keys: Vec<KeyView>,
    /// Why a slot waits, by slot.
    pub(super) holds: Vec<(Slot, &'static str)>,
    pub(super) events: Vec<StoredEvent>,
    /// The newest first.
    pub(super) trail: Vec<Entry>,
    pub(super) trail_length: usize,
    pub(super) trail_holds: bool,
}

/// One generation.
pub(super) struct KeyView {
    pub(super) kind: Kind,
    pub(super) slot: String,
    pub(super) generation: u32,
    pub(super) state: &'static str,
    pub(super) key_id: String,
    /// Prefix and last four, of the one that is served.
    pub(super) redacted: Option<String>,
    pub(super) issued_at: Option<Timestamp>,
    pub(super) rotates_at: Option<Timestamp>,
    /// When it dies or has died.
    pub(super) ends_at: Option<Timestamp>,
}

impl View {
    pub(super) async fn of(running: &Running, done: Option<Done>) -> Result<Self, Error> {
        let mut accounts = Vec::new();
        for at in &running.accounts {
            accounts.push(AccountView::of(running, at).await?);
        }
        Ok(Self {
            now: running.clock.now(),
            ahead: running.clock.ahead(),
            url: running.url.clone(),
            stripe_url: running.stripe.url(),
            done,
            accounts,
        })
    }
}

impl AccountView {
    async fn of(running: &Running, at: &AccountRef) -> Result<Self, Error> {
        let store = &running.steward.store;
        let Some(account) = store.load(at).await? else {
            return Ok(Self {
                at: at.clone(),
                status: None,
                keys: Vec::new(),
                holds: Vec::new(),
                events: Vec::new(),
                trail: Vec::new(),
                trail_length: 0,
                trail_holds: true,
            });
        };
        let mut trail = store.trail(at, 0, WHOLE_TRAIL).await?;
        // What was written since the account was read is not part of what its head says.
        trail.retain(|entry| entry.sequence <= account.head.audit.sequence);
        let trail_holds = audit::verify(&trail, &account.head.audit).is_ok();
        let trail_length = trail.len();
        trail.reverse();
        trail.truncate(SHOWN);
        let mut keys = Vec::new();
        for ((slot, generation), state) in &account.generations {
            let mut key = KeyView::of(slot, generation.number(), state);
            if matches!(state, State::Current { .. }) && is_served(&account) {
                key.redacted = served(running, at, slot).await;
            }
            keys.push(key);
        }
        // Secret keys before publishable ones, and of each the newest first.
        keys.sort_by_key(|key| (key.kind, std::cmp::Reverse(key.generation)));
        let holds = account
            .slots
            .iter()
            .filter_map(|(slot, state)| Some((slot.clone(), state.hold?.why.as_str())))
            .collect();
        Ok(Self {
            at: at.clone(),
            status: Some(account.head.status),
            keys,
            holds,
            events: store.events(at, SHOWN as u32).await?,
            trail,
            trail_length,
            trail_holds,
        })
    }

    /// The secret key that is served now.
    pub(super) fn current(&self) -> Option<&KeyView> {
        let is_installed = matches!(self.status, Some(Status::Installed { .. }));
        self.keys
            .iter()
            .find(|key| is_installed && key.kind == Kind::Secret && key.state == "current")
    }

    pub(super) fn is_installed(&self) -> bool {
        matches!(self.status, Some(Status::Installed { .. }))
    }

    pub(super) fn is_overlapping(&self) -> bool {
        self.keys.iter().any(|key| key.state == "retiring")
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_installed() && !self.holds.is_empty()
    }
}

impl KeyView {
    fn of(slot: &Slot, generation: u32, state: &State) -> Self {
        let (issued_at, rotates_at, ends_at) = match state {
            State::Requested { .. } | State::Undecryptable { .. } | State::NeedsOperator { .. } => {
                (None, None, None)
            }
            State::Issued { issued_at, .. } | State::Proven { issued_at, .. } => {
                (Some(*issued_at), None, None)
            }
            State::Current { issued_at, rotates_at, doom, .. } => {
                (Some(*issued_at), *rotates_at, doom.map(|doom| doom.at))
            }
            State::Retiring { dies_at, .. } => (None, None, Some(*dies_at)),
            State::Ended { at, .. } => (None, None, Some(*at)),
        };
        Self {
            kind: slot.kind,
            slot: slot.name.as_str().to_owned(),
            generation,
            state: state.name(),
            key_id: state.key().map(ToString::to_string).unwrap_or_default(),
            redacted: None,
            issued_at,
            rotates_at,
            ends_at,
        }
    }
}

/// What may be shown of a token: its prefix and its last four characters.
pub(crate) fn redacted(token: &str) -> String {
    let mut parts = token.splitn(3, '_');
    let (Some(kind), Some(mode), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return "…".to_owned();
    };
    // Of a short one nothing: four characters would be too large a part of it.
    let tail = if rest.len() >= 12 { rest.get(rest.len() - 4..).unwrap_or_default() } else { "" };
    format!("{kind}_{mode}_…{tail}")
}

async fn served(running: &Running, at: &AccountRef, slot: &Slot) -> Option<String> {
    match running.keys.key(at, slot, &[]).await {
        Ok(Answer::Key(key)) => Some(redacted(key.token.expose())),
        Ok(Answer::NotModified(..)) | Err(_) => None,
    }
}

fn is_served(account: &Account) -> bool {
    matches!(account.head.status, Status::Installed { .. })
}

/// How many events and entries of an account are shown.
const SHOWN: usize = 12;
/// More than a session of play writes.
const WHOLE_TRAIL: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_token_shows_its_prefix_and_its_last_four() {
        assert_eq!(redacted("rk_test_abcdefghijklmnop"), "rk_test_…mnop");
        assert_eq!(redacted("sk_test_short"), "sk_test_…");
        assert_eq!(redacted("sk_test_ünïcödé_ünïcödé"), "sk_test_…");
        for other in ["", "whole", "whole_token"] {
            assert_eq!(redacted(other), "…");
        }
    }
}
