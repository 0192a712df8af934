//! Claimable sandboxes: accounts without an install callback.

mod main_path;
mod own_record;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use keysteward::domain::audit;
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward_tests::World;
use keysteward_tests::world::{WEBHOOK_SECRET, json_of};

pub(crate) const BOX: &str = "acct_1Box";
pub(crate) const OWNER: &str = "acct_1Owner";

pub(crate) async fn code_of(world: &World, at: &AccountRef) -> anyhow::Result<String> {
    let reply = world.read(at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::CONFLICT, "answered {}", reply.status());
    Ok(json_of(&reply)?["code"].as_str().context("a code")?.to_owned())
}

/// One more event about a sandbox, which the sweep finds.
pub(crate) async fn tell(world: &World, sandbox: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({
        "id": "evt_test_told", "object": "v2.core.event", "context": null, "livemode": false,
        "type": "v2.core.claimable_sandbox.expiring", "created": world.now().to_string(),
        "related_object": {"id": sandbox, "type": "v2.core.claimable_sandbox"},
    });
    let body = serde_json::to_vec(&body)?;
    let signature = fake_stripe::sign(&[WEBHOOK_SECRET], world.now().seconds(), &body);
    ensure!(world.post(&body, &signature).await.status() == StatusCode::OK);
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await
}

pub(crate) fn sandbox_calls(world: &World) -> usize {
    let is_one = |call: &&fake_stripe::Call| call.path.contains("claimable_sandboxes");
    world.stripe.log().iter().filter(is_one).count()
}

/// No key of the account but those that are served is alive, and the trail holds.
pub(crate) async fn assert_tidy(
    world: &World,
    at: &AccountRef,
    alive: usize,
) -> anyhow::Result<()> {
    let keys = world.stripe.keys(at.id.as_str());
    let active = keys.iter().filter(|key| key.status == "active").count();
    ensure!(active == alive, "{active} keys are alive on {at}, not {alive}");
    let stored = world.account(at).await?;
    let trail = world.steward().store.trail(at, 0, 10_000).await?;
    Ok(audit::verify(&trail, &stored.head.audit)?)
}
