//! The KMS vault against other people's emulators of KMS, which `tests/referee/run` starts.
//!
//! None of them is right in everything, so each behaviour that the vault relies on is a row of a table. What an
//! emulator is known to get wrong is tried all the same: a row that has become right has to be taken off the list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;

use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keysteward::domain::id::{AccountId, Kid};
use keysteward::domain::sealed::{Context, Wrapped};
use keysteward::domain::slot::Mode;
use keysteward::runtime::settings::environment;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::{Bits, generate};
use keysteward::vault::{Error, Vault as _};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    ComesBack,
    NeverTheSameTwice,
    BoundToItsContext,
    NoticesTampering,
    BoundToItsKey,
    NoSuchKey,
    Disabled,
    PendingDeletion,
    TakesFourKilobytes,
}

use Behaviour::*;

const BEHAVIOURS: [(Behaviour, &str); 9] = [
    (ComesBack, "a private key of each size comes back as it was"),
    (NeverTheSameTwice, "wrapping twice gives two ciphertexts"),
    (BoundToItsContext, "another app, account, mode or kid opens nothing"),
    (NoticesTampering, "a changed or cut ciphertext opens nothing"),
    (BoundToItsKey, "another key opens nothing, though the ciphertext names the right one"),
    (NoSuchKey, "a key that does not exist is told apart"),
    (Disabled, "a disabled key neither wraps nor unwraps, and does again when enabled"),
    (PendingDeletion, "a key that waits for its deletion does not unwrap"),
    (TakesFourKilobytes, "4096 bytes are wrapped and one more is refused"),
];

/// What an emulator gets wrong: seen with ministack 1.5.33 and moto 5.2.5.
const WRONG: [(&str, Behaviour, &str); 7] = [
    ("moto", BoundToItsKey, "it opens with the key that the ciphertext names, whichever was asked"),
    ("moto", Disabled, "a disabled key goes on working"),
    ("moto", PendingDeletion, "a key that waits for its deletion goes on working"),
    ("ministack", NoticesTampering, "its encryption is an XOR pad without a tag"),
    (
        "ministack",
        BoundToItsKey,
        "it opens with the key that the ciphertext names, whichever was asked",
    ),
    (
        "ministack",
        NoSuchKey,
        "it opens with the key that the ciphertext names, whichever was asked",
    ),
    ("ministack", TakesFourKilobytes, "it knows no limit"),
];

#[tokio::test]
async fn the_kms_vault_is_right_about_kms() {
    let name = environment("KEYSTEWARD_TEST_KMS").expect("which emulator it is");
    let url = environment("KEYSTEWARD_TEST_KMS_ENDPOINT").expect("where it listens");
    let kms = Kms { url };
    let mut out = std::io::stdout();
    let mut surprises = Vec::new();
    let mut checked = 0;
    for (behaviour, sentence) in BEHAVIOURS {
        let known = WRONG.iter().find(|(who, what, _)| *who == name && *what == behaviour);
        match (kms.shows(behaviour).await, known) {
            (true, None) => {
                checked += 1;
                writeln!(out, "{name}: {sentence}").unwrap();
            }
            (false, Some((_, _, why))) => {
                writeln!(out, "{name}: NOT CHECKED, {sentence}: {why}").unwrap();
            }
            (false, None) => surprises.push(format!("does not hold: {sentence}")),
            (true, Some(_)) => surprises.push(format!("has become right: {sentence}")),
        }
    }
    assert!(surprises.is_empty(), "{name}: {surprises:#?}");
    assert!(checked >= 5, "{name} can check {checked} behaviours only");
}

struct Kms {
    url: String,
}

impl Kms {
    async fn shows(&self, behaviour: Behaviour) -> bool {
        let key = self.new_key().await;
        match behaviour {
            ComesBack => self.comes_back(&key).await,
            NeverTheSameTwice => self.wrapped(&key).await != self.wrapped(&key).await,
            BoundToItsContext => self.is_bound_to_its_context(&key).await,
            NoticesTampering => self.notices_tampering(&key).await,
            BoundToItsKey => {
                let wrapped = self.wrapped(&key).await;
                is_wrong(self.unwrap_key(&self.new_key().await, &context(), &wrapped).await)
            }
            NoSuchKey => {
                let wrapped = self.wrapped(&key).await;
                let nowhere = "11111111-2222-4333-8444-555555555555";
                matches!(
                    self.unwrap_key(nowhere, &context(), &wrapped).await,
                    Err(Error::NotFound(_))
                )
            }
            Disabled => self.is_disabled(&key).await,
            PendingDeletion => {
                let wrapped = self.wrapped(&key).await;
                let body = json!({ "KeyId": key, "PendingWindowInDays": 7 });
                self.call("ScheduleKeyDeletion", &body).await.unwrap();
                let refused = self.unwrap_key(&key, &context(), &wrapped).await;
                matches!(refused, Err(Error::Disabled(_)))
            }
            TakesFourKilobytes => {
                let of =
                    |size| json!({ "KeyId": key, "Plaintext": STANDARD.encode(vec![7; size]) });
                self.call("Encrypt", &of(4096)).await.is_some()
                    && self.call("Encrypt", &of(4097)).await.is_none()
            }
        }
    }

    async fn comes_back(&self, key: &str) -> bool {
        let vault = self.vault(key);
        for bits in [Bits::Rsa2048, Bits::Rsa3072, Bits::Rsa4096] {
            let (private, _) = generate(bits).unwrap();
            let wrapped = vault.wrap(&context(), &private).await.unwrap();
            let back = vault.unwrap_key(&context(), &wrapped).await.unwrap();
            if back.expose() != private.expose() {
                return false;
            }
        }
        true
    }

    async fn is_bound_to_its_context(&self, key: &str) -> bool {
        let wrapped = self.wrapped(key).await;
        for other in [
            Context { app: "ca_2".to_owned(), ..context() },
            Context { account: AccountId::parse("acct_2").unwrap(), ..context() },
            Context { kid: Kid::parse("kid_2").unwrap(), ..context() },
            Context { mode: Mode::Test, ..context() },
        ] {
            if !is_wrong(self.unwrap_key(key, &other, &wrapped).await) {
                return false;
            }
        }
        true
    }

    async fn notices_tampering(&self, key: &str) -> bool {
        let bytes = STANDARD.decode(self.wrapped(key).await.0).unwrap();
        let flipped = |at: usize| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            flipped
        };
        let cut = bytes[..bytes.len() - 1].to_vec();
        for damaged in [flipped(bytes.len() / 2), flipped(bytes.len() - 1), cut] {
            let damaged = Wrapped(STANDARD.encode(damaged));
            if !is_wrong(self.unwrap_key(key, &context(), &damaged).await) {
                return false;
            }
        }
        true
    }

    async fn is_disabled(&self, key: &str) -> bool {
        let wrapped = self.wrapped(key).await;
        let (private, _) = generate(Bits::Rsa2048).unwrap();
        self.call("DisableKey", &json!({ "KeyId": key })).await.unwrap();
        let unwrapped = self.unwrap_key(key, &context(), &wrapped).await;
        let again = self.vault(key).wrap(&context(), &private).await;
        self.call("EnableKey", &json!({ "KeyId": key })).await.unwrap();
        let enabled = self.unwrap_key(key, &context(), &wrapped).await;
        matches!(unwrapped, Err(Error::Disabled(_)))
            && matches!(again, Err(Error::Disabled(_)))
            && enabled.is_ok()
    }

    /// A private key, wrapped under [`context`].
    async fn wrapped(&self, key: &str) -> Wrapped {
        let (private, _) = generate(Bits::Rsa2048).unwrap();
        self.vault(key).wrap(&context(), &private).await.unwrap()
    }

    async fn unwrap_key(&self, key: &str, under: &Context, wrapped: &Wrapped) -> Result<(), Error> {
        self.vault(key).unwrap_key(under, wrapped).await.map(drop)
    }

    fn vault(&self, key: &str) -> KmsVault {
        KmsVault::at(&self.url, "us-east-1", key).unwrap()
    }

    async fn new_key(&self) -> String {
        let made = self.call("CreateKey", &json!({})).await.unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// What the vault has no call for. `None` when it is refused.
    async fn call(&self, operation: &str, body: &Value) -> Option<Value> {
        // Emulators read the service and the region in here, and no more.
        let signed = "AWS4-HMAC-SHA256 Credential=double/20260101/us-east-1/kms/aws4_request, \
                      SignedHeaders=host, Signature=0";
        let request = http::Request::post(&self.url)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{operation}"))
            .header("authorization", signed)
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer =
            Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), 1 << 20).await.unwrap();
        parts.status.is_success().then(|| serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn is_wrong(outcome: Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::WrongContextOrTampered(_)))
}

fn context() -> Context {
    Context {
        app: "ca_1".to_owned(),
        account: AccountId::parse("acct_1").unwrap(),
        mode: Mode::Live,
        kid: Kid::parse("kid_1").unwrap(),
    }
}
