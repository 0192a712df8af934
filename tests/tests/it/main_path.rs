//! The main job: install, mint, keep, listen, rotate, serve.

use std::time::Duration;

use http::{StatusCode, header};
use keysteward::domain::audit;
use keysteward::domain::intent::RequestShape;
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::world::{account, default_slot, json_of, text_of};
use keysteward_tests::{Setting, World};

#[tokio::test]
async fn a_key_is_minted_kept_served_rotated_and_seen_dead() -> anyhow::Result<()> {
    for (mode, oauth, strategy) in [
        (Mode::Live, false, Strategy::Rotate),
        (Mode::Test, false, Strategy::CreateThenExpire),
        (Mode::Live, true, Strategy::CreateThenExpire),
        (Mode::Test, true, Strategy::Rotate),
    ] {
        let choice = Choice { strategy, ..Choice::default() };
        let world = World::with(Setting { oauth, choice, ..Setting::default() }).await?;
        world.stripe.set_behaviour(|stripe| stripe.expire_lag_ms = 9_000);
        let at = account(mode, "acct_1Main")?;
        world.add_account(at.id.as_str());

        let page = world.install_app(&at).await?;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(String::from_utf8_lossy(page.body()).contains("in safe keeping"));
        let first = world.token(&at, Kind::Secret).await?;
        assert!(first.starts_with(&format!("sk_{mode}_")), "a secret key of the right mode");
        assert!(world.stripe.token_works(&first));
        let public = world.token(&at, Kind::Publishable).await?;
        assert!(public.starts_with(&format!("pk_{mode}_")), "publishable keys are served too");

        world.pass(Duration::from_secs(31 * 86_400));
        world.sweep_to_rest().await?;
        let second = world.token(&at, Kind::Secret).await?;
        assert_ne!(first, second, "a month later the key is another");
        assert!(world.stripe.token_works(&second));
        assert!(world.stripe.token_works(&first), "the old key lives through the overlap");
        let body = json_of(&world.read(&at, Kind::Secret).await)?;
        assert!(body["previous_valid_until"].is_string(), "and the answer says until when");

        world.pass(Duration::from_secs(1440 * 60));
        world.sweep_to_rest().await?;
        assert!(!world.stripe.token_works(&first), "after the overlap the old key is dead");
        assert!(world.stripe.token_works(&second));
        let stored = world.account(&at).await?;
        let retired = stored.generations_of(&default_slot(Kind::Secret)).next();
        assert!(matches!(retired, Some((_, State::Ended { .. }))), "and seen to be: {retired:?}");
        assert_eq!(world.token(&at, Kind::Publishable).await?, public, "pages keep their key");

        world.deliver().await?;
        world.sweep_to_rest().await?;
        assert_eq!(world.token(&at, Kind::Secret).await?, second, "our own events change nothing");
        let stored = world.account(&at).await?;
        let trail = world.steward().store.trail(&at, 0, 1000).await?;
        audit::verify(&trail, &stored.head.audit)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_answer_to_a_read_is_the_documented_one() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Read")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let reply = world.read(&at, Kind::Secret).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let body = json_of(&reply)?;
    let mut fields: Vec<&str> =
        body.as_object().map(|body| body.keys().map(String::as_str).collect()).unwrap_or_default();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "account",
            "generation",
            "issued_at",
            "key_id",
            "kind",
            "mode",
            "previous_valid_until",
            "rotates_at",
            "slot",
            "token"
        ]
    );
    assert_eq!(body["account"], "acct_1Read");
    assert_eq!(body["mode"], "live");
    assert_eq!(body["slot"], "default");
    assert_eq!(body["generation"], 1);
    assert_eq!(body["previous_valid_until"], serde_json::Value::Null);
    assert_eq!(text_of(&reply, header::CACHE_CONTROL).as_deref(), Some("private, max-age=300"));

    let etag = text_of(&reply, header::ETAG).unwrap_or_default();
    let again = world.read_if(&at, Kind::Secret, Some(&etag)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(again.body().is_empty());
    assert_eq!(text_of(&again, header::ETAG).as_deref(), Some(etag.as_str()));
    let other = world.read_if(&at, Kind::Secret, Some("\"another\"")).await;
    assert_eq!(other.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn later_previews_mint_restricted_keys() -> anyhow::Result<()> {
    let shape = RequestShape {
        stripe_version: "2026-08-26.preview".to_owned(),
        permissions: vec!["charge_write".to_owned(), "customer_read".to_owned()],
    };
    let world = World::with(Setting { shape, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Restricted")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    assert!(token.starts_with("rk_live_"));
    world
        .steward()
        .rotate(
            &at,
            &default_slot(Kind::Secret),
            audit::Actor::Operator,
            world.now().plus(Duration::from_secs(60)),
        )
        .await?;
    assert!(world.token(&at, Kind::Secret).await?.starts_with("rk_live_"));
    Ok(())
}

#[tokio::test]
async fn both_algorithms_of_the_ciphertext_are_read() -> anyhow::Result<()> {
    for alg in [fake_stripe::JweAlg::RsaOaep, fake_stripe::JweAlg::RsaOaep256] {
        let world = World::start().await?;
        world.stripe.set_behaviour(|stripe| stripe.jwe_alg = alg);
        let at = account(Mode::Live, "acct_1Alg")?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        assert!(world.stripe.token_works(&world.token(&at, Kind::Secret).await?));
    }
    Ok(())
}

#[tokio::test]
async fn one_account_in_two_modes_is_two_accounts() -> anyhow::Result<()> {
    let world = World::start().await?;
    let live = account(Mode::Live, "acct_1Both")?;
    let test = account(Mode::Test, "acct_1Both")?;
    world.add_account("acct_1Both");
    world.install_app(&live).await?;
    assert_eq!(world.read(&test, Kind::Secret).await.status(), StatusCode::NOT_FOUND);
    world.install_app(&test).await?;
    assert!(world.token(&live, Kind::Secret).await?.starts_with("sk_live_"));
    assert!(world.token(&test, Kind::Secret).await?.starts_with("sk_test_"));
    Ok(())
}
