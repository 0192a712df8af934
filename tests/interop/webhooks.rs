//! Webhooks that Stripe's packages signed reach the table; webhooks that we signed pass their checks.

use http::StatusCode;
use keysteward::webhook::signature::sign;
use keysteward_tests::world::{WEBHOOK_SECRET, json_of};
use keysteward_tests::{Setting, World};
use serde_json::{Value, json};

use crate::script::{STRIPE, now, secret, shifted, text};

/// One event of each form, and one as nobody writes it but everybody may.
fn events() -> Vec<(bool, Value)> {
    let thin = |id: &str, kind: &str| {
        json!({
            "id": id, "object": "v2.core.event", "type": kind, "livemode": false,
            "created": "2026-11-24T12:00:00.000Z", "context": "acct_123",
            "related_object": {}, "reason": null,
        })
    };
    let snapshot = |id: &str, kind: &str, object: Value| {
        json!({
            "id": id, "object": "event", "type": kind, "account": "acct_123", "livemode": true,
            "created": 1_795_521_600, "pending_webhooks": 1, "api_version": "2026-07-29.dahlia",
            "data": {"object": object}, "request": {"id": null, "idempotency_key": null},
        })
    };
    let mut unusual = thin("evt_test_4", "v2.iam.api_key.updated");
    unusual["reason"] = json!({
        "type": "request",
        "request": {"id": "req_1", "idempotency_key": "Schlüssel \u{1F511} \"\\\u{7}"},
    });
    let app = json!({"id": "ca_fake_app", "object": "application", "name": "Über-App"});
    let account = json!({"id": "acct_123", "object": "account", "charges_enabled": true});
    vec![
        (true, thin("evt_test_1", "v2.iam.api_key.rotated")),
        (true, thin("evt_test_2", "v2.iam.api_key.expired")),
        (true, thin("evt_test_3", "v2.iam.api_key.default_secret_revealed")),
        (true, unusual),
        (false, snapshot("evt_5", "account.application.deauthorized", app)),
        (false, snapshot("evt_6", "account.updated", account)),
    ]
}

#[tokio::test]
async fn webhooks_signed_by_stripes_packages_are_accepted_and_stored() -> anyhow::Result<()> {
    for package in STRIPE {
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        for (stored, (_, event)) in events().into_iter().enumerate() {
            let job = json!({
                "command": "sign", "event": event, "indent": (stored % 2 == 1).then_some(2),
                "secret": WEBHOOK_SECRET, "at": world.now().seconds(),
            });
            let signed = package.run(job).await?;
            let (body, header) = (text(&signed["body"])?, text(&signed["header"])?);
            for _ in 0..2 {
                let reply = world.post(body.as_bytes(), header).await;
                assert_eq!(reply.status(), StatusCode::OK, "{package}: {body}");
                assert_eq!(world.rows()?.len(), stored + 1, "{package}: {body}");
            }
            let id = text(&event["id"])?;
            let rows = serde_json::to_string(&world.rows()?)?;
            assert!(rows.contains(&format!("#{id}\"")), "{package}: {id} is stored");
        }
    }
    Ok(())
}

#[tokio::test]
async fn webhooks_signed_by_stripes_packages_and_changed_since_are_refused() -> anyhow::Result<()> {
    for package in STRIPE {
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        for (_, event) in events() {
            let signed = async |key: &str, at: i64| {
                let job = json!({"command": "sign", "event": event, "secret": key, "at": at});
                let signed = package.run(job).await?;
                anyhow::Ok((text(&signed["body"])?.to_owned(), text(&signed["header"])?.to_owned()))
            };
            let at = world.now().seconds();
            let (body, header) = signed(WEBHOOK_SECRET, at).await?;
            let (_, of_another) = signed("whsec_of_somebody_else", at).await?;
            let (_, old) = signed(WEBHOOK_SECRET, at - 301).await?;
            let (_, early) = signed(WEBHOOK_SECRET, at + 301).await?;
            let cases = [
                (body.replace("acct_123", "acct_124"), header.clone()),
                (format!("{body} "), header.clone()),
                (body.clone(), header.replace(&format!("t={at}"), &format!("t={}", at + 1))),
                (body.clone(), of_another),
                (body.clone(), old),
                (body.clone(), early),
            ];
            for (body, header) in cases {
                let reply = world.post(body.as_bytes(), &header).await;
                assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{package}: {header} {body}");
                assert_eq!(json_of(&reply)?["code"], "bad_signature");
            }
        }
        assert_eq!(world.rows()?.len(), 0, "{package}: nothing was stored");
    }
    Ok(())
}

#[tokio::test]
async fn webhooks_signed_by_us_verify_in_stripes_packages() -> anyhow::Result<()> {
    let key = secret(WEBHOOK_SECRET);
    for package in STRIPE {
        for (thin, event) in events() {
            let body = event.to_string();
            let verify = async |body: &str, header: String, secret: &str| {
                let job = json!({
                    "command": "verify", "thin": thin, "body": body,
                    "header": header, "secret": secret,
                });
                package.run(job).await
            };
            let header = || sign(&key, now(), body.as_bytes());
            let read = verify(&body, header(), WEBHOOK_SECRET).await?;
            assert_eq!(read["id"], event["id"], "{package}");
            assert_eq!(read["type"], event["type"], "{package}");

            let changed = body.replace("acct_123", "acct_124");
            let stale = sign(&key, shifted(now(), -400)?, body.as_bytes());
            for refused in [
                verify(&changed, header(), WEBHOOK_SECRET).await?,
                verify(&body, header(), "whsec_of_somebody_else").await?,
                verify(&body, stale, WEBHOOK_SECRET).await?,
            ] {
                assert!(refused["refused"].is_string(), "{package}: {refused} {body}");
            }
        }
    }
    Ok(())
}
