//! A double of AWS Secrets Manager on loopback: GetSecretValue of texts that a test puts there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Secrets = Arc<Mutex<BTreeMap<String, String>>>;

/// A Secrets Manager. Stops with the runtime it was started on.
pub struct SecretsDouble {
    url: String,
    secrets: Secrets,
}

impl std::fmt::Debug for SecretsDouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsDouble").field("url", &self.url).finish_non_exhaustive()
    }
}

impl SecretsDouble {
    /// Starts an empty one on a free port of 127.0.0.1.
    pub async fn start() -> std::io::Result<Self> {
        let secrets = Secrets::default();
        let router = Router::new().route("/", post(call)).with_state(secrets.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, secrets })
    }

    /// Where it listens, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Keeps a text under a name, in place of what was there.
    pub fn put(&self, id: &str, text: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(id.to_owned(), text.to_owned());
    }
}

async fn call(State(secrets): State<Secrets>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let input: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = input["SecretId"].as_str().unwrap_or_default();
    let secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, answer) = match (target, secrets.get(id)) {
        (Some("secretsmanager.GetSecretValue"), Some(text)) => {
            (StatusCode::OK, json!({ "Name": id, "SecretString": text }))
        }
        (Some("secretsmanager.GetSecretValue"), None) => {
            let code = "ResourceNotFoundException";
            (StatusCode::BAD_REQUEST, json!({ "__type": code, "Message": "there is none" }))
        }
        _ => (StatusCode::BAD_REQUEST, json!({ "__type": "InvalidRequestException" })),
    };
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, content_type, answer.to_string()).into_response()
}
