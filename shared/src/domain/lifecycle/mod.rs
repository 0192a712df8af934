//! The life of one generation: one enum, one `apply`, no wildcard.

use serde::{Deserialize, Serialize};

use super::id::KeyId;
use super::intent::Intent;
use super::sealed::Material;
use super::time::Timestamp;

/// Where a generation is in its life, with what is known of it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The intent is durable; Stripe may or may not have been asked.
    Requested {
        /// The call, byte for byte.
        intent: Intent,
    },
    /// Stripe's answer is stored as received; nobody has opened it yet.
    Issued {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When Stripe ends the key that this one was rotated from.
        predecessor_dies_at: Option<Timestamp>,
    },
    /// The key was opened and Stripe accepted it.
    Proven {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When Stripe ends the key that this one was rotated from.
        predecessor_dies_at: Option<Timestamp>,
    },
    /// The one key of its slot that is served.
    Current {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed.
        material: Material,
        /// When the answer arrived.
        issued_at: Timestamp,
        /// When it is to be replaced, jitter included; `None` for keys that are not rotated by age.
        rotates_at: Option<Timestamp>,
        /// Whether somebody asked for it to be replaced, so that it does not wait its turn.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
        /// When to ask Stripe next whether it still stands, in case no event told us.
        look_at: Timestamp,
        /// Set when Stripe will end it although it has no successor.
        doom: Option<Doom>,
    },
    /// Replaced; still works until its overlap is over.
    Retiring {
        /// Stripe's name of the key.
        key: KeyId,
        /// The key, sealed; `None` when its secret never reached us.
        material: Option<Material>,
        /// By when it is dead, or an alarm is on.
        dies_at: Timestamp,
        /// When to try next to end it and see it dead.
        try_at: Timestamp,
        /// How often that was tried.
        attempts: u32,
        /// What it will have ended of.
        ending: Ending,
    },
    /// Dead, and seen to be.
    Ended {
        /// Stripe's name of the key, where there ever was one.
        key: Option<KeyId>,
        /// When.
        at: Timestamp,
        /// Of what.
        why: Ending,
    },
    /// The answer is stored but does not open. Kept, alarmed, never thrown away.
    Undecryptable {
        /// Stripe's name of the key.
        key: KeyId,
        /// What does not open.
        material: Material,
        /// Since when.
        at: Timestamp,
    },
    /// The budget for recovering is spent; a person has to look.
    NeedsOperator {
        /// Stripe's name of the key, where there ever was one.
        key: Option<KeyId>,
        /// Since when.
        at: Timestamp,
        /// What could not be done.
        trouble: Trouble,
    },
}

/// The end of a current key that has no successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doom {
    /// When Stripe ends the key; of one that an operator wants ended, since when.
    pub at: Timestamp,
    /// Who brought it about.
    pub by: DoomedBy,
}

/// Who brought a doom about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoomedBy {
    /// Our own rotation, whose answer was lost with the new secret.
    LostAnswer,
    /// Somebody else rotated the key: the user, or Stripe.
    SomebodyElse,
    /// An operator wants it ended: by us, as soon as its successor is there.
    Operator,
}

impl Doom {
    /// Whether the key is past its end. One that an operator wants ended works until its successor is there.
    pub fn has_struck(self, now: Timestamp) -> bool {
        match self.by {
            DoomedBy::LostAnswer | DoomedBy::SomebodyElse => self.at <= now,
            DoomedBy::Operator => false,
        }
    }
}

/// What a key ended of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its time at Stripe ran out.
    Expired,
    /// The user, or somebody else at Stripe, ended it.
    RevokedByUser,
    /// The user uninstalled the app.
    Uninstalled,
    /// Its secret never reached us, or was of no use.
    Lost,
    /// A later generation took its place.
    Superseded,
    /// An operator ended it without waiting for a successor, or for the end of its overlap.
    RevokedByOperator,
}

/// What an operator is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Stripe gave no answer that settles the intent, however often it was asked.
    NoAnswer,
    /// Stripe refuses the call for a reason that repeating it will not change.
    Refused,
    /// Stripe says that the token which just arrived is dead.
    DeadOnArrival,
    /// The token is of another kind or mode than was asked for.
    WrongToken,
}

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
    /// The state's name, as stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Issued { .. } => "issued",
            Self::Proven { .. } => "proven",
            Self::Current { .. } => "current",
            Self::Retiring { .. } => "retiring",
            Self::Ended { .. } => "ended",
            Self::Undecryptable { .. } => "undecryptable",
            Self::NeedsOperator { .. } => "needs_operator",
        }
    }

    /// Stripe's name of the key, once there is one.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Requested { .. } => None,
            Self::Issued { key, .. }
            | Self::Proven { key, .. }
            | Self::Current { key, .. }
            | Self::Retiring { key, .. }
            | Self::Undecryptable { key, .. } => Some(key),
            Self::Ended { key, .. } | Self::NeedsOperator { key, .. } => key.as_ref(),
        }
    }

    /// What is held of the key.
    pub fn material(&self) -> Option<&Material> {
        match self {
            Self::Requested { .. } | Self::Ended { .. } | Self::NeedsOperator { .. } => None,
            Self::Issued { material, .. }
            | Self::Proven { material, .. }
            | Self::Current { material, .. }
            | Self::Undecryptable { material, .. } => Some(material),
            Self::Retiring { material, .. } => material.as_ref(),
        }
    }

    /// Whether nothing more comes of the generation by itself.
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Undecryptable { .. } | Self::NeedsOperator { .. })
    }

    /// Whether the generation is on its way to become current.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Requested { .. } | Self::Issued { .. } | Self::Proven { .. })
    }

    /// To be ended at once: nobody can use it.
    fn unusable(key: KeyId, at: Timestamp) -> Self {
        Self::Retiring {
            key,
            material: None,
            dies_at: at,
            try_at: at,
            attempts: 0,
            ending: Ending::Lost,
        }
    }

    /// The only way from one state to another.
    pub fn apply(self, happened: Happened) -> Result<Self, Illegal> {
        let from = self.name();
        let illegal = Err(Illegal { from });
        match self {
            Self::Requested { mut intent } => match happened {
                Happened::Answered { key, material, at, predecessor_dies_at } => {
                    Ok(Self::Issued { key, material, issued_at: at, predecessor_dies_at })
                }
                Happened::AnsweredWithoutSecret { key, at } => Ok(Self::unusable(key, at)),
                Happened::AskedInVain => {
                    intent.attempts = intent.attempts.saturating_add(1);
                    Ok(Self::Requested { intent })
                }
                Happened::Ended { at, why } => Ok(Self::Ended { key: None, at, why }),
                Happened::GivenUp { at, trouble } => {
                    Ok(Self::NeedsOperator { key: None, at, trouble })
                }
                Happened::Proved
                | Happened::DidNotOpen { .. }
                | Happened::Promoted { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::Revoked { .. }
                | Happened::EndingTried { .. }
                | Happened::Abandoned { .. } => illegal,
            },
            Self::Issued { key, material, issued_at, predecessor_dies_at } => match happened {
                Happened::Proved => {
                    Ok(Self::Proven { key, material, issued_at, predecessor_dies_at })
                }
                Happened::DidNotOpen { at } => Ok(Self::Undecryptable { key, material, at }),
                Happened::Ended { at, why } => Ok(Self::Ended { key: Some(key), at, why }),
                Happened::GivenUp { at, trouble } => {
                    Ok(Self::NeedsOperator { key: Some(key), at, trouble })
                }
                Happened::Answered { .. }
                | Happened::AnsweredWithoutSecret { .. }
                | Happened::AskedInVain
                | Happened::Promoted { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::Revoked { .. }
                | Happened::EndingTried { .. }
                | Happened::Abandoned { .. } => illegal,
            },
            Self::Proven { key, material, issued_at, .. } => match happened {
                Happened::Promoted { rotates_at, look_at } => Ok(Self::Current {
                    key,
                    material,
                    issued_at,
                    rotates_at,
                    asked: false,
                    look_at,
                    doom: None,
                }),
                Happened::Ended { at, why } => Ok(Self::Ended { key: Some(key), at, why }),
                Happened::Answered { .. }
                | Happened::AnsweredWithoutSecret { .. }
                | Happened::AskedInVain
                | Happened::Proved
                | Happened::DidNotOpen { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::Revoked { .. }
                | Happened::EndingTried { .. }
                | Happened::GivenUp { .. }
                | Happened::Abandoned { .. } => illegal,
            },
            Self::Current { key, material, issued_at, rotates_at, asked, look_at, doom } => {
                match happened {
                    Happened::Superseded { dies_at, try_at } => Ok(Self::Retiring {
                        key,
                        material: Some(material),
                        dies_at,
                        try_at,
                        attempts: 0,
                        ending: Ending::Superseded,
                    }),
                    Happened::RotationAsked { at } => {
                        let (rotates_at, asked) = (Some(at), true);
                        Ok(Self::Current {
                            key,
                            material,
                            issued_at,
                            rotates_at,
                            asked,
                            look_at,
                            doom,
                        })
                    }
                    Happened::BroughtForward { at } => {
                        let rotates_at = rotates_at.map(|before| before.min(at));
                        Ok(Self::Current {
                            key,
                            material,
                            issued_at,
                            rotates_at,
                            asked,
                            look_at,
                            doom,
                        })
                    }
                    Happened::LookedAt { look_at } => Ok(Self::Current {
                        key,
                        material,
                        issued_at,
                        rotates_at,
                        asked,
                        look_at,
                        doom,
                    }),
                    Happened::Doomed(doom) => {
                        let doom = Some(doom);
                        Ok(Self::Current {
                            key,
                            material,
                            issued_at,
                            rotates_at,
                            asked,
                            look_at,
                            doom,
                        })
                    }
                    Happened::Revoked { at } => Ok(Self::Retiring {
                        key,
                        material: Some(material),
                        dies_at: at,
                        try_at: at,
                        attempts: 0,
                        ending: Ending::RevokedByOperator,
                    }),
                    Happened::Ended { at, why } => Ok(Self::Ended { key: Some(key), at, why }),
                    Happened::Answered { .. }
                    | Happened::AnsweredWithoutSecret { .. }
                    | Happened::AskedInVain
                    | Happened::Proved
                    | Happened::DidNotOpen { .. }
                    | Happened::Promoted { .. }
                    | Happened::EndingTried { .. }
                    | Happened::GivenUp { .. }
                    | Happened::Abandoned { .. } => illegal,
                }
            }
            Self::Retiring { key, material, dies_at, attempts, ending, .. } => match happened {
                Happened::EndingTried { try_at } => Ok(Self::Retiring {
                    key,
                    material,
                    dies_at,
                    try_at,
                    attempts: attempts.saturating_add(1),
                    ending,
                }),
                Happened::Revoked { at } => Ok(Self::Retiring {
                    key,
                    material,
                    dies_at: dies_at.min(at),
                    try_at: at,
                    attempts,
                    ending: Ending::RevokedByOperator,
                }),
                Happened::Ended { at, why } => Ok(Self::Ended { key: Some(key), at, why }),
                Happened::Answered { .. }
                | Happened::AnsweredWithoutSecret { .. }
                | Happened::AskedInVain
                | Happened::Proved
                | Happened::DidNotOpen { .. }
                | Happened::Promoted { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::GivenUp { .. }
                | Happened::Abandoned { .. } => illegal,
            },
            Self::Undecryptable { key, .. } => match happened {
                Happened::Ended { at, why } => Ok(Self::Ended { key: Some(key), at, why }),
                Happened::Abandoned { at } => Ok(Self::unusable(key, at)),
                Happened::Answered { .. }
                | Happened::AnsweredWithoutSecret { .. }
                | Happened::AskedInVain
                | Happened::Proved
                | Happened::DidNotOpen { .. }
                | Happened::Promoted { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::Revoked { .. }
                | Happened::EndingTried { .. }
                | Happened::GivenUp { .. } => illegal,
            },
            Self::NeedsOperator { key, at: since, .. } => match happened {
                Happened::Ended { at, why } => Ok(Self::Ended { key, at, why }),
                Happened::Abandoned { at } => Ok(match key {
                    Some(key) => Self::unusable(key, at),
                    // Over since the call was given up, not since a person came.
                    None => Self::Ended { key: None, at: since, why: Ending::Lost },
                }),
                Happened::Answered { .. }
                | Happened::AnsweredWithoutSecret { .. }
                | Happened::AskedInVain
                | Happened::Proved
                | Happened::DidNotOpen { .. }
                | Happened::Promoted { .. }
                | Happened::Superseded { .. }
                | Happened::RotationAsked { .. }
                | Happened::BroughtForward { .. }
                | Happened::LookedAt { .. }
                | Happened::Doomed(_)
                | Happened::Revoked { .. }
                | Happened::EndingTried { .. }
                | Happened::GivenUp { .. } => illegal,
            },
            Self::Ended { .. } => illegal,
        }
    }
}

#[cfg(test)]
mod tests;
