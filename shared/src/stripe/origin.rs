//! Who made a key: a rotation in the Dashboard copies our note, so the note alone does not say.

use serde::Deserialize;

use super::client::Stripe;
use super::error::{Error, Refusal};
use super::page::{Item, PAGE_SIZE};
use crate::domain::id::KeyId;
use crate::domain::intent::is_our_idempotency_key;
use crate::domain::slot::AccountRef;

impl Stripe {
    /// Whether a request of Keysteward made this key, as the event of its making says. `None` when there is
    /// no such event: Stripe keeps them for 30 days and shows them to apps that may read events.
    ///
    /// # Errors
    ///
    /// [`Error`] when the events could not be listed.
    pub async fn is_made_by_us(&self, at: &AccountRef, key: &KeyId) -> Result<Option<bool>, Error> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("types[0]", CREATED)
            .append_pair("types[1]", ROTATED)
            .append_pair("object_id", key.as_str())
            .append_pair("limit", &PAGE_SIZE.to_string())
            .finish();
        let made = |event: WireMade| match event.made_by_us(key) {
            Some(by_us) => Item::Kept(by_us),
            None => Item::Skipped,
        };
        match self.pages(at, &format!("/v2/core/events?{query}"), 1, made).await {
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
