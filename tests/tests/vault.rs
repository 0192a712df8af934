//! Both vaults against the same conformance suite, and the keyring over KMS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keysteward::Class;
use keysteward::domain::id::{AccountId, Kid};
use keysteward::domain::sealed::{Context, KeyPair, Sealed, Wrapped};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::local::LocalVault;
use keysteward::vault::pair::{Bits, generate};
use keysteward::vault::{Error, Keyring, OpenError, Vault};
use keysteward_tests::KmsDouble;

/// What the keyring relies on, whichever vault it is.
async fn conforms(vault: &dyn Vault, mode: Mode) {
    let context = context(mode);
    for bits in [Bits::Rsa2048, Bits::Rsa3072, Bits::Rsa4096] {
        let (private, _) = generate(bits).unwrap();
        let wrapped = vault.wrap(&context, &private).await.unwrap();
        let back = vault.unwrap_key(&context, &wrapped).await.unwrap();
        assert!(back.expose() == private.expose(), "what was wrapped comes back");

        let again = vault.wrap(&context, &private).await.unwrap();
        assert_ne!(wrapped, again, "wrapping twice gives two ciphertexts");

        let bytes = STANDARD.decode(&wrapped.0).unwrap();
        assert!(
            !bytes.windows(32).any(|window| private.expose().windows(32).any(|w| w == window)),
            "no piece of the private key shows in the wrapping"
        );
    }

    let (private, _) = generate(Bits::Rsa2048).unwrap();
    let wrapped = vault.wrap(&context, &private).await.unwrap();
    let other_mode = match mode {
        Mode::Live => Mode::Test,
        Mode::Test => Mode::Live,
    };
    for other in [
        Context { app: "ca_2".to_owned(), ..context.clone() },
        Context { account: AccountId::parse("acct_2").unwrap(), ..context.clone() },
        Context { kid: Kid::parse("kid_2").unwrap(), ..context.clone() },
        Context { mode: other_mode, ..context.clone() },
    ] {
        let refusal = vault.unwrap_key(&other, &wrapped).await.err().expect("another context");
        assert!(matches!(refusal, Error::WrongContextOrTampered(_) | Error::RefusesLive));
        assert_eq!(refusal.class(), Class::Fault);
    }

    let bytes = STANDARD.decode(&wrapped.0).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [flipped, bytes[..bytes.len() - 1].to_vec(), bytes[..5].to_vec()] {
        let damaged = Wrapped(STANDARD.encode(damaged));
        let refusal = vault.unwrap_key(&context, &damaged).await;
        assert!(matches!(refusal, Err(Error::WrongContextOrTampered(_))), "damaged");
    }
    let refusal = vault.unwrap_key(&context, &Wrapped("not base64!".to_owned())).await;
    assert!(matches!(refusal, Err(Error::WrongContextOrTampered(_))), "not base64");
}

#[tokio::test]
async fn the_local_vault_conforms() {
    conforms(&LocalVault::ephemeral().unwrap(), Mode::Test).await;
}

#[tokio::test]
async fn the_kms_vault_conforms_in_both_modes() {
    let kms = KmsDouble::start().await.unwrap();
    conforms(&vault(&kms), Mode::Test).await;
    conforms(&vault(&kms), Mode::Live).await;
}

#[tokio::test]
async fn what_kms_refuses_has_a_name() {
    let kms = KmsDouble::start().await.unwrap();
    let (private, _) = generate(Bits::Rsa2048).unwrap();
    let context = context(Mode::Live);
    let wrapped = vault(&kms).wrap(&context, &private).await.unwrap();

    let elsewhere = KmsVault::at(kms.url(), "eu-central-1", "alias/another").unwrap();
    let refusal = elsewhere.unwrap_key(&context, &wrapped).await;
    assert!(matches!(refusal, Err(Error::NotFound(_))), "another key");

    kms.set_disabled(true);
    let refusal = vault(&kms).unwrap_key(&context, &wrapped).await;
    assert!(matches!(refusal, Err(Error::Disabled(_))));
    let refusal = vault(&kms).wrap(&context, &private).await;
    assert!(matches!(refusal, Err(Error::Disabled(_))));
    kms.set_disabled(false);
    assert!(vault(&kms).unwrap_key(&context, &wrapped).await.is_ok());

    kms.refuse_with(Some("AccessDeniedException"));
    let refusal = vault(&kms).unwrap_key(&context, &wrapped).await;
    assert!(matches!(refusal, Err(Error::NotAllowed(_))));

    kms.refuse_with(Some("ThrottlingException"));
    let refusal = vault(&kms).unwrap_key(&context, &wrapped).await.err().unwrap();
    assert!(matches!(refusal, Error::Throttled(_)));
    assert_eq!(refusal.class(), Class::Transient);
}

#[tokio::test]
async fn a_kms_that_is_not_there_is_transient() {
    let (private, _) = generate(Bits::Rsa2048).unwrap();
    let vault = KmsVault::at("http://127.0.0.1:1", "eu-central-1", KmsDouble::KEY_ID).unwrap();
    let refusal = vault.wrap(&context(Mode::Test), &private).await.err().unwrap();
    assert!(matches!(refusal, Error::Unavailable(_)));
    assert_eq!(refusal.class(), Class::Transient);
}

#[tokio::test]
async fn a_broken_answer_of_kms_leaves_nothing_of_itself_in_the_error() {
    let secret = STANDARD.encode(TOKEN);
    let cut = format!(r#"{{"KeyId":"{TOKEN}","Plaintext":"{secret}""#);
    let no_base64 = format!(r#"{{"KeyId":"{TOKEN}","Plaintext":"{secret}_"}}"#);
    for body in [cut, no_base64] {
        let answer = axum::routing::post(|| async { body });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/", answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let vault = KmsVault::at(&url, "eu-central-1", KmsDouble::KEY_ID).unwrap();
        let wrapped = Wrapped("AAAA".to_owned());
        let refusal = vault.unwrap_key(&context(Mode::Live), &wrapped).await.err().unwrap();
        assert!(matches!(refusal, Error::Unavailable(_)));
        let mut shown = format!("{refusal:?}");
        let mut cause = std::error::Error::source(&refusal);
        while let Some(error) = cause {
            shown.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!shown.contains(TOKEN) && !shown.contains(&secret), "{shown}");
    }
}

#[tokio::test]
async fn a_new_pair_costs_one_encrypt_and_its_first_token_no_decrypt() {
    let kms = KmsDouble::start().await.unwrap();
    let keyring = keyring(&kms, 60);
    let pair = keyring.make_pair(&account("acct_1"), at(0)).await.unwrap();
    let sealed = keyring.seal(&pair, &token()).unwrap();
    assert_eq!(open(&keyring, "acct_1", &pair, &sealed, 59).await.unwrap().expose(), TOKEN);
    assert_eq!((kms.encrypts(), kms.decrypts()), (1, 0));
    assert_eq!(pair.made_at, at(0));
    assert_eq!(sealed.kid, pair.kid);
    assert!(!format!("{keyring:?} {pair:?} {sealed:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_process_decrypts_once_a_pair_until_the_cache_is_too_old() {
    let kms = KmsDouble::start().await.unwrap();
    let (pair, sealed) = pair_and_sealed(&kms).await;
    let another_process = keyring(&kms, 60);
    for now in [0, 1, 59] {
        open(&another_process, "acct_1", &pair, &sealed, now).await.unwrap();
    }
    assert_eq!(kms.decrypts(), 1);
    open(&another_process, "acct_1", &pair, &sealed, 60).await.unwrap();
    assert_eq!(kms.decrypts(), 2);
}

#[tokio::test]
async fn a_cache_of_zero_seconds_asks_kms_every_time() {
    let kms = KmsDouble::start().await.unwrap();
    let keyring = keyring(&kms, 0);
    let pair = keyring.make_pair(&account("acct_1"), at(0)).await.unwrap();
    let sealed = keyring.seal(&pair, &token()).unwrap();
    for _ in 0..2 {
        open(&keyring, "acct_1", &pair, &sealed, 0).await.unwrap();
    }
    assert_eq!(kms.decrypts(), 2);
}

#[tokio::test]
async fn one_accounts_pair_opens_nothing_for_another_account_even_when_cached() {
    let kms = KmsDouble::start().await.unwrap();
    let keyring = keyring(&kms, 60);
    let pair = keyring.make_pair(&account("acct_1"), at(0)).await.unwrap();
    let sealed = keyring.seal(&pair, &token()).unwrap();
    let refusal = open(&keyring, "acct_2", &pair, &sealed, 0).await.err().unwrap();
    assert!(matches!(refusal, OpenError::Vault(Error::WrongContextOrTampered(_))));
    assert_eq!(refusal.class(), Class::Fault);
}

#[tokio::test]
async fn what_was_sealed_to_another_pair_is_refused_without_asking_kms() {
    let kms = KmsDouble::start().await.unwrap();
    let (pair, sealed) = pair_and_sealed(&kms).await;
    let other = keyring(&kms, 0);
    let mislabelled = Sealed { kid: Kid::parse("kid_other").unwrap(), ..sealed.clone() };
    let refusal = open(&other, "acct_1", &pair, &mislabelled, 0).await;
    assert!(matches!(refusal, Err(OpenError::DoesNotOpen(_))));
    assert_eq!(kms.decrypts(), 0);
    let damaged = Sealed { compact: format!("{}A", sealed.compact), ..sealed };
    let refusal = open(&other, "acct_1", &pair, &damaged, 0).await;
    assert!(matches!(refusal, Err(OpenError::DoesNotOpen(_))));
}

#[tokio::test]
async fn a_vault_that_fails_is_told_apart_from_a_token_that_does_not_open() {
    let kms = KmsDouble::start().await.unwrap();
    let (pair, sealed) = pair_and_sealed(&kms).await;
    let another_process = keyring(&kms, 60);
    kms.set_disabled(true);
    let refusal = open(&another_process, "acct_1", &pair, &sealed, 0).await;
    assert!(matches!(refusal, Err(OpenError::Vault(Error::Disabled(_)))));
    kms.set_disabled(false);
    assert!(open(&another_process, "acct_1", &pair, &sealed, 0).await.is_ok());
}

#[tokio::test]
async fn a_keyring_over_a_local_vault_makes_no_live_pair() {
    let vault = LocalVault::ephemeral().unwrap();
    let keyring =
        Keyring::new(Box::new(vault), APP.to_owned(), Bits::Rsa2048, Duration::from_secs(60));
    let refusal = keyring.make_pair(&account("acct_1"), at(0)).await;
    assert!(matches!(refusal, Err(Error::RefusesLive)));
    let sandbox = AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap());
    assert!(keyring.make_pair(&sandbox, at(0)).await.is_ok());
}

async fn pair_and_sealed(kms: &KmsDouble) -> (KeyPair, Sealed) {
    let keyring = keyring(kms, 60);
    let pair = keyring.make_pair(&account("acct_1"), at(0)).await.unwrap();
    let sealed = keyring.seal(&pair, &token()).unwrap();
    (pair, sealed)
}

async fn open(
    keyring: &Keyring,
    account_id: &str,
    pair: &KeyPair,
    sealed: &Sealed,
    seconds: i64,
) -> Result<SecretToken, OpenError> {
    keyring.open(&account(account_id), pair, sealed, at(seconds)).await
}

fn vault(kms: &KmsDouble) -> KmsVault {
    KmsVault::at(kms.url(), "eu-central-1", KmsDouble::KEY_ID).unwrap()
}

fn keyring(kms: &KmsDouble, cache_seconds: u64) -> Keyring {
    let cache_for = Duration::from_secs(cache_seconds);
    Keyring::new(Box::new(vault(kms)), APP.to_owned(), Bits::Rsa2048, cache_for)
}

fn account(id: &str) -> AccountRef {
    AccountRef::new(Mode::Live, AccountId::parse(id).unwrap())
}

fn context(mode: Mode) -> Context {
    Context {
        app: APP.to_owned(),
        account: AccountId::parse("acct_1").unwrap(),
        mode,
        kid: Kid::parse("kid_1").unwrap(),
    }
}

fn token() -> SecretToken {
    SecretToken::new(TOKEN.to_owned())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

const APP: &str = "ca_1";
const TOKEN: &str = "sk_live_51AbCdEf";
