//! The Lambda Runtime API on loopback, for one function: it hands out the invocations that a test queues
//! and keeps what the function posts.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use http::{HeaderMap, StatusCode};
use keysteward::runtime::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot, watch};

/// What became of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// `POST …/response`: the body as it came.
    Response(Vec<u8>),
    /// `POST …/error`
    Error(Report),
}

/// An error as a function reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The header `Lambda-Runtime-Function-Error-Type`, where there is one.
    pub kind: Option<String>,
    /// The body, by contract `{errorMessage, errorType}`; null when it is no JSON.
    pub body: Value,
}

impl Report {
    fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let kind = headers.get("lambda-runtime-function-error-type");
        Self {
            kind: kind.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: serde_json::from_slice(body).unwrap_or_default(),
        }
    }
}

/// One function's Runtime API. Stops with the tokio runtime it was started on.
#[derive(Clone, Debug)]
pub struct RuntimeApi {
    address: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<VecDeque<Invocation>>,
    queued: Notify,
    open: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    init_error: Mutex<Option<Report>>,
    nexts: watch::Sender<u32>,
    time_limit: Duration,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Vec<u8>,
    outcome: oneshot::Sender<Outcome>,
}

impl RuntimeApi {
    /// Starts one on a free port of 127.0.0.1 for a function that may take `time_limit` an invocation.
    pub async fn start(time_limit: Duration) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            queued: Notify::new(),
            open: Mutex::default(),
            init_error: Mutex::default(),
            nexts: watch::Sender::new(0),
            time_limit,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, inner })
    }

    /// `AWS_LAMBDA_RUNTIME_API`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the function asks for its `n`-th invocation.
    pub async fn asked(&self, n: u32) {
        // The sender lives as long as `self`.
        let _ = self.inner.nexts.subscribe().wait_for(|nexts| *nexts >= n).await;
    }

    /// How often the function asked for an invocation.
    pub fn nexts(&self) -> u32 {
        *self.inner.nexts.borrow()
    }

    /// What the function reported of a start that failed.
    pub fn init_error(&self) -> Option<Report> {
        lock(&self.inner.init_error).clone()
    }

    /// Queues an invocation; its outcome comes when the function posts it.
    pub fn invoke(&self, event: Vec<u8>) -> oneshot::Receiver<Outcome> {
        let (outcome, receiver) = oneshot::channel();
        let mut queue = lock(&self.inner.queue);
        let id = uuid(self.nexts(), queue.len());
        queue.push_back(Invocation { id, event, outcome });
        self.inner.queued.notify_one();
        receiver
    }
}

/// Looks like a request id of Lambda and says which one it is.
fn uuid(nexts: u32, queued: usize) -> String {
    format!("8476a536-e9f4-11e8-{queued:04x}-{nexts:012x}")
}

async fn next(State(api): State<Arc<Inner>>) -> Response {
    api.nexts.send_modify(|nexts| *nexts += 1);
    let Invocation { id, event, outcome } = loop {
        let first = lock(&api.queue).pop_front();
        match first {
            Some(invocation) => break invocation,
            None => api.queued.notified().await,
        }
    };
    lock(&api.open).insert(id.clone(), outcome);
    let deadline = Clock::system().now().plus(api.time_limit).millis();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:keysteward:live".to_owned(),
        ),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned()),
    ];
    (axum::response::AppendHeaders(headers), event).into_response()
}

async fn response(
    State(api): State<Arc<Inner>>,
    Path(id): Path<String>,
    body: Bytes,
) -> (StatusCode, String) {
    close(&api, &id, Outcome::Response(body.to_vec()))
}

async fn error(
    State(api): State<Arc<Inner>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    close(&api, &id, Outcome::Error(Report::new(&headers, &body)))
}

/// As Lambda: an outcome is taken once, and only of an invocation that is open.
fn close(api: &Inner, id: &str, outcome: Outcome) -> (StatusCode, String) {
    match lock(&api.open).remove(id).map(|sender| sender.send(outcome)) {
        Some(_) => (StatusCode::ACCEPTED, json!({ "status": "OK" }).to_string()),
        None => {
            let body = json!({ "errorType": "InvalidRequestID", "errorMessage": "not open" });
            (StatusCode::BAD_REQUEST, body.to_string())
        }
    }
}

async fn init_error(
    State(api): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    *lock(&api.init_error) = Some(Report::new(&headers, &body));
    (StatusCode::ACCEPTED, json!({ "status": "OK" }).to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
