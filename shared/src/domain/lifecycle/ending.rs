//! What keys end of, and what keeps one from ending by itself.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

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

/// Why a key ended.
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
