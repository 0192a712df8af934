//! Who made a key: a rotation in the Dashboard copies our note, so the note alone does not say.

use std::time::Duration;

use serde::Deserialize;

use super::client::Stripe;
use super::error::{Error, Refusal};
use super::event::EventQuery;
use super::page::{Item, PAGE_SIZE, Whose};
use crate::domain::id::KeyId;
use crate::domain::intent::is_our_idempotency_key;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;

impl Stripe {
    /// Whether a request of Keysteward made this key, as the event of its making says. `None` when there is
    /// no such event: not yet, or not any more after 30 days, or none that this app may read. Then it may be
    /// anybody's, and nobody may end it.
    ///
    /// The event is found by its time and told by its data. Whether Stripe's `object_id` finds events of keys,
    /// whose `related_object` is empty, nobody has seen.
    ///
    /// # Errors
    ///
    /// [`Error`] when the events could not be listed.
    pub async fn is_made_by_us(
        &self,
        at: &AccountRef,
        key: &KeyId,
        created: Timestamp,
    ) -> Result<Option<bool>, Error> {
        let types = [CREATED, ROTATED];
        let (from, to) = (Some(created.minus(APART)), Some(created.plus(APART)));
        let query = EventQuery { types: &types, from, to, limit: PAGE_SIZE };
        let made = |event: WireMade| match event.made_by_us(key) {
            Some(by_us) => Item::Kept(by_us),
            None => Item::Skipped,
        };
        match self.pages(Whose::account(at), &query.path(), 1, made).await {
            Ok(made) => Ok(made.first().copied()),
            Err(error) if error.refusal() == Some(&Refusal::Forbidden) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[derive(Deserialize)]
struct WireMade {
    #[serde(rename = "type")]
    event_type: String,
    data: Option<Data>,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Data {
    api_key: Option<KeyId>,
    new_api_key: Option<KeyId>,
}

#[derive(Deserialize)]
struct Reason {
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    idempotency_key: Option<String>,
}

impl WireMade {
    /// `None` when it is not the event of this key's making.
    fn made_by_us(self, key: &KeyId) -> Option<bool> {
        let data = self.data?;
        let made = match self.event_type.as_str() {
            CREATED => data.api_key,
            ROTATED => data.new_api_key,
            _ => None,
        };
        if made.as_ref() != Some(key) {
            return None;
        }
        let asked_with = self.reason.and_then(|reason| reason.request?.idempotency_key);
        Some(asked_with.is_some_and(|text| is_our_idempotency_key(&text)))
    }
}

const CREATED: &str = "v2.iam.api_key.created";
const ROTATED: &str = "v2.iam.api_key.rotated";
/// How far apart a key and the event of its making may be dated: both are of one request.
const APART: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::testing::{Reply, Server, account, client, key_id};

    const OURS: &str = "keysteward-0a1b";

    fn made(event_type: &str, data: Value, idempotency_key: Option<&str>) -> Value {
        json!({
            "id": "evt_1", "object": "v2.core.event", "type": event_type, "livemode": true,
            "created": "2026-11-24T12:00:00.000Z", "context": "acct_1", "data": data,
            "reason": {"type": "request", "request": {"id": "req_1", "idempotency_key": idempotency_key}},
        })
    }

    fn page(events: &[Value], next: Option<&str>) -> Reply {
        Reply::json(200, json!({"data": events, "next_page_url": next}))
    }

    async fn asked<const N: usize>(script: [Reply; N]) -> (Result<Option<bool>, Error>, Server) {
        let server = Server::start(script).await;
        let created = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
        (client(&server).is_made_by_us(&account(), &key_id("mk_1"), created).await, server)
    }

    #[tokio::test]
    async fn the_event_of_its_making_says_whose_request_made_a_key() {
        let this = || json!({"api_key": "mk_1"});
        let by_rotation = || json!({"api_key": "mk_0", "new_api_key": "mk_1"});
        for (event, by_us) in [
            (made(CREATED, this(), Some(OURS)), Some(true)),
            (made(CREATED, this(), Some("somebody-0a1b")), Some(false)),
            // As Stripe shows what a user does in the Dashboard.
            (made(CREATED, this(), Some("")), Some(false)),
            (made(CREATED, this(), None), Some(false)),
            (made(ROTATED, by_rotation(), Some(OURS)), Some(true)),
            (made(ROTATED, by_rotation(), Some("")), Some(false)),
            // Of other keys' making.
            (made(CREATED, json!({"api_key": "mk_2"}), Some(OURS)), None),
            (made(ROTATED, json!({"api_key": "mk_1", "new_api_key": "mk_2"}), Some(OURS)), None),
            (made("v2.iam.api_key.updated", this(), Some(OURS)), None),
            (made(CREATED, Value::Null, Some(OURS)), None),
        ] {
            let (answer, _) = asked([page(std::slice::from_ref(&event), None)]).await;
            assert_eq!(answer.unwrap(), by_us, "{event}");
        }
        let without_reason = json!({"type": CREATED, "data": this()});
        assert_eq!(asked([page(&[without_reason], None)]).await.0.unwrap(), Some(false));
        assert_eq!(asked([page(&[], None)]).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn it_is_looked_for_about_the_time_of_the_keys_making_and_on_every_page() {
        let other = made(CREATED, json!({"api_key": "mk_2"}), Some(OURS));
        let this = made(CREATED, json!({"api_key": "mk_1"}), Some(OURS));
        let (answer, server) =
            asked([page(&[other], Some("/v2/core/events?page=2")), page(&[this], None)]).await;
        assert_eq!(answer.unwrap(), Some(true));
        let seen = server.seen();
        assert_eq!(
            seen[0].line(),
            "GET /v2/core/events?types%5B0%5D=v2.iam.api_key.created\
             &types%5B1%5D=v2.iam.api_key.rotated&created%5Bgte%5D=2026-11-24T11%3A50%3A00.000Z\
             &created%5Blt%5D=2026-11-24T12%3A10%3A00.000Z&limit=100"
        );
        assert_eq!(seen[1].line(), "GET /v2/core/events?page=2");
        assert!(seen.iter().all(|call| call.header("stripe-context") == Some("acct_1")));
    }

    #[tokio::test]
    async fn an_app_that_may_not_read_events_does_not_know_and_other_failures_are_failures() {
        assert_eq!(asked([Reply::json(403, json!({}))]).await.0.unwrap(), None);
        for status in [400, 401, 404, 429, 500] {
            let (answer, _) = asked([Reply::json(status, json!({}))]).await;
            assert!(answer.is_err(), "{status}");
        }
    }

    /// The app's key goes along with every page: an origin that Stripe's answer names gets none of it.
    #[tokio::test]
    async fn a_next_page_url_of_another_origin_is_refused_and_no_credential_is_sent_there() {
        let stranger = Server::start([page(&[], None)]).await;
        let host = stranger.base.trim_start_matches("http://");
        for next in [
            format!("{}/v2/core/events?page=2", stranger.base),
            format!("//{host}/v2/core/events?page=2"),
            format!("http://user:password@{host}/v2/core/events"),
            format!("https://{host}/v2/core/events?page=2"),
        ] {
            let (answer, server) = asked([page(&[], Some(&next))]).await;
            assert!(matches!(answer, Err(Error::ForeignPage)), "{next}");
            assert_eq!(server.seen().len(), 1, "the first page came from the configured host");
        }
        assert!(stranger.seen().is_empty(), "nothing was sent, let alone a credential");
    }
}
