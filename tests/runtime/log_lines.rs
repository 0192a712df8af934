//! What a good invocation costs in CloudWatch Logs: one line of at most 300 bytes. Documents in the embedded
//! metric format (`"_aws"`) are not counted: they are metrics that travel by log.

use keysteward_tests::deployment::stored_as;
use keysteward_tests::{Function, Name, events};

use crate::{installed, key_path};

const LONGEST: usize = 300;

/// The lines that were written since `before`, without metrics.
fn lines(function: &Function, before: usize) -> anyhow::Result<Vec<String>> {
    let log = function.stdout()?;
    let new = log[before..].lines();
    Ok(new.filter(|line| !line.contains("\"_aws\"")).map(str::to_owned).collect())
}

fn assert_short(name: &str, lines: &[String]) {
    assert!(lines.len() <= 1, "{name} writes {} lines: {lines:#?}", lines.len());
    for line in lines {
        assert!(line.len() < LONGEST, "{name} writes {} bytes: {line}", line.len() + 1);
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{name}: {line}");
    }
}

#[tokio::test]
async fn a_good_invocation_writes_at_most_one_short_line() -> anyhow::Result<()> {
    // Ids as long as Stripe's: 16 characters after `acct_`.
    let (deployment, install, at) = installed("acct_1Q2W3E4R5T6Y7U8I").await?;
    let installing = lines(&install, 0)?;
    assert_short("install", &installing);
    assert_eq!(installing.len(), 1, "an installation is on record");

    let mut webhook = deployment.function(Name::Webhook).await?;
    assert_eq!(webhook.stdout()?, "", "a start says nothing");
    let mut rows = Vec::new();
    for (body, signature) in deployment.deliveries() {
        let before = webhook.stdout()?.len();
        webhook.http(&events::http_webhook_base64(&body, &signature)?).await?;
        assert_short("webhook", &lines(&webhook, before)?);
        rows.extend(stored_as(&body)?);
    }
    assert!(!rows.is_empty(), "an installation makes events");

    let mut lifecycle = deployment.function(Name::Lifecycle).await?;
    let batch: Vec<(&str, &str, &str)> =
        rows.iter().map(|(pk, sk)| (pk.as_str(), sk.as_str(), "1")).collect();
    lifecycle.answer(&events::stream(&batch)?).await?;
    assert_short("lifecycle", &lines(&lifecycle, 0)?);

    let mut keys = deployment.function(Name::Keys).await?;
    for _ in 0..3 {
        let before = keys.stdout()?.len();
        let answer = keys.http(&events::http_key(&key_path(&at))?).await?;
        assert_eq!(answer.status, 200);
        let reading = lines(&keys, before)?;
        assert_short("keys", &reading);
        assert_eq!(reading.len(), 1, "a read is on record");
    }

    let mut rotate = deployment.function(Name::Rotate).await?;
    rotate.answer(&events::schedule()?).await?;
    assert_short("rotate", &lines(&rotate, 0)?);
    for function in [&install, &webhook, &lifecycle, &keys, &rotate] {
        assert_eq!(function.stderr()?, "");
    }
    Ok(())
}
