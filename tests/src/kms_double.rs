//! A double of AWS KMS, on loopback or in process: as much of Encrypt and Decrypt as the vault relies on.
//!
//! Speaks AWS JSON 1.1, looks at no signature, and holds one key. Like KMS it binds a ciphertext to
//! its encryption context and answers `InvalidCiphertextException` to any other. Stricter than KMS in
//! one thing: a Decrypt that names no key is refused, since Keysteward always has to name it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keysteward::http::Reply;
use keysteward::runtime::aws::Aws;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::door::{Doors, Peer};

/// A KMS with one key. Clones are the same one.
#[derive(Clone, Debug)]
pub struct KmsDouble {
    url: String,
    kms: Arc<Kms>,
    doors: Doors,
}

impl KmsDouble {
    /// The one key there is.
    pub const KEY_ID: &'static str = "alias/keysteward";

    /// A double that is called in process.
    pub fn new(doors: Doors) -> std::io::Result<Self> {
        let mut key = [0; 32];
        let key = aws_lc_rs::rand::fill(&mut key)
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key))
            .map_err(|_| std::io::Error::other("no random key"))?;
        let kms = Arc::new(Kms {
            key,
            encrypts: AtomicUsize::new(0),
            decrypts: AtomicUsize::new(0),
            refusal: Mutex::new(None),
        });
        Ok(Self { url: String::new(), kms, doors })
    }

    /// Starts a double on a free port of 127.0.0.1. It listens until the runtime stops.
    pub async fn start() -> std::io::Result<Self> {
        let mut double = Self::new(Doors::default())?;
        double.url = double.listen().await?;
        Ok(double)
    }

    /// Where it listens, `http://127.0.0.1:<port>`; empty in process.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The settings that lead AWS clients to this double, without a socket.
    pub fn aws(&self) -> Aws {
        let double = self.clone();
        Aws::within(Arc::new(move |request| {
            let double = double.clone();
            Box::pin(async move { Some(double.answer(request.headers(), request.body()).await) })
        }))
    }

    /// Listens on a free port of 127.0.0.1, until the runtime stops. Answers where, `http://127.0.0.1:<port>`.
    pub async fn listen(&self) -> std::io::Result<String> {
        let router = Router::new().route("/", post(call)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        let target = target.unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or("");
        let call = async { self.kms.answer(target, body) };
        // An answer that the SDK does not repeat, so that one fault fails one call.
        let lost = Err("DependencyTimeoutException");
        let answered = self.doors.pass(Peer::Kms, operation, call).await.unwrap_or(lost);
        let (status, body) = match answered {
            Ok(output) => (StatusCode::OK, output),
            Err(code) => {
                let status = match code {
                    "KMSInternalException" => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => StatusCode::BAD_REQUEST,
                };
                (status, json!({"__type": code, "message": "refused by the double"}))
            }
        };
        let mut reply = Reply::new(body.to_string().into_bytes());
        *reply.status_mut() = status;
        let content_type = HeaderValue::from_static("application/x-amz-json-1.1");
        reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
        reply
    }

    /// How many Encrypt calls it got, refused ones too.
    pub fn encrypts(&self) -> usize {
        self.kms.encrypts.load(Ordering::SeqCst)
    }

    /// How many Decrypt calls it got, refused ones too.
    pub fn decrypts(&self) -> usize {
        self.kms.decrypts.load(Ordering::SeqCst)
    }

    /// Disables the key, or enables it again.
    pub fn set_disabled(&self, disabled: bool) {
        self.refuse_with(disabled.then_some("DisabledException"));
    }

    /// Answers every call with this error code, until `None`.
    pub fn refuse_with(&self, code: Option<&'static str>) {
        *self.kms.refusal.lock().unwrap_or_else(PoisonError::into_inner) = code;
    }
}

#[derive(Debug)]
struct Kms {
    key: RandomizedNonceKey,
    encrypts: AtomicUsize,
    decrypts: AtomicUsize,
    refusal: Mutex<Option<&'static str>>,
}

impl Kms {
    fn answer(&self, target: &str, body: &[u8]) -> Result<Value, &'static str> {
        let (operation, count): (fn(&Self, &Value) -> _, _) = match target {
            "TrentService.Encrypt" => (Self::encrypt, &self.encrypts),
            "TrentService.Decrypt" => (Self::decrypt, &self.decrypts),
            _ => return Err("UnknownOperationException"),
        };
        count.fetch_add(1, Ordering::SeqCst);
        if let Some(code) = *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(code);
        }
        let input: Value = serde_json::from_slice(body).map_err(|_| "SerializationException")?;
        match input["KeyId"].as_str() {
            Some(Self::KEY_ID) => operation(self, &input),
            Some(_) => Err("NotFoundException"),
            None => Err("ValidationException"),
        }
    }

    fn encrypt(&self, input: &Value) -> Result<Value, &'static str> {
        let mut bytes = blob(&input["Plaintext"])?;
        if !(1..=4096).contains(&bytes.len()) {
            return Err("ValidationException");
        }
        let (nonce, tag) = self
            .key
            .seal_in_place_separate_tag(Aad::from(associated_data(input)?), &mut bytes)
            .map_err(|_| "KMSInternalException")?;
        let ciphertext = STANDARD.encode([&nonce.as_ref()[..], &bytes, tag.as_ref()].concat());
        Ok(json!({
            "KeyId": Self::KEY_ID,
            "CiphertextBlob": ciphertext,
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }

    fn decrypt(&self, input: &Value) -> Result<Value, &'static str> {
        let refused = "InvalidCiphertextException";
        let mut bytes = blob(&input["CiphertextBlob"])?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(refused)?;
        let plaintext = self
            .key
            .open_in_place(Nonce::from(&*nonce), Aad::from(associated_data(input)?), sealed)
            .map_err(|_| refused)?;
        Ok(json!({
            "KeyId": Self::KEY_ID,
            "Plaintext": STANDARD.encode(plaintext),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }

    const KEY_ID: &'static str = KmsDouble::KEY_ID;
}

async fn call(State(double): State<KmsDouble>, headers: HeaderMap, body: Bytes) -> Response {
    double.answer(&headers, &body).await.map(Body::from)
}

fn blob(value: &Value) -> Result<Vec<u8>, &'static str> {
    let text = value.as_str().ok_or("ValidationException")?;
    STANDARD.decode(text).map_err(|_| "SerializationException")
}

/// The encryption context in the order of its names: KMS looks at no other order either.
fn associated_data(input: &Value) -> Result<Vec<u8>, &'static str> {
    let pairs: BTreeMap<String, String> = match &input["EncryptionContext"] {
        Value::Null => BTreeMap::new(),
        given => serde_json::from_value(given.clone()).map_err(|_| "SerializationException")?,
    };
    serde_json::to_vec(&pairs).map_err(|_| "KMSInternalException")
}
