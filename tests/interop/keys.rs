//! Stripe's own clients use fake-stripe as they would Stripe, so what Keysteward is tested against is what
//! they understand; and what they do there reaches Keysteward.

use anyhow::Context as _;
use fake_stripe::{AccountSpec, Deliver, Delivery, Destination, FakeStripe, Payload};
use http::StatusCode;
use keysteward::domain::slot::{Kind, Mode};
use keysteward::vault::jwe::open;
use keysteward::vault::pair::{Bits, PrivateKey, generate, new_kid};
use keysteward_tests::world::{account, json_of};
use keysteward_tests::{Setting, World};
use serde_json::{Value, json};

use crate::script::{Package, now, secret, text};

const ACCOUNT: &str = "acct_1User";
const SIGNING_SECRET: &str = "whsec_of_the_interop_tests";

/// Either package, with either key of the app: the key decides the mode.
const CALLERS: [(Package, bool); 4] = [
    (Package::StripePython, true),
    (Package::StripePython, false),
    (Package::StripeNode, true),
    (Package::StripeNode, false),
];

/// Stripe by the machine's clock, which is the one that the packages look at.
async fn stripe() -> anyhow::Result<FakeStripe> {
    let stripe = FakeStripe::start(fake_stripe::Options {
        destinations: vec![Destination {
            url: "http://127.0.0.1:9/webhooks/stripe".to_owned(),
            signing_secrets: vec!["whsec_being_rolled_out".to_owned(), SIGNING_SECRET.to_owned()],
            payload: Payload::Thin,
        }],
        deliver: Deliver::Manual,
        ..fake_stripe::Options::default()
    })
    .await?;
    stripe.add_account(ACCOUNT, AccountSpec::default());
    for live in [true, false] {
        assert!(stripe.install(ACCOUNT, live));
    }
    Ok(stripe)
}

/// Which Stripe, which key of the app, which account.
fn job(command: &str, stripe: &FakeStripe, live: bool) -> Value {
    let app = fake_stripe::AppSpec::default();
    let key = if live { app.api_key_live } else { app.api_key_test };
    json!({"command": command, "base": stripe.url(), "key": key, "account": ACCOUNT})
}

fn add_public_key(job: &mut Value, pem: &str) -> anyhow::Result<String> {
    let kid = new_kid()?.to_string();
    job["pem"] = pem.into();
    job["kid"] = kid.as_str().into();
    Ok(kid)
}

/// The secret that an answer brings, opened if it is sealed.
fn secret_of(
    answer: &Value,
    live: bool,
    private: &PrivateKey,
    kid: &str,
) -> anyhow::Result<String> {
    let secret = &answer["secret_key"];
    if !live {
        assert_eq!(secret["encrypted_secret"], Value::Null);
        return Ok(text(&secret["token"])?.to_owned());
    }
    assert_eq!(secret["token"], Value::Null);
    assert_eq!(secret["encrypted_secret"]["format"], "jwe_compact");
    assert_eq!(secret["encrypted_secret"]["recipient_key_id"], kid);
    Ok(open(text(&secret["encrypted_secret"]["ciphertext"])?, private)?.expose().to_owned())
}

fn signature(delivery: &Delivery) -> anyhow::Result<&str> {
    let found = delivery.headers.iter().find(|(name, _)| name == "stripe-signature");
    found.map(|(_, value)| value.as_str()).context("every delivery is signed")
}

/// Deliveries for a script; `fetch` says whether it is to ask for the whole events.
fn for_script(deliveries: &[Delivery], fetch: bool) -> anyhow::Result<Value> {
    let one = |delivery: &Delivery| {
        let body = String::from_utf8(delivery.body.clone())?;
        anyhow::Ok(json!({"body": body, "header": signature(delivery)?, "fetch": fetch}))
    };
    deliveries.iter().map(one).collect()
}

#[tokio::test]
async fn stripes_packages_carry_out_every_operation_on_keys() -> anyhow::Result<()> {
    let (private, pem) = generate(Bits::Rsa2048)?;
    for (package, live) in CALLERS {
        let stripe = stripe().await?;
        let mut job = job("keys", &stripe, live);
        let kid = add_public_key(&mut job, &pem)?;
        let answer = package.run(job).await?;
        let what = format!("{package}, live {live}: {answer:#}");
        let id = |name: &str| text(&answer[name]["id"]);
        let (created, publishable, rotated) = (id("created")?, id("publishable")?, id("rotated")?);

        let prefix = if live { "rk_live_" } else { "rk_test_" };
        for name in ["created", "rotated"] {
            let token = secret_of(&answer[name], live, &private, &kid)?;
            assert!(token.starts_with(prefix), "{name} {what}");
            assert_eq!(Some(token), stripe.token_of(id(name)?), "{name} {what}");
        }
        let token = answer["publishable"]["publishable_key"]["token"].as_str();
        assert_eq!(token.map(str::to_owned), stripe.token_of(publishable), "{what}");
        for (name, field, value) in [
            ("created", "livemode", json!(live)),
            ("created", "note", json!("first")),
            ("created", "status", json!("active")),
            ("created", "permissions", json!(["customer_read"])),
            ("retrieved", "id", json!(created)),
            ("retrieved", "note", json!("first")),
            ("updated", "id", json!(created)),
            ("updated", "note", json!("second")),
            ("updated", "permissions", json!(["customer_read", "charge_read"])),
            ("rotated", "note", json!("second")),
            ("expired", "id", json!(rotated)),
            ("expired", "status", json!("expired")),
        ] {
            assert_eq!(answer[name][field], value, "{name} {field} {what}");
        }
        if live {
            let sealed = &answer["retrieved"]["secret_key"]["encrypted_secret"];
            assert_eq!(*sealed, Value::Null, "only a new key brings its secret: {what}");
        }
        assert_eq!(answer["listed"], json!([publishable, created]), "pages of one: {what}");
        assert_eq!(answer["active"], json!([publishable, created]), "{what}");
        assert_eq!(answer["all"], json!([rotated, publishable, created]), "{what}");
        for (name, code, status) in [
            ("already_rotated", "api_key_already_rotated", 400),
            ("already_expired", "api_key_expired", 400),
            ("unknown", "not_found", 404),
        ] {
            assert_eq!(answer[name], json!({"code": code, "status": status}), "{what}");
        }
        if package == Package::StripePython {
            assert_eq!(answer["classes"], json!(["ApiKey"]), "{what}");
        }

        let keys = stripe.keys(ACCOUNT);
        let truth: Vec<_> =
            keys.iter().map(|key| (key.id.as_str(), key.live, key.status, key.rotated)).collect();
        let expected = [
            (created, live, "active", true),
            (publishable, live, "active", false),
            (rotated, live, "expired", false),
        ];
        assert_eq!(truth, expected, "{what}");
        let old = keys[0].dies_at.context("the old key has a deadline")?;
        let overlap = old - now().millis();
        assert!((3_500_000..=3_600_000).contains(&overlap), "{overlap} ms of overlap: {what}");
    }
    Ok(())
}

#[tokio::test]
async fn stripes_packages_read_our_notifications_and_fetch_their_events() -> anyhow::Result<()> {
    let (_, pem) = generate(Bits::Rsa2048)?;
    for (package, live) in CALLERS {
        let stripe = stripe().await?;
        let mut keys = job("keys", &stripe, live);
        add_public_key(&mut keys, &pem)?;
        let keys = package.run(keys).await?;
        let id = |name: &str| &keys[name]["id"];
        let old = json!({"api_key": id("created")});
        let expected = [
            ("Created", "created", old.clone()),
            ("Created", "created", json!({"api_key": id("publishable")})),
            ("Updated", "updated", old.clone()),
            ("PermissionsUpdated", "permissions_updated", old),
            ("Rotated", "rotated", json!({"api_key": id("created"), "new_api_key": id("rotated")})),
            ("Expired", "expired", json!({"api_key": id("rotated")})),
        ];
        let mut read = job("notifications", &stripe, live);
        read["secret"] = SIGNING_SECRET.into();
        read["deliveries"] = for_script(&stripe.take_deliveries(), true)?;
        let read = package.run(read).await?;
        let entries = read.as_array().context("a list")?;
        let types: Vec<_> = entries.iter().map(|entry| entry["type"].as_str()).collect();
        let expected_types: Vec<_> =
            expected.iter().map(|(_, kind, _)| Some(format!("v2.iam.api_key.{kind}"))).collect();
        assert_eq!(types, expected_types.iter().map(Option::as_deref).collect::<Vec<_>>());
        for (entry, (class, kind, data)) in entries.iter().zip(expected) {
            let what = format!("{package}, live {live}, {kind}: {entry:#}");
            assert_eq!(entry["context"], ACCOUNT, "{what}");
            assert_eq!(entry["livemode"], live, "{what}");
            assert_eq!(entry["event"]["same_id"], true, "{what}");
            assert_eq!(entry["event"]["data"], data, "{what}");
            if package == Package::StripePython {
                let class = format!("V2IamApiKey{class}Event");
                assert_eq!(entry["class"], format!("{class}Notification"), "{what}");
                assert_eq!(entry["event"]["class"], class, "{what}");
            }
            if kind == "expired" {
                assert_eq!(entry["event"]["changes"]["after"]["status"], "expired", "{what}");
            }
        }
    }
    Ok(())
}

/// The sixth class: fake-stripe has nothing that reveals a secret.
#[tokio::test]
async fn the_python_package_knows_every_type_of_our_events() -> anyhow::Result<()> {
    for (name, class) in [
        ("created", "Created"),
        ("updated", "Updated"),
        ("rotated", "Rotated"),
        ("expired", "Expired"),
        ("permissions_updated", "PermissionsUpdated"),
        ("default_secret_revealed", "DefaultSecretRevealed"),
    ] {
        let kind = format!("v2.iam.api_key.{name}");
        let body = json!({
            "id": "evt_1", "object": "v2.core.event", "type": kind, "livemode": true,
            "created": "2026-11-24T12:00:00.000Z", "context": ACCOUNT,
        })
        .to_string();
        let key = secret(SIGNING_SECRET);
        let header = keysteward::webhook::signature::sign(&key, now(), body.as_bytes());
        let job = json!({
            "command": "verify", "thin": true, "body": body, "header": header,
            "secret": SIGNING_SECRET,
        });
        let read = Package::StripePython.run(job).await?;
        let class = format!("V2IamApiKey{class}EventNotification");
        assert_eq!(read, json!({"class": class, "id": "evt_1", "type": kind}));
    }
    Ok(())
}

#[tokio::test]
async fn what_stripes_package_does_to_a_key_of_ours_reaches_its_slot() -> anyhow::Result<()> {
    let (_, pem) = generate(Bits::Rsa2048)?;
    for mode in [Mode::Live, Mode::Test] {
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        let at = account(mode, ACCOUNT)?;
        world.add_account(ACCOUNT);
        world.install_app(&at).await?;
        world.deliver().await?;
        let served = world.token(&at, Kind::Secret).await?;

        let mut rotate = job("change", &world.stripe, mode == Mode::Live);
        rotate["change"] = "rotate".into();
        add_public_key(&mut rotate, &pem)?;
        let rotated = Package::StripePython.run(rotate).await?;
        assert_eq!(world.stripe.token_of(text(&rotated["old"])?), Some(served.clone()));
        assert_eq!(world.deliver().await?, 1);
        assert_eq!(world.token(&at, Kind::Secret).await?, served, "it lives for another hour");
        world.pass(std::time::Duration::from_secs(3600));
        world.sweep_to_rest().await?;
        let reply = world.read(&at, Kind::Secret).await;
        assert_eq!(reply.status(), StatusCode::CONFLICT, "nobody here can open the new key");
        assert_eq!(json_of(&reply)?["code"], "revoked_by_user");

        world.install_app(&at).await?;
        assert!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_stripes_package_expires_is_served_to_nobody() -> anyhow::Result<()> {
    for mode in [Mode::Live, Mode::Test] {
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        let at = account(mode, ACCOUNT)?;
        world.add_account(ACCOUNT);
        world.install_app(&at).await?;
        world.deliver().await?;
        let served = world.token(&at, Kind::Secret).await?;

        let mut expire = job("change", &world.stripe, mode == Mode::Live);
        expire["change"] = "expire".into();
        let expired = Package::StripePython.run(expire).await?;
        assert_eq!(world.stripe.token_of(text(&expired["id"])?), Some(served));
        assert_eq!(world.deliver().await?, 1);
        let reply = world.read(&at, Kind::Secret).await;
        assert_eq!(reply.status(), StatusCode::CONFLICT);
        assert_eq!(json_of(&reply)?["code"], "revoked_by_user");
    }
    Ok(())
}
