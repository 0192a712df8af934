//! The server: one loopback port, HTTP/1.1. A handler sees a whole [`Request`] and gives an [`Answer`];
//! an answer may also be to hang up, which a web framework would not let us do.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Shared;

/// A request may be this large, bytes.
const BODY_LIMIT: usize = 256 * 1024;

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(head: Parts, body: Bytes) -> Self {
        Self {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: pairs(head.uri.query().unwrap_or_default().as_bytes()),
            headers: head.headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
    }

    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The body as a form; fields of the query fill what the form leaves out.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let mut fields = pairs(&self.body);
        fields.extend(self.query.iter().cloned());
        fields
    }
}

/// The first value of `name`.
pub(crate) fn first<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// Close the connection instead of answering.
    pub(crate) hang_up: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(crate) fn html(status: u16, body: String) -> Self {
        Self::text(status, "text/html; charset=utf-8", body)
            .with("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'".into())
            .with("referrer-policy", "no-referrer".into())
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::text(303, "text/plain", String::new()).with("location", location.to_owned())
    }

    pub(crate) fn hang_up() -> Self {
        Self { hang_up: true, ..Self::text(0, "text/plain", String::new()) }
    }

    fn text(status: u16, content_type: &str, body: String) -> Self {
        Self {
            status,
            headers: vec![
                ("content-type", content_type.to_owned()),
                ("cache-control", "no-store".to_owned()),
            ],
            body,
            hang_up: false,
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[derive(Debug)]
pub(crate) struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection closed without an answer, as ordered")
    }
}

impl std::error::Error for HungUp {}

/// Accepts connections until the task is aborted; they end with it.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: give the others time to close.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Answers are small; waiting for an acknowledgement would cost 40 ms each.
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { respond(shared, request).await }
            });
            // An error here is a peer that left, or a hang-up that was ordered.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, HungUp> {
    let (head, body) = request.into_parts();
    let answer = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            let request = Request::new(head, body.to_bytes());
            // In a task of its own: a caller that gives up waiting does not stop what Stripe has begun.
            let handled = tokio::spawn(async move { shared.handle(&request).await });
            handled.await.map_err(|_| HungUp)?
        }
        Err(_) => Answer::html(413, "Request too large.".to_owned()),
    };
    response(answer).map(|response| response.map(Full::from))
}

/// What is sent, unless it is to be nothing.
pub(crate) fn response(answer: Answer) -> Result<Response<String>, HungUp> {
    if answer.hang_up {
        return Err(HungUp);
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(answer.body).map_err(|_| HungUp)
}
