//! Bad webhooks get their named answer and change nothing; good ones of every form are taken once.

use http::{Method, StatusCode, header};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::http::{Reply, Request};
use keysteward::webhook::signature::sign;
use keysteward_tests::World;
use keysteward_tests::table::When;
use keysteward_tests::world::{WEBHOOK_SECRET, account, json_of, text_of};

const THIN: &str = r#"{"id":"evt_test_1","object":"v2.core.event","type":"v2.iam.api_key.rotated","livemode":false,"created":"2026-11-24T12:00:00.000Z","context":"acct_123","related_object":null,"reason":null}"#;

fn signature(at: Timestamp, body: &[u8]) -> String {
    sign(&SecretToken::new(WEBHOOK_SECRET.to_owned()), at, body)
}

fn request(method: Method, body: &[u8], headers: &[(&str, &str)]) -> anyhow::Result<Request> {
    let mut request = http::Request::builder().method(method).uri("/webhooks/stripe");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(body.to_vec())?)
}

async fn ask(world: &World, request: Request) -> Reply {
    keysteward_webhook::respond(&world.webhook, request).await
}

#[tokio::test]
async fn every_kind_of_bad_webhook_gets_its_named_answer_and_writes_nothing() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let good = signature(world.now(), THIN.as_bytes());
    let json = ("content-type", "application/json");
    let huge = vec![b' '; 256 * 1024 + 1];
    let not_json = signature(world.now(), b"not json");
    let not_event = signature(world.now(), b"{\"object\":\"customer\"}");
    let signed_huge = signature(world.now(), &huge);
    let cases = [
        (Method::GET, &b""[..], vec![json], StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (
            Method::PUT,
            THIN.as_bytes(),
            vec![json],
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
        ),
        (
            Method::POST,
            &huge,
            vec![json, ("stripe-signature", &signed_huge)],
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
        ),
        (
            Method::POST,
            THIN.as_bytes(),
            vec![("content-type", "text/plain"), ("stripe-signature", &good)],
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
        ),
        (
            Method::POST,
            THIN.as_bytes(),
            vec![("stripe-signature", &good)],
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
        ),
        (Method::POST, THIN.as_bytes(), vec![json], StatusCode::BAD_REQUEST, "bad_signature"),
        (
            Method::POST,
            THIN.as_bytes(),
            vec![json, ("stripe-signature", "t=,v1=")],
            StatusCode::BAD_REQUEST,
            "bad_signature",
        ),
        (
            Method::POST,
            THIN.as_bytes(),
            vec![json, ("stripe-signature", &good), ("stripe-signature", &good)],
            StatusCode::BAD_REQUEST,
            "bad_signature",
        ),
        (
            Method::POST,
            b"{}",
            vec![json, ("stripe-signature", &good)],
            StatusCode::BAD_REQUEST,
            "bad_signature",
        ),
        (
            Method::POST,
            b"not json",
            vec![json, ("stripe-signature", &not_json)],
            StatusCode::BAD_REQUEST,
            "bad_event",
        ),
        (
            Method::POST,
            b"{\"object\":\"customer\"}",
            vec![json, ("stripe-signature", &not_event)],
            StatusCode::BAD_REQUEST,
            "bad_event",
        ),
    ];
    world.table.reset();
    for (method, body, headers, status, code) in cases {
        let reply = ask(&world, request(method, body, &headers)?).await;
        assert_eq!(reply.status(), status, "{code} {headers:?}");
        assert_eq!(json_of(&reply)?["code"], code);
        assert_eq!(
            text_of(&reply, header::CONTENT_TYPE).as_deref(),
            Some("application/problem+json")
        );
    }
    for seconds in [-301_i64, 301] {
        let at = Timestamp::from_millis(world.now().millis() + seconds * 1000)?;
        let reply = world.post(THIN.as_bytes(), &signature(at, THIN.as_bytes())).await;
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{seconds} s off");
        let other = world.post(THIN.as_bytes(), "v1=00").await;
        assert_eq!(reply.body(), other.body(), "one body for all signature failures");
    }
    assert_eq!(world.table.calls(), 0, "nothing was read or written");
    assert_eq!(world.rows()?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn an_event_is_stored_once_and_acknowledged_each_time() -> anyhow::Result<()> {
    let world = World::start().await?;
    for _ in 0..3 {
        let reply = world.post(THIN.as_bytes(), &signature(world.now(), THIN.as_bytes())).await;
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(json_of(&reply)?, serde_json::json!({ "received": true }));
    }
    assert_eq!(world.rows()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn events_that_are_not_about_an_account_are_acknowledged_and_not_kept() -> anyhow::Result<()>
{
    let world = World::start().await?;
    for body in [
        THIN.replace(r#""context":"acct_123","#, ""),
        THIN.replace("v2.iam.api_key.rotated", "v2.core.event_destination.ping"),
    ] {
        let reply = world.post(body.as_bytes(), &signature(world.now(), body.as_bytes())).await;
        assert_eq!(reply.status(), StatusCode::OK, "{body}");
    }
    assert_eq!(world.rows()?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn when_the_table_cannot_be_written_stripe_is_told_to_come_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.table.fail(0, When::BeforeEffect, false);
    let signed = signature(world.now(), THIN.as_bytes());
    let reply = world.post(THIN.as_bytes(), &signed).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(world.post(THIN.as_bytes(), &signed).await.status(), StatusCode::OK);
    assert_eq!(world.rows()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_event_from_the_partner_bus_is_taken_without_a_signature() -> anyhow::Result<()> {
    let world = World::start().await?;
    let envelope = format!(
        r#"{{"version":"0","id":"17e8dff5","detail-type":"v2.iam.api_key.rotated","source":"aws.partner/stripe.com/ed_61","account":"111122223333","time":"2026-11-24T12:00:00Z","region":"us-west-2","resources":[],"detail":{THIN}}}"#
    );
    keysteward_webhook::take_from_bus(&world.webhook, envelope.clone().into_bytes()).await.answer?;
    assert_eq!(world.rows()?.len(), 1);
    let forged = envelope.replace("aws.partner/stripe.com/", "my.own/");
    let refused =
        keysteward_webhook::take_from_bus(&world.webhook, forged.into_bytes()).await.answer;
    assert!(refused.is_err(), "another source is not Stripe");
    Ok(())
}

#[tokio::test]
async fn an_event_for_an_account_that_nobody_knows_is_closed_and_changes_nothing()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Test, "acct_1Known")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let key = world.token(&at, Kind::Secret).await?;
    world.post(THIN.as_bytes(), &signature(world.now(), THIN.as_bytes())).await;
    world.pass(std::time::Duration::from_secs(61));
    world.sweep_to_rest().await?;
    assert_eq!(world.token(&at, Kind::Secret).await?, key);
    let strangers = world.steward().store.events(&account(Mode::Test, "acct_123")?, 10).await?;
    assert!(strangers.iter().all(|event| !event.open), "the sweep closed it");
    Ok(())
}
