//! Bad reads get their named answer, and a slot without a usable key says why.

use http::{Method, StatusCode, header};
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::world::{account, get, json_of, text_of};

#[tokio::test]
async fn every_kind_of_bad_read_gets_its_named_answer() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Read")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let long = format!("/v1/accounts/acct_{}/keys/default", "a".repeat(200));
    for (path, status, code) in [
        ("/", StatusCode::NOT_FOUND, "no_such_path"),
        ("/v1/accounts/acct_1Read", StatusCode::NOT_FOUND, "no_such_path"),
        ("/v1/accounts/acct_1Read/keys/a/b", StatusCode::NOT_FOUND, "no_such_path"),
        (
            "/v1/accounts/acct_1Other/keys/../../acct_1Read/keys/default",
            StatusCode::NOT_FOUND,
            "no_such_path",
        ),
        ("/v1/accounts/acct_1Other%2F../keys/default", StatusCode::BAD_REQUEST, "bad_parameter"),
        ("/v1/accounts/cus_1/keys/default", StatusCode::BAD_REQUEST, "bad_parameter"),
        ("/v1/accounts/acct_1%23/keys/default", StatusCode::BAD_REQUEST, "bad_parameter"),
        (long.as_str(), StatusCode::BAD_REQUEST, "bad_parameter"),
        ("/v1/accounts/acct_1Read/keys/DEFAULT", StatusCode::BAD_REQUEST, "bad_parameter"),
        (
            "/v1/accounts/acct_1Read/keys/default?mode=prod",
            StatusCode::BAD_REQUEST,
            "bad_parameter",
        ),
        ("/v1/accounts/acct_1Read/keys/default?kind=rsa", StatusCode::BAD_REQUEST, "bad_parameter"),
        ("/v1/accounts/acct_1Read/keys/other", StatusCode::NOT_FOUND, "no_such_key"),
        ("/v1/accounts/acct_1Read/keys/default?mode=test", StatusCode::NOT_FOUND, "no_such_key"),
        ("/v1/accounts/acct_1Nobody/keys/default", StatusCode::NOT_FOUND, "no_such_key"),
    ] {
        let reply = keysteward_keys::respond(&world.service, get(path)).await;
        assert_eq!(reply.status(), status, "{path}");
        let body = json_of(&reply)?;
        assert_eq!(body["code"], code, "{path}");
        assert_eq!(body["request_id"], "request-of-a-test");
        assert_eq!(
            text_of(&reply, header::CONTENT_TYPE).as_deref(),
            Some("application/problem+json")
        );
        assert_eq!(text_of(&reply, header::CACHE_CONTROL).as_deref(), Some("no-store"));
    }
    let mut post = get("/v1/accounts/acct_1Read/keys/default");
    *post.method_mut() = Method::POST;
    let reply = keysteward_keys::respond(&world.service, post).await;
    assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(text_of(&reply, header::ALLOW).as_deref(), Some("GET, HEAD"));
    Ok(())
}

#[tokio::test]
async fn every_http_function_says_that_it_is_there() -> anyhow::Result<()> {
    let world = World::start().await?;
    for reply in [
        keysteward_keys::respond(&world.service, get("/health")).await,
        keysteward_webhook::respond(&world.webhook, get("/health")).await,
        keysteward_install::respond(&world.install, get("/health")).await,
    ] {
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(json_of(&reply)?, serde_json::json!({ "status": "ok" }));
    }
    Ok(())
}

#[tokio::test]
async fn a_slot_without_a_usable_key_says_why() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Waits")?;
    world.stripe.add_account(
        at.id.as_str(),
        fake_stripe::AccountSpec { activated: false, live: true, test: true },
    );
    world.install_app(&at).await?;
    let reply = world.read(&at, Kind::Secret).await;
    assert_eq!(reply.status(), StatusCode::CONFLICT);
    assert_eq!(json_of(&reply)?["code"], "not_permitted", "the account is not activated yet");

    world.stripe.set_activated(at.id.as_str(), true);
    world.deliver().await?;
    world.sweep_to_rest().await?;
    assert!(world.token(&at, Kind::Secret).await.is_ok(), "the activation woke the account");
    Ok(())
}

#[tokio::test]
async fn a_disabled_vault_is_a_failure_of_ours_and_heals() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Vault")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.kms.set_disabled(true);
    assert_eq!(world.read(&at, Kind::Secret).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    world.kms.set_disabled(false);
    assert_eq!(world.read(&at, Kind::Secret).await.status(), StatusCode::OK);
    Ok(())
}
