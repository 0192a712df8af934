//! The end of an OAuth installation: a code proves which account the installer controls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::client::{Call, Stripe, authorization};
use super::error::Error;
use crate::domain::id::AccountId;
use crate::domain::slot::Mode;

/// What an authorization code was good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized {
    /// The account that the app was installed on.
    pub account: AccountId,
    /// The mode that Stripe names; compare it with the one that was asked for.
    pub mode: Mode,
}

impl Stripe {
    /// Exchanges an authorization code, once: it is used up whatever the answer is, so nothing is repeated here.
    ///
    /// The access and refresh tokens in the answer are skipped unread: managed keys need neither.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`super::Refusal::OAuth`] when the code is not accepted.
    pub async fn exchange_code(&self, mode: Mode, code: &str) -> Result<Authorized, Error> {
        let key = self.app_key(mode)?;
        let credentials = Zeroizing::new(format!("{}:", key.expose()));
        let encoded = Zeroizing::new(STANDARD.encode(credentials.as_bytes()));
        let auth = authorization(&Zeroizing::new(format!("Basic {}", encoded.as_str())))?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", code)
            .append_pair("grant_type", "authorization_code")
            .finish();
        let url = self.url("/v1/oauth/token")?;
        let call = Call::post(url, auth, "application/x-www-form-urlencoded", form.as_bytes());
        let answer = self.call(&call).await?;
        read_grant(&answer, mode)
    }
}

pub(super) fn read_grant(answer: &Answer, asked_for: Mode) -> Result<Authorized, Error> {
    let granted: Granted = answer.read()?;
    // Either name is seen for the account, and nothing sends both.
    let account = match (granted.stripe_user_id, granted.account_id) {
        (Some(account), None) | (None, Some(account)) => account,
        (Some(account), Some(same)) if account == same => account,
        (Some(_), Some(_)) | (None, None) => return Err(answer.malformed()),
    };
    Ok(Authorized { account, mode: granted.livemode.map_or(asked_for, Mode::of_livemode) })
}

#[derive(Deserialize)]
struct Granted {
    stripe_user_id: Option<AccountId>,
    account_id: Option<AccountId>,
    livemode: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::testing::{Reply, Server, client};
    use crate::stripe::{OAuthRefusal, Refusal};

    #[tokio::test]
    async fn a_code_is_exchanged_for_an_account_under_either_name() {
        for (name, mode) in [("stripe_user_id", Mode::Live), ("account_id", Mode::Test)] {
            let answer = json!({
                "access_token": "secret-access", "refresh_token": "secret-refresh",
                "livemode": mode == Mode::Live, "scope": "stripe_apps", "token_type": "bearer",
                "stripe_publishable_key": "pk_live_1", name: "acct_7",
            });
            let server = Server::start([Reply::json(200, answer)]).await;
            let authorized = client(&server).exchange_code(mode, "ac_1 &=").await.unwrap();
            assert_eq!(authorized.account.as_str(), "acct_7");
            assert_eq!(authorized.mode, mode);
            assert!(!format!("{authorized:?}").contains("secret"));
            let seen = &server.seen()[0];
            assert_eq!(seen.line(), "POST /v1/oauth/token");
            let credentials = STANDARD.encode(format!("sk_{mode}_app:"));
            assert_eq!(seen.header("authorization"), Some(format!("Basic {credentials}").as_str()));
            assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
            assert_eq!(seen.body, b"code=ac_1+%26%3D&grant_type=authorization_code");
            assert_eq!(seen.header("stripe-version"), None);
            assert_eq!(seen.header("stripe-context"), None);
        }
    }

    #[tokio::test]
    async fn the_mode_is_the_one_that_stripe_names() {
        let answer = json!({"stripe_user_id": "acct_7", "livemode": false});
        let server = Server::start([Reply::json(200, answer)]).await;
        let authorized = client(&server).exchange_code(Mode::Live, "ac_1").await.unwrap();
        assert_eq!(authorized.mode, Mode::Test);
    }

    #[tokio::test]
    async fn an_answer_without_one_account_is_malformed() {
        for answer in [
            json!({"livemode": true}),
            json!({"stripe_user_id": "acct_1", "account_id": "acct_2"}),
            json!({"stripe_user_id": "usr_1"}),
        ] {
            let server = Server::start([Reply::json(200, answer)]).await;
            let refused = client(&server).exchange_code(Mode::Live, "ac_1").await;
            assert!(matches!(refused, Err(Error::Malformed { .. })));
        }
    }

    #[tokio::test]
    async fn a_code_is_sent_once_whatever_comes_back() {
        let refusal = Reply::json(400, json!({"error": "invalid_grant", "error_description": "d"}));
        let server = Server::start([refusal]).await;
        let error = client(&server).exchange_code(Mode::Live, "ac_1").await.unwrap_err();
        assert_eq!(error.refusal(), Some(&Refusal::OAuth(OAuthRefusal::InvalidGrant)));
        let server = Server::start([Reply::json(500, json!({}))]).await;
        let error = client(&server).exchange_code(Mode::Live, "ac_1").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { status: 500, .. }));
        assert_eq!(server.seen().len(), 1);
    }
}
