//! The table of a test: the embedded DynamoDB engine behind a door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::serve::ListenerExt as _;
use dynoxide::Database;
use http::{HeaderMap, HeaderValue, StatusCode};
use keysteward::http::Reply;
use keysteward::runtime::aws::Aws;
use keysteward::store::Store;

use crate::door::{Doors, Fault, Pause, Peer};
use crate::engine;

pub use crate::door::When;
use tokio::sync::watch;

/// A fresh table in memory.
#[derive(Clone)]
pub struct Table {
    database: Database,
    doors: Doors,
    connections: Arc<watch::Sender<usize>>,
    read: Arc<[AtomicU64; 2]>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

impl Table {
    /// Starts an engine and creates the table in it.
    pub async fn start() -> anyhow::Result<Self> {
        Self::behind(Doors::default()).await
    }

    /// As [`Table::start`], behind doors that others use too.
    pub async fn behind(doors: Doors) -> anyhow::Result<Self> {
        let table = Self {
            database: Database::memory()?,
            doors,
            connections: Arc::new(watch::Sender::new(0)),
            read: Arc::default(),
        };
        table.store()?.create_table().await?;
        table.reset();
        Ok(table)
    }

    /// Ends the table's stream, which the engine scans in whole at every write to number the next record.
    pub fn without_stream(self) -> anyhow::Result<Self> {
        let update = serde_json::json!({
            "TableName": NAME,
            "StreamSpecification": {"StreamEnabled": false},
        });
        self.database.update_table(serde_json::from_value(update)?)?;
        Ok(self)
    }

    /// The settings that lead AWS clients to this table, without a socket.
    pub fn aws(&self) -> Aws {
        let table = self.clone();
        Aws::within(Arc::new(move |request| {
            let table = table.clone();
            Box::pin(async move { Some(table.answer(request.headers(), request.body()).await) })
        }))
    }

    /// Opens a socket on loopback to this table and answers its address.
    pub async fn listen(&self) -> std::io::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(pass_on).with_state(self.clone());
        let connections = self.connections.clone();
        let listener = listener.tap_io(move |stream| {
            connections.send_modify(|count| *count += 1);
            // Small writes back to back: without it each call waits for a delayed acknowledgement.
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    /// How many connections its sockets took so far.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until they took so many connections.
    pub async fn connected(&self, count: usize) {
        // The sender lives as long as `self`.
        let _ = self.connections.subscribe().wait_for(|taken| *taken >= count).await;
    }

    /// A store on this table.
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::new(&self.aws(), NAME))
    }

    /// The engine itself, to look at rows as they are stored.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// How often each operation was called since the last reset.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.doors.counts(Peer::Table)
    }

    /// How many calls of any operation.
    pub fn calls(&self) -> u32 {
        self.counts().values().sum()
    }

    /// How many calls that write.
    pub fn writes(&self) -> u32 {
        let counts = self.counts();
        ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"]
            .iter()
            .filter_map(|name| counts.get(*name))
            .sum()
    }

    /// How many items queries read so far: of the due index, and of the table itself.
    pub fn items_read(&self) -> (u64, u64) {
        (self.read[0].load(Ordering::Relaxed), self.read[1].load(Ordering::Relaxed))
    }

    fn count_items(&self, asked: &[u8], answered: &[u8]) {
        let (asked, answered) = (String::from_utf8_lossy(asked), String::from_utf8_lossy(answered));
        let of = usize::from(!asked.contains("\"IndexName\""));
        let count = answered
            .rsplit_once("\"ScannedCount\":")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        self.read[of].fetch_add(count.unwrap_or(0), Ordering::Relaxed);
    }

    /// Forgets the counts and any fault.
    pub fn reset(&self) {
        self.doors.forget(Peer::Table);
        self.doors.heal();
    }

    /// Fails the call after `skip` more, and with `for_good` every one after it.
    pub fn fail(&self, skip: u32, when: When, for_good: bool) {
        let times = if for_good { u32::MAX } else { 1 };
        self.doors.fail(Fault { peer: Some(Peer::Table), skip, when, times });
    }

    /// Holds the call after `skip` more before the table sees it.
    pub fn hold(&self, skip: u32) -> Arc<Pause> {
        self.doors.hold(Peer::Table, skip)
    }

    /// Ends a fault. Answers whether it was still waiting for its call.
    pub fn heal(&self) -> bool {
        self.doors.heal() == 0
    }

    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let target = headers.get("x-amz-target").and_then(|name| name.to_str().ok()).unwrap_or("");
        let operation = target.rsplit('.').next().unwrap_or("");
        let call = async {
            let answer = engine::answer(&self.database, operation, body);
            if operation == "Query" {
                self.count_items(body, &answer.1);
            }
            answer
        };
        // What the SDK takes for a failure that it does not repeat, so that one fault fails one call.
        let refusal = || (StatusCode::BAD_REQUEST, REFUSAL.as_bytes().to_vec());
        let answered = self.doors.pass(Peer::Table, operation, call).await;
        let (status, body) = answered.unwrap_or_else(refusal);
        let mut reply = Reply::new(body);
        *reply.status_mut() = status;
        let content_type = HeaderValue::from_static("application/x-amz-json-1.0");
        reply.headers_mut().insert("content-type", content_type);
        reply
    }
}

async fn pass_on(State(table): State<Table>, headers: HeaderMap, body: Bytes) -> Response {
    table.answer(&headers, &body).await.map(Body::from)
}

const REFUSAL: &str =
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceInUseException","message":"injected"}"#;

/// The table's name in tests.
pub const NAME: &str = "keysteward-test";
