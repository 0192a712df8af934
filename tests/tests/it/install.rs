//! Installing: both forms, refusals, and every way to come back that must not count.

use std::time::Duration;

use http::{StatusCode, header};
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::world::{account, text_of};
use keysteward_tests::{Setting, World};

#[tokio::test]
async fn a_person_who_cancels_is_told_that_nothing_happened() -> anyhow::Result<()> {
    for oauth in [false, true] {
        let world = World::with(Setting { oauth, ..Setting::default() }).await?;
        let at = account(Mode::Test, "acct_1Cancel")?;
        world.add_account(at.id.as_str());
        let (cookie, callback) = world.click_install(&at, "cancel").await?;
        let page = world.call_install(&callback, Some(&cookie)).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(String::from_utf8_lossy(page.body()).contains("was not installed"));
        assert_eq!(world.rows()?.len(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_callback_that_was_tampered_with_is_refused_and_writes_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Test, "acct_1Mine")?;
    world.add_account(at.id.as_str());
    world.add_account("acct_1Other");
    let (cookie, callback) = world.click_install(&at, "install").await?;
    world.table.reset();
    for (what, path, cookie) in [
        ("another account", callback.replace("acct_1Mine", "acct_1Other"), Some(&cookie)),
        ("another mode", callback.replace("livemode=false", "livemode=true"), Some(&cookie)),
        ("no mode", callback.replace("&livemode=false", ""), Some(&cookie)),
        ("another browser", callback.clone(), None),
        ("no state", callback.replace("state=", "was="), Some(&cookie)),
        ("no signature", callback.replace("install_signature=", "was="), Some(&cookie)),
        ("nothing", "/install/callback".to_owned(), Some(&cookie)),
        ("a made-up code", format!("{callback}&code=ac_made_up"), None),
    ] {
        let page = world.call_install(&path, cookie.map(String::as_str)).await;
        assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{what}");
        assert!(text_of(&page, header::CONTENT_TYPE).unwrap_or_default().starts_with("text/html"));
    }
    assert_eq!(world.table.calls(), 0, "nothing was read or written");
    let page = world.call_install(&callback, Some(&cookie)).await;
    assert_eq!(page.status(), StatusCode::OK, "the untouched callback still holds");
    Ok(())
}

#[tokio::test]
async fn a_state_expires_and_a_code_is_taken_once() -> anyhow::Result<()> {
    let world = World::with(Setting { oauth: true, ..Setting::default() }).await?;
    let at = account(Mode::Test, "acct_1Once")?;
    world.add_account(at.id.as_str());
    let (cookie, callback) = world.click_install(&at, "install").await?;
    assert_eq!(world.call_install(&callback, Some(&cookie)).await.status(), StatusCode::OK);
    let again = world.call_install(&callback, Some(&cookie)).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "the code was used");

    let (cookie, callback) = world.click_install(&at, "install").await?;
    world.pass(Duration::from_secs(3601));
    let late = world.call_install(&callback, Some(&cookie)).await;
    assert_eq!(late.status(), StatusCode::BAD_REQUEST, "the state is older than an hour");
    Ok(())
}

#[tokio::test]
async fn installing_twice_keeps_the_keys() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Twice")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let first = world.token(&at, Kind::Secret).await?;
    world.install_app(&at).await?;
    assert_eq!(world.token(&at, Kind::Secret).await?, first);
    assert_eq!(world.stripe.keys(at.id.as_str()).len(), 2, "one secret, one publishable");
    Ok(())
}

#[tokio::test]
async fn when_stripe_is_down_the_installation_stands_and_the_sweep_mints() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Later")?;
    world.add_account(at.id.as_str());
    let (cookie, callback) = world.click_install(&at, "install").await?;
    let down = fake_stripe::FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
    let on = fake_stripe::CallMatch::post("/v2/iam/api_keys");
    world.stripe.inject(fake_stripe::Fault { times: 6, ..fake_stripe::Fault::once(on, down) });
    let page = world.call_install(&callback, Some(&cookie)).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(String::from_utf8_lossy(page.body()).contains("being made"));
    assert_eq!(world.read(&at, Kind::Secret).await.status(), StatusCode::CONFLICT);
    world.sweep_to_rest().await?;
    world.pass(Duration::from_secs(60));
    world.sweep_to_rest().await?;
    assert!(world.token(&at, Kind::Secret).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn the_cookie_is_kept_for_a_second_tab_and_out_of_reach_of_scripts() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = world.call_install("/install?mode=test", None).await;
    let cookie = text_of(&first, header::SET_COOKIE).unwrap_or_default();
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/install", "Max-Age=3600"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap_or_default();
    let second = world.call_install("/install?mode=test", Some(pair)).await;
    assert!(text_of(&second, header::SET_COOKIE).unwrap_or_default().starts_with(pair));
    let odd = world.call_install("/install?mode=test", Some("keysteward_install=me")).await;
    assert!(!text_of(&odd, header::SET_COOKIE).unwrap_or_default().contains("=me;"));
    let bad = world.call_install("/install?mode=prod", None).await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    Ok(())
}

#[tokio::test]
async fn afterwards_a_person_is_sent_where_the_app_wants() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.install.after_install_url = Some("https://app.example/welcome".to_owned());
    let at = account(Mode::Test, "acct_1After")?;
    world.add_account(at.id.as_str());
    let reply = world.install_app(&at).await?;
    assert_eq!(reply.status(), StatusCode::SEE_OTHER);
    let to = text_of(&reply, header::LOCATION);
    assert_eq!(to.as_deref(), Some("https://app.example/welcome"));
    Ok(())
}
