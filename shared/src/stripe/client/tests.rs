//! Options that are refused, and how often a call is made.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::class::Class;
use crate::stripe::testing::{Reply, Server, account, client, client_at, key_id};
use crate::stripe::{EventQuery, Refusal};

fn built(api_base: &str, live: Option<&str>, max_rps: u32) -> Result<(), Error> {
    let options = Options {
        api_base: api_base.to_owned(),
        stripe_version: "2026-04-22.preview".to_owned(),
        keys: AppKeys { live: live.map(|text| SecretToken::new(text.to_owned())), test: None },
        max_rps,
        timeout: Duration::from_secs(1),
    };
    Stripe::new(options).map(drop)
}

#[test]
fn the_key_goes_over_tls_or_to_this_machine_only() {
    for base in [
        "https://api.stripe.com",
        "https://api.stripe.com/",
        "http://127.0.0.1:4010",
        "http://127.8.0.1",
        "http://[::1]:4010",
        "http://localhost:4010",
    ] {
        assert!(built(base, None, 1).is_ok(), "{base}");
    }
    for base in ["http://api.stripe.com", "http://localhost.evil.com", "http://10.0.0.1"] {
        let refused = built(base, None, 1);
        assert!(
            matches!(refused, Err(Error::Misconfigured(Misconfigured::InsecureBase))),
            "{base}"
        );
    }
    for base in [
        "",
        "api.stripe.com",
        "ftp://api.stripe.com",
        "file:///etc",
        "https://user@api.stripe.com",
        "https://api.stripe.com/v2",
        "https://api.stripe.com/?a=b",
        "https://api.stripe.com/#a",
    ] {
        let refused = built(base, None, 1);
        assert!(matches!(refused, Err(Error::Misconfigured(Misconfigured::Base))), "{base}");
    }
}

#[test]
fn a_key_of_another_mode_or_kind_is_refused_by_name() {
    for key in ["sk_live_1", "rk_live_1", "sk_org_live_1"] {
        assert!(built("https://api.stripe.com", Some(key), 1).is_ok(), "{key}");
    }
    for key in ["sk_test_1", "pk_live_1", "", "sk_live_1\n"] {
        let refused = built("https://api.stripe.com", Some(key), 1);
        let misconfigured = Error::Misconfigured(Misconfigured::AppKey(Mode::Live));
        assert_eq!(format!("{:?}", refused.unwrap_err()), format!("{misconfigured:?}"));
    }
    let stopped = built("https://api.stripe.com", None, 0);
    assert!(matches!(stopped, Err(Error::Misconfigured(Misconfigured::Rate))));
}

fn key() -> Value {
    json!({"id": "mk_1", "type": "secret_key", "livemode": true, "status": "active",
           "created": "2025-01-01T00:00:00.000Z"})
}

fn refusal(code: &str) -> Value {
    json!({"error": {"code": code, "message": "m"}})
}

/// Reads with GET and changes with POST until either ends; how many requests each took, and the error.
async fn attempts(reply: Reply) -> [(usize, Error); 2] {
    let server = Server::start([reply.clone()]).await;
    let read = client(&server).retrieve(&account(), &key_id("mk_1")).await.unwrap_err();
    let reads = server.seen().len();
    let server = Server::start([reply]).await;
    let changed = client(&server).expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    [(reads, read), (server.seen().len(), changed)]
}

#[tokio::test]
async fn what_may_pass_is_tried_three_times_and_what_will_not_once() {
    for (reply, count) in [
        (Reply::json(400, refusal("invalid_fields")), 1),
        (Reply::json(400, json!({})).header("stripe-should-retry", "true"), 1),
        (Reply::json(401, json!({})), 1),
        (Reply::json(404, json!({})), 1),
        (Reply::json(404, json!({})).header("stripe-should-retry", "true"), 3),
        (Reply::json(409, refusal("idempotency_conflict")), 3),
        (Reply::json(409, refusal("idempotency_error")), 1),
        (Reply::json(429, json!({})).header("stripe-rate-limited-reason", "global-rate"), 1),
        (Reply::json(429, refusal("lock_timeout")), 3),
        (Reply::json(500, json!({})), 3),
        (Reply::json(503, json!({})).header("stripe-should-retry", "false"), 1),
        (Reply::text(200, "no json".to_owned()), 1),
    ] {
        for (made, error) in attempts(reply.clone()).await {
            assert_eq!(made, count, "{error:?}");
        }
    }
}

#[tokio::test]
async fn every_attempt_sends_the_same() {
    let server = Server::start([
        Reply::json(500, json!({})),
        Reply::json(429, refusal("lock_timeout")),
        Reply::json(200, key()),
    ])
    .await;
    client(&server).expire(&account(), &key_id("mk_1"), "idem").await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for attempt in &seen {
        assert_eq!(attempt.line(), seen[0].line());
        assert_eq!(attempt.body, seen[0].body);
        assert_eq!(attempt.header("idempotency-key"), Some("idem"));
    }
}

#[tokio::test]
async fn a_time_out_of_a_change_is_handed_back_at_once_and_of_a_read_is_not() {
    let server = Server::start([Reply::json(200, key()).late(Duration::from_secs(5))]).await;
    let stripe = client_at(&server.base, Duration::from_millis(200));
    let error = stripe.expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    assert!(error.is_ambiguous());
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(server.seen().len(), 1);
    let error = stripe.retrieve(&account(), &key_id("mk_1")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_connection_that_nobody_takes_was_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let stripe = client_at(&base, Duration::from_secs(2));
    let error = stripe.expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(!error.is_ambiguous());
    assert!(!format!("{error:?}").contains("/v2/iam"), "the url is not part of the error");
}

/// Serves every connection with `answer` and closes it; returns the base URL.
async fn breaking(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    base
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_open_what_happened() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":"] {
        let stripe = client_at(&breaking(answer).await, Duration::from_secs(2)).impatient();
        let error = stripe.expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error:?}");
        assert!(error.is_ambiguous());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start([Reply::json(200, key())]).await;
    let location: &'static str = Box::leak(elsewhere.base.clone().into_boxed_str());
    let server = Server::start([Reply::json(307, json!({})).header("location", location)]).await;
    let error = client(&server).expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::Other { status: 307, code: None }));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn calls_keep_to_the_pace() {
    let server = Server::start([Reply::json(200, key())]).await;
    let mut stripe = client(&server);
    stripe.pace = Pace::new(20);
    let start = Instant::now();
    for _ in 0..6 {
        stripe.retrieve(&account(), &key_id("mk_1")).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(90));
}

#[tokio::test]
async fn a_refusal_after_an_attempt_that_may_have_worked_settles_nothing() {
    let script = || {
        let refused = Reply::json(400, refusal("api_key_expired"));
        [Reply::json(500, json!({})), refused]
    };
    let server = Server::start(script()).await;
    let error = client(&server).expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::KeyExpired));
    assert!(error.is_ambiguous(), "it may have expired by our own first attempt");
    let server = Server::start(script()).await;
    let error = client(&server).retrieve(&account(), &key_id("mk_1")).await.unwrap_err();
    assert!(!error.is_ambiguous(), "a read has nothing to settle");
}

#[tokio::test]
async fn tls_is_offered_with_http_2_and_a_handshake_that_fails_reached_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let hellos = tokio::spawn(async move {
        let mut hello = vec![0; 4096];
        for _ in 0..3 {
            let (mut connection, _) = listener.accept().await.unwrap();
            let read = connection.read(&mut hello).await.unwrap();
            hello.truncate(read.max(1));
            hello.resize(4096, 0);
        }
        hello
    });
    let stripe = client_at(&base, Duration::from_secs(2));
    let error = stripe.expire(&account(), &key_id("mk_1"), "idem").await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(!error.is_ambiguous());
    let hello = hellos.await.unwrap();
    assert_eq!(hello[..2], [0x16, 0x03], "a TLS handshake record");
    assert!(hello.windows(12).any(|bytes| bytes == b"\x02h2\x08http/1.1"), "ALPN");
}

#[test]
fn calls_can_be_made_from_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync>(_: &T) {}
    let stripe = client_at("http://127.0.0.1:1", Duration::from_secs(1));
    let (at, key) = (account(), key_id("mk_1"));
    let query = EventQuery { types: &[], from: None, to: None, limit: 1 };
    is_shared(&stripe);
    is_send(&stripe.list(&at, true));
    is_send(&stripe.events(&at, &query));
    is_send(&stripe.expire(&at, &key, "idem"));
    is_send(&stripe.exchange_code(Mode::Live, "ac_1"));
}

#[tokio::test]
async fn without_time_left_nothing_is_sent_and_it_is_said() {
    let server = Server::start([Reply::json(200, key())]).await;
    let client = client(&server);
    let token = SecretToken::new("rk_live_user".to_owned());
    let (answers, left) = crate::stripe::within(Duration::ZERO, async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        (client.retrieve(&account(), &key_id("mk_1")).await, client.probe(&token).await)
    })
    .await;
    assert!(matches!(answers, (Err(Error::OutOfTime), Err(Error::OutOfTime))));
    assert_eq!(left, crate::stripe::TimeLeft::RanOut);
    assert!(server.seen().is_empty());
    assert_eq!(Error::OutOfTime.class(), Class::Transient);
    assert!(!Error::OutOfTime.is_ambiguous());

    let hour = Duration::from_secs(3600);
    let (at, id) = (account(), key_id("mk_1"));
    let (answer, left) = crate::stripe::within(hour, client.retrieve(&at, &id)).await;
    assert!(answer.is_ok());
    assert_eq!(left, crate::stripe::TimeLeft::Enough);
}
