//! Stripe's list of keys held against an account: what differs, and whose it is.
//!
//! A list is eventually consistent, so everything found here is a suspect (I4): whoever acts on it asks
//! Stripe for the key itself first.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::id::KeyId;
use super::intent::is_note_of;
use super::lifecycle::{Ending, State};
use super::policy::Policy;
use super::recovery::may_be_lost;
use super::slot::{Generation, Kind, Slot};
use super::time::Timestamp;

/// A key as Stripe lists it, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Stripe's name of it.
    pub key: KeyId,
    /// What it is for.
    pub kind: Kind,
    /// Whether Stripe takes it.
    pub is_active: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When Stripe will end it by itself.
    pub expires_at: Option<Timestamp>,
    /// Free text; ours names slot and generation.
    pub note: Option<String>,
    /// The app that made it, where one did.
    pub app: Option<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What differs.
    pub drift: Drift,
    /// The slot that it is about.
    pub slot: Slot,
    /// The generation that it is about; `None` for a key that the table does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Stripe's name of the key.
    pub key: KeyId,
}

/// How the list and the account differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// Current here, not in the list.
    Missing,
    /// Current here, ended there.
    Ended,
    /// Current here, and Stripe will end it.
    Dying,
    /// Ended here, active there.
    Alive,
    /// Active there with our note of this slot, unknown here.
    Orphan,
    /// The same, and from a call that was given up for want of an answer: nobody has its secret.
    Lost,
    /// Current here, and a day past its rotation.
    Overdue,
    /// Current here, and to be rotated later than the policy allows: it was another one when the date was set.
    BeyondPolicy,
}

impl Drift {
    /// The word for logs, metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ended => "ended",
            Self::Dying => "dying",
            Self::Alive => "alive",
            Self::Orphan => "orphan",
            Self::Lost => "lost",
            Self::Overdue => "overdue",
            Self::BeyondPolicy => "beyond_policy",
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The differences, in the order of the account's slots.
    pub findings: Vec<Finding>,
    /// The current keys that the list shows as they should be.
    pub standing: Vec<(Slot, Generation)>,
    /// How many active keys are not ours: the user's own, other apps', another deployment's. Never touched.
    pub foreign: u32,
}

/// Compares an account of the app `app` with Stripe's list, expired keys included, and with the policy.
pub fn compare(
    account: &Account,
    listed: &[Listed],
    app: &str,
    policy: &Policy,
    now: Timestamp,
) -> Compared {
    let mut compared = Compared::default();
    let by_id: BTreeMap<&KeyId, &Listed> = listed.iter().map(|key| (&key.key, key)).collect();
    for ((slot, generation), state) in &account.generations {
        let Some(key) = state.key() else { continue };
        let found = by_id.get(key).copied();
        // One that was found alive once is being retired under a number of its own.
        let is_seen_to = matches!(state, State::Ended { .. }) && is_being_retired(account, key);
        match of_generation(state, found, policy, now).filter(|_| !is_seen_to) {
            Some(drift) => compared.findings.push(Finding {
                drift,
                slot: slot.clone(),
                generation: Some(*generation),
                key: key.clone(),
            }),
            // A doomed one is looked at all the same: it may be reprieved.
            None if matches!(state, State::Current { doom: None, .. }) => {
                compared.standing.push((slot.clone(), *generation));
            }
            None => {}
        }
    }
    for key in listed.iter().filter(|key| key.is_active) {
        if account.generations.values().any(|state| state.key() == Some(&key.key)) {
            continue;
        }
        match slot_of(account, key, app) {
            Some(slot) if is_orphan(account, slot, key, now) => compared.findings.push(Finding {
                drift: match may_be_lost(account, slot, key.created) {
                    true => Drift::Lost,
                    false => Drift::Orphan,
                },
                slot: slot.clone(),
                generation: None,
                key: key.key.clone(),
            }),
            Some(_) => {}
            None => compared.foreign += 1,
        }
    }
    compared
}

fn is_being_retired(account: &Account, key: &KeyId) -> bool {
    let retiring = |state: &State| matches!(state, State::Retiring { .. });
    account.generations.values().any(|state| retiring(state) && state.key() == Some(key))
}

fn of_generation(
    state: &State,
    found: Option<&Listed>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Drift> {
    match state {
        State::Current { issued_at, rotates_at, doom, .. } => match found {
            None => Some(Drift::Missing),
            Some(key) if !key.is_active => Some(Drift::Ended),
            Some(Listed { expires_at: Some(_), .. }) if doom.is_none() => Some(Drift::Dying),
            Some(_) => rotates_at.and_then(|at| {
                let latest = policy.rotates_by(*issued_at, now).plus(GRACE);
                let is_beyond = at > latest && doom.is_none();
                if at.plus(GRACE) < now {
                    Some(Drift::Overdue)
                } else {
                    is_beyond.then_some(Drift::BeyondPolicy)
                }
            }),
        },
        // What the user was left to keep at an uninstall is the user's.
        State::Ended { why: Ending::Uninstalled, .. } => None,
        State::Ended { at, .. } => {
            let lives_on = found.is_some_and(|key| key.is_active && key.expires_at.is_none());
            (lives_on && at.plus(SETTLING) < now).then_some(Drift::Alive)
        }
        State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Retiring { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => None,
    }
}

/// The slot of this account that a key was made for by this very deployment: nobody else writes its note.
fn slot_of<'a>(account: &'a Account, key: &Listed, app: &str) -> Option<&'a Slot> {
    if key.app.as_deref().is_some_and(|name| name != app) {
        return None;
    }
    let note = key.note.as_deref()?;
    account
        .slots
        .iter()
        .find(|(slot, state)| slot.kind == key.kind && is_note_of(note, slot, state.opened_at))
        .map(|(slot, _)| slot)
}

/// A key that is on its way, or dies by itself, is not one.
fn is_orphan(account: &Account, slot: &Slot, key: &Listed, now: Timestamp) -> bool {
    account.pending(slot).is_none() && key.expires_at.is_none() && key.created.plus(SETTLING) < now
}

/// How long a list, an expiry or an answer under way may take to show.
const SETTLING: Duration = Duration::from_secs(3600);
/// How late a rotation may be before it is drift and not a queue, or a key that was long on its way.
const GRACE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Change;
    use crate::domain::audit::Actor;
    use crate::domain::id::AccountId;
    use crate::domain::intent::note;
    use crate::domain::lifecycle::Happened;
    use crate::domain::policy::Choice;
    use crate::domain::sealed::Material;
    use crate::domain::slot::{AccountRef, Mode, SlotName};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds).unwrap()
    }

    fn slot() -> Slot {
        Slot::new(Kind::Secret, SlotName::default())
    }

    fn key(name: &str) -> KeyId {
        KeyId::parse(name).unwrap()
    }

    fn account(state: State) -> Account {
        let named = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
        let mut change = Change::of(Account::new(named, at(0)), at(0), Actor::Install);
        change.open_slot(&slot());
        let mut account = change.into_account();
        account.generations.insert((slot(), Generation::FIRST), state);
        account
    }

    fn current() -> State {
        State::Current {
            key: key("mk_1"),
            material: Material::Publishable("pk_live_1".into()),
            issued_at: at(0),
            rotates_at: Some(at(30 * 86_400)),
            asked: false,
            look_at: at(86_400),
            doom: None,
        }
    }

    fn listed(name: &str) -> Listed {
        Listed {
            key: key(name),
            kind: Kind::Secret,
            is_active: true,
            created: at(0),
            expires_at: None,
            note: Some(note(&slot(), Generation::FIRST, at(0))),
            app: Some("ca_1".into()),
        }
    }

    fn every(rotate_every_days: u32) -> Policy {
        Policy::new(Choice { rotate_every_days, ..Choice::default() }).unwrap()
    }

    fn monthly() -> Policy {
        every(30)
    }

    fn found(account: &Account, list: &[Listed], now: Timestamp) -> Vec<Drift> {
        let compared = compare(account, list, "ca_1", &monthly(), now);
        compared.findings.iter().map(|finding| finding.drift).collect()
    }

    #[test]
    fn each_difference_has_its_name_and_what_agrees_has_none() {
        let account = account(current());
        let same = listed("mk_1");
        let ended = Listed { is_active: false, ..same.clone() };
        let dying = Listed { expires_at: Some(at(9)), ..same.clone() };
        let (day, late) = (at(86_400), at(32 * 86_400));
        for (list, now, drift) in [
            (vec![same.clone()], day, vec![]),
            (vec![], day, vec![Drift::Missing]),
            (vec![ended], day, vec![Drift::Ended]),
            (vec![dying], day, vec![Drift::Dying]),
            (vec![same.clone()], late, vec![Drift::Overdue]),
            (vec![same.clone(), listed("mk_2")], day, vec![Drift::Orphan]),
            (vec![same, listed("mk_2")], at(60), vec![]),
        ] {
            assert_eq!(found(&account, &list, now), drift, "{list:?}");
        }
    }

    #[test]
    fn a_rotation_that_is_further_away_than_the_policy_allows_is_found_until_it_is_brought_forward()
    {
        let list = [listed("mk_1")];
        let day = |n: i64| at(n * 86_400);
        for (days, now, drift) in [
            (30, day(1), None),
            (29, day(1), None),
            (28, day(1), Some(Drift::BeyondPolicy)),
            (10, day(20), Some(Drift::BeyondPolicy)),
            // It comes within a tenth of the period: bringing it forward could not do better.
            (10, day(28), None),
            (60, day(1), None),
        ] {
            let mut account = account(current());
            let policy = every(days);
            let compared = compare(&account, &list, "ca_1", &policy, now);
            let found: Vec<_> = compared.findings.iter().map(|finding| finding.drift).collect();
            assert_eq!(found, Vec::from_iter(drift), "{days} days");
            let forward = policy.brought_forward(at(0), now, 0);
            let state = current().apply(Happened::BroughtForward { at: forward }).unwrap();
            account.generations.insert((slot(), Generation::FIRST), state);
            let compared = compare(&account, &list, "ca_1", &policy, now);
            assert_eq!(compared.findings, [], "{days} days, brought forward");
        }
    }

    #[test]
    fn a_key_without_our_note_of_this_slot_or_of_another_app_is_foreign() {
        let account = account(current());
        let theirs = listed("mk_2");
        let other = note(&slot(), Generation::FIRST, at(1));
        for key in [
            Listed { note: None, ..theirs.clone() },
            Listed { note: Some(other), ..theirs.clone() },
            Listed { app: Some("ca_2".into()), ..theirs.clone() },
            Listed { kind: Kind::Publishable, ..theirs },
        ] {
            let compared =
                compare(&account, &[listed("mk_1"), key], "ca_1", &monthly(), at(86_400));
            assert_eq!((compared.findings.len(), compared.foreign), (0, 1));
        }
    }

    #[test]
    fn a_key_that_ended_here_and_lives_there_is_found_until_somebody_retires_it() {
        let why = Ending::Superseded;
        let mut account = account(State::Ended { key: Some(key("mk_1")), at: at(0), why });
        let list = [listed("mk_1")];
        assert_eq!(found(&account, &list, at(60)), [], "an expiry takes a while to show");
        assert_eq!(found(&account, &list, at(86_400)), [Drift::Alive]);
        let mut change = Change::of(account, at(86_400), Actor::Sweep);
        assert!(change.adopt(&slot(), key("mk_1"), at(10 * 86_400), Ending::Superseded));
        account = change.into_account();
        assert_eq!(found(&account, &list, at(2 * 86_400)), [], "not adopted a second time");
    }
}
