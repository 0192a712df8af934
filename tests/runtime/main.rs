//! The release binaries as Lambda runs them: each in a process of its own under the Runtime API, driven with
//! events of their real shapes, against a DynamoDB engine and doubles of KMS, Secrets Manager and Stripe.
//!
//! Needs the binaries that `infra/package` builds, so plain `cargo test` leaves it out; `.ci/run` builds them
//! and runs it. `KEYSTEWARD_FUNCTIONS=.aws-sam/build` tests what `sam build` made.

mod binaries;
mod failures;
mod http;
mod log_lines;
mod shutdown;
mod start;
mod together;
mod wake;

use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward_tests::{Deployment, Function, Name};

/// An account in test mode.
fn account(id: &str) -> anyhow::Result<AccountRef> {
    Ok(AccountRef::new(Mode::Test, AccountId::parse(id)?))
}

/// A deployment in which the app is installed on one account; the `install` function still runs.
async fn installed(id: &str) -> anyhow::Result<(Deployment, Function, AccountRef)> {
    let deployment = Deployment::start().await?;
    let mut install = deployment.function(Name::Install).await?;
    let at = account(id)?;
    let page = deployment.install_app(&mut install, &at).await?;
    anyhow::ensure!(page.status == 200, "the installation was answered {}", page.status);
    Ok((deployment, install, at))
}

/// The path of a read of the account's secret key.
fn key_path(at: &AccountRef) -> String {
    format!("/v1/accounts/{}/keys/default?mode={}&kind=secret", at.id, at.mode)
}

/// An event that concerns nobody's key, as Stripe notifies of it.
fn thin(account: &str, id: &str) -> serde_json::Value {
    serde_json::json!({
        "id": id,
        "object": "v2.core.event",
        "type": "v2.iam.api_key.rotated",
        "livemode": false,
        "created": "2026-11-24T12:00:00.000Z",
        "context": account,
        "related_object": null,
        "reason": null,
    })
}
