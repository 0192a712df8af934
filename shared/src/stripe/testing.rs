//! A Stripe of scripted answers on this machine, for the tests of this module.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{AppKeys, Options, Stripe};
use crate::domain::id::{AccountId, EventId, KeyId};
use crate::domain::secret::SecretToken;
use crate::domain::slot::{AccountRef, Mode};

/// One scripted answer. `{base}` in the body becomes the server's own base URL.
#[derive(Clone)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    delay: Duration,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::text(status, body.to_string())
    }

    pub(super) fn text(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body, delay: Duration::ZERO }
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn late(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A request as it arrived.
#[derive(Clone)]
pub(super) struct Seen {
    method: String,
    target: String,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// Method and target.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The server; gives its answers in order, and the last one again and again.
pub(super) struct Server {
    pub(super) base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) async fn start<const N: usize>(script: [Reply; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, own_base) = (seen.clone(), base.clone());
        let router = Router::new().fallback(move |request: Request| {
            let (log, own_base, script) = (log.clone(), own_base.clone(), script.to_vec());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
                let index = {
                    let mut log = log.lock().unwrap();
                    log.push(Seen {
                        method: head.method.to_string(),
                        target: head.uri.to_string(),
                        headers: head.headers,
                        body,
                    });
                    log.len() - 1
                };
                let reply = script.get(index).or(script.last()).unwrap();
                tokio::time::sleep(reply.delay).await;
                let mut response = Response::builder().status(reply.status);
                for (name, value) in &reply.headers {
                    response = response.header(*name, *value);
                }
                response.body(Body::from(reply.body.replace("{base}", &own_base))).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, seen }
    }

    /// The requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A client of that server, with app keys of both modes.
pub(super) fn client(server: &Server) -> Stripe {
    client_at(&server.base, Duration::from_secs(5))
}

pub(super) fn client_at(base: &str, timeout: Duration) -> Stripe {
    let key = |text: &str| Some(SecretToken::new(text.to_owned()));
    let options = Options {
        api_base: base.to_owned(),
        stripe_version: "2026-04-22.preview".to_owned(),
        keys: AppKeys { live: key("sk_live_app"), test: key("sk_test_app") },
        max_rps: 1000,
        timeout,
    };
    Stripe::new(options).unwrap().impatient()
}

pub(super) fn account() -> AccountRef {
    AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap())
}

pub(super) fn event_id(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

pub(super) fn key_id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}
