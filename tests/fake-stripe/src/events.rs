//! Events: recorded whole, notified thin (v2) or as a snapshot (v1), and read
//! back from `/v2/core/events` by whoever still has access to the account.

use serde_json::{Map, Value, json};

use crate::api::Caller;
use crate::behaviour::{RelatedObject, SandboxContext};
use crate::clock::{iso, parse_iso};
use crate::error::ApiError;
use crate::http::Request;
use crate::options::Payload;
use crate::page::page;
use crate::world::World;

/// How long an event can be read, milliseconds.
const MEMORY_MS: i64 = 30 * 24 * 3600 * 1000;

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An API request of the app.
    Request { id: String, idempotency_key: String },
    /// A user in the Dashboard.
    Dashboard,
    /// Stripe itself: a deadline passed. Such an event has no `reason`.
    Stripe,
}

/// A v2 event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    sequence: u64,
    id: String,
    kind: String,
    created_ms: i64,
    live: bool,
    account: String,
    /// What the notification says of `account`.
    context: Option<String>,
    request: Option<(String, String)>,
    by_user: bool,
    related_object: Option<Value>,
    data: Value,
    changes: Value,
}

impl Event {
    /// The notification: no `data`, no `changes`, and so no key id.
    fn notification(&self, with_client: bool) -> Map<String, Value> {
        let mut event = Map::new();
        event.insert("id".into(), json!(self.id));
        event.insert("object".into(), json!("v2.core.event"));
        event.insert("type".into(), json!(self.kind));
        event.insert("created".into(), json!(iso(self.created_ms)));
        event.insert("livemode".into(), json!(self.live));
        event.insert("context".into(), json!(self.context));
        if let Some(related) = &self.related_object {
            event.insert("related_object".into(), related.clone());
        }
        let reason = self.request.as_ref().map(|(id, idempotency_key)| {
            let mut request = json!({"id": id, "idempotency_key": idempotency_key});
            if with_client {
                request["client"] = self.client();
            }
            json!({"type": "request", "request": request})
        });
        event.insert("reason".into(), json!(reason));
        event
    }

    fn client(&self) -> Value {
        if self.by_user {
            json!({"type": "dashboard_user", "dashboard_user": {
                "email": "user@example.com", "ip_address": "127.0.0.1", "machine_identifier": "fake"}})
        } else {
            json!({"type": "api_key", "api_key": {"id": "mk_fake_app"}})
        }
    }

    fn full(&self, with_client: bool) -> Value {
        let mut event = self.notification(with_client);
        event.insert("data".into(), self.data.clone());
        event.insert("changes".into(), self.changes.clone());
        Value::Object(event)
    }

    fn concerns(&self, object_id: &str) -> bool {
        self.data["api_key"] == object_id || self.data["new_api_key"] == object_id
    }
}

impl World {
    /// Records and notifies `v2.iam.api_key.<what>` about a key of the app.
    pub(crate) fn emit_key_event(
        &mut self,
        what: &str,
        key_id: &str,
        data: Value,
        changes: Value,
        cause: &Cause,
    ) {
        let Some(key) = self.keys.get(key_id) else {
            return;
        };
        let (account, live) = (key.account.clone(), key.live);
        let related_object = match self.behaviour.related_object {
            RelatedObject::Empty => Some(json!({})),
            RelatedObject::Null => Some(Value::Null),
            RelatedObject::Absent => None,
        };
        let kind = format!("v2.iam.api_key.{what}");
        self.record(&kind, &account, live, related_object, data, changes, cause);
    }

    /// The thin form of an installation event, if it is switched on.
    pub(crate) fn emit_account_event(&mut self, kind: &str, account: &str, live: bool) {
        if self.behaviour.thin_account_events {
            self.record(kind, account, live, None, json!({}), Value::Null, &Cause::Dashboard);
        }
    }

    /// Records and notifies `v2.core.claimable_sandbox.<what>`. Such an event is the app's own, or the
    /// sandbox account's, as switched.
    pub(crate) fn emit_sandbox_event(&mut self, what: &str, sandbox: &str, account: &str) {
        let platform = self.app.account.clone();
        let (account, context) = match self.behaviour.sandbox_context {
            SandboxContext::Null => (platform, None),
            SandboxContext::Platform => (platform.clone(), Some(platform)),
            SandboxContext::Sandbox => (account.to_owned(), Some(account.to_owned())),
        };
        let event = Event {
            sequence: self.next_sequence(),
            id: self.new_id("evt_test_6"),
            kind: format!("v2.core.claimable_sandbox.{what}"),
            created_ms: self.now(),
            live: false,
            account,
            context,
            request: None,
            by_user: false,
            related_object: Some(json!({
                "id": sandbox,
                "type": "v2.core.claimable_sandbox",
                "url": format!("/v2/core/claimable_sandboxes/{sandbox}"),
            })),
            data: Value::Null,
            changes: Value::Null,
        };
        self.post(Payload::Thin, Value::Object(event.notification(false)).to_string());
        self.events.push_front(event);
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of the event")]
    fn record(
        &mut self,
        kind: &str,
        account: &str,
        live: bool,
        related_object: Option<Value>,
        data: Value,
        changes: Value,
        cause: &Cause,
    ) {
        let request = match cause {
            Cause::Request { id, idempotency_key } => Some((id.clone(), idempotency_key.clone())),
            Cause::Dashboard => Some((self.new_id("req_"), String::new())),
            Cause::Stripe => None,
        };
        let test = if live { "" } else { "test_" };
        let event = Event {
            sequence: self.next_sequence(),
            id: self.new_id(&format!("evt_{test}6")),
            kind: kind.to_owned(),
            created_ms: self.now(),
            live,
            account: account.to_owned(),
            context: Some(account.to_owned()),
            request,
            by_user: *cause == Cause::Dashboard,
            related_object,
            data,
            changes,
        };
        // The app hears nothing about an account it is not installed on, except that it was uninstalled.
        if self.is_installed(account, live) || kind == "v1.account.application.deauthorized" {
            let body = Value::Object(event.notification(false)).to_string();
            self.post(Payload::Thin, body);
        }
        self.events.push_front(event);
    }

    /// Notifies a v1 event with its object. v1 events cannot be read back from the double.
    pub(crate) fn emit_snapshot(&mut self, kind: &str, account: &str, live: bool, object: Value) {
        let uninstalled = kind == "account.application.deauthorized";
        if !uninstalled && !self.is_installed(account, live) {
            return;
        }
        let body = json!({
            "id": self.new_id("evt_1"),
            "object": "event",
            "type": kind,
            "account": account,
            "context": account,
            "livemode": live,
            "created": self.now() / 1000,
            "pending_webhooks": 1,
            "api_version": "2026-07-29.dahlia",
            "data": {"object": object},
            "request": {"id": null, "idempotency_key": null},
        });
        self.post(Payload::Snapshot, body.to_string());
    }

    pub(crate) fn forget_old_events(&mut self, now: i64) {
        while self.events.back().is_some_and(|event| now - event.created_ms >= MEMORY_MS) {
            self.events.pop_back();
        }
    }

    /// `GET /v2/core/events/{id}`.
    pub(crate) fn event(
        &self,
        caller: &Caller,
        request: &Request,
        id: &str,
    ) -> Result<Value, ApiError> {
        self.visible_events(caller)
            .find(|event| event.id == id)
            .map(|event| event.full(includes_client(request)))
            .ok_or_else(|| ApiError::not_found("event"))
    }

    /// `GET /v2/core/events`, newest first unless switched; an event shows up after the list lag.
    pub(crate) fn list_events(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<Value, ApiError> {
        let types: Vec<&str> = request
            .query
            .iter()
            .filter(|(name, _)| name == "types" || name.starts_with("types["))
            .map(|(_, value)| value.as_str())
            .collect();
        if types.len() > 20 {
            return Err(ApiError::invalid("types: At most 20 types can be given"));
        }
        let created = CreatedRange::parse(request)?;
        let lag = self.behaviour.list_lag_ms.max(self.behaviour.events_lag_ms);
        let shown_until = self.now() - lag;
        let finds_keys = self.behaviour.object_id_finds_keys;
        let concerns = |event: &Event, id: &str| finds_keys && event.concerns(id);
        let mut items: Vec<(u64, Value)> = self
            .visible_events(caller)
            .filter(|event| event.created_ms <= shown_until)
            .filter(|event| types.is_empty() || types.contains(&event.kind.as_str()))
            .filter(|event| request.param("object_id").is_none_or(|id| concerns(event, id)))
            .filter(|event| created.holds(event.created_ms))
            .map(|event| (event.sequence, event.full(includes_client(request))))
            .collect();
        if self.behaviour.events_oldest_first {
            items.reverse();
            // Cursors are places that go down a list.
            for (place, _) in &mut items {
                *place = u64::MAX - *place;
            }
        }
        page(&items, request, self.page_base())
    }

    fn visible_events<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Event> {
        self.events
            .iter()
            .filter(|event| event.account == caller.account && event.live == caller.live)
    }
}

fn includes_client(request: &Request) -> bool {
    request
        .query
        .iter()
        .any(|(name, value)| name.starts_with("include") && value == "reason.request.client")
}

/// `created[gt|gte|lt|lte]`.
struct CreatedRange(Vec<(Comparison, i64)>);

type Comparison = fn(&i64, &i64) -> bool;

impl CreatedRange {
    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut bounds = Vec::new();
        for (name, value) in &request.query {
            let compare: Comparison = match name.as_str() {
                "created[gt]" => i64::gt,
                "created[gte]" => i64::ge,
                "created[lt]" => i64::lt,
                "created[lte]" => i64::le,
                _ => continue,
            };
            let bound = parse_iso(value)
                .ok_or_else(|| ApiError::invalid(format!("{name}: Expected a timestamp")))?;
            bounds.push((compare, bound));
        }
        Ok(Self(bounds))
    }

    fn holds(&self, created_ms: i64) -> bool {
        self.0.iter().all(|(compare, bound)| compare(&created_ms, bound))
    }
}
