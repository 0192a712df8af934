//! The one type that holds a secret in the clear.

use zeroize::Zeroizing;

use super::slot::{Kind, Mode};

/// A secret in the clear: an API key's token, or a signing secret.
///
/// Has no `Debug`, `Clone`, `Serialize` or `PartialEq` and is wiped when dropped; `expose` is the only
/// way to its text, so that a review of who sees a secret is a search for that word.
#[expect(missing_debug_implementations, reason = "a secret is never printed")]
pub struct SecretToken(Zeroizing<String>);

impl SecretToken {
    /// Takes a text into custody.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Takes bytes into custody when they are text a token can be: printable ASCII, 1 to 512 bytes.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let plausible = (1..=512).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        let text = plausible.then(|| std::str::from_utf8(&bytes).ok()).flatten()?;
        Some(Self::new(text.to_owned()))
    }

    /// The secret itself. Every call of this is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the prefix says the token is; `None` for anything that is not an API key of Stripe's.
    ///
    /// `sk_` and `rk_` are secret keys (restricted ones since the later previews), `pk_` publishable ones.
    pub fn claims(&self) -> Option<(Kind, Mode)> {
        let (prefix, rest) = self.0.split_once('_')?;
        let (mode, body) = rest.split_once('_')?;
        let kind = match prefix {
            "sk" | "rk" => Kind::Secret,
            "pk" => Kind::Publishable,
            _ => return None,
        };
        let mode = match mode {
            "live" => Mode::Live,
            "test" => Mode::Test,
            _ => return None,
        };
        (!body.is_empty()).then_some((kind, mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_kind_and_mode_or_nothing() {
        for (text, claims) in [
            ("sk_live_a", Some((Kind::Secret, Mode::Live))),
            ("rk_test_a", Some((Kind::Secret, Mode::Test))),
            ("pk_live_a", Some((Kind::Publishable, Mode::Live))),
            ("sk_live_", None),
            ("sk_prod_a", None),
            ("whsec_a", None),
            ("", None),
        ] {
            assert_eq!(SecretToken::new(text.to_owned()).claims(), claims, "{text}");
        }
    }

    #[test]
    fn bytes_that_no_token_has_are_refused() {
        for bytes in [&b""[..], b"sk live", b"sk_\x00", b"sk_\xff", &[b'a'; 513]] {
            assert!(SecretToken::from_bytes(Zeroizing::new(bytes.to_vec())).is_none());
        }
    }
}
