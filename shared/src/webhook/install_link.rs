//! The signature on the redirect that ends an installation by install link.
//!
//! Source: <https://docs.stripe.com/stripe-apps/install-links>. Stripe signs compact JSON of three parameters of the
//! redirect, in a fixed order, with the app's own signing secret (`absec_…`), and puts it into a query parameter in the
//! form of a webhook's header.

use serde::Serialize;

use super::signature::{self, Rejected};
use crate::domain::secret::SecretToken;
use crate::domain::time::Timestamp;

/// The parameters that are signed, as they stand in the query after percent-decoding.
///
/// The order of the fields is the order in the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Claim<'a> {
    /// What we passed as `state`. Without one, Stripe leaves the field out; we always pass one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
    /// The Dashboard user who installed, `usr_…`.
    pub user_id: &'a str,
    /// The account that the app was installed on.
    pub account_id: &'a str,
}

impl Claim<'_> {
    /// The bytes that Stripe signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        // Serialising three texts into memory cannot fail; were it to, nothing would verify.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Checks an `install_signature` and returns the instant that it names.
///
/// Says that Stripe put these parameters together for this app within the last five minutes. It does not say
/// whose browser this is: that is what `state` is for.
///
/// # Errors
///
/// [`Rejected`]; answer all of its variants alike.
pub fn verify(
    claim: &Claim<'_>,
    install_signature: &str,
    app_signing_secrets: &[SecretToken],
    now: Timestamp,
) -> Result<Timestamp, Rejected> {
    signature::verify(install_signature, &claim.signed_bytes(), app_signing_secrets, now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WITH_STATE: &str =
        "t=1700000000,v1=5e68c0c55427fe33ae59b368e6da4cb4d3da19d240c8db20486249ee175ce5c4";
    const WITHOUT_STATE: &str =
        "t=1700000000,v1=255b7f2d31c5a4845f807aa1371cf467a9ef0d25f6c22200190e08a1521e9456";

    fn verify_at(claim: &Claim<'_>, signature: &str, seconds: i64) -> Result<Timestamp, Rejected> {
        let secrets = [SecretToken::new("absec_test_secret".to_owned())];
        verify(claim, signature, &secrets, Timestamp::from_seconds(seconds).unwrap())
    }

    #[test]
    fn the_vectors_with_and_without_state_are_accepted() {
        let claim = Claim { state: Some("st_123"), user_id: "usr_123", account_id: "acct_123" };
        assert_eq!(
            claim.signed_bytes(),
            br#"{"state":"st_123","user_id":"usr_123","account_id":"acct_123"}"#
        );
        assert!(verify_at(&claim, WITH_STATE, 1_700_000_000).is_ok());
        let stateless = Claim { state: None, ..claim };
        assert_eq!(stateless.signed_bytes(), br#"{"user_id":"usr_123","account_id":"acct_123"}"#);
        assert!(verify_at(&stateless, WITHOUT_STATE, 1_700_000_000).is_ok());
    }

    #[test]
    fn a_signature_holds_for_its_own_state_user_and_account_only() {
        let claim = Claim { state: Some("st_123"), user_id: "usr_123", account_id: "acct_123" };
        for other in [
            Claim { state: None, ..claim },
            Claim { state: Some(""), ..claim },
            Claim { state: Some("st_124"), ..claim },
            Claim { user_id: "usr_124", ..claim },
            Claim { account_id: "acct_124", ..claim },
        ] {
            assert_eq!(
                verify_at(&other, WITH_STATE, 1_700_000_000),
                Err(Rejected::NoMatch),
                "{other:?}"
            );
        }
        assert_eq!(verify_at(&claim, WITH_STATE, 1_700_000_301), Err(Rejected::Stale));
        assert_eq!(verify_at(&claim, "", 1_700_000_000), Err(Rejected::Header));
    }

    proptest! {
        #[test]
        fn no_parameters_panic(
            state: Option<String>, user_id: String, account_id: String, signature: String,
        ) {
            let state = state.as_deref();
            let claim = Claim { state, user_id: &user_id, account_id: &account_id };
            prop_assert!(verify_at(&claim, &signature, 1_700_000_000).is_err());
        }
    }
}
