//! Signed delivery of events, with the disorder that Stripe reserves the right to:
//! delay, duplicates, any order, loss.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

use crate::Shared;
use crate::options::{Destination, Payload};
use crate::world::World;

/// An endpoint that does not answer within this time has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often deliveries that the clock holds back are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often the clock is looked at when nothing happens.
const IDLE: Duration = Duration::from_millis(250);

/// `Stripe-Signature` for a body: `t=<unix s>,v1=<hex>`, one `v1` for each secret, in their order. The same
/// form signs `install_signature`.
#[must_use]
pub fn sign(secrets: &[impl AsRef<str>], unix_seconds: i64, body: &[u8]) -> String {
    let mut header = format!("t={unix_seconds}");
    let signed = [unix_seconds.to_string().as_bytes(), b".", body].concat();
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref().as_bytes());
        header.push_str(",v1=");
        header.push_str(&hex::encode(hmac::sign(&key, &signed)));
    }
    header
}

/// An event on its way to one destination.
#[derive(Clone)]
pub(crate) struct Pending {
    destination: Destination,
    body: String,
    due_ms: i64,
}

/// A delivery, ready to be POSTed.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where to.
    pub url: String,
    /// `content-type`, `stripe-signature`, `user-agent`.
    pub headers: Vec<(String, String)>,
    /// The exact bytes that were signed.
    pub body: Vec<u8>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("url", &self.url)
            .field("body", &String::from_utf8_lossy(&self.body))
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// Signs with the time of sending: a retry has a new timestamp and signature.
    fn sign(&self, now_ms: i64) -> Delivery {
        let seconds = now_ms.div_euclid(1000);
        let signature = sign(&self.destination.signing_secrets, seconds, self.body.as_bytes());
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Delivery {
            url: self.destination.url.clone(),
            headers: vec![
                header("content-type", "application/json; charset=utf-8"),
                header("stripe-signature", &signature),
                header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
            ],
            body: self.body.clone().into_bytes(),
        }
    }
}

impl World {
    /// Puts an event into the outbox of every destination that takes this payload.
    pub(crate) fn post(&mut self, payload: Payload, body: String) {
        if self.behaviour.drop_deliveries || !self.app.has_event_read {
            return;
        }
        let due_ms = self.now() + self.behaviour.delivery_delay_ms;
        let copies = if self.behaviour.duplicate_deliveries { 2 } else { 1 };
        for destination in self.destinations.iter().filter(|to| to.payload == payload) {
            for _ in 0..copies {
                self.outbox.push_back(Pending {
                    destination: destination.clone(),
                    body: body.clone(),
                    due_ms,
                });
            }
        }
        self.wake.notify_one();
    }

    fn take_due(&mut self) -> Vec<Pending> {
        let now = self.now();
        let (mut due, later): (Vec<_>, Vec<_>) =
            self.outbox.drain(..).partition(|pending| pending.due_ms <= now);
        self.outbox.extend(later);
        if self.behaviour.shuffle_deliveries {
            self.random.shuffle(&mut due);
        }
        due
    }

    /// Everything that is due, signed now.
    pub(crate) fn take_deliveries(&mut self) -> Vec<Delivery> {
        let now = self.now();
        self.take_due().iter().map(|pending| pending.sign(now)).collect()
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Sends deliveries as they fall due until the task is aborted. First attempts go out one after the
/// other, so that order is kept unless a shuffle is asked for; retries run beside them.
pub(crate) async fn run(shared: Arc<Shared>) {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let wake = Arc::clone(&shared.lock().wake);
    let mut retries = JoinSet::new();
    loop {
        while retries.try_join_next().is_some() {}
        let (due, waiting) = {
            let mut world = shared.lock();
            world.tick();
            (world.take_due(), !world.outbox.is_empty())
        };
        if due.is_empty() {
            if waiting {
                tokio::time::sleep(POLL).await;
            } else {
                // Woken or not, the next tick looks whether a key reached its deadline meanwhile.
                let _ = tokio::time::timeout(IDLE, wake.notified()).await;
            }
            continue;
        }
        for pending in due {
            if !attempt(&client, &shared, &pending).await {
                retries.spawn(retry(client.clone(), Arc::clone(&shared), pending));
            }
        }
    }
}

async fn retry(client: HttpClient, shared: Arc<Shared>, pending: Pending) {
    let (attempts, mut pause) = {
        let world = shared.lock();
        (world.behaviour.delivery_attempts, world.behaviour.delivery_backoff_ms)
    };
    for _ in 1..attempts {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        pause = pause.saturating_mul(2);
        if attempt(&client, &shared, &pending).await {
            return;
        }
    }
}

/// Whether the endpoint answered 2xx; a redirect is a failure.
async fn attempt(client: &HttpClient, shared: &Shared, pending: &Pending) -> bool {
    let delivery = pending.sign(shared.lock().now());
    let mut request = hyper::Request::post(&delivery.url);
    for (name, value) in &delivery.headers {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Full::from(delivery.body)) else {
        return false;
    };
    match tokio::time::timeout(TIMEOUT, client.request(request)).await {
        Ok(Ok(response)) => response.status().is_success(),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published: stripe-dotnet's `event_test_signature.json`. The others were computed.
    #[test]
    fn signatures_agree_with_the_published_and_computed_vectors() {
        let thin = br#"{"id":"evt_test_1","object":"v2.core.event","type":"v2.iam.api_key.rotated","livemode":false,"created":"2026-11-24T12:00:00.000Z","context":"acct_123","related_object":null,"reason":null}"#;
        assert_eq!(
            sign(&["whsec_test_secret"], 1_700_000_000, thin),
            "t=1700000000,v1=890989f24320732d5f3fbeff995850f5b546bab85beb7d247b5505557747f5cf"
        );
        let install = br#"{"state":"st_123","user_id":"usr_123","account_id":"acct_123"}"#;
        assert_eq!(
            sign(&["absec_test_secret"], 1_700_000_000, install),
            "t=1700000000,v1=5e68c0c55427fe33ae59b368e6da4cb4d3da19d240c8db20486249ee175ce5c4"
        );
        let stateless = br#"{"user_id":"usr_123","account_id":"acct_123"}"#;
        assert_eq!(
            sign(&["absec_test_secret"], 1_700_000_000, stateless),
            "t=1700000000,v1=255b7f2d31c5a4845f807aa1371cf467a9ef0d25f6c22200190e08a1521e9456"
        );
    }

    #[test]
    fn every_secret_of_a_rolled_endpoint_signs() {
        let header = sign(&["old", "new"], 1, b"{}");
        let alone = sign(&["new"], 1, b"{}");
        assert_eq!(header.matches(",v1=").count(), 2);
        assert!(header.ends_with(alone.trim_start_matches("t=1")));
    }
}
