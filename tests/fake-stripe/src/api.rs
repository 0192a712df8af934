//! From a request to an answer: faults, authentication, gates, then the operation. Gates come in the order
//! in which a caller can repair them: key, version, context, installation, permission.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Shared;
use crate::calls::{Call, KeyUsed};
use crate::error::ApiError;
use crate::faults::FaultKind;
use crate::http::{Answer, Request};
use crate::idempotency::Done;
use crate::latency::under_way;
use crate::limits::Owner;
use crate::world::World;

/// An API call that passed authentication and the gates.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) live: bool,
    /// The user's account.
    pub(crate) account: String,
    /// Whether the version knows `permissions`, `connect_permissions` and `expires_at`.
    pub(crate) restricted_keys: bool,
    pub(crate) request_id: String,
    pub(crate) idempotency_key: Option<String>,
}

/// First versions, by year and month, with restricted keys.
const RESTRICTED_KEYS_SINCE: &str = "2026-08";

impl Shared {
    pub(crate) async fn handle(&self, request: &Request) -> Answer {
        if !request.path.starts_with("/v1/") && !request.path.starts_with("/v2/") {
            let mut world = self.lock();
            world.tick();
            return crate::pages::answer(&mut world, request);
        }
        let (there, back) = self.lock().draw_latency();
        under_way(there).await;
        let answer = self.handle_call(request).await;
        under_way(back).await;
        answer
    }

    async fn handle_call(&self, request: &Request) -> Answer {
        let (index, slot, faults) = {
            let mut world = self.lock();
            world.tick();
            let index = world.begin_call(request);
            let faults = world.faults.strike(&request.method, &request.path);
            let slot = world.idempotency_slot(request);
            if let Some(slot) = &slot
                && !world.in_flight.insert(slot.clone())
            {
                return world.end_call(index, request, ApiError::idempotency_conflict().into());
            }
            (index, slot, faults)
        };
        for fault in &faults {
            if let FaultKind::Delay(ms) = fault {
                tokio::time::sleep(Duration::from_millis(*ms)).await;
            }
        }
        let mut world = self.lock();
        world.tick();
        if let Some(slot) = &slot {
            world.in_flight.remove(slot);
        }
        let fault = faults.into_iter().find(|fault| !matches!(fault, FaultKind::Delay(_)));
        let answer = match fault {
            None | Some(FaultKind::Delay(_)) => world.carry_out(request, index),
            Some(FaultKind::Refused) => Answer::hang_up(),
            Some(FaultKind::BeforeEffect { status, code }) => {
                ApiError::injected(status, &code).into()
            }
            Some(FaultKind::RateLimited { reason }) => ApiError::rate_limited(&reason).into(),
            Some(FaultKind::AfterEffect { status }) => {
                world.carry_out(request, index);
                ApiError::injected(status, "api_error").into()
            }
            Some(FaultKind::LostResponse) => {
                world.carry_out(request, index);
                Answer::hang_up()
            }
        };
        world.end_call(index, request, answer)
    }
}

impl World {
    fn begin_call(&mut self, request: &Request) -> usize {
        let text = |name| request.header(name).map(str::to_owned);
        let key_used = self.key_used(request);
        let live = match &key_used {
            KeyUsed::AppLive => Some(true),
            KeyUsed::AppTest => Some(false),
            KeyUsed::Minted(id) => self.keys.get(id).map(|key| key.live),
            KeyUsed::None | KeyUsed::Unknown => None,
        };
        let call = Call {
            at_ms: self.now(),
            method: request.method.clone(),
            path: request.path.clone(),
            context: text("stripe-context").or_else(|| text("stripe-account")),
            version: text("stripe-version"),
            idempotency_key: text("idempotency-key"),
            key_used,
            live,
            replayed: false,
            request_id: self.new_id("req_"),
            status: None,
            error_code: None,
        };
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// Completes the log and the headers that every API answer has.
    fn end_call(&mut self, index: usize, request: &Request, answer: Answer) -> Answer {
        let generated = self.random.alphanumeric(32);
        let Some(call) = self.calls.get_mut(index) else {
            return answer;
        };
        if answer.hang_up {
            return answer;
        }
        call.status = Some(answer.status);
        if answer.status >= 400 {
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let code = body["error"]["code"].as_str().or(body["error"].as_str());
            call.error_code = code.map(str::to_owned);
        }
        let mut answer = answer.with("request-id", call.request_id.clone());
        if let Some(version) = &call.version {
            answer = answer.with("stripe-version", version.clone());
        }
        if request.method == "POST" {
            // Stripe makes a key where the caller gave none.
            let key = call.idempotency_key.clone().unwrap_or(generated);
            answer = answer.with("idempotency-key", key);
        }
        answer
    }

    fn carry_out(&mut self, request: &Request, index: usize) -> Answer {
        let Some(mut call) = self.calls.get(index).cloned() else {
            return ApiError::new(500, "internal_error", "The log was cleared meanwhile.").into();
        };
        let answer = self.route(request, &mut call).unwrap_or_else(Answer::from);
        if let Some(entry) = self.calls.get_mut(index) {
            entry.replayed = call.replayed;
        }
        answer
    }

    fn route(&mut self, request: &Request, call: &mut Call) -> Result<Answer, ApiError> {
        if let Some(owner) = self.owner(call) {
            let now = self.now();
            let endpoint = endpoint(request);
            self.limits.admit(now, &owner, &endpoint, &self.behaviour)?;
        }
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let ok = |body| Answer::json(200, body);
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["v1", "oauth", "token"]) => Ok(self.oauth_token(request, call)),
            ("GET", ["v1", "customers"]) => self.customers(call).map(ok),
            ("GET", ["v1", "account"]) => self.own_account(call).map(ok),
            ("GET", ["v2", "core", "events"]) => {
                let caller = match self.own_caller(call) {
                    Some(own) => own,
                    None => self.event_caller(call)?,
                };
                self.list_events(&caller, request).map(ok)
            }
            ("GET", ["v2", "core", "events", id]) => {
                let caller = self.event_caller(call)?;
                self.event(&caller, request, id).map(ok)
            }
            ("GET", ["v2", "core", "claimable_sandboxes", id]) => self.sandbox(call, id).map(ok),
            ("GET", ["v2", "iam", "api_keys"]) => {
                let caller = self.key_caller(call)?;
                self.list_keys(&caller, request).map(ok)
            }
            ("GET", ["v2", "iam", "api_keys", id]) => {
                let caller = self.key_caller(call)?;
                self.retrieve_key(&caller, id).map(ok)
            }
            ("POST", ["v2", "iam", "api_keys", rest @ ..]) if rest.len() <= 2 => {
                let caller = self.key_caller(call)?;
                self.change_key(&caller, request, rest, call).map(ok)
            }
            (method, _) => Err(ApiError::new(
                404,
                "not_found",
                format!("Unrecognized request URL ({method}: {}).", request.path),
            )),
        }
    }

    /// Runs a POST under its idempotency key.
    fn change_key(
        &mut self,
        caller: &Caller,
        request: &Request,
        rest: &[&str],
        call: &mut Call,
    ) -> Result<Value, ApiError> {
        let body = json_body(request)?;
        let now = self.now();
        let fingerprint = Value::Object(body.clone()).to_string();
        let slot = self.idempotency_slot(request);
        if let Some(slot) = &slot
            && let Some(done) = self.idempotency.recall(slot, &fingerprint, now)?
        {
            call.replayed = true;
            return self.replay(caller, &done);
        }
        let outcome: Result<(Done, Value), ApiError> = match rest {
            [] => self.create(caller, &body),
            [id] => self.update(caller, id, &body),
            [id, "expire"] => self.expire(caller, id, &body),
            [id, "rotate"] => self.rotate(caller, id, &body),
            _ => Err(ApiError::not_found("endpoint")),
        };
        if let Some(slot) = slot {
            let done = outcome.as_ref().ok().map(|(done, _)| done.clone());
            self.idempotency.remember(slot, fingerprint, now, done);
        }
        outcome.map(|(_, answer)| answer)
    }

    /// Same key, same API, same account and mode; `None` if the call carries no key.
    fn idempotency_slot(&self, request: &Request) -> Option<String> {
        let key = request.header("idempotency-key").filter(|_| request.method == "POST")?;
        let context = request.header("stripe-context").or(request.header("stripe-account"));
        let used = match self.key_used(request) {
            KeyUsed::AppLive => "live",
            KeyUsed::AppTest => "test",
            KeyUsed::Minted(_) | KeyUsed::None | KeyUsed::Unknown => return None,
        };
        Some(format!("{used} {} {} {key}", context.unwrap_or_default(), request.path))
    }

    fn key_used(&self, request: &Request) -> KeyUsed {
        let Some(token) = presented_key(request) else {
            return KeyUsed::None;
        };
        if token == self.app.api_key_live {
            KeyUsed::AppLive
        } else if token == self.app.api_key_test {
            KeyUsed::AppTest
        } else {
            self.tokens.get(&token).map_or(KeyUsed::Unknown, |id| KeyUsed::Minted(id.clone()))
        }
    }

    /// Whose key a call came with; `None` if it is nobody's.
    fn owner(&self, call: &Call) -> Option<Owner> {
        let account = match &call.key_used {
            KeyUsed::AppLive | KeyUsed::AppTest => &self.app.account,
            KeyUsed::Minted(id) => &self.keys.get(id)?.account,
            KeyUsed::None | KeyUsed::Unknown => return None,
        };
        Some(Owner { account: account.clone(), live: call.live? })
    }

    /// The gates that all v2 calls of the app on a user's account pass.
    fn caller(&self, call: &Call) -> Result<Caller, ApiError> {
        let caller = self.known_caller(call)?;
        if self.is_installed(&caller.account, caller.live) {
            return Ok(caller);
        }
        let account = caller.account;
        Err(ApiError::forbidden(
            "application_not_installed",
            format!(
                "The app is not installed on {account} in this mode, or there is no such account."
            ),
        ))
    }

    /// A caller that names an account, installed there or not.
    fn known_caller(&self, call: &Call) -> Result<Caller, ApiError> {
        let live = match &call.key_used {
            KeyUsed::AppLive => true,
            KeyUsed::AppTest => false,
            // A key of the account itself: what it asks is a direct operation.
            KeyUsed::Minted(id) if self.key_authenticates(id) => {
                return Err(ApiError::direct_operation());
            }
            KeyUsed::Minted(_) | KeyUsed::Unknown => {
                return Err(ApiError::unauthorized("Invalid API Key provided."));
            }
            KeyUsed::None => {
                return Err(ApiError::unauthorized("You did not provide an API key."));
            }
        };
        let Some(version) = &call.version else {
            return Err(ApiError::invalid("Stripe-Version: This header is required."));
        };
        if call.idempotency_key.as_ref().is_some_and(|key| key.len() > 255) {
            return Err(ApiError::invalid("Idempotency-Key: At most 255 characters."));
        }
        let context = call.context.as_deref().unwrap_or_default();
        // A path names the platform before the account.
        let account = context.rsplit('/').next().unwrap_or_default();
        if account.is_empty() || account == self.app.account {
            return Err(ApiError::direct_operation());
        }
        Ok(Caller {
            live,
            account: account.to_owned(),
            restricted_keys: version.get(..7).unwrap_or(version) >= RESTRICTED_KEYS_SINCE,
            request_id: call.request_id.clone(),
            idempotency_key: call.idempotency_key.clone(),
        })
    }

    /// The app in its own name: it may read the events of its own account.
    fn own_caller(&self, call: &Call) -> Option<Caller> {
        let live = match &call.key_used {
            KeyUsed::AppLive => true,
            KeyUsed::AppTest => false,
            KeyUsed::Minted(_) | KeyUsed::Unknown | KeyUsed::None => return None,
        };
        (call.context.is_none() && call.version.is_some()).then(|| Caller {
            live,
            account: self.app.account.clone(),
            restricted_keys: false,
            request_id: call.request_id.clone(),
            idempotency_key: None,
        })
    }

    fn key_caller(&self, call: &Call) -> Result<Caller, ApiError> {
        let caller = self.caller(call)?;
        if !self.app.has_api_key_write {
            return Err(ApiError::forbidden(
                "permission_missing",
                "The app lacks the permission api_key_write.",
            ));
        }
        Ok(caller)
    }

    fn event_caller(&self, call: &Call) -> Result<Caller, ApiError> {
        let caller = if self.behaviour.events_readable_after_uninstall {
            self.known_caller(call)?
        } else {
            self.caller(call)?
        };
        if !self.app.has_event_read {
            return Err(ApiError::forbidden(
                "permission_missing",
                "The app lacks the permission event_read.",
            ));
        }
        Ok(caller)
    }
}

/// The key of `Authorization`: Bearer, or the user name of Basic.
fn presented_key(request: &Request) -> Option<String> {
    let (scheme, value) = request.header("authorization")?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(value.trim().to_owned()),
        "basic" => {
            let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
            Some(pair.split_once(':').map_or(pair.as_str(), |(user, _)| user).to_owned())
        }
        _ => None,
    }
}

/// Method and path with ids left out: what a rate limit counts.
fn endpoint(request: &Request) -> String {
    let path: Vec<&str> = request
        .path
        .split('/')
        .map(|part| {
            let is_id = ["mk_", "evt_", "clmsbx_"].iter().any(|prefix| part.starts_with(prefix));
            if is_id { "{id}" } else { part }
        })
        .collect();
    format!("{} {}", request.method, path.join("/"))
}

/// A JSON object; nothing at all is an empty one, as `expire` takes no parameters.
fn json_body(request: &Request) -> Result<serde_json::Map<String, Value>, ApiError> {
    if request.body.is_empty() {
        return Ok(serde_json::Map::new());
    }
    let content_type = request.header("content-type").unwrap_or_default();
    if !content_type.to_ascii_lowercase().starts_with("application/json") {
        return Err(ApiError::invalid("Content-Type: Expected application/json."));
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) | Err(_) => Err(ApiError::invalid("The request body is not a JSON object.")),
    }
}
