//! The six operations of `/v2/iam/api_keys` (paths of the same name in `openapi-iam.json`).

use serde_json::{Map, Value};

use crate::api::Caller;
use crate::clock::parse_iso;
use crate::error::ApiError;
use crate::events::Cause;
use crate::http::Request;
use crate::idempotency::Done;
use crate::jwe::Recipient;
use crate::keys::{ApiKey, EncryptedSecret, KeySpec, KeyType, Shown};
use crate::page::page;
use crate::world::World;

type Fields = Map<String, Value>;
type Outcome = Result<(Done, Value), ApiError>;

/// Seven days, the longest overlap of a rotate.
const MAX_OVERLAP_MINUTES: i64 = 10_080;

impl World {
    /// `GET /v2/iam/api_keys`, newest first. With a list lag, a key is shown as it was that long ago.
    pub(crate) fn list_keys(&self, caller: &Caller, request: &Request) -> Result<Value, ApiError> {
        let include_expired = match request.param("include_expired") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiError::invalid("include_expired: Expected true or false")),
        };
        let now = self.now();
        let as_of = now - self.behaviour.list_lag_ms;
        let mut items: Vec<(u64, Value)> = self
            .keys
            .values()
            .filter(|key| key.account == caller.account && key.live == caller.live)
            .filter(|key| key.created_ms <= as_of && !key.hidden)
            .filter(|key| include_expired || key.is_active(as_of))
            .map(|key| {
                let shown = Shown { at_ms: as_of, ..self.shown(caller, None) };
                (key.sequence, key.render(shown))
            })
            .collect();
        items.sort_unstable_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        page(&items, request, self.page_base())
    }

    /// `GET /v2/iam/api_keys/{id}`.
    pub(crate) fn retrieve_key(&self, caller: &Caller, id: &str) -> Result<Value, ApiError> {
        let key = self.find_key(caller, id)?;
        Ok(key.render(self.shown(caller, None)))
    }

    /// `POST /v2/iam/api_keys`.
    pub(crate) fn create(&mut self, caller: &Caller, body: &Fields) -> Outcome {
        let mut known = vec!["name", "note", "public_key", "type"];
        if caller.restricted_keys {
            known.extend(["connect_permissions", "expires_at", "permissions"]);
        }
        reject_unknown(body, &known)?;
        let kind = match body.get("type").and_then(Value::as_str) {
            Some("secret_key") => KeyType::Secret,
            Some("publishable_key") => KeyType::Publishable,
            _ => {
                return Err(ApiError::invalid("type: Expected secret_key or publishable_key."));
            }
        };
        let permissions = permissions(body, "permissions")?.filter(|names| !names.is_empty());
        let connect_permissions =
            self::permissions(body, "connect_permissions")?.filter(|names| !names.is_empty());
        let restricts = permissions.is_some() || connect_permissions.is_some();
        if kind == KeyType::Publishable && restricts {
            return Err(ApiError::permissions_invalid("A publishable key takes no permissions."));
        }
        if kind == KeyType::Secret
            && !restricts
            && caller.restricted_keys
            && self.behaviour.restricted_only
        {
            return Err(ApiError::permissions_invalid("Unrestricted keys cannot be created."));
        }
        let expires_at = self.expires_at(body)?;
        let recipient = recipient(body, kind, caller.live)?;
        self.check_activated(caller)?;
        self.check_key_limit(caller)?;
        let empty_if_restricted =
            |names: Option<Vec<String>>| restricts.then(|| names.unwrap_or_default());
        let spec = KeySpec {
            account: caller.account.clone(),
            live: caller.live,
            kind,
            name: text(body, "name")?,
            note: text(body, "note")?,
            permissions: empty_if_restricted(permissions),
            connect_permissions: empty_if_restricted(connect_permissions),
            expires_at,
            managed: true,
        };
        let id = self.create_key(spec, &cause(caller));
        self.answer_with_secret(caller, &id, recipient)
    }

    /// `POST /v2/iam/api_keys/{id}`: blank names and notes and empty permission lists change nothing.
    pub(crate) fn update(&mut self, caller: &Caller, id: &str, body: &Fields) -> Outcome {
        let mut known = vec!["name", "note"];
        if caller.restricted_keys {
            known.extend(["connect_permissions", "permissions"]);
        }
        reject_unknown(body, &known)?;
        let (name, note) = (text(body, "name")?, text(body, "note")?);
        let permissions = permissions(body, "permissions")?.filter(|names| !names.is_empty());
        let connect_permissions =
            self::permissions(body, "connect_permissions")?.filter(|names| !names.is_empty());
        let now = self.now();
        let key = self.find_key(caller, id)?;
        if !key.is_active(now) {
            return Err(expired());
        }
        if key.permissions.is_none() && (permissions.is_some() || connect_permissions.is_some()) {
            return Err(ApiError::permissions_invalid("This key is not a restricted key."));
        }
        let (mut before, mut after) = (Map::new(), Map::new());
        let mut permissions_changed = false;
        if let Some(key) = self.keys.get_mut(id) {
            for (field, new, old) in [("name", name, &mut key.name), ("note", note, &mut key.note)]
            {
                if new.is_some() && *old != new {
                    before.insert(field.to_owned(), old.clone().into());
                    after.insert(field.to_owned(), new.clone().into());
                    *old = new;
                }
            }
            for (new, old) in [
                (permissions, &mut key.permissions),
                (connect_permissions, &mut key.connect_permissions),
            ] {
                if new.is_some() && *old != new {
                    *old = new;
                    permissions_changed = true;
                }
            }
        }
        let data = serde_json::json!({"api_key": id});
        if !after.is_empty() {
            let changes = serde_json::json!({"before": before, "after": after});
            self.emit_key_event("updated", id, data.clone(), changes, &cause(caller));
        }
        if permissions_changed {
            self.emit_key_event("permissions_updated", id, data, Value::Null, &cause(caller));
        }
        self.answer(caller, id, None)
    }

    /// `POST /v2/iam/api_keys/{id}/expire`.
    pub(crate) fn expire(&mut self, caller: &Caller, id: &str, body: &Fields) -> Outcome {
        reject_unknown(body, &[])?;
        if !self.find_key(caller, id)?.is_active(self.now()) {
            return Err(expired());
        }
        self.expire_now(id, &cause(caller));
        self.answer(caller, id, None)
    }

    /// `POST /v2/iam/api_keys/{id}/rotate`: answers the new key.
    pub(crate) fn rotate(&mut self, caller: &Caller, id: &str, body: &Fields) -> Outcome {
        reject_unknown(body, &["expire_current_key_in_minutes", "public_key"])?;
        let overlap = match body.get("expire_current_key_in_minutes") {
            None | Some(Value::Null) => None,
            Some(minutes) => match minutes.as_i64() {
                Some(minutes) if (1..=MAX_OVERLAP_MINUTES).contains(&minutes) => Some(minutes),
                _ => {
                    return Err(ApiError::invalid(
                        "expire_current_key_in_minutes: Expected an integer between 1 and 10080.",
                    ));
                }
            },
        };
        let key = self.find_key(caller, id)?;
        if key.rotated {
            return Err(ApiError::new(
                400,
                "api_key_already_rotated",
                "The API key was already rotated.",
            ));
        }
        if !key.is_active(self.now()) {
            return Err(expired());
        }
        let recipient = recipient(body, key.kind, caller.live)?;
        // The limit does not apply: a rotate does not name it among its errors.
        self.check_activated(caller)?;
        let successor = self
            .rotate_key(id, overlap, &cause(caller))
            .ok_or_else(|| ApiError::not_found("API key"))?;
        self.answer_with_secret(caller, &successor, recipient)
    }

    /// What a replay answers: the key as it is now, with the secret if the switches say so (ADR 16).
    pub(crate) fn replay(&self, caller: &Caller, done: &Done) -> Result<Value, ApiError> {
        let key = self.keys.get(&done.key_id).ok_or_else(|| ApiError::not_found("API key"))?;
        let encrypted = done
            .encrypted
            .as_ref()
            .filter(|_| self.behaviour.replay_returns_ciphertext && key.is_active(self.now()));
        let shown = Shown {
            with_token: self.behaviour.replay_returns_token,
            ..self.shown(caller, encrypted)
        };
        Ok(key.render(shown))
    }

    fn answer_with_secret(
        &mut self,
        caller: &Caller,
        id: &str,
        recipient: Option<Recipient>,
    ) -> Outcome {
        let key = self.find_key(caller, id)?;
        // A sandbox secret is answered in the clear even when a public key came along, as measured (README, "Sources").
        let encrypted = match recipient.filter(|_| caller.live) {
            Some(recipient) => Some(EncryptedSecret {
                ciphertext: {
                    let sealed = recipient.seal(&key.token.0, self.behaviour.jwe_alg)?;
                    if self.behaviour.garble_ciphertext { garbled(&sealed) } else { sealed }
                },
                recipient_key_id: recipient.id,
            }),
            None => None,
        };
        self.answer(caller, id, encrypted)
    }

    fn answer(&self, caller: &Caller, id: &str, encrypted: Option<EncryptedSecret>) -> Outcome {
        let key = self.keys.get(id).ok_or_else(|| ApiError::not_found("API key"))?;
        let body = key.render(self.shown(caller, encrypted.as_ref()));
        Ok((Done { key_id: id.to_owned(), encrypted }, body))
    }

    fn shown<'a>(&'a self, caller: &Caller, encrypted: Option<&'a EncryptedSecret>) -> Shown<'a> {
        let now = self.now();
        Shown {
            at_ms: now,
            now_ms: now,
            with_permissions: caller.restricted_keys,
            encrypted,
            with_token: true,
            manager: self.behaviour.managed_by_application.then_some(self.app.id.as_str()),
        }
    }

    fn find_key(&self, caller: &Caller, id: &str) -> Result<&ApiKey, ApiError> {
        let key = self
            .keys
            .get(id)
            .filter(|key| key.account == caller.account && !key.hidden)
            .ok_or_else(|| ApiError::not_found("API key"))?;
        if key.live == caller.live { Ok(key) } else { Err(ApiError::livemode_mismatch()) }
    }

    /// The gate for live keys. The code is [X]: Stripe names none.
    fn check_activated(&self, caller: &Caller) -> Result<(), ApiError> {
        let activated =
            self.accounts.get(&caller.account).is_some_and(|found| found.spec.activated);
        if caller.live && !activated {
            return Err(ApiError::forbidden(
                "account_not_activated",
                "Live mode keys can be created once the account is activated.",
            ));
        }
        Ok(())
    }

    fn check_key_limit(&self, caller: &Caller) -> Result<(), ApiError> {
        let now = self.now();
        let active = self
            .keys
            .values()
            .filter(|key| key.account == caller.account && key.live == caller.live)
            .filter(|key| key.is_active(now))
            .count();
        if active >= self.behaviour.key_limit {
            return Err(ApiError::new(
                400,
                "api_key_limit_reached",
                "The limit on the number of API keys is reached.",
            ));
        }
        Ok(())
    }

    fn expires_at(&self, body: &Fields) -> Result<Option<i64>, ApiError> {
        match body.get("expires_at") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_str()
                .and_then(parse_iso)
                .filter(|at| *at > self.now())
                .map(Some)
                .ok_or_else(|| {
                    ApiError::invalid("expires_at: Expected a timestamp in the future.")
                }),
        }
    }
}

fn cause(caller: &Caller) -> Cause {
    Cause::Request {
        id: caller.request_id.clone(),
        idempotency_key: caller.idempotency_key.clone().unwrap_or_default(),
    }
}

fn expired() -> ApiError {
    ApiError::new(400, "api_key_expired", "The API key is already expired.")
}

/// Worded as measured: `'status: Unknown field, did you mean name, note?'`, `'ip_allowlist: Unknown field.'`.
fn reject_unknown(body: &Fields, known: &[&str]) -> Result<(), ApiError> {
    match body.keys().find(|field| !known.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) if field == "status" && known.contains(&"name") => {
            Err(ApiError::invalid("status: Unknown field, did you mean name, note?"))
        }
        Some(field) => Err(ApiError::invalid(format!("{field}: Unknown field."))),
    }
}

/// A text field; blank counts as not given.
fn text(body: &Fields, field: &str) -> Result<Option<String>, ApiError> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
        Some(_) => Err(ApiError::invalid(format!("{field}: Expected a string."))),
    }
}

/// Permission names. Stripe lists them nowhere, so any `…_read` or `…_write` passes.
fn permissions(body: &Fields, field: &str) -> Result<Option<Vec<String>>, ApiError> {
    let names = match body.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(ApiError::invalid(format!("{field}: Expected an array."))),
    };
    let named = |value: &Value| {
        let name = value.as_str()?;
        let stem = name.strip_suffix("_read").or_else(|| name.strip_suffix("_write"))?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (!stem.is_empty() && stem.chars().all(plain)).then(|| name.to_owned())
    };
    names
        .iter()
        .map(|value| {
            named(value).ok_or_else(|| {
                ApiError::permissions_invalid(format!("{field}: {value} is not a permission."))
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

/// The caller's public key: required for a live secret key, allowed for a sandbox one, refused for a
/// publishable one.
fn recipient(body: &Fields, kind: KeyType, live: bool) -> Result<Option<Recipient>, ApiError> {
    match (body.get("public_key").filter(|value| !value.is_null()), kind) {
        (Some(_), KeyType::Publishable) => {
            Err(ApiError::invalid("public_key: Publishable keys are not encrypted."))
        }
        (Some(public_key), KeyType::Secret) => Recipient::parse(public_key).map(Some),
        (None, KeyType::Secret) if live => Err(ApiError::invalid(
            "public_key: A public key is required for secret keys in live mode.",
        )),
        (None, KeyType::Secret | KeyType::Publishable) => Ok(None),
    }
}

/// The same five parts with the first character of the authentication tag changed.
fn garbled(compact: &str) -> String {
    match compact.rsplit_once('.') {
        Some((sealed, tag)) => {
            let other = if tag.starts_with('A') { 'B' } else { 'A' };
            format!("{sealed}.{other}{}", tag.get(1..).unwrap_or_default())
        }
        None => String::new(),
    }
}
