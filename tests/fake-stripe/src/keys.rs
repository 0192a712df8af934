//! API keys: what one is, how it is shown, and what can happen to it. States are `active → expired`; a
//! rotate makes a new key (`v2.iam.api_key` in `openapi-iam.json`).

use std::fmt;

use serde_json::{Value, json};

use crate::clock::iso;
use crate::events::Cause;
use crate::world::World;

/// A secret string that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(_)")
    }
}

/// `encrypted_secret` of an answer: already sealed to the caller.
#[derive(Debug, Clone)]
pub(crate) struct EncryptedSecret {
    pub(crate) ciphertext: String,
    pub(crate) recipient_key_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Secret,
    Publishable,
}

impl KeyType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret_key",
            Self::Publishable => "publishable_key",
        }
    }
}

/// The properties that a rotated key inherits.
#[derive(Debug, Clone)]
pub(crate) struct KeySpec {
    pub(crate) account: String,
    pub(crate) live: bool,
    pub(crate) kind: KeyType,
    pub(crate) name: Option<String>,
    pub(crate) note: Option<String>,
    /// `None` is an unrestricted key (`sk_`).
    pub(crate) permissions: Option<Vec<String>>,
    pub(crate) connect_permissions: Option<Vec<String>>,
    pub(crate) expires_at: Option<i64>,
    /// Whether the app manages it, or the user made or kept it.
    pub(crate) managed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ApiKey {
    pub(crate) sequence: u64,
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) live: bool,
    pub(crate) kind: KeyType,
    pub(crate) token: Token,
    pub(crate) name: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) permissions: Option<Vec<String>>,
    pub(crate) connect_permissions: Option<Vec<String>>,
    pub(crate) created_ms: i64,
    /// The key is expired from this instant on.
    pub(crate) expires_at: Option<i64>,
    /// The token is refused from this instant on; later than `expires_at` by the expire lag.
    pub(crate) refused_at: Option<i64>,
    pub(crate) last_used_ms: Option<i64>,
    pub(crate) rotated: bool,
    /// The API answers 404 for it, as measured for an id that was rotated away at once.
    pub(crate) hidden: bool,
    pub(crate) managed: bool,
}

impl ApiKey {
    pub(crate) fn is_active(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }

    pub(crate) fn authenticates(&self, now: i64) -> bool {
        self.refused_at.is_none_or(|at| now < at)
    }

    pub(crate) fn status(&self, now: i64) -> &'static str {
        if self.is_active(now) { "active" } else { "expired" }
    }

    /// `sk_live_...qLsu`.
    pub(crate) fn redacted(&self) -> String {
        let token = &self.token.0;
        let prefix = token.get(..8).unwrap_or_default();
        let tail = token.get(token.len().saturating_sub(4)..).unwrap_or_default();
        format!("{prefix}...{tail}")
    }

    fn spec(&self) -> KeySpec {
        KeySpec {
            account: self.account.clone(),
            live: self.live,
            kind: self.kind,
            name: self.name.clone(),
            note: self.note.clone(),
            permissions: self.permissions.clone(),
            connect_permissions: self.connect_permissions.clone(),
            expires_at: self.expires_at,
            managed: self.managed,
        }
    }
}

/// How a key is shown in an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The instant whose state is shown; a lagging list shows an earlier one.
    pub(crate) at_ms: i64,
    pub(crate) now_ms: i64,
    /// Whether this `Stripe-Version` knows `permissions` and `connect_permissions`.
    pub(crate) with_permissions: bool,
    pub(crate) encrypted: Option<&'a EncryptedSecret>,
    /// Whether a sandbox secret is shown in the clear.
    pub(crate) with_token: bool,
    /// `managed_by.application.id`, if it is told.
    pub(crate) manager: Option<&'a str>,
}

impl ApiKey {
    /// The `v2.iam.api_key` object, with an explicit null for every optional field that is unset, as in the examples of
    /// `openapi-iam.json`.
    pub(crate) fn render(&self, shown: Shown<'_>) -> Value {
        let active = self.is_active(shown.at_ms);
        // A list that lags behind an expiry does not know its time either.
        let expires_at = self.expires_at.filter(|at| *at <= shown.at_ms || *at > shown.now_ms);
        let mut object = json!({
            "id": self.id,
            "object": "v2.iam.api_key",
            "created": iso(self.created_ms),
            "expires_at": expires_at.map(iso),
            "ip_allowlist": [],
            "last_used": self.last_used_ms.map(iso),
            "livemode": self.live,
            "managed_by": shown.manager.filter(|_| self.managed)
                .map(|id| json!({"type": "application", "application": {"id": id}})),
            "name": self.name,
            "note": self.note,
            "status": self.status(shown.at_ms),
            "type": self.kind.name(),
        });
        if shown.with_permissions {
            object["permissions"] = json!(self.permissions);
            object["connect_permissions"] = json!(self.connect_permissions);
        }
        match self.kind {
            KeyType::Publishable => object["publishable_key"] = json!({"token": self.token.0}),
            KeyType::Secret => {
                let token = (!self.live && active && shown.with_token).then_some(&self.token.0);
                object["secret_key"] = json!({
                    "encrypted_secret": shown.encrypted.map(|secret| json!({
                        "ciphertext": secret.ciphertext,
                        "format": "jwe_compact",
                        "recipient_key_id": secret.recipient_key_id,
                    })),
                    "secret_token_redacted": active.then(|| self.redacted()),
                    "token": token,
                });
            }
        }
        object
    }
}

impl World {
    /// Makes a key, without an event: a create and a rotate report it differently.
    pub(crate) fn mint(&mut self, spec: KeySpec) -> String {
        let now = self.now();
        let id = self.new_id("mk_1");
        let prefix = match (spec.kind, spec.permissions.is_some()) {
            (KeyType::Publishable, _) => "pk",
            (KeyType::Secret, true) => "rk",
            (KeyType::Secret, false) => "sk",
        };
        let mode = if spec.live { "live" } else { "test" };
        let owner = spec.account.trim_start_matches("acct_");
        // 107 bytes, the length of the ciphertext in the spec's example and so of a real token.
        let start = format!("{prefix}_{mode}_51{}", owner.get(..14).unwrap_or(owner));
        let rest = self.random.alphanumeric(107_usize.saturating_sub(start.len()).max(32));
        let token = Token(start + &rest);
        if let Some(at) = spec.expires_at {
            self.deadlines.insert((at, id.clone()));
        }
        self.tokens.insert(token.0.clone(), id.clone());
        let key = ApiKey {
            sequence: self.next_sequence(),
            id: id.clone(),
            account: spec.account,
            live: spec.live,
            kind: spec.kind,
            token,
            name: spec.name,
            note: spec.note,
            permissions: spec.permissions,
            connect_permissions: spec.connect_permissions,
            created_ms: now,
            expires_at: spec.expires_at,
            refused_at: spec.expires_at,
            last_used_ms: None,
            rotated: false,
            hidden: false,
            managed: spec.managed,
        };
        self.keys.insert(id.clone(), key);
        id
    }

    /// Makes a key and reports it as `created`.
    pub(crate) fn create_key(&mut self, spec: KeySpec, cause: &Cause) -> String {
        let id = self.mint(spec);
        if let Some(key) = self.keys.get(&id) {
            let after = json!({
                "id": key.id,
                "type": key.kind.name(),
                "status": "active",
                "name": key.name,
                "note": key.note,
                "created": iso(key.created_ms),
                "secret_key": (key.kind == KeyType::Secret)
                    .then(|| json!({"secret_token_redacted": key.redacted()})),
            });
            let changes = json!({"before": null, "after": after});
            self.emit_key_event("created", &id, json!({"api_key": id}), changes, cause);
        }
        id
    }

    /// Expires a key now; its token goes on working for the expire lag.
    pub(crate) fn expire_now(&mut self, id: &str, cause: &Cause) {
        let now = self.now();
        let lag = self.behaviour.expire_lag_ms;
        let Some(key) = self.keys.get_mut(id).filter(|key| key.is_active(now)) else {
            return;
        };
        let before = key.expires_at.replace(now);
        key.refused_at = Some(now + lag);
        if let Some(at) = before {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        let changes = expiry_changes(before, now, "expired");
        self.emit_key_event("expired", id, json!({"api_key": id}), changes, cause);
    }

    /// Rotates a key: the successor has the same properties; the old key dies now, or after
    /// `overlap_minutes` if it does not expire sooner by itself.
    pub(crate) fn rotate_key(
        &mut self,
        id: &str,
        overlap_minutes: Option<i64>,
        cause: &Cause,
    ) -> Option<String> {
        let now = self.now();
        let old_spec = self.keys.get(id)?.spec();
        let before = old_spec.expires_at;
        let successor = self.mint(old_spec);
        let old_id_retrievable = self.behaviour.old_id_retrievable;
        let key = self.keys.get_mut(id)?;
        let deadline = now + overlap_minutes.unwrap_or(0) * 60_000;
        let dies_at = before.map_or(deadline, |at| at.min(deadline));
        key.rotated = true;
        key.hidden = overlap_minutes.is_none() || !old_id_retrievable;
        key.expires_at = Some(dies_at);
        key.refused_at = Some(dies_at);
        if let Some(at) = before {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        if dies_at > now {
            self.deadlines.insert((dies_at, id.to_owned()));
        }
        let status = if dies_at > now { "active" } else { "expired" };
        let data = json!({"api_key": id, "new_api_key": successor});
        let changes = expiry_changes(before, dies_at, status);
        self.emit_key_event("rotated", id, data, changes, cause);
        Some(successor)
    }

    /// Reports the keys that reached their `expires_at`.
    pub(crate) fn expire_due(&mut self, now: i64) {
        while let Some((at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now).cloned() {
            self.deadlines.remove(&(at, id.clone()));
            let rotated = self.keys.get(&id).is_some_and(|key| key.rotated);
            if rotated && !self.behaviour.expired_event_after_rotate {
                continue;
            }
            let changes = expiry_changes(Some(at), at, "expired");
            self.emit_key_event("expired", &id, json!({"api_key": id}), changes, &Cause::Stripe);
        }
    }

    pub(crate) fn managed_key_ids(&self, account: &str, live: bool) -> Vec<String> {
        self.keys
            .values()
            .filter(|key| key.account == account && key.live == live && key.managed)
            .map(|key| key.id.clone())
            .collect()
    }
}

fn expiry_changes(before: Option<i64>, after: i64, status: &str) -> Value {
    json!({
        "before": {"expires_at": before.map(iso), "status": "active"},
        "after": {"expires_at": iso(after), "status": status},
    })
}
