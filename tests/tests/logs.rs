//! What a function writes on its good path: its metrics, and at most one short line beside them.
//!
//! A program of its own: what is logged is decided per process, and other tests would have a say in it.

use std::time::Duration;

use anyhow::ensure;
use http::StatusCode;
use keysteward::domain::slot::{Kind, Mode};
use keysteward::http::{Caller, RequestId};
use keysteward::runtime::log;
use keysteward_tests::world::{account, get};
use keysteward_tests::{Captured, World};

const OF_THE_ENGINE: &str = r#""message":"error response","operation":"#;
/// What Stripe's and AWS's names look like at their usual lengths.
const ACCOUNT: &str = "acct_1SGxQ2LkdIwHu7ix";
const CALLER: &str =
    "arn:aws:sts::123456789012:assumed-role/checkout-service-production/i-0abcd1234efgh5678";
const REQUEST: &str = "JKJaXmPLvHcESHA=";

/// The lines since the last time, each with its end; not what the embedded DynamoDB engine says, which runs
/// in the same process here.
fn taken(logs: &Captured) -> Vec<String> {
    let text = logs.take();
    let lines = text.split_inclusive('\n').filter(|line| !line.contains(OF_THE_ENGINE));
    lines.map(str::to_owned).collect()
}

fn ensure_short(lines: &[String], what: &str) -> anyhow::Result<usize> {
    ensure!(lines.len() <= 1, "{what} writes more than one line: {lines:?}");
    let longest = lines.iter().map(String::len).max().unwrap_or(0);
    ensure!(longest <= 300, "{what} writes {longest} bytes: {lines:?}");
    Ok(longest)
}

#[tokio::test]
async fn on_the_good_path_a_function_writes_at_most_one_line_of_300_bytes_beside_its_metrics()
-> anyhow::Result<()> {
    let logs = Captured::default();
    let _guard = tracing::subscriber::set_default(log::to(logs.clone()));
    let world = World::start().await?;
    let at = account(Mode::Live, ACCOUNT)?;
    world.add_account(at.id.as_str());

    let (cookie, callback) = world.click_install(&at, "install").await?;
    ensure!(taken(&logs).is_empty(), "a redirect is worth no line");
    ensure!(world.call_install(&callback, Some(&cookie)).await.status() == StatusCode::OK);
    ensure!(ensure_short(&taken(&logs), "install")? > 0);

    let deliveries = world.stripe.take_deliveries();
    ensure!(!deliveries.is_empty());
    for delivery in deliveries {
        let signature = fake_stripe::sign(
            &[keysteward_tests::world::WEBHOOK_SECRET],
            world.now().seconds(),
            &delivery.body,
        );
        ensure!(world.post(&delivery.body, &signature).await.status() == StatusCode::OK);
        ensure!(ensure_short(&taken(&logs), "webhook")? > 0);
    }

    let mut request = get(&format!("/v1/accounts/{ACCOUNT}/keys/default?mode=live&kind=secret"));
    request.extensions_mut().insert(Caller(CALLER.to_owned()));
    request.extensions_mut().insert(RequestId(REQUEST.to_owned()));
    let reply = keysteward_keys::respond(&world.service, request).await;
    ensure!(reply.status() == StatusCode::OK);
    ensure!(ensure_short(&taken(&logs), "keys")? > 0, "each read leaves its record");
    world.read(&at, Kind::Publishable).await;
    taken(&logs);

    world.pass(Duration::from_secs(61));
    for what in ["a sweep that applies events", "a sweep with nothing to do"] {
        world.sweep().await?;
        ensure!(ensure_short(&taken(&logs), what)? == 0, "its metrics say it all");
    }
    // Not so late that the rotation counts as drift, which is worth a line.
    world.pass(Duration::from_secs(86_400 * 30 + 3600));
    world.sweep().await?;
    ensure!(ensure_short(&taken(&logs), "a sweep that rotates")? == 0);
    world.deliver().await?;
    Ok(())
}
