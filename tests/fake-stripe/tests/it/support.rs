//! A double with one account, and a client that calls it as the app.

use std::sync::OnceLock;

use fake_stripe::{AccountSpec, Clock, Deliver, Destination, FakeStripe, Options, Payload};
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use josekit::jwk::alg::rsa::RsaKeyPair;
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "acct_1User";
pub(crate) const LIVE: &str = "sk_live_fake_app";
pub(crate) const TEST: &str = "sk_test_fake_app";
pub(crate) const VERSION: &str = "2026-04-22.preview";
pub(crate) const RESTRICTED: &str = "2026-10-14.preview";
/// 2026-11-24T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_521_600_000;
pub(crate) const MINUTE: i64 = 60_000;

pub(crate) struct Setup {
    pub(crate) fake: FakeStripe,
    pub(crate) clock: Clock,
    pub(crate) client: reqwest::Client,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.message());
        self.body["id"].as_str().expect("an object has an id").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Installed in both modes; one destination of each kind; deliveries wait; the clock stands at noon.
pub(crate) async fn setup() -> Setup {
    let setup = uninstalled().await;
    setup.fake.install(ACCOUNT, true);
    setup.fake.install(ACCOUNT, false);
    let _ = setup.fake.take_deliveries();
    setup
}

pub(crate) async fn uninstalled() -> Setup {
    let clock = Clock::manual(NOON);
    let to = |payload| Destination {
        url: "http://127.0.0.1:1/webhooks/stripe".into(),
        signing_secrets: vec!["whsec_old".into(), "whsec_new".into()],
        payload,
    };
    let fake = FakeStripe::start(Options {
        clock: clock.clone(),
        destinations: vec![to(Payload::Thin), to(Payload::Snapshot)],
        deliver: Deliver::Manual,
        ..Options::default()
    })
    .await
    .expect("a loopback port is free");
    fake.add_account(ACCOUNT, AccountSpec::default());
    Setup { fake, clock, client: client() }
}

pub(crate) fn client() -> reqwest::Client {
    // The client wants a TLS provider even where only plain HTTP is spoken.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client needs nothing")
}

impl Setup {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fake.url())
    }

    /// A request with all that a v2 call needs.
    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        key: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.client
            .request(method, self.url(path))
            .bearer_auth(key)
            .header("stripe-version", VERSION)
            .header("stripe-context", ACCOUNT)
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Reply {
        send(self.request(reqwest::Method::GET, key, path)).await
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: Value) -> Reply {
        send(self.request(reqwest::Method::POST, key, path).json(&body)).await
    }

    pub(crate) async fn post_with(
        &self,
        key: &str,
        path: &str,
        idempotency_key: &str,
        body: &Value,
    ) -> Reply {
        let request = self.request(reqwest::Method::POST, key, path);
        send(request.header("idempotency-key", idempotency_key).json(body)).await
    }

    /// A call of a version that knows restricted keys.
    pub(crate) async fn post_restricted(&self, key: &str, path: &str, body: Value) -> Reply {
        let request = self.client.post(self.url(path)).bearer_auth(key);
        let request =
            request.header("stripe-version", RESTRICTED).header("stripe-context", ACCOUNT);
        send(request.json(&body)).await
    }

    pub(crate) async fn create_live(&self) -> Reply {
        self.post(LIVE, "/v2/iam/api_keys", secret_key()).await
    }

    pub(crate) async fn create_test(&self) -> Reply {
        self.post(TEST, "/v2/iam/api_keys", json!({"type": "secret_key", "name": "n"})).await
    }

    /// What the health probe sees.
    pub(crate) async fn probe(&self, token: &str) -> u16 {
        send(self.client.get(self.url("/v1/customers?limit=1")).bearer_auth(token)).await.status
    }

    pub(crate) fn token(&self, key_id: &str) -> String {
        self.fake.token_of(key_id).expect("the key exists")
    }

    /// Bodies of the deliveries that are due.
    pub(crate) fn delivered(&self) -> Vec<Value> {
        let bodies = self.fake.take_deliveries();
        bodies.iter().map(|it| serde_json::from_slice(&it.body).expect("JSON")).collect()
    }

    pub(crate) fn delivered_types(&self) -> Vec<String> {
        self.delivered().iter().map(|it| it["type"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.expect("the double answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("the answer ends");
    let body = serde_json::from_str(&text).unwrap_or_default();
    Reply { status, headers, text, body }
}

pub(crate) fn key_pair() -> &'static RsaKeyPair {
    static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
    PAIR.get_or_init(|| RsaesJweAlgorithm::RsaOaep256.generate_key_pair(2048).expect("RSA"))
}

pub(crate) fn public_key() -> Value {
    let pem = String::from_utf8(key_pair().to_pem_public_key()).expect("ASCII");
    json!({"id": "kid_1", "pem_key": {"algorithm": "RSA", "data": pem}})
}

pub(crate) fn secret_key() -> Value {
    json!({"type": "secret_key", "name": "Integration", "note": "n1", "public_key": public_key()})
}

pub(crate) fn open(ciphertext: &str, alg: RsaesJweAlgorithm) -> String {
    let decrypter = alg.decrypter_from_pem(key_pair().to_pem_private_key()).expect("a decrypter");
    let (plain, header) = josekit::jwe::deserialize_compact(ciphertext, &decrypter).expect("opens");
    assert_eq!(header.content_encryption(), Some("A256GCM"));
    String::from_utf8(plain).expect("a token is ASCII")
}
