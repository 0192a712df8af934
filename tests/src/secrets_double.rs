//! A double of AWS Secrets Manager on loopback: as much of GetSecretValue as a function relies on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A Secrets Manager with a few secrets. Stops with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct SecretsDouble {
    url: String,
    inner: Arc<Inner>,
}

struct Inner {
    secrets: Mutex<BTreeMap<String, String>>,
    failing: Mutex<Option<&'static str>>,
    held: watch::Sender<bool>,
    reads: AtomicUsize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

impl SecretsDouble {
    /// Starts a double on a free port of 127.0.0.1.
    pub async fn start() -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            secrets: Mutex::default(),
            failing: Mutex::default(),
            held: watch::Sender::new(false),
            reads: AtomicUsize::new(0),
        });
        let router = Router::new().route("/", post(call)).with_state(inner.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, inner })
    }

    /// Where it listens, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Keeps a text under a name, in place of what was there.
    pub fn put(&self, id: &str, text: &str) {
        lock(&self.inner.secrets).insert(id.to_owned(), text.to_owned());
    }

    /// Forgets a secret.
    pub fn remove(&self, id: &str) {
        lock(&self.inner.secrets).remove(id);
    }

    /// Refuses every read with this code, or none any more.
    pub fn fail(&self, code: Option<&'static str>) {
        *lock(&self.inner.failing) = code;
    }

    /// Answers nobody until it is told to.
    pub fn hold(&self, held: bool) {
        self.inner.held.send_replace(held);
    }

    /// How many reads there were, refused ones too.
    pub fn reads(&self) -> usize {
        self.inner.reads.load(Ordering::SeqCst)
    }
}

async fn call(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    inner.reads.fetch_add(1, Ordering::SeqCst);
    // The sender lives as long as `inner`.
    let _ = inner.held.subscribe().wait_for(|held| !held).await;
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let (status, body) = match answer(&inner, target.unwrap_or_default(), &body) {
        Ok(output) => (StatusCode::OK, output),
        Err(code) => (StatusCode::BAD_REQUEST, json!({ "__type": code, "Message": "refused" })),
    };
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, content_type, body.to_string()).into_response()
}

fn answer(inner: &Inner, target: &str, body: &[u8]) -> Result<Value, &'static str> {
    if target != "secretsmanager.GetSecretValue" {
        return Err("UnknownOperationException");
    }
    if let Some(code) = *lock(&inner.failing) {
        return Err(code);
    }
    let input: Value = serde_json::from_slice(body).map_err(|_| "SerializationException")?;
    let id = input["SecretId"].as_str().ok_or("InvalidParameterException")?;
    let secrets = lock(&inner.secrets);
    let secret = secrets.get(id).ok_or("ResourceNotFoundException")?;
    Ok(json!({
        "ARN": format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{id}"),
        "Name": id,
        "SecretString": secret,
        "VersionId": "00000000-0000-0000-0000-000000000000",
        "VersionStages": ["AWSCURRENT"],
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
