//! Stripe's signature scheme `v1`, for webhooks and for install links.
//!
//! Source: Stripe's SDKs (stripe-node `src/Webhooks.ts`, stripe-go `webhook/client.go`, stripe-dotnet `EventUtility.cs`).
//! Where they differ, this takes the stricter side, except that a `v1` that is no hex is passed over: while a secret is
//! rolled there are several, and one good one is enough.

use aws_lc_rs::{constant_time, hmac};

use crate::class::Class;
use crate::domain::secret::SecretToken;
use crate::domain::time::Timestamp;

/// Why a signature was not accepted.
///
/// For logs and metrics alone. To the sender every variant is the same answer, status and body: a sender that
/// can tell a stale signature from a wrong one learns whether it has guessed the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The header is not `t=…,v1=…` within its bounds.
    #[error("the signature header is malformed")]
    Header,
    /// No `v1` fits the bytes under any of the secrets.
    #[error("no signature matches")]
    NoMatch,
    /// Signed by Stripe, but more than [`TOLERANCE_SECONDS`] from now, in either direction.
    #[error("the signature is too far from the present")]
    Stale,
}

impl Rejected {
    /// Always the caller's: what was signed wrongly stays so.
    pub fn class(&self) -> Class {
        match self {
            Self::Header | Self::NoMatch | Self::Stale => Class::Caller,
        }
    }
}

/// Checks that `body`, the raw bytes as received, was signed with one of `secrets` and lately.
///
/// Every `v1` of the header is compared with every secret, in constant time and without stopping at the first
/// match. Returns the instant that the signature names.
///
/// # Errors
///
/// [`Rejected`]; answer all of its variants alike.
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &[SecretToken],
    now: Timestamp,
) -> Result<Timestamp, Rejected> {
    let signed = Signed::parse(header)?;
    let mut matched = false;
    for secret in secrets {
        // Anybody can sign with an empty secret, so a blank entry in the configuration must not count as one.
        if secret.expose().is_empty() {
            continue;
        }
        let expected = tag(secret, signed.time_text, body);
        for signature in &signed.signatures {
            matched |= constant_time::verify_slices_are_equal(expected.as_ref(), signature).is_ok();
        }
    }
    if !matched {
        return Err(Rejected::NoMatch);
    }
    // A timestamp from the future is refused too: it would stay valid for longer than the tolerance.
    if now.seconds().abs_diff(signed.time.seconds()) > TOLERANCE_SECONDS {
        return Err(Rejected::Stale);
    }
    Ok(signed.time)
}

/// Writes the header value that [`verify`] accepts for `body`, as Stripe would at `at` (whole seconds).
///
/// For the local bundle (`infra/local`) and the tests, which play Stripe; nothing deployed calls it.
pub fn sign(secret: &SecretToken, at: Timestamp, body: &[u8]) -> String {
    let time_text = at.seconds().to_string();
    let signature = hex::encode(tag(secret, &time_text, body));
    format!("t={time_text},v1={signature}")
}

/// How far a signature's time may be from now, in seconds, both ways. Stripe's documented default.
pub const TOLERANCE_SECONDS: u64 = 300;

/// A header taken apart.
struct Signed<'a> {
    /// As it stands in the header, for that is what was signed.
    time_text: &'a str,
    time: Timestamp,
    signatures: Vec<[u8; SIGNATURE_BYTES]>,
}

impl<'a> Signed<'a> {
    fn parse(header: &'a str) -> Result<Self, Rejected> {
        if header.len() > MAX_HEADER_BYTES {
            return Err(Rejected::Header);
        }
        let mut time_text = None;
        let mut has_v1 = false;
        let mut signatures = Vec::new();
        for (index, pair) in header.split(',').enumerate() {
            if index == MAX_PAIRS {
                return Err(Rejected::Header);
            }
            let (scheme, value) = pair.trim_matches(' ').split_once('=').ok_or(Rejected::Header)?;
            match scheme {
                // A second `t` would leave open which of the two was signed.
                "t" if time_text.is_some() => return Err(Rejected::Header),
                "t" => time_text = Some(value),
                "v1" => {
                    has_v1 = true;
                    let mut signature = [0; SIGNATURE_BYTES];
                    if hex::decode_to_slice(value, &mut signature).is_ok() {
                        signatures.push(signature);
                    }
                }
                // `v0` and schemes to come.
                _ => {}
            }
        }
        let time_text = time_text.filter(|_| has_v1).ok_or(Rejected::Header)?;
        Ok(Self { time_text, time: parse_time(time_text)?, signatures })
    }
}

fn parse_time(text: &str) -> Result<Timestamp, Rejected> {
    // `i64::from_str` takes a sign, which no signature of Stripe's has.
    let plausible =
        (1..=MAX_TIME_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds: i64 = plausible.then(|| text.parse().ok()).flatten().ok_or(Rejected::Header)?;
    Timestamp::from_seconds(seconds).map_err(|_| Rejected::Header)
}

fn tag(secret: &SecretToken, time_text: &str, body: &[u8]) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(time_text.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}

/// More than any proxy lets through; bounds the work of one bad request.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Stripe sends one pair a secret, and one secret is current at a time but for a roll.
const MAX_PAIRS: usize = 64;
/// Enough for the year 5138.
const MAX_TIME_DIGITS: usize = 11;
/// HMAC-SHA256; in hex 64 characters.
const SIGNATURE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIXTURE: &[u8] = include_bytes!("testdata/event_test_signature.json");
    const FIXTURE_V1: &str = "2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7";
    const AT: i64 = 1_533_204_620;

    fn secrets(texts: &[&str]) -> Vec<SecretToken> {
        texts.iter().map(|text| SecretToken::new((*text).to_owned())).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    fn verify_fixture(header: &str) -> Result<Timestamp, Rejected> {
        verify(header, FIXTURE, &secrets(&["webhook_secret"]), at(AT))
    }

    #[test]
    fn the_vector_of_stripe_dotnet_is_accepted_and_its_v0_ignored() {
        let header = format!("t={AT},v1={FIXTURE_V1},v0=63f3a72374a733066c4be69ed7f8e5ac");
        assert_eq!(verify_fixture(&header), Ok(at(AT)));
    }

    #[test]
    fn the_vector_of_the_thin_body_is_accepted() {
        let body = br#"{"id":"evt_test_1","object":"v2.core.event","type":"v2.iam.api_key.rotated","livemode":false,"created":"2026-11-24T12:00:00.000Z","context":"acct_123","related_object":null,"reason":null}"#;
        let header =
            "t=1700000000,v1=890989f24320732d5f3fbeff995850f5b546bab85beb7d247b5505557747f5cf";
        let secrets = secrets(&["whsec_test_secret"]);
        assert_eq!(verify(header, body, &secrets, at(1_700_000_000)), Ok(at(1_700_000_000)));
        assert_eq!(sign(&secrets[0], at(1_700_000_000), body), header);
    }

    #[test]
    fn the_hmac_vectors_of_stripe_node_come_out() {
        for (payload, expected) in [
            ("", "f7f9bd47fb987337b5796fdc1fdb9ba221d0d5396814bfcaf9521f43fd8927fd"),
            ("\u{1F600}", "837da296d05c4fe31f61d5d7ead035099d9585a5bcde87de952012a78f0b0c43"),
        ] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"test_secret");
            assert_eq!(hex::encode(hmac::sign(&key, payload.as_bytes())), expected);
        }
    }

    #[test]
    fn one_good_signature_among_others_is_enough() {
        let other = "0".repeat(64);
        for header in [
            format!("t={AT},v1={FIXTURE_V1},v1=bad_signature"),
            format!("t={AT},v1=bad_signature,v1={FIXTURE_V1}"),
            format!("t={AT},v1={FIXTURE_V1},v1={other}"),
            format!("t={AT},v1={other},v1={FIXTURE_V1}"),
            format!("v1={FIXTURE_V1},t={AT}"),
            format!("t={AT}, v1={FIXTURE_V1}, v0=x, v2=a=b"),
            format!("t={AT},v1={}", FIXTURE_V1.to_uppercase()),
        ] {
            assert_eq!(verify_fixture(&header), Ok(at(AT)), "{header}");
        }
    }

    #[test]
    fn while_a_secret_is_rolled_either_of_the_two_verifies() {
        for known in [&["old"][..], &["new"], &["unrelated", "new"], &["old", "new"]] {
            let old = sign(&secrets(&["old"])[0], at(AT), FIXTURE);
            let new = sign(&secrets(&["new"])[0], at(AT), FIXTURE);
            let both = format!("{old},{}", new.split_once(',').unwrap().1);
            assert!(verify(&both, FIXTURE, &secrets(known), at(AT)).is_ok(), "{known:?}");
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = FIXTURE_V1;
        let crowded = format!("t={AT},v1={good}{}", ",v0=x".repeat(63));
        let long = format!("t={AT},v1={good},v0={}", "a".repeat(8 * 1024));
        for header in [
            "",
            "t",
            "t=",
            ",,",
            "t,,",
            "t,v1=,",
            "t,v1=,v0",
            "t,v1=,v0=",
            "v1,t=1",
            "bad_header",
            &format!("t=,v1={good}"),
            &format!("v1={good}"),
            &format!("t={AT}"),
            &format!("t={AT},v0={good}"),
            &format!("t={AT},v1={good},"),
            &format!("t={AT},t={AT},v1={good}"),
            &format!("t=+{AT},v1={good}"),
            &format!("t=-1,v1={good}"),
            &format!("t=100000000000,v1={good}"),
            &format!("t=١,v1={good}"),
            &format!("T={AT},V1={good}"),
            &crowded,
            &long,
        ] {
            assert_eq!(verify_fixture(header), Err(Rejected::Header), "{header}");
        }
    }

    #[test]
    fn the_bounds_of_the_header_are_inclusive() {
        let crowded = format!("t={AT},v1={FIXTURE_V1}{}", ",v0=x".repeat(62));
        assert!(verify_fixture(&crowded).is_ok());
        let head = format!("t={AT},v1={FIXTURE_V1},v0=");
        let long = format!("{head}{}", "a".repeat(8 * 1024 - head.len()));
        assert!(verify_fixture(&long).is_ok());
    }

    #[test]
    fn what_was_not_signed_with_a_known_secret_does_not_match() {
        let good = format!("t={AT},v1={FIXTURE_V1}");
        let known = secrets(&["webhook_secret"]);
        let mut touched = FIXTURE.to_vec();
        touched.pop();
        assert_eq!(verify(&good, &touched, &known, at(AT)), Err(Rejected::NoMatch));
        assert_eq!(verify(&good, FIXTURE, &secrets(&["other"]), at(AT)), Err(Rejected::NoMatch));
        assert_eq!(verify(&good, FIXTURE, &[], at(AT)), Err(Rejected::NoMatch));
        for header in [
            format!("t={},v1={FIXTURE_V1}", AT + 1),
            format!("t=0{AT},v1={FIXTURE_V1}"),
            format!("t={AT},v1={}", &FIXTURE_V1[..62]),
            format!("t={AT},v1={FIXTURE_V1}00"),
            format!("t={AT},v1="),
            format!("t={AT},v1=bad_signature"),
        ] {
            assert_eq!(verify_fixture(&header), Err(Rejected::NoMatch), "{header}");
        }
    }

    #[test]
    fn a_blank_secret_is_no_secret() {
        let forged = sign(&SecretToken::new(String::new()), at(AT), FIXTURE);
        let known = secrets(&["", "webhook_secret"]);
        assert_eq!(verify(&forged, FIXTURE, &known, at(AT)), Err(Rejected::NoMatch));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_both_ways() {
        let header = format!("t={AT},v1={FIXTURE_V1}");
        for (offset, outcome) in [
            (-301, Err(Rejected::Stale)),
            (-300, Ok(at(AT))),
            (0, Ok(at(AT))),
            (300, Ok(at(AT))),
            (301, Err(Rejected::Stale)),
        ] {
            let known = secrets(&["webhook_secret"]);
            assert_eq!(verify(&header, FIXTURE, &known, at(AT + offset)), outcome, "{offset}");
        }
    }

    proptest! {
        #[test]
        fn no_header_and_no_body_panic(header in ".{0,200}", body: Vec<u8>, seconds in 0i64..99_999_999_999) {
            let _ = verify(&header, &body, &secrets(&["s"]), at(seconds));
        }

        #[test]
        fn no_header_made_of_the_right_parts_is_accepted_unsigned(
            header in "((t|v1|v0|)=?[0-9a-f=]{0,64}, ?){0,6}", body: Vec<u8>,
        ) {
            prop_assert!(verify(&header, &body, &secrets(&["s"]), at(AT)).is_err());
        }

        #[test]
        fn what_we_sign_we_accept_and_a_changed_byte_we_do_not(
            secret in "[ -~]{1,64}", mut body in proptest::collection::vec(any::<u8>(), 1..300),
            seconds in 0i64..99_999_999_999, touched: prop::sample::Index,
        ) {
            let known = [SecretToken::new(secret)];
            let header = sign(&known[0], at(seconds), &body);
            prop_assert_eq!(verify(&header, &body, &known, at(seconds)), Ok(at(seconds)));
            let index = touched.index(body.len());
            body[index] ^= 1;
            prop_assert_eq!(verify(&header, &body, &known, at(seconds)), Err(Rejected::NoMatch));
        }
    }
}
