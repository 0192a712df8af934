//! What fails is reported to the runtime in its form, without a secret, and the process goes on.

use keysteward_tests::deployment::signed;
use keysteward_tests::function::{Function, built};
use keysteward_tests::runtime_api::Outcome;
use keysteward_tests::table::When;
use keysteward_tests::{Deployment, Name, events};
use serde_json::json;

use crate::{installed, key_path, thin};

#[tokio::test]
async fn a_sweep_without_its_table_is_an_error_of_its_class_and_the_next_one_is_well()
-> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut rotate = deployment.function(Name::Rotate).await?;
    deployment.table.fail(0, When::BeforeEffect, true);
    let report = rotate.failure(&events::schedule()?).await?;
    let kind = report.body["errorType"].as_str().unwrap_or_default();
    assert!(["transient", "fault", "conflict"].contains(&kind), "{report:?}");
    assert!(report.body["errorMessage"].is_string(), "{report:?}");
    assert!(report.kind.is_some_and(|kind| !kind.is_empty()), "the header names the kind");

    deployment.table.heal();
    let swept = rotate.answer(&events::schedule()?).await?;
    assert_eq!(swept["failed"], 0);
    Ok(())
}

#[tokio::test]
async fn an_event_of_another_form_is_an_error_that_repeats_nothing_of_it() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let secret = "sk_test_in_an_event_of_another_form";
    let record = json!({ "eventName": "INSERT", "dynamodb": secret });
    for (name, event) in [
        (Name::Lifecycle, json!({ "Records": [record] })),
        (Name::Lifecycle, json!({ "Records": secret })),
        (Name::Webhook, json!({ "detail": secret })),
        (Name::Webhook, json!(secret)),
        (Name::Keys, json!({ "Records": [record] })),
        (Name::Install, json!([secret])),
    ] {
        let mut function = deployment.function(name).await?;
        let report = function.failure(&event).await?;
        assert!(report.body["errorType"].is_string(), "{name:?}: {report:?}");
        assert!(report.body["errorMessage"].is_string(), "{name:?}: {report:?}");
        let output = format!("{report:?}{}{}", function.stdout()?, function.stderr()?);
        assert!(!output.contains(secret), "{name:?} repeats the event: {output}");
        function.failure(&event).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_told_to_a_person_when_parts_fail_holds_no_secret() -> anyhow::Result<()> {
    let (deployment, _install, at) = installed("acct_1Secretive").await?;
    let mut keys = deployment.function(Name::Keys).await?;
    deployment.kms.set_disabled(true);
    let answer = keys.http(&events::http_key(&key_path(&at))?).await?;
    assert_eq!(answer.status, 500, "{}", String::from_utf8_lossy(&answer.body));
    let mut webhook = deployment.function(Name::Webhook).await?;
    deployment.table.fail(0, When::BeforeEffect, true);
    let body = thin("acct_1Secretive", "evt_test_lost").to_string();
    let signature = signed(body.as_bytes());
    let told = webhook.http(&events::http_webhook(body.as_bytes(), &signature)?).await?;
    assert_eq!(told.status, 503);
    let output = [keys.stdout()?, keys.stderr()?, webhook.stdout()?, webhook.stderr()?].concat();
    for secret in Deployment::known_secrets() {
        assert!(!output.contains(&secret), "a secret is in {output}");
    }
    deployment.table.heal();
    deployment.kms.set_disabled(false);
    let healed = keys.http(&events::http_key(&key_path(&at))?).await?;
    assert_eq!(healed.status, 200, "a failure is not remembered");
    Ok(())
}

#[tokio::test]
async fn a_panic_is_reported_as_an_error_and_the_process_goes_on() -> anyhow::Result<()> {
    let environment = Deployment::start().await?.environment();
    let limit = std::time::Duration::from_secs(30);
    let mut function = Function::spawn(&built("keysteward-panics")?, &environment, limit).await?;
    function.ready().await?;
    for path in ["/panics/at-once", "/panics/later", "/panics/at-once"] {
        let Outcome::Error(report) = function.invoke(&events::http_key(path)?).await? else {
            anyhow::bail!("{path} did not panic");
        };
        let message = report.body["errorMessage"].as_str().unwrap_or_default();
        assert_eq!(message, "Lambda panicked: told to", "{path}");
        assert!(report.body["errorType"].is_string(), "{path}: {report:?}");
        let calm = function.http(&events::http_key("/calm")?).await?;
        assert_eq!(calm.body, b"calm", "after {path}");
    }
    Ok(())
}
