//! A start that fails is reported as what it is, and a start does everything that the first event needs.

use keysteward_tests::deployment::{STRIPE_SECRET_ID, WEBHOOK_SECRET_ID, signed};
use keysteward_tests::runtime_api::Report;
use keysteward_tests::{Deployment, Name, events};
use serde_json::json;

use crate::thin;

/// Starts a function that must not start: its report, and all that it wrote.
async fn refused(
    deployment: &Deployment,
    name: Name,
    environment: &[(String, String)],
) -> anyhow::Result<(Report, String)> {
    let mut function = deployment.begin(name, environment).await?;
    let status = function.ended().await?;
    assert!(!status.success(), "{name:?} ended with {status}");
    assert_eq!(function.api.nexts(), 0, "{name:?} asked for work");
    let report = function.api.init_error();
    let output = function.stdout()? + &function.stderr()?;
    for secret in Deployment::known_secrets() {
        assert!(!output.contains(&secret), "{name:?} wrote a secret");
    }
    let Some(report) = report else { anyhow::bail!("{name:?} reported nothing: {output}") };
    Ok((report, output))
}

#[tokio::test]
async fn a_missing_setting_is_reported_by_its_name() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    for (name, variables) in [
        (Name::Install, &["KEYSTEWARD_TABLE", "KEYSTEWARD_STRIPE_SECRET_ID"][..]),
        (Name::Install, &["KEYSTEWARD_ENDPOINT_URL", "KEYSTEWARD_KMS_KEY_ID"]),
        (Name::Webhook, &["KEYSTEWARD_TABLE", "KEYSTEWARD_WEBHOOK_SECRET_ID"]),
        (Name::Lifecycle, &["KEYSTEWARD_TABLE", "KEYSTEWARD_APP_ID"]),
        (Name::Rotate, &["KEYSTEWARD_KMS_KEY_ID", "KEYSTEWARD_STRIPE_SECRET_ID"]),
        (Name::Keys, &["KEYSTEWARD_TABLE", "KEYSTEWARD_KMS_KEY_ID", "KEYSTEWARD_APP_ID"]),
    ] {
        for variable in variables {
            let environment = deployment.environment_with(variable, "");
            let (report, _) = refused(&deployment, name, &environment).await?;
            assert_eq!(report.kind.as_deref(), Some("Runtime.SettingsRefused"), "{name:?}");
            assert_eq!(report.body["errorType"], "SettingsRefused", "{name:?}");
            let message = report.body["errorMessage"].as_str().unwrap_or_default();
            assert!(message.contains(&format!("{variable} is not set")), "{name:?}: {message}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_could_lose_a_key_is_reported() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let environment = deployment.environment_with("KEYSTEWARD_OVERLAP_MINUTES", "3");
    for name in [Name::Install, Name::Lifecycle, Name::Rotate, Name::Keys] {
        let (report, _) = refused(&deployment, name, &environment).await?;
        assert_eq!(report.body["errorType"], "SettingsRefused", "{name:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_one_of_another_form_too() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    for (name, id) in [
        (Name::Install, STRIPE_SECRET_ID),
        (Name::Webhook, WEBHOOK_SECRET_ID),
        (Name::Lifecycle, STRIPE_SECRET_ID),
        (Name::Rotate, STRIPE_SECRET_ID),
    ] {
        deployment.secrets.remove(id);
        let (report, _) = refused(&deployment, name, &deployment.environment()).await?;
        assert_eq!(report.kind.as_deref(), Some("Runtime.SecretUnreadable"), "{name:?}");
        let message = report.body["errorMessage"].as_str().unwrap_or_default();
        assert!(message.contains("there is no such secret"), "{name:?}: {message}");

        let malformed = json!({ "signing_secrets": "whsec_not_a_list" }).to_string();
        deployment.secrets.put(id, &malformed);
        let (report, output) = refused(&deployment, name, &deployment.environment()).await?;
        let message = report.body["errorMessage"].as_str().unwrap_or_default();
        assert!(message.contains("documented form"), "{name:?}: {message}");
        for text in [message, &output] {
            assert!(!text.contains("whsec_not_a_list"), "{name:?} repeats the secret: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_is_opened_while_the_secrets_are_read_and_the_first_event_uses_it()
-> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    for name in [Name::Install, Name::Webhook, Name::Lifecycle, Name::Rotate] {
        let before = deployment.table.connections();
        deployment.secrets.hold(true);
        let mut function = deployment.begin(name, &deployment.environment()).await?;
        // Comes before the secrets are answered, or never.
        let connected = deployment.table.connected(before + 1);
        tokio::time::timeout(std::time::Duration::from_secs(120), connected).await?;
        assert_eq!(function.api.nexts(), 0, "{name:?} does not start without its secrets");
        deployment.secrets.hold(false);
        function.ready().await?;
    }
    let body = thin("acct_1First", "evt_test_first").to_string();
    let event = events::http_webhook(body.as_bytes(), &signed(body.as_bytes()))?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let opened = deployment.table.connections();
    let calls = deployment.secrets.reads();
    for _ in 0..2 {
        assert_eq!(webhook.http(&event).await?.status, 200);
    }
    assert_eq!(deployment.table.connections(), opened, "no second connection");
    assert_eq!(deployment.secrets.reads(), calls, "the secrets are not read again");
    Ok(())
}

#[tokio::test]
async fn a_start_does_without_a_connection_that_does_not_come_about() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let nowhere = "http://127.0.0.1:1";
    let environment = deployment.environment_with("AWS_ENDPOINT_URL_DYNAMODB", nowhere);
    for name in Name::ALL {
        deployment.function_with(name, &environment).await?;
    }
    Ok(())
}
