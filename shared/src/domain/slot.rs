//! Where a key belongs: account, mode, kind and name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::AccountId;

/// The mode of an account or a key. A sandbox is `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Real money.
    Live,
    /// Test mode or a sandbox.
    Test,
}

impl Mode {
    /// `live` or `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The mode that Stripe's `livemode` names.
    pub fn of_livemode(livemode: bool) -> Self {
        if livemode { Self::Live } else { Self::Test }
    }

    /// `live` or `test`, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A secret or restricted key. Sealed at rest.
    Secret,
    /// A publishable key. Public by nature, kept in the clear.
    Publishable,
}

impl Kind {
    /// `secret` or `publishable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }

    /// `secret` or `publishable`, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "secret" => Some(Self::Secret),
            "publishable" => Some(Self::Publishable),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One account in one mode: the unit that is loaded, planned and locked together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountRef {
    /// Which mode of the account.
    pub mode: Mode,
    /// The account.
    pub id: AccountId,
}

impl AccountRef {
    /// Names one account in one mode.
    pub fn new(mode: Mode, id: AccountId) -> Self {
        Self { mode, id }
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mode, self.id)
    }
}

/// The name of a slot: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotName(String);

/// The text is not a slot name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a slot name of 1 to 64 of a-z, 0-9, '-' and '_'")]
pub struct InvalidSlotName;

impl SlotName {
    /// Parses a slot name, or says what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidSlotName> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSlotName)
        }
    }

    /// The name as it stands in paths and rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SlotName {
    /// `default`, the name of the slot that every installation opens.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TryFrom<String> for SlotName {
    type Error = InvalidSlotName;

    fn try_from(text: String) -> Result<Self, InvalidSlotName> {
        Self::parse(&text)
    }
}

impl From<SlotName> for String {
    fn from(name: SlotName) -> Self {
        name.0
    }
}

/// A place within an account where exactly one current key belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// What the key is for.
    pub kind: Kind,
    /// The slot's name within its kind.
    pub name: SlotName,
}

impl Slot {
    /// Names a slot.
    pub fn new(kind: Kind, name: SlotName) -> Self {
        Self { kind, name }
    }

    /// The slots that every installation opens.
    pub fn of_an_installation() -> [Self; 2] {
        [Kind::Secret, Kind::Publishable].map(|kind| Self::new(kind, SlotName::default()))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name.0)
    }
}

/// A slot's n-th key, counted from 1. Known before Stripe names the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(u32);

impl Generation {
    /// The first key of a slot.
    pub const FIRST: Self = Self(1);
    /// No slot gets this far; the end of a range.
    pub const LAST: Self = Self(u32::MAX);

    /// The generation of this number; `None` for 0, which no key has.
    pub fn from_number(number: u32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number, from 1.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The generation after this one.
    pub fn next(self) -> Self {
        self.skip(1)
    }

    /// The generation `count` after this one; the last there can be is the last.
    pub fn skip(self, count: u32) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
