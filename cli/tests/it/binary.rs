//! The built program itself.

use keysteward::domain::slot::Mode;
use keysteward::runtime::clock::Clock;
use keysteward_tests::Setting;
use serde_json::Value;
use tokio::process::Command;

use crate::desk::Desk;

fn keysteward(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keysteward"));
    command.env_clear().args(args).stdin(std::process::Stdio::null());
    command
}

#[tokio::test]
async fn what_cannot_be_said_is_a_usage_error() -> anyhow::Result<()> {
    for args in [
        &[][..],
        &["unknown"],
        &["show"],
        &["show", "cus_1"],
        &["rotate"],
        &["rotate", "acct_1", "--all"],
        &["rotate", "acct_1", "--dry-run"],
        &["rotate", "--all", "--mode", "prod"],
        &["rotate", "--all", "--overlap-minutes", "10081"],
        &["rotate", "--all", "--cancel", "--publishable"],
        &["rotate", "--all", "--issued-before", "yesterday"],
        &["expire", "acct_1"],
        &["expire", "acct_1", "default", "--now", "--replaced"],
        &["resume", "acct_1", "--after-restore"],
        &["provision", "acct_1"],
        &["reconcile"],
        &["audit", "acct_1", "--verify", "--limit", "3"],
        &["status", "--output", "yaml"],
    ] {
        let output = keysteward(args).output().await?;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    let help = keysteward(&["--help"]).output().await?;
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes"), "{help:?}");
    Ok(())
}

#[tokio::test]
async fn without_settings_it_fails_and_says_which() -> anyhow::Result<()> {
    let output = keysteward(&["status"]).output().await?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("KEYSTEWARD_TABLE is not set"), "{said}");
    Ok(())
}

#[tokio::test]
async fn it_runs_with_the_functions_variables_and_with_a_profile() -> anyhow::Result<()> {
    let starts_at = Clock::system().now();
    let desk = Desk::with(Setting { starts_at, ..Setting::default() }).await?;
    desk.install(Mode::Test, "acct_1Real").await?;
    let output =
        keysteward(&["status", "--output", "json"]).envs(desk.variables()).output().await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(status["accounts"]["test"], 1);

    let folder = tempfile::tempdir()?;
    let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
    std::fs::write(&config, "[profile keys]\nregion = eu-central-1\n")?;
    std::fs::write(&credentials, "[keys]\naws_access_key_id = a\naws_secret_access_key = b\n")?;
    let is_of_profile = |name: &str| {
        name != "AWS_REGION" && name != "AWS_ACCESS_KEY_ID" && name != "AWS_SECRET_ACCESS_KEY"
    };
    let output = keysteward(&["show", "acct_1Real", "--output", "json"])
        .envs(desk.variables().into_iter().filter(|(name, _)| is_of_profile(name)))
        .env("AWS_PROFILE", "keys")
        .env("AWS_CONFIG_FILE", &config)
        .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
        .output()
        .await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(shown["account"], "acct_1Real");
    Ok(())
}
