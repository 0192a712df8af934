//! Somebody writes into the table, or sends a callback through another browser: no key is served to whom it does
//! not belong, and none is ended.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::StatusCode;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::table::NAME;
use keysteward_tests::world::account;
use serde_json::{Value, json};

const SECRET: &str = "STATE#KEY#secret#default#0000000001";
const PUBLISHABLE: &str = "STATE#KEY#publishable#default#0000000001";

fn partition(at: &AccountRef) -> String {
    format!("ACCOUNT#{}#{}", at.mode, at.id)
}

/// The rows of an account whose sort keys begin so.
fn rows(world: &World, at: &AccountRef, begins: &str) -> anyhow::Result<Vec<Value>> {
    let is_meant = |row: &Value| {
        let sk = row["sk"]["S"].as_str();
        row["pk"]["S"] == partition(at) && sk.is_some_and(|sk| sk.starts_with(begins))
    };
    Ok(world.rows()?.into_iter().filter(is_meant).collect())
}

/// Writes a row as it is, behind everybody's back.
fn put(world: &World, row: &Value) -> anyhow::Result<()> {
    let put = json!({ "TableName": NAME, "Item": row });
    world.table.database().put_item(serde_json::from_value(put)?)?;
    Ok(())
}

/// Puts what a key's row holds of its key into another's, the rest of which stays as it was.
fn plant(world: &World, at: &AccountRef, sk: &str, attributes: &Value) -> anyhow::Result<()> {
    let mut row = rows(world, at, sk)?.pop().context("the row is there")?;
    for (name, value) in attributes.as_object().context("attributes")? {
        row[name] = value.clone();
    }
    put(world, &row)
}

async fn installed(world: &World, mode: Mode, id: &str) -> anyhow::Result<AccountRef> {
    let at = account(mode, id)?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    Ok(at)
}

/// Nothing is served in this place; what the answer says instead.
async fn refusal(world: &World, at: &AccountRef, kind: Kind) -> anyhow::Result<String> {
    let reply = world.read(at, kind).await;
    ensure!(reply.status() == StatusCode::INTERNAL_SERVER_ERROR, "answered {}", reply.status());
    Ok(String::from_utf8_lossy(reply.body()).into_owned())
}

#[tokio::test]
async fn rows_copied_from_another_account_or_mode_open_for_nobody_and_end_nothing()
-> anyhow::Result<()> {
    for (victim_mode, thief_mode, thief_id) in
        [(Mode::Live, Mode::Live, "acct_1Thief"), (Mode::Test, Mode::Live, "acct_1Victim")]
    {
        let mut world = World::start().await?;
        let victim = installed(&world, victim_mode, "acct_1Victim").await?;
        let thief = installed(&world, thief_mode, thief_id).await?;
        let token = world.token(&victim, Kind::Secret).await?;

        let stolen = rows(&world, &victim, SECRET)?.pop().context("the victim has a key")?;
        let planted = json!({ "key": stolen["key"], "material": stolen["material"] });
        plant(&world, &thief, SECRET, &planted)?;
        for mut pair in rows(&world, &victim, "STATE#PAIR#")? {
            pair["pk"] = json!({ "S": partition(&thief) });
            put(&world, &pair)?;
        }
        // Nothing is remembered of the victim's private key, and the second time everything is.
        world.restart()?;
        for _ in 0..2 {
            ensure!(!refusal(&world, &thief, Kind::Secret).await?.contains(&token));
            ensure!(world.token(&victim, Kind::Secret).await? == token);
        }

        // The sweep meets the planted row: it may complain and may not end the victim's key.
        for _ in 0..3 {
            world.pass(Duration::from_secs(90_000));
            world.sweep().await?;
        }
        ensure!(world.stripe.token_works(&token), "the victim's key lives");
        ensure!(world.token(&victim, Kind::Secret).await? == token);
        let reply = world.read(&thief, Kind::Secret).await;
        ensure!(!String::from_utf8_lossy(reply.body()).contains(&token), "and is not served");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_with_a_key_of_another_kind_or_mode_is_not_served() -> anyhow::Result<()> {
    for (kind, sk, material) in [
        (Kind::Secret, SECRET, "pk_live_planted"),
        (Kind::Publishable, PUBLISHABLE, "pk_test_planted"),
        (Kind::Publishable, PUBLISHABLE, "sk_live_planted"),
        (Kind::Publishable, PUBLISHABLE, "no key at all"),
    ] {
        let world = World::start().await?;
        let at = installed(&world, Mode::Live, "acct_1Kind").await?;
        let planted = json!({ "material": { "M": { "publishable": { "S": material } } } });
        plant(&world, &at, sk, &planted)?;
        ensure!(!refusal(&world, &at, kind).await?.contains(material), "{material}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_its_own_account_alone() -> anyhow::Result<()> {
    let world = World::start().await?;
    let poisoned = installed(&world, Mode::Live, "acct_1Poisoned").await?;
    let other = installed(&world, Mode::Live, "acct_1Healthy").await?;
    let before = world.token(&other, Kind::Secret).await?;
    plant(&world, &poisoned, "STATE#ACCOUNT", &json!({ "fence": { "N": u64::MAX.to_string() } }))?;

    world.pass(Duration::from_secs(31 * 86_400));
    let swept = world.sweep().await?;
    ensure!(swept.failed == 1, "it is counted as failed: {swept:?}");
    let after = world.token(&other, Kind::Secret).await?;
    ensure!(after != before && world.stripe.token_works(&after), "the other was rotated");
    refusal(&world, &poisoned, Kind::Secret).await?;
    let again = world.sweep().await?;
    ensure!(again.failed == 0, "it is set aside for a while: {again:?}");
    Ok(())
}

#[tokio::test]
async fn a_callback_is_refused_in_every_browser_but_the_one_that_started_it() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let at = account(Mode::Test, "acct_1Fixed")?;
    world.add_account(at.id.as_str());
    // An attacker starts an installation and sends the end of it to somebody who has one under way.
    let (_, callback) = world.click_install(&at, "install").await?;
    let (victims, _) = world.click_install(&at, "install").await?;
    world.table.reset();
    let page = world.call_install(&callback, Some(&victims)).await;
    ensure!(page.status() == StatusCode::BAD_REQUEST, "answered {}", page.status());
    ensure!(world.table.calls() == 0, "nothing was read or written");
    Ok(())
}
