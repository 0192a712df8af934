//! Several processes on one table, as Lambda runs them.

use keysteward_tests::deployment::signed;
use keysteward_tests::{Deployment, Name, events};

use crate::{account, installed, key_path, thin};

#[tokio::test]
async fn two_sweeps_at_once_make_one_key() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut install = deployment.function(Name::Install).await?;
    let at = account("acct_1Twice")?;
    deployment.stripe.add_account("acct_1Twice", fake_stripe::AccountSpec::default());
    // Two callbacks of one click, and both sweeps: four processes want the same account.
    let mut other = deployment.function(Name::Install).await?;
    let (cookie, callback) = deployment.click_install(&mut install, &at).await?;
    let callback = events::http_install(&callback, Some(&cookie))?;
    let mut sweeps =
        (deployment.function(Name::Rotate).await?, deployment.function(Name::Rotate).await?);
    let schedule = events::schedule()?;
    let (page, again, one, two) = tokio::join!(
        install.http(&callback),
        other.http(&callback),
        sweeps.0.answer(&schedule),
        sweeps.1.answer(&schedule),
    );
    let pages = [page?.status, again?.status];
    assert!(pages.contains(&200), "{pages:?}");
    one?;
    two?;
    let secret = deployment.stripe.keys("acct_1Twice");
    let secret: Vec<_> = secret.iter().filter(|key| key.kind == "secret_key").collect();
    assert_eq!(secret.len(), 1, "{secret:?}");
    Ok(())
}

#[tokio::test]
async fn reads_go_on_while_events_come_in() -> anyhow::Result<()> {
    let (deployment, _install, at) = installed("acct_1Both").await?;
    let mut keys = deployment.function(Name::Keys).await?;
    let mut webhook = deployment.function(Name::Webhook).await?;
    let read = events::http_key(&key_path(&at))?;
    let reads = async {
        for _ in 0..20 {
            let answer = keys.http(&read).await?;
            anyhow::ensure!(answer.status == 200, "a read was answered {}", answer.status);
        }
        Ok(())
    };
    let deliveries = async {
        for n in 0..20 {
            let body = thin("acct_1Both", &format!("evt_test_both{n}")).to_string();
            let event = events::http_webhook(body.as_bytes(), &signed(body.as_bytes()))?;
            let answer = webhook.http(&event).await?;
            anyhow::ensure!(answer.status == 200, "an event was answered {}", answer.status);
        }
        Ok(())
    };
    let (reads, deliveries) = tokio::join!(reads, deliveries);
    reads.and(deliveries)?;
    let is_new = |row: &&serde_json::Value| {
        row["sk"]["S"].as_str().is_some_and(|key| key.contains("#evt_test_both"))
    };
    assert_eq!(deployment.rows()?.iter().filter(is_new).count(), 20);
    Ok(())
}
