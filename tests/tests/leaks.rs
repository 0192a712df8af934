//! A secret goes through everything and may be found nowhere: not in rows, logs, errors, `Debug` output or
//! any response but the one that serves it.
//!
//! A program of its own: what is logged is decided per process, and other tests would have a say in it.

use std::time::Duration;

use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Captured, Setting, World, invariants};

#[tokio::test]
async fn no_secret_is_in_a_row_a_log_an_error_or_another_response() -> anyhow::Result<()> {
    let logs = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(logs.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let mut tokens = vec![
        "sk_live_fake_app".to_owned(),
        "sk_test_fake_app".to_owned(),
        "absec_fake_app".to_owned(),
        keysteward_tests::world::WEBHOOK_SECRET.to_owned(),
    ];
    let mut spoken = String::new();
    let mut rows = String::new();
    for mode in [Mode::Live, Mode::Test] {
        // Over sockets, so that what the HTTP clients log is seen too.
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        let at = account(mode, "acct_1Canary")?;
        world.add_account(at.id.as_str());
        spoken.push_str(&String::from_utf8_lossy(world.install_app(&at).await?.body()));
        tokens.push(world.token(&at, Kind::Secret).await?);
        let deadline = world.now().plus(Duration::from_secs(60));
        world.steward().rotate(&at, &default_slot(Kind::Secret), Actor::Operator, deadline).await?;
        tokens.push(world.token(&at, Kind::Secret).await?);
        world.deliver().await?;

        // Everything that can fail, fails once.
        world.kms.set_disabled(true);
        world.pass(Duration::from_secs(400));
        let failed = world.read(&at, Kind::Secret).await;
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
        spoken.push_str(&String::from_utf8_lossy(failed.body()));
        world.pass(Duration::from_secs(1440 * 60));
        world.sweep().await?;
        world.kms.set_disabled(false);
        for status in [400, 403, 404, 409, 500] {
            let broken = fake_stripe::FaultKind::BeforeEffect { status, code: "odd".to_owned() };
            world.stripe.inject(fake_stripe::Fault::once(fake_stripe::CallMatch::post(""), broken));
            let deadline = world.now().plus(Duration::from_secs(60));
            let slot = default_slot(Kind::Secret);
            let rotated = world.steward().rotate(&at, &slot, Actor::Operator, deadline).await;
            spoken.push_str(&format!("{rotated:?}"));
            world.pass(Duration::from_secs(3600));
            world.sweep_to_rest().await?;
        }
        spoken.push_str(&String::from_utf8_lossy(world.post(b"{}", "t=1,v1=00").await.body()));
        spoken.push_str(&format!("{:?}", world.service));
        spoken.push_str(&format!("{:?}", world.account(&at).await?));
        for key in world.stripe.keys(at.id.as_str()) {
            if key.kind == "secret_key"
                && let Some(token) = world.stripe.token_of(&key.id)
            {
                tokens.push(token);
            }
        }
        let lines = world.take_lines()?;
        assert!(!lines.is_empty(), "the metric lines were kept");
        spoken.extend(lines.iter().map(|line| line.root.to_string()));
        rows.push_str(&serde_json::to_string(&world.rows()?)?);
    }

    tokens.sort_unstable();
    tokens.dedup();
    assert!(tokens.len() >= 8, "both modes minted and rotated");
    assert!(logs.text().contains("key read"), "the logs were captured");
    assert!(rows.contains("STATE#KEY#secret#default"), "the rows were read");
    for token in &tokens {
        assert!(!rows.contains(token), "a secret is in the table");
        assert!(!logs.text().contains(token.as_str()), "a secret is in a log");
        assert!(!spoken.contains(token.as_str()), "a secret is in a response, an error or a Debug");
    }
    assert!(rows.contains("MIIBIj"), "the public halves are in the table");
    assert!(!invariants::holds_private_key(&rows), "a private key is in the table");
    Ok(())
}
