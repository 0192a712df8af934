//! What can happen to a generation, and what it is afterwards.

use super::State;
use super::ending::{Doom, Ending, Trouble};
use crate::domain::id::KeyId;
use crate::domain::intent::Intent;
use crate::domain::sealed::Material;
use crate::domain::time::Timestamp;

/// What happened to a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Stripe answered with the secret.
    Answered {
        key: KeyId,
        material: Material,
        at: Timestamp,
        predecessor_dies_at: Option<Timestamp>,
    },
    /// Stripe answered that the key exists, but its secret is gone: it has to be ended.
    AnsweredWithoutSecret { key: KeyId, at: Timestamp },
    /// Stripe was asked and the outcome is unknown, or it refused for now.
    AskedInVain,
    /// The secret opened and Stripe accepted it.
    Proved,
    /// The secret does not open.
    DidNotOpen { at: Timestamp },
    /// It takes its place as the slot's key.
    Promoted { rotates_at: Option<Timestamp>, look_at: Timestamp },
    /// A later generation took its place.
    Superseded { dies_at: Timestamp, try_at: Timestamp },
    /// Stripe was asked about it, in vain or not.
    LookedAt { look_at: Timestamp },
    /// It is to be replaced at once.
    RotationAsked { at: Timestamp },
    /// It is to be replaced by then, if not before.
    BroughtForward { at: Timestamp },
    /// Stripe will end it at this instant.
    Doomed(Doom),
    /// Stripe shows it, and with no end: what doomed it was a mistake.
    Reprieved,
    /// An operator wants it dead now, whether or not there is another.
    Revoked { at: Timestamp },
    /// Ending it was tried and it is not seen dead yet.
    EndingTried { try_at: Timestamp },
    /// It is over.
    Ended { at: Timestamp, why: Ending },
    /// Recovering is given up.
    GivenUp { at: Timestamp, trouble: Trouble },
    /// An operator wants no more of it: it makes room for another.
    Abandoned { at: Timestamp },
}

/// What happened cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this cannot happen to a key in the state {from}")]
pub struct Illegal {
    /// The state's name.
    pub from: &'static str,
}

impl State {
    /// The only way from one state to another.
    pub fn apply(self, happened: Happened) -> Result<Self, Illegal> {
        let from = self.name();
        let after = match self {
            Self::Requested { intent } => requested(intent, happened),
            Self::Issued { .. } => issued(self, happened),
            Self::Proven { .. } => proven(self, happened),
            Self::Current { .. } => current(self, happened),
            Self::Retiring { .. } => retiring(self, happened),
            Self::Undecryptable { .. } => undecryptable(self, happened),
            Self::NeedsOperator { .. } => needs_operator(self, happened),
            Self::Ended { .. } => None,
        };
        after.ok_or(Illegal { from })
    }

    /// It is over, whatever it was.
    fn ended(self, at: Timestamp, why: Ending) -> Self {
        Self::Ended { key: self.key().cloned(), at, why }
    }
}

/// On its way out.
fn to_retire(
    key: KeyId,
    material: Option<Material>,
    (dies_at, try_at): (Timestamp, Timestamp),
    ending: Ending,
) -> State {
    State::Retiring { key, material, dies_at, try_at, attempts: 0, ending }
}

/// To be ended at once: nobody can use it.
fn unusable(key: KeyId, at: Timestamp) -> State {
    to_retire(key, None, (at, at), Ending::Lost)
}

fn requested(mut intent: Intent, happened: Happened) -> Option<State> {
    Some(match happened {
        Happened::Answered { key, material, at, predecessor_dies_at } => {
            State::Issued { key, material, issued_at: at, predecessor_dies_at }
        }
        Happened::AnsweredWithoutSecret { key, at } => unusable(key, at),
        Happened::AskedInVain => {
            intent.attempts = intent.attempts.saturating_add(1);
            State::Requested { intent }
        }
        Happened::Ended { at, why } => State::Ended { key: None, at, why },
        Happened::GivenUp { at, trouble } => State::NeedsOperator { key: None, at, trouble },
        Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Promoted { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::Revoked { .. }
        | Happened::EndingTried { .. }
        | Happened::Abandoned { .. } => return None,
    })
}

fn issued(state: State, happened: Happened) -> Option<State> {
    let State::Issued { key, material, issued_at, predecessor_dies_at } = state else {
        return None;
    };
    Some(match happened {
        Happened::Proved => State::Proven { key, material, issued_at, predecessor_dies_at },
        Happened::DidNotOpen { at } => State::Undecryptable { key, material, at },
        Happened::Ended { at, why } => State::Ended { key: Some(key), at, why },
        Happened::GivenUp { at, trouble } => State::NeedsOperator { key: Some(key), at, trouble },
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Promoted { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::Revoked { .. }
        | Happened::EndingTried { .. }
        | Happened::Abandoned { .. } => return None,
    })
}

fn proven(state: State, happened: Happened) -> Option<State> {
    let State::Proven { key, material, issued_at, .. } = state else { return None };
    Some(match happened {
        Happened::Promoted { rotates_at, look_at } => {
            let (asked, doom) = (false, None);
            State::Current { key, material, issued_at, rotates_at, asked, look_at, doom }
        }
        Happened::Ended { at, why } => State::Ended { key: Some(key), at, why },
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::Revoked { .. }
        | Happened::EndingTried { .. }
        | Happened::GivenUp { .. }
        | Happened::Abandoned { .. } => return None,
    })
}

fn current(mut state: State, happened: Happened) -> Option<State> {
    let State::Current { key, material, rotates_at, asked, look_at, doom, .. } = &mut state else {
        return None;
    };
    match happened {
        Happened::RotationAsked { at } => (*rotates_at, *asked) = (Some(at), true),
        Happened::BroughtForward { at } => *rotates_at = rotates_at.map(|before| before.min(at)),
        Happened::LookedAt { look_at: next } => *look_at = next,
        Happened::Doomed(by) => *doom = Some(by),
        Happened::Reprieved => *doom = None,
        Happened::Superseded { dies_at, try_at } => {
            let (key, material) = (key.clone(), Some(material.clone()));
            return Some(to_retire(key, material, (dies_at, try_at), Ending::Superseded));
        }
        Happened::Revoked { at } => {
            let (key, material) = (key.clone(), Some(material.clone()));
            return Some(to_retire(key, material, (at, at), Ending::RevokedByOperator));
        }
        Happened::Ended { at, why } => return Some(state.ended(at, why)),
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Promoted { .. }
        | Happened::EndingTried { .. }
        | Happened::GivenUp { .. }
        | Happened::Abandoned { .. } => return None,
    }
    Some(state)
}

fn retiring(mut state: State, happened: Happened) -> Option<State> {
    let State::Retiring { dies_at, try_at, attempts, ending, .. } = &mut state else { return None };
    match happened {
        Happened::EndingTried { try_at: next } => {
            (*try_at, *attempts) = (next, attempts.saturating_add(1));
        }
        Happened::Revoked { at } => {
            (*dies_at, *try_at) = ((*dies_at).min(at), at);
            *ending = Ending::RevokedByOperator;
        }
        Happened::Ended { at, why } => return Some(state.ended(at, why)),
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Promoted { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::GivenUp { .. }
        | Happened::Abandoned { .. } => return None,
    }
    Some(state)
}

fn undecryptable(state: State, happened: Happened) -> Option<State> {
    let State::Undecryptable { key, .. } = state else { return None };
    Some(match happened {
        Happened::Ended { at, why } => State::Ended { key: Some(key), at, why },
        Happened::Abandoned { at } => unusable(key, at),
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Promoted { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::Revoked { .. }
        | Happened::EndingTried { .. }
        | Happened::GivenUp { .. } => return None,
    })
}

fn needs_operator(state: State, happened: Happened) -> Option<State> {
    let State::NeedsOperator { key, at: since, .. } = state else { return None };
    Some(match happened {
        Happened::Ended { at, why } => State::Ended { key, at, why },
        Happened::Abandoned { at } => match key {
            Some(key) => unusable(key, at),
            // Over since the call was given up, not since a person came.
            None => State::Ended { key: None, at: since, why: Ending::Lost },
        },
        Happened::Answered { .. }
        | Happened::AnsweredWithoutSecret { .. }
        | Happened::AskedInVain
        | Happened::Proved
        | Happened::DidNotOpen { .. }
        | Happened::Promoted { .. }
        | Happened::Superseded { .. }
        | Happened::LookedAt { .. }
        | Happened::RotationAsked { .. }
        | Happened::BroughtForward { .. }
        | Happened::Doomed(_)
        | Happened::Reprieved
        | Happened::Revoked { .. }
        | Happened::EndingTried { .. }
        | Happened::GivenUp { .. } => return None,
    })
}
