//! Identifiers, each parsed or refused where it enters, so that inside an id is always well formed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier. Says what was expected, never what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The prefix that Stripe gives this kind of object is missing.
    #[error("expected an identifier that starts with {0}")]
    Prefix(&'static str),
    /// Empty, too long, or a character that no Stripe identifier has.
    #[error("expected 1 to {MAX_SUFFIX} letters, digits or underscores after the prefix")]
    Suffix,
}

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses an identifier, or says what is missing.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let suffix = text.strip_prefix($prefix).ok_or(InvalidId::Prefix($prefix))?;
                check_suffix(suffix)?;
                Ok(Self(text.to_owned()))
            }

            /// The identifier as Stripe writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

identifiers! {
    /// A user's Stripe account, `acct_…`.
    AccountId = "acct_";
    /// An event at Stripe, `evt_…`.
    EventId = "evt_";
    /// An API key at Stripe, `mk_…`. It names the key; it is not the key.
    KeyId = "mk_";
    /// A claimable sandbox at Stripe, `clmsbx_…`. It names the sandbox, not the account that it is.
    SandboxId = "clmsbx_";
    /// A key pair of ours, `kid_…`; sent to Stripe as `public_key.id`.
    Kid = "kid_";
}

impl AccountId {
    /// The app's own account: whose an event is that names none. Stripe's ids have no such form.
    pub fn own() -> Self {
        Self("acct_own".to_owned())
    }
}

fn check_suffix(suffix: &str) -> Result<(), InvalidId> {
    let well_formed = (1..=MAX_SUFFIX).contains(&suffix.len())
        && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if well_formed { Ok(()) } else { Err(InvalidId::Suffix) }
}

/// Stripe documents no length; its own v2 event ids are about 64. Bounds what a row or a URL can grow to.
const MAX_SUFFIX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_or_refused_by_name() {
        assert!(AccountId::parse("acct_1AbC").is_ok());
        for (text, refusal) in [
            ("acct_", InvalidId::Suffix),
            ("acct_a/b", InvalidId::Suffix),
            ("acct_a#b", InvalidId::Suffix),
            ("acct_é", InvalidId::Suffix),
            ("cus_1", InvalidId::Prefix("acct_")),
            ("", InvalidId::Prefix("acct_")),
        ] {
            assert_eq!(AccountId::parse(text), Err(refusal), "{text}");
        }
        assert_eq!(AccountId::parse(&format!("acct_{}", "a".repeat(129))), Err(InvalidId::Suffix));
    }

    #[test]
    fn a_stored_id_is_checked_again_when_it_is_read() {
        assert!(serde_json::from_str::<KeyId>("\"mk_1\"").is_ok());
        assert!(serde_json::from_str::<KeyId>("\"sk_live_1\"").is_err());
    }
}
