//! Claimable sandboxes: what became of one. Source:
//! <https://docs.stripe.com/changelog/endive/2026-11-18/adds-the-claimable-sandboxes-api-for-platforms>;
//! what is not known: ADR 19.

use serde::Deserialize;

use super::client::{Call, Stripe, bearer};
use super::error::Error;
use crate::domain::id::{AccountId, EventId, SandboxId};
use crate::domain::sandbox::{Sandbox, Standing};
use crate::domain::slot::Mode;

impl Stripe {
    /// Fetches a sandbox of the app's own: with its test key and in nobody's context. The keys that came with
    /// it are not asked for, and skipped unread should they be there.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`super::Refusal::NotFound`] for a sandbox of somebody else's.
    pub async fn sandbox(&self, id: &SandboxId, event: &EventId) -> Result<Sandbox, Error> {
        let call = Call {
            stripe_version: Some(&self.stripe_version),
            trigger: Some(event),
            ..Call::get(self.url(&format!("{PATH}/{id}"))?, bearer(self.app_key(Mode::Test)?)?)
        };
        let answer = self.call(&call).await?;
        let wire: Wire = answer.read()?;
        if wire.id == *id { Ok(wire.sandbox()) } else { Err(answer.malformed()) }
    }
}

#[derive(Deserialize)]
struct Wire {
    id: SandboxId,
    status: String,
    owner_details: Option<Owner>,
    sandbox_details: Option<Details>,
}

#[derive(Deserialize)]
struct Owner {
    account: Option<AccountId>,
    app_install_status: Option<String>,
}

#[derive(Deserialize)]
struct Details {
    account: Option<AccountId>,
}

impl Wire {
    fn sandbox(self) -> Sandbox {
        let standing = match self.status.as_str() {
            "unclaimed" => Standing::Unclaimed,
            "claimed" => Standing::Claimed,
            "live" => Standing::Live,
            "expired" => Standing::Expired,
            _ => Standing::Unknown,
        };
        let (owner, install) = match self.owner_details {
            Some(owner) => (owner.account, owner.app_install_status),
            None => (None, None),
        };
        Sandbox {
            id: self.id,
            standing,
            account: self.sandbox_details.and_then(|details| details.account),
            owner,
            is_installed: install.as_deref() == Some("installed"),
        }
    }
}

const PATH: &str = "/v2/core/claimable_sandboxes";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::testing::{Reply, Server, client, event_id};

    fn body(changes: Value) -> Value {
        let mut body = json!({
            "id": "clmsbx_test_1", "object": "v2.core.claimable_sandbox", "status": "unclaimed",
            "created": "2026-11-24T12:00:00.000Z", "livemode": false, "claimed_at": null,
            "expires_at": "2027-01-23T12:00:00.000Z", "owner_details": null,
            "prefill": {"email": "a@b.example", "country": "US", "name": null},
            "sandbox_details": {"account": "acct_box", "api_keys": null},
        });
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    async fn fetched(changes: Value) -> (Result<Sandbox, Error>, Server) {
        let server = Server::start([Reply::json(200, body(changes))]).await;
        let id = SandboxId::parse("clmsbx_test_1").unwrap();
        (client(&server).sandbox(&id, &event_id("evt_1")).await, server)
    }

    #[tokio::test]
    async fn a_sandbox_is_fetched_in_nobodys_context_and_its_keys_are_dropped() {
        let keys = json!({"secret": "sk_test_secret", "publishable": "pk_test_1"});
        let details = json!({"account": "acct_box", "api_keys": keys});
        let (sandbox, server) = fetched(json!({"sandbox_details": details})).await;
        let sandbox = sandbox.unwrap();
        assert_eq!(sandbox.account.as_ref().unwrap().as_str(), "acct_box");
        assert_eq!((sandbox.standing, sandbox.is_installed), (Standing::Unclaimed, false));
        assert!(!format!("{sandbox:?}").contains("sk_test"));
        let seen = &server.seen()[0];
        assert_eq!(seen.line(), "GET /v2/core/claimable_sandboxes/clmsbx_test_1");
        assert_eq!(seen.header("stripe-context"), None);
        assert_eq!(seen.header("stripe-request-trigger"), Some("event=evt_1"));
    }

    #[tokio::test]
    async fn its_owner_is_known_once_there_is_one_and_a_new_word_is_no_failure() {
        for (status, install, standing, is_installed) in [
            ("claimed", "pending_onboarding", Standing::Claimed, false),
            ("live", "pending_install", Standing::Live, false),
            ("live", "installed", Standing::Live, true),
            ("expired", "installed", Standing::Expired, true),
            ("mothballed", "perhaps", Standing::Unknown, false),
        ] {
            let owner = json!({"account": "acct_owner", "app_install_status": install});
            let (sandbox, _) = fetched(json!({"status": status, "owner_details": owner})).await;
            let sandbox = sandbox.unwrap();
            assert_eq!((sandbox.standing, sandbox.is_installed), (standing, is_installed));
            assert_eq!(sandbox.owner.unwrap().as_str(), "acct_owner");
        }
    }

    #[tokio::test]
    async fn another_sandbox_or_an_account_of_no_form_is_malformed() {
        for changes in [
            json!({"id": "clmsbx_test_2"}),
            json!({"sandbox_details": {"account": "cus_1"}}),
            json!({"status": null}),
        ] {
            let (sandbox, _) = fetched(changes.clone()).await;
            assert!(matches!(sandbox, Err(Error::Malformed { .. })), "{changes}");
        }
    }
}
