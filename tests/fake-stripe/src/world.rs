//! The state: accounts, installations and everything that follows from them. One lock guards all of it,
//! so every call is atomic, as it should look from outside.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::behaviour::Behaviour;
use crate::calls::Call;
use crate::clock::Clock;
use crate::deliver::Pending;
use crate::events::{Cause, Event};
use crate::faults::Faults;
use crate::idempotency::Idempotency;
use crate::keys::ApiKey;
use crate::limits::RateLimits;
use crate::oauth::Grants;
use crate::options::{AccountSpec, AppSpec, Destination, KeepOrExpire};
use crate::random::Random;
use crate::sandbox::Sandbox;

pub(crate) struct Account {
    pub(crate) spec: AccountSpec,
    installed_live: bool,
    installed_test: bool,
}

impl Account {
    pub(crate) fn exists_in(&self, live: bool) -> bool {
        if live { self.spec.live } else { self.spec.test }
    }

    pub(crate) fn installed_in(&self, live: bool) -> bool {
        if live { self.installed_live } else { self.installed_test }
    }

    fn installation(&mut self, live: bool) -> &mut bool {
        if live { &mut self.installed_live } else { &mut self.installed_test }
    }
}

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) url: String,
    pub(crate) app: AppSpec,
    pub(crate) behaviour: Behaviour,
    pub(crate) random: Random,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) keys: BTreeMap<String, ApiKey>,
    /// Token to key id.
    pub(crate) tokens: HashMap<String, String>,
    /// Keys that will die by themselves, soonest first.
    pub(crate) deadlines: BTreeSet<(i64, String)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) outbox: VecDeque<Pending>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) idempotency: Idempotency,
    /// Idempotency slots of calls that a delay is holding up.
    pub(crate) in_flight: HashSet<String>,
    pub(crate) limits: RateLimits,
    pub(crate) faults: Faults,
    pub(crate) grants: Grants,
    pub(crate) calls: Vec<Call>,
    pub(crate) sandboxes: BTreeMap<String, Sandbox>,
    sequence: u64,
}

impl World {
    pub(crate) fn new(
        clock: Clock,
        url: String,
        app: AppSpec,
        destinations: Vec<Destination>,
    ) -> Self {
        Self {
            clock,
            url,
            app,
            behaviour: Behaviour::default(),
            random: Random::from_system(),
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            tokens: HashMap::new(),
            deadlines: BTreeSet::new(),
            events: VecDeque::new(),
            destinations,
            outbox: VecDeque::new(),
            wake: Arc::new(Notify::new()),
            idempotency: Idempotency::default(),
            in_flight: HashSet::new(),
            limits: RateLimits::default(),
            faults: Faults::default(),
            grants: Grants::default(),
            calls: Vec::new(),
            sandboxes: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// A number that orders keys and events by creation.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        format!("{prefix}{}", self.random.alphanumeric(24))
    }

    /// Brings the world up to the clock: keys past their deadline die, old events and replays go.
    pub(crate) fn tick(&mut self) {
        let now = self.now();
        self.expire_due(now);
        self.forget_old_events(now);
        self.idempotency.forget_old(now);
        if !self.outbox.is_empty() {
            self.wake.notify_one();
        }
    }

    pub(crate) fn add_account(&mut self, id: &str, spec: AccountSpec) {
        self.accounts
            .insert(id.to_owned(), Account { spec, installed_live: false, installed_test: false });
    }

    pub(crate) fn is_installed(&self, account: &str, live: bool) -> bool {
        self.accounts.get(account).is_some_and(|account| account.installed_in(live))
    }

    /// Installs the app; false if the account does not exist in that mode. Installing again is silent.
    pub(crate) fn install(&mut self, account: &str, live: bool) -> bool {
        let Some(found) = self.accounts.get_mut(account).filter(|found| found.exists_in(live))
        else {
            return false;
        };
        let installation = found.installation(live);
        if !std::mem::replace(installation, true) {
            let application = self.application_object();
            self.emit_snapshot("account.application.authorized", account, live, application);
            self.emit_account_event("v1.account.application.authorized", account, live);
        }
        true
    }

    /// Puts the app on an account without a word to it, as it comes with a sandbox.
    pub(crate) fn install_silently(&mut self, account: &str, live: bool) {
        if let Some(found) = self.accounts.get_mut(account) {
            *found.installation(live) = true;
        }
    }

    /// Takes the app off an account that is no more.
    pub(crate) fn uninstall_silently(&mut self, account: &str, live: bool) {
        if let Some(found) = self.accounts.get_mut(account) {
            *found.installation(live) = false;
        }
    }

    /// Uninstalls the app. The notice goes out first and is the last thing the app hears of the account:
    /// keys that expire with the app do so unseen by it.
    pub(crate) fn uninstall(&mut self, account: &str, live: bool, keys: KeepOrExpire) -> bool {
        let Some(found) = self.accounts.get_mut(account) else {
            return false;
        };
        if !std::mem::replace(found.installation(live), false) {
            return false;
        }
        let application = self.application_object();
        self.emit_snapshot("account.application.deauthorized", account, live, application);
        self.emit_account_event("v1.account.application.deauthorized", account, live);
        self.grants.revoke(account, live);
        for id in self.managed_key_ids(account, live) {
            match keys {
                KeepOrExpire::Keep => {
                    if let Some(key) = self.keys.get_mut(&id) {
                        key.managed = false;
                    }
                }
                KeepOrExpire::Expire => self.expire_now(&id, &Cause::Dashboard),
            }
        }
        true
    }

    /// Opens or closes the gate for live keys; tells the app if it is installed in live mode.
    pub(crate) fn set_activated(&mut self, account: &str, activated: bool) -> bool {
        let Some(found) = self.accounts.get_mut(account) else {
            return false;
        };
        found.spec.activated = activated;
        let object = self.account_object(account);
        self.emit_snapshot("account.updated", account, true, object);
        true
    }

    fn application_object(&self) -> Value {
        json!({"id": self.app.id, "object": "application", "name": self.app.name})
    }

    /// The v1 Account, as far as the activation gate needs it.
    pub(crate) fn account_object(&self, account: &str) -> Value {
        let activated = self.accounts.get(account).is_some_and(|found| found.spec.activated);
        json!({
            "id": account,
            "object": "account",
            "charges_enabled": activated,
            "payouts_enabled": activated,
            "details_submitted": activated,
            "country": "US",
            "default_currency": "usd",
            "type": "standard",
        })
    }
}
