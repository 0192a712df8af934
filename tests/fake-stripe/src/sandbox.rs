//! Claimable sandboxes: an account made for somebody, which they may take and go live
//! with. The app's side alone: it is told by events and reads the object. Making one through the API is left
//! out, since the keys in that answer are the app's own affair.

use serde_json::{Value, json};

use crate::calls::{Call, KeyUsed};
use crate::clock::iso;
use crate::error::ApiError;
use crate::options::AccountSpec;
use crate::world::World;

/// How long nobody may take a sandbox before it is gone, milliseconds.
const LIFETIME_MS: i64 = 60 * 24 * 3600 * 1000;

/// `app_install_status`: whether the app is on the owner's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppInstall {
    /// `installed`
    Installed,
    /// `pending_install`
    PendingInstall,
    /// `pending_onboarding`
    PendingOnboarding,
}

impl AppInstall {
    fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::PendingInstall => "pending_install",
            Self::PendingOnboarding => "pending_onboarding",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    account: String,
    status: &'static str,
    created_ms: i64,
    claimed_ms: Option<i64>,
    owner: Option<(String, AppInstall)>,
}

impl World {
    /// Makes a sandbox that is `account`; the app is on it from the start. Answers its id.
    pub(crate) fn add_sandbox(&mut self, account: &str) -> String {
        let id = self.new_id("clmsbx_test_");
        self.add_account(account, AccountSpec { activated: false, live: false, test: true });
        self.install_silently(account, false);
        let sandbox = Sandbox {
            account: account.to_owned(),
            status: "unclaimed",
            created_ms: self.now(),
            claimed_ms: None,
            owner: None,
        };
        self.sandboxes.insert(id.clone(), sandbox);
        self.emit_sandbox_event("created", &id, account);
        id
    }

    /// Somebody takes a sandbox; their account is `owner`. False if it is not there to be taken.
    pub(crate) fn claim_sandbox(&mut self, id: &str, owner: &str) -> bool {
        let now = self.now();
        let Some(sandbox) = self.sandboxes.get_mut(id).filter(|found| found.status == "unclaimed")
        else {
            return false;
        };
        sandbox.status = "claimed";
        sandbox.claimed_ms = Some(now);
        sandbox.owner = Some((owner.to_owned(), AppInstall::PendingOnboarding));
        let account = sandbox.account.clone();
        self.emit_sandbox_event("claimed", id, &account);
        true
    }

    /// Its owner goes live, with the app or without it yet. False if nobody has taken it.
    pub(crate) fn take_sandbox_live(&mut self, id: &str, install: AppInstall) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return false };
        let Some((owner, at)) = &mut sandbox.owner else { return false };
        *at = install;
        sandbox.status = "live";
        let (owner, account) = (owner.clone(), sandbox.account.clone());
        if !self.accounts.contains_key(&owner) {
            self.add_account(&owner, AccountSpec::default());
        }
        if install == AppInstall::Installed {
            self.install_silently(&owner, true);
        }
        self.emit_sandbox_event("updated", id, &account);
        true
    }

    /// Nobody took it in time: the account is gone, and the app's access with it.
    pub(crate) fn expire_sandbox(&mut self, id: &str) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id).filter(|found| found.status == "unclaimed")
        else {
            return false;
        };
        sandbox.status = "expired";
        let account = sandbox.account.clone();
        self.uninstall_silently(&account, false);
        self.emit_sandbox_event("expired", id, &account);
        true
    }

    /// `GET /v2/core/claimable_sandboxes/{id}`, with the app's test key and without a context.
    pub(crate) fn sandbox(&self, call: &Call, id: &str) -> Result<Value, ApiError> {
        match &call.key_used {
            KeyUsed::AppTest => {}
            KeyUsed::AppLive => return Err(ApiError::not_found("claimable sandbox")),
            KeyUsed::Minted(_) | KeyUsed::Unknown | KeyUsed::None => {
                return Err(ApiError::unauthorized("Invalid API Key provided."));
            }
        }
        if call.version.is_none() {
            return Err(ApiError::invalid("Stripe-Version: This header is required."));
        }
        let found = self.sandboxes.get(id).filter(|_| call.context.is_none());
        let sandbox = found.ok_or_else(|| ApiError::not_found("claimable sandbox"))?;
        Ok(json!({
            "id": id,
            "object": "v2.core.claimable_sandbox",
            "created": iso(sandbox.created_ms),
            "claimed_at": sandbox.claimed_ms.map(iso),
            "expires_at": iso(sandbox.created_ms + LIFETIME_MS),
            "livemode": false,
            "onboarding_link_details": null,
            "owner_details": sandbox.owner.as_ref().map(|(account, install)| json!({
                "account": account,
                "app_install_status": install.word(),
            })),
            "prefill": {"country": "US", "email": "user@example.com", "name": null},
            "sandbox_details": {"account": sandbox.account, "api_keys": null},
            "status": sandbox.status,
        }))
    }
}
