//! The table of a test: the embedded DynamoDB engine behind a front that counts calls and fails them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::serve::ListenerExt as _;
use dynoxide::Database;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use keysteward::runtime::aws::Aws;
use keysteward::store::Store;
use tokio::sync::{Notify, watch};

/// A fresh table in memory.
#[derive(Clone, Debug)]
pub struct Table {
    url: String,
    database: Arc<Inner>,
}

struct Inner {
    database: Database,
    engine: String,
    client: Client<HttpConnector, Body>,
    counts: Mutex<BTreeMap<String, u32>>,
    fault: Mutex<Option<Fault>>,
    pause: Mutex<Option<(u32, Arc<Pause>)>>,
    connections: watch::Sender<usize>,
}

/// A call that is being held: reached when it came, let go when the test says so.
#[derive(Debug, Default)]
pub struct Pause {
    reached: Notify,
    go_on: Notify,
}

impl Pause {
    /// Waits until the call is held.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the call go on.
    pub fn let_go(&self) {
        self.go_on.notify_one();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

/// How a call is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The table never sees it.
    BeforeEffect,
    /// The table carries it out and the answer is lost.
    AfterEffect,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    countdown: u32,
    when: When,
    for_good: bool,
}

impl Table {
    /// Starts an engine and creates the table in it.
    pub async fn start() -> anyhow::Result<Self> {
        let database = Database::memory()?;
        let engine = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let front = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", front.local_addr()?);
        let inner = Arc::new(Inner {
            database: database.clone(),
            engine: format!("http://{}", engine.local_addr()?),
            client: {
                // Small writes back to back: without it each call waits for a delayed acknowledgement.
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                Client::builder(TokioExecutor::new()).build(connector)
            },
            counts: Mutex::default(),
            fault: Mutex::default(),
            pause: Mutex::default(),
            connections: watch::Sender::new(0),
        });
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            engine,
            database,
            std::future::pending::<()>(),
        ));
        let router = Router::new().fallback(pass_on).with_state(inner.clone());
        let counted = inner.clone();
        let front = front.tap_io(move |stream| {
            counted.connections.send_modify(|count| *count += 1);
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(front, router).await });
        let table = Self { url, database: inner };
        table.store()?.create_table().await?;
        table.reset();
        Ok(table)
    }

    /// Where it listens, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections it took so far.
    pub fn connections(&self) -> usize {
        *self.database.connections.borrow()
    }

    /// Waits until it took so many connections.
    pub async fn connected(&self, count: usize) {
        // The sender lives as long as `self`.
        let _ = self.database.connections.subscribe().wait_for(|taken| *taken >= count).await;
    }

    /// The settings that lead AWS clients to this table.
    pub fn aws(&self) -> anyhow::Result<Aws> {
        Ok(Aws::local(&self.url)?)
    }

    /// A store on this table.
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::new(&self.aws()?, NAME))
    }

    /// The engine itself, to look at rows as they are stored.
    pub fn database(&self) -> &Database {
        &self.database.database
    }

    /// How often each operation was called since the last reset.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        lock(&self.database.counts).clone()
    }

    /// How many calls of any operation.
    pub fn calls(&self) -> u32 {
        lock(&self.database.counts).values().sum()
    }

    /// How many calls that write.
    pub fn writes(&self) -> u32 {
        let counts = self.counts();
        ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"]
            .iter()
            .filter_map(|name| counts.get(*name))
            .sum()
    }

    /// Forgets the counts and any fault.
    pub fn reset(&self) {
        lock(&self.database.counts).clear();
        self.heal();
    }

    /// Fails the call after `skip` more, and with `for_good` every one after it.
    pub fn fail(&self, skip: u32, when: When, for_good: bool) {
        *lock(&self.database.fault) = Some(Fault { countdown: skip, when, for_good });
    }

    /// Holds the call after `skip` more before the table sees it.
    pub fn hold(&self, skip: u32) -> Arc<Pause> {
        let pause = Arc::new(Pause::default());
        *lock(&self.database.pause) = Some((skip, pause.clone()));
        pause
    }

    /// Ends a fault. Answers whether it was still waiting for its call.
    pub fn heal(&self) -> bool {
        lock(&self.database.fault).take().is_some_and(|fault| fault.countdown > 0)
    }
}

impl Inner {
    /// Whether this call is to be held.
    fn pause(&self) -> Option<Arc<Pause>> {
        let mut slot = lock(&self.pause);
        match slot.as_mut()? {
            (0, _) => slot.take().map(|(_, pause)| pause),
            (skip, _) => {
                *skip -= 1;
                None
            }
        }
    }

    /// Whether this call is to be failed.
    fn fault(&self) -> Option<When> {
        let mut slot = lock(&self.fault);
        let fault = slot.as_mut()?;
        if fault.countdown > 0 {
            fault.countdown -= 1;
            return None;
        }
        let when = fault.when;
        if !fault.for_good {
            *slot = None;
        }
        Some(when)
    }
}

async fn pass_on(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|name| name.to_str().ok()).unwrap_or("");
    let operation = target.rsplit('.').next().unwrap_or("").to_owned();
    *lock(&inner.counts).entry(operation).or_default() += 1;
    if let Some(pause) = inner.pause() {
        pause.reached.notify_one();
        pause.go_on.notified().await;
    }
    let fault = inner.fault();
    if fault == Some(When::BeforeEffect) {
        return refusal();
    }
    let mut request = http::Request::new(Body::from(body));
    *request.method_mut() = http::Method::POST;
    *request.headers_mut() = headers;
    let answer = match inner.engine.parse::<Uri>() {
        Ok(uri) => {
            *request.uri_mut() = uri;
            inner.client.request(request).await
        }
        Err(_) => return refusal(),
    };
    match answer {
        Ok(answer) if fault.is_none() => answer.map(Body::new),
        Ok(_) | Err(_) => refusal(),
    }
}

/// What the SDK takes for a failure that it does not repeat, so that one fault fails one call.
fn refusal() -> Response {
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceInUseException","message":"injected"}"#;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The table's name in tests.
pub const NAME: &str = "keysteward-test";
