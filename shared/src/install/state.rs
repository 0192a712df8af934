//! The `state` of an installation: signed by us, expiring, and bound to one browser by a cookie.

use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};

use crate::domain::intent::sha256_hex;
use crate::domain::secret::SecretToken;
use crate::domain::slot::Mode;
use crate::domain::time::Timestamp;

/// How long a person may take between starting and coming back from Stripe.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// The state is not one that we gave to this browser within the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state was not given to this browser, or has expired")]
pub struct BadState;

/// Writes the state for an installation in `mode` by the browser that holds `nonce`.
pub fn sign(key: &SecretToken, mode: Mode, nonce: &str, now: Timestamp) -> String {
    let claim = claim(mode, now.plus(LIFETIME), nonce);
    let tag = hex::encode(hmac::sign(&hmac_key(key), claim.as_bytes()));
    format!("{claim}.{tag}")
}

/// The mode that a state was signed for; refused unless this browser's cookie holds its nonce.
pub fn verify(
    key: &SecretToken,
    state: &str,
    nonce: &str,
    now: Timestamp,
) -> Result<Mode, BadState> {
    if state.len() > 256 {
        return Err(BadState);
    }
    let (signed, tag) = state.rsplit_once('.').ok_or(BadState)?;
    let tag = hex::decode(tag).map_err(|_| BadState)?;
    hmac::verify(&hmac_key(key), signed.as_bytes(), &tag).map_err(|_| BadState)?;
    let mut parts = signed.split('.');
    let (Some(mode), Some(until), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BadState);
    };
    let mode = Mode::parse(mode).ok_or(BadState)?;
    let until = until.parse().ok().and_then(|millis| Timestamp::from_millis(millis).ok());
    let until = until.ok_or(BadState)?;
    let expected = claim(mode, until, nonce);
    constant_time::verify_slices_are_equal(expected.as_bytes(), signed.as_bytes())
        .map_err(|_| BadState)?;
    if until <= now { Err(BadState) } else { Ok(mode) }
}

/// Whether a cookie's value is one that we set: 32 lower-case hex digits.
pub fn is_nonce(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The nonce itself stays in the cookie; the state, which Stripe sees, carries only its hash.
fn claim(mode: Mode, until: Timestamp, nonce: &str) -> String {
    format!("{mode}.{}.{}", until.millis(), sha256_hex(nonce.as_bytes()))
}

fn hmac_key(key: &SecretToken) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretToken {
        SecretToken::new("state key of the tests".into())
    }

    const NONCE: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_state_holds_for_its_browser_and_its_hour() {
        let now = Timestamp::EPOCH;
        let state = sign(&key(), Mode::Test, NONCE, now);
        assert_eq!(verify(&key(), &state, NONCE, now), Ok(Mode::Test));
        let late = now.plus(LIFETIME);
        assert_eq!(verify(&key(), &state, NONCE, late), Err(BadState));
        let other = "ffeeddccbbaa99887766554433221100";
        assert_eq!(verify(&key(), &state, other, now), Err(BadState));
        let other_key = SecretToken::new("another".into());
        assert_eq!(verify(&other_key, &state, NONCE, now), Err(BadState));
    }

    #[test]
    fn a_changed_or_broken_state_is_refused() {
        let now = Timestamp::EPOCH;
        let state = sign(&key(), Mode::Test, NONCE, now);
        for bad in [
            state.replace("test", "live"),
            state.to_uppercase(),
            String::new(),
            "....".into(),
            format!("{state}00"),
            state.replacen('.', "..", 1),
            "a".repeat(300),
        ] {
            assert_eq!(verify(&key(), &bad, NONCE, now), Err(BadState), "{bad}");
        }
    }
}
