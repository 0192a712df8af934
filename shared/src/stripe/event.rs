//! Full events: what a notification leaves out, above all which key it is about.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::client::{Call, Stripe, bearer};
use super::error::Error;
use super::page::{Item, PAGE_SIZE, Whose};
use crate::domain::event::Topic;
use crate::domain::id::{AccountId, EventId, InvalidId, KeyId, SandboxId};
use crate::domain::slot::{AccountRef, Mode};
use crate::domain::time::Timestamp;

/// An event as fetched. Who caused it, with address and email, is neither asked for nor kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullEvent {
    /// `evt_…`
    pub id: EventId,
    /// Its type, for `domain::event::Topic::of_type`.
    pub event_type: String,
    /// When Stripe made it.
    pub created: Timestamp,
    /// The account that it names; an event of the app's own may name none.
    pub account: Option<AccountId>,
    /// The keys that it is about.
    pub keys: EventKeys,
    /// The claimable sandbox that it is about.
    pub sandbox: Option<SandboxId>,
}

impl FullEvent {
    /// What it says, as far as that matters here.
    pub fn topic(&self) -> Option<Topic> {
        match &self.sandbox {
            Some(sandbox) => Some(Topic::Sandbox { sandbox: sandbox.clone() }),
            None => Topic::of_type(&self.event_type),
        }
    }
}

/// The keys that an event names; none for events about something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventKeys {
    /// The key; of a rotation, the one rotated away.
    pub key: Option<KeyId>,
    /// Of a rotation, the one that took its place.
    pub new_key: Option<KeyId>,
}

/// Which events to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery<'a> {
    /// At most 20 types; none means all.
    pub types: &'a [&'a str],
    /// Created then or later. Stripe keeps 30 days.
    pub from: Option<Timestamp>,
    /// Created before.
    pub to: Option<Timestamp>,
    /// How many to read at most, over all pages.
    pub limit: usize,
}

impl Stripe {
    /// Fetches one event of a user's account.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`super::Refusal::NotFound`] after 30 days, or from another account's context.
    pub async fn event(&self, at: &AccountRef, id: &EventId) -> Result<FullEvent, Error> {
        let auth = bearer(self.app_key(at.mode)?)?;
        let call = Call {
            stripe_version: Some(&self.stripe_version),
            context: Some(&at.id),
            trigger: Some(id),
            ..Call::get(self.url(&format!("{PATH}/{id}"))?, auth)
        };
        let answer = self.call(&call).await?;
        read_event(&answer, id)
    }

    /// Lists the events of a user's account, in Stripe's order, for what no webhook brought.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::ForeignPage`] and [`Error::EndlessList`] among them.
    pub async fn events(
        &self,
        at: &AccountRef,
        query: &EventQuery<'_>,
    ) -> Result<Vec<FullEvent>, Error> {
        self.pages(Whose::account(at), &query.path(), query.limit, WireEvent::item).await
    }

    /// As [`Stripe::events`], of the app's own record: claimable sandboxes are in it.
    pub async fn own_events(
        &self,
        mode: Mode,
        query: &EventQuery<'_>,
    ) -> Result<Vec<FullEvent>, Error> {
        self.pages(Whose::app(mode), &query.path(), query.limit, WireEvent::item).await
    }
}

impl EventQuery<'_> {
    pub(super) fn path(&self) -> String {
        let mut written = url::form_urlencoded::Serializer::new(String::new());
        for (index, event_type) in self.types.iter().enumerate() {
            written.append_pair(&format!("types[{index}]"), event_type);
        }
        if let Some(from) = self.from {
            written.append_pair("created[gte]", &from.to_string());
        }
        if let Some(to) = self.to {
            written.append_pair("created[lt]", &to.to_string());
        }
        written.append_pair("limit", &self.limit.clamp(1, PAGE_SIZE).to_string());
        format!("{PATH}?{}", written.finish())
    }
}

pub(super) fn read_event(answer: &Answer, id: &EventId) -> Result<FullEvent, Error> {
    match answer.read::<WireEvent>()?.item() {
        Item::Kept(event) if event.id == *id => Ok(event),
        Item::Kept(_) | Item::Skipped | Item::Unreadable => Err(answer.malformed()),
    }
}

#[derive(Deserialize)]
struct WireEvent {
    id: EventId,
    #[serde(rename = "type")]
    event_type: String,
    created: String,
    context: Option<String>,
    related_object: Option<RelatedObject>,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct RelatedObject {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    api_key: Option<KeyId>,
    new_api_key: Option<KeyId>,
}

impl WireEvent {
    fn item(self) -> Item<FullEvent> {
        let Ok(created) = Timestamp::parse(&self.created) else { return Item::Unreadable };
        // Of events about other things, nothing is assumed of the data.
        let data = self.data.filter(|_| self.event_type.starts_with("v2.iam.api_key."));
        let Ok(data) = data.map(serde_json::from_value::<Option<Data>>).transpose() else {
            return Item::Unreadable;
        };
        let keys = data.flatten().map_or_else(EventKeys::default, |data| EventKeys {
            key: data.api_key,
            new_key: data.new_api_key,
        });
        let Ok(account) = account_of(self.context.as_deref()) else { return Item::Unreadable };
        let sandbox = match Topic::is_of_sandbox(&self.event_type) {
            true => match sandbox_of(self.related_object) {
                Some(sandbox) => Some(sandbox),
                None => return Item::Unreadable,
            },
            false => None,
        };
        let (id, event_type) = (self.id, self.event_type);
        Item::Kept(FullEvent { id, event_type, created, account, keys, sandbox })
    }
}

/// A context may be a path from the organisation down; an empty one is none.
fn account_of(context: Option<&str>) -> Result<Option<AccountId>, InvalidId> {
    let named = context.filter(|context| !context.is_empty());
    let last = named.and_then(|context| context.rsplit('/').next());
    last.map(AccountId::parse).transpose()
}

fn sandbox_of(related: Option<RelatedObject>) -> Option<SandboxId> {
    SandboxId::parse(&related?.id?).ok()
}

const PATH: &str = "/v2/core/events";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::testing::{Reply, Server, account, client, event_id};

    fn event(id: &str, event_type: &str, data: Value) -> Value {
        json!({
            "id": id, "object": "v2.core.event", "type": event_type,
            "created": "2025-12-10T19:42:56.897Z", "livemode": true, "context": "acct_1",
            "data": data, "changes": {"before": null, "after": null},
            "reason": {"type": "request", "request": {"id": "req_1", "idempotency_key": "",
                "client": {"type": "dashboard_user", "dashboard_user": {"email": "a@b.example"}}}},
        })
    }

    #[tokio::test]
    async fn a_rotation_names_both_keys_and_is_asked_for_in_the_context_of_the_account() {
        let data = json!({"api_key": "mk_old", "new_api_key": "mk_new"});
        let server =
            Server::start([Reply::json(200, event("evt_1", "v2.iam.api_key.rotated", data))]).await;
        let fetched = client(&server).event(&account(), &event_id("evt_1")).await.unwrap();
        assert_eq!(fetched.keys.key.as_ref().unwrap().as_str(), "mk_old");
        assert_eq!(fetched.keys.new_key.as_ref().unwrap().as_str(), "mk_new");
        assert!(!format!("{fetched:?}").contains("example"), "whoever did it is not kept");
        let seen = &server.seen()[0];
        assert_eq!(seen.line(), "GET /v2/core/events/evt_1");
        assert_eq!(seen.header("stripe-context"), Some("acct_1"));
        assert_eq!(seen.header("stripe-request-trigger"), Some("event=evt_1"));
        assert_eq!(seen.header("idempotency-key"), None);
    }

    #[tokio::test]
    async fn an_event_that_was_not_asked_for_or_names_no_key_id_is_malformed() {
        let other = event("evt_2", "v2.iam.api_key.created", json!({"api_key": "mk_1"}));
        let broken = event("evt_1", "v2.iam.api_key.created", json!({"api_key": "sk_live_1"}));
        for body in [other, broken] {
            let server = Server::start([Reply::json(200, body)]).await;
            let fetched = client(&server).event(&account(), &event_id("evt_1")).await;
            assert!(matches!(fetched, Err(Error::Malformed { .. })));
        }
    }

    #[tokio::test]
    async fn a_query_is_written_with_indexed_types_and_a_window_and_read_up_to_its_limit() {
        let page = |ids: [&str; 2], next: Option<&str>| {
            let data: Vec<Value> =
                ids.iter().map(|id| event(id, "v2.core.other", json!("anything"))).collect();
            Reply::json(
                200,
                json!({"data": data, "next_page_url": next, "previous_page_url": null}),
            )
        };
        let server = Server::start([
            page(["evt_1", "evt_2"], Some("{base}/v2/core/events?page=2")),
            page(["evt_3", "evt_4"], Some("{base}/v2/core/events?page=3")),
        ])
        .await;
        let query = EventQuery {
            types: &["v2.iam.api_key.created", "v2.iam.api_key.expired"],
            from: Some(Timestamp::EPOCH),
            to: Some(Timestamp::from_seconds(60).unwrap()),
            limit: 3,
        };
        let events = client(&server).events(&account(), &query).await.unwrap();
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["evt_1", "evt_2", "evt_3"]);
        assert!(events.iter().all(|event| event.keys == EventKeys::default()));
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            seen[0].line(),
            "GET /v2/core/events?types%5B0%5D=v2.iam.api_key.created\
             &types%5B1%5D=v2.iam.api_key.expired\
             &created%5Bgte%5D=1970-01-01T00%3A00%3A00.000Z\
             &created%5Blt%5D=1970-01-01T00%3A01%3A00.000Z&limit=3"
        );
        assert_eq!(seen[1].line(), "GET /v2/core/events?page=2");
    }
}
