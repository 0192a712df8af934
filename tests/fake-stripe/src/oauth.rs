//! `POST /v1/oauth/token` (<https://docs.stripe.com/stripe-apps/api-authentication/oauth>): a code or a refresh token for
//! an access token. The access
//! tokens themselves open nothing here; managed keys need only the proof of who installed.

use std::collections::HashMap;
use std::fmt;

use serde_json::json;

use crate::calls::{Call, KeyUsed};
use crate::http::{Answer, Request, first};
use crate::world::World;

/// A code can be exchanged for five minutes, once.
const CODE_MS: i64 = 5 * 60 * 1000;
/// A refresh token for a year, once: every exchange rolls it.
const REFRESH_MS: i64 = 365 * 24 * 3600 * 1000;

struct Grant {
    account: String,
    live: bool,
    ends_at: i64,
    code: bool,
}

/// Codes and refresh tokens not used yet.
#[derive(Default)]
pub(crate) struct Grants(HashMap<String, Grant>);

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grants").field(&self.0.len()).finish()
    }
}

impl Grants {
    pub(crate) fn revoke(&mut self, account: &str, live: bool) {
        self.0.retain(|_, grant| grant.account != account || grant.live != live);
    }
}

impl World {
    /// A code for the redirect after an OAuth install.
    pub(crate) fn issue_code(&mut self, account: &str, live: bool) -> String {
        self.grant("ac_", account, live, CODE_MS)
    }

    fn grant(&mut self, prefix: &str, account: &str, live: bool, lives_ms: i64) -> String {
        let secret = self.new_id(prefix);
        let grant = Grant {
            account: account.to_owned(),
            live,
            ends_at: self.now() + lives_ms,
            code: prefix == "ac_",
        };
        self.grants.0.insert(secret.clone(), grant);
        secret
    }

    pub(crate) fn oauth_token(&mut self, request: &Request, call: &Call) -> Answer {
        let live = match call.key_used {
            KeyUsed::AppLive => true,
            KeyUsed::AppTest => false,
            KeyUsed::None | KeyUsed::Unknown | KeyUsed::Minted(_) => {
                return refusal(
                    401,
                    "invalid_client",
                    "Authenticate with the secret key of the app.",
                );
            }
        };
        let form = request.form();
        let (wants_code, presented) = match first(&form, "grant_type") {
            Some("authorization_code") => (true, first(&form, "code")),
            Some("refresh_token") => (false, first(&form, "refresh_token")),
            Some(_) => {
                return refusal(400, "unsupported_grant_type", "This grant_type is not supported.");
            }
            None => return refusal(400, "invalid_request", "No grant_type specified."),
        };
        let Some(presented) = presented else {
            return refusal(400, "invalid_request", "No code or refresh_token specified.");
        };
        let now = self.now();
        let usable = self.grants.0.get(presented).is_some_and(|grant| {
            grant.code == wants_code && grant.live == live && now < grant.ends_at
        });
        let grant = if usable { self.grants.0.remove(presented) } else { None };
        let Some(grant) = grant else {
            let what = if wants_code { "Authorization code" } else { "Refresh token" };
            return refusal(
                400,
                "invalid_grant",
                &format!("{what} does not exist, is expired, was used, or is of the other mode."),
            );
        };
        let mode = if live { "live" } else { "test" };
        let refresh_token = self.grant("rt_", &grant.account, live, REFRESH_MS);
        let access_token = self.new_id(&format!("sk_{mode}_fake_oauth_"));
        let publishable = self.new_id(&format!("pk_{mode}_fake_oauth_"));
        let body = json!({
            "access_token": access_token,
            "livemode": live,
            "refresh_token": refresh_token,
            "scope": "stripe_apps",
            "stripe_publishable_key": publishable,
            "stripe_user_id": grant.account,
            "token_type": "bearer",
        });
        Answer::json(200, body)
    }
}

/// OAuth errors have a string in `error`.
fn refusal(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, json!({"error": error, "error_description": description}))
}
