//! Orders for the whole bundle and for one account: pause, resume, the release after a restore.

use std::time::Duration;

use keysteward::domain::slot::{AccountRef, Kind};
use keysteward_tests::world::default_slot;

use crate::desk::Desk;

const MONTH: Duration = Duration::from_secs(31 * 86_400);

async fn current(desk: &Desk, at: &AccountRef) -> anyhow::Result<Option<u32>> {
    let account = desk.world.account(at).await?;
    Ok(account.current(&default_slot(Kind::Secret)).map(|(generation, _)| generation.number()))
}

#[tokio::test]
async fn a_pause_of_the_bundle_holds_a_due_rotation_until_it_is_over() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Paused").await?;
    let paused = desk.give(&["pause", "--output", "json"]).await.json(0)?;
    assert!(paused["paused_since"].is_string(), "{paused}");
    desk.world.pass(MONTH);
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(1));
    let said = desk.give(&["status"]).await;
    assert!(said.text(0)?.contains("paused since"), "{said:?}");
    let said = desk.give(&["resume"]).await;
    assert!(said.text(0)?.contains("not paused"), "{said:?}");
    desk.world.pass(Duration::from_secs(86_400));
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(2));
    Ok(())
}

#[tokio::test]
async fn a_pause_of_one_account_leaves_the_others_alone() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Still").await?;
    let other = desk.install(keysteward::domain::slot::Mode::Test, "acct_1Moves").await?;
    let said = desk.give(&["pause", "acct_1Still"]).await;
    assert!(said.text(0)?.contains("test/acct_1Still is paused"), "{said:?}");
    desk.world.pass(MONTH);
    desk.world.sweep_to_rest().await?;
    assert_eq!((current(&desk, &at).await?, current(&desk, &other).await?), (Some(1), Some(2)));
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["accounts"]["paused"], 1);
    assert_eq!(desk.give(&["resume", "acct_1Still"]).await.code, 0);
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(2), "the account is due at once");
    let verified = desk.give(&["audit", "acct_1Still", "--verify"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    Ok(())
}

#[tokio::test]
async fn a_restored_table_acts_once_it_is_released() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Restored").await?;
    let early = desk.give(&["resume", "--after-restore", "--yes"]).await;
    assert_eq!(early.code, 1, "nothing waits for a release: {early:?}");
    let store = &desk.world.steward().store;
    let mut standing = desk.world.steward().standing().await?;
    standing.table_id = Some("the table that this one is a copy of".to_owned());
    store.set_standing(standing).await?;
    // The functions start anew with the restored table.
    let rows = desk.rows()?;
    let said = desk.give(&["status"]).await;
    assert!(said.text(0)?.contains("only reports since"), "{said:?}");
    assert_eq!(desk.rows()?, rows, "looking at it writes nothing");
    let refused = desk.give(&["expire", "acct_1Restored", "default", "--yes"]).await;
    assert!(refused.code == 1 && refused.err.contains("only reports"), "{refused:?}");

    desk.world.pass(MONTH);
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(1), "nothing is changed at Stripe");
    let unsure = desk.answer(&["resume", "--after-restore"], "no").await;
    assert_eq!(unsure.code, 1, "{unsure:?}");
    let released = desk.answer(&["resume", "--after-restore", "--output", "json"], "release").await;
    assert_eq!(released.json(0)?["accounts"], 1);
    // Its rotation is a month late by now.
    assert!(released.err.contains("1 difference found so far in 1 account"), "{released:?}");
    desk.world.pass(Duration::from_secs(86_400));
    desk.world.sweep_to_rest().await?;
    let number = current(&desk, &at).await?;
    assert!(
        number.is_some_and(|number| number > 1000),
        "it acts, past what a copy may lack: {number:?}"
    );
    Ok(())
}
