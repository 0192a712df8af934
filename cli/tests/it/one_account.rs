//! Commands that change one account: rotate, expire, provision, and the way out of `needs_operator`.

use std::time::Duration;

use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::slot::{AccountRef, Kind, Slot, SlotName};
use keysteward_tests::world::default_slot;
use serde_json::Value;

use crate::desk::Desk;

async fn current(desk: &Desk, at: &AccountRef) -> anyhow::Result<Option<u32>> {
    let account = desk.world.account(at).await?;
    Ok(account.current(&default_slot(Kind::Secret)).map(|(generation, _)| generation.number()))
}

#[tokio::test]
async fn rotate_replaces_a_key_and_leaves_the_old_one_its_overlap() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Rotated").await?;
    let old = desk.world.token(&at, Kind::Secret).await?;
    let said = desk.give(&["rotate", "acct_1Rotated"]).await;
    assert!(said.text(0)?.contains("retiring"), "{said:?}");
    let shown = desk.give(&["rotate", "acct_1Rotated", "default", "--output", "json"]).await;
    assert_eq!(shown.json(0)?["slots"][0]["generations"][2]["state"], "current");
    assert_eq!(current(&desk, &at).await?, Some(3));
    assert!(desk.world.stripe.token_works(&old));
    let unknown = desk.give(&["rotate", "acct_1Rotated", "other"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.err.contains("no current key"), "{unknown:?}");
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_stripe_refuses_is_not_called_done() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Refused").await?;
    let refused = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
    desk.world.stripe.inject(Fault::once(CallMatch::post("/rotate"), refused));
    let said = desk.give(&["rotate", "acct_1Refused"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("not done yet (not_permitted until"), "{said:?}");
    desk.world.pass(Duration::from_secs(3700));
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(2), "the sweep carries on");
    Ok(())
}

#[tokio::test]
async fn expire_mints_the_next_key_and_then_ends_the_leaked_one() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Leaked").await?;
    let leaked = desk.world.token(&at, Kind::Secret).await?;
    let rows = desk.rows()?;
    assert_eq!(desk.give(&["expire", "acct_1Leaked", "default"]).await.code, 2, "nobody to ask");
    let said = desk.answer(&["expire", "acct_1Leaked", "default"], "yes").await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(desk.rows()?, rows, "nothing was changed");

    let said = desk.answer(&["expire", "acct_1Leaked", "default"], "acct_1Leaked").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(current(&desk, &at).await?, Some(2));
    desk.world.pass(Duration::from_secs(20));
    desk.world.sweep_to_rest().await?;
    assert!(!desk.world.stripe.token_works(&leaked), "the leaked key is dead");
    let next = desk.world.token(&at, Kind::Secret).await?;
    assert!(desk.world.stripe.token_works(&next));
    let audit = desk.give(&["audit", "acct_1Leaked", "--output", "json"]).await.json(0)?;
    let is_asked = |entry: &Value| entry["outcome"] == "expire" && entry["actor"] == "operator";
    assert!(audit.as_array().is_some_and(|entries| entries.iter().any(is_asked)), "{audit}");
    Ok(())
}

#[tokio::test]
async fn a_leaked_key_is_served_until_its_successor_is_there() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Waits").await?;
    let leaked = desk.world.token(&at, Kind::Secret).await?;
    let refused = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
    desk.world.stripe.inject(Fault::once(CallMatch::post("/api_keys"), refused));
    let said = desk.give(&["expire", "acct_1Waits", "default", "--yes"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(desk.world.token(&at, Kind::Secret).await?, leaked);
    desk.world.pass(Duration::from_secs(3700));
    desk.world.sweep_to_rest().await?;
    assert_ne!(desk.world.token(&at, Kind::Secret).await?, leaked);
    assert!(!desk.world.stripe.token_works(&leaked));
    Ok(())
}

#[tokio::test]
async fn expire_now_ends_the_key_even_when_no_other_can_be_had() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Gone").await?;
    let leaked = desk.world.token(&at, Kind::Secret).await?;
    let refused = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
    desk.world.stripe.inject(Fault::once(CallMatch::post("/api_keys"), refused));
    let said = desk.give(&["expire", "acct_1Gone", "default", "--now", "--yes"]).await;
    assert_eq!(said.code, 1, "there is no key: {said:?}");
    assert!(said.err.contains("HAS NO KEY"), "{said:?}");
    desk.world.pass(Duration::from_secs(60));
    desk.world.sweep().await?;
    assert!(!desk.world.stripe.token_works(&leaked), "dead although nothing has taken its place");
    assert_eq!(current(&desk, &at).await?, None);
    desk.world.pass(Duration::from_secs(3700));
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(2));
    Ok(())
}

#[tokio::test]
async fn expire_replaced_ends_the_overlap_and_nothing_else() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Overlaps").await?;
    let old = desk.world.token(&at, Kind::Secret).await?;
    assert_eq!(desk.give(&["rotate", "acct_1Overlaps"]).await.code, 0);
    let said = desk.give(&["expire", "acct_1Overlaps", "default", "--replaced", "--yes"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    desk.world.pass(Duration::from_secs(60));
    desk.world.sweep_to_rest().await?;
    assert!(!desk.world.stripe.token_works(&old));
    assert_eq!(current(&desk, &at).await?, Some(2));
    let nothing = desk.give(&["expire", "acct_1Overlaps", "default", "--replaced", "--yes"]).await;
    assert_eq!(nothing.code, 1, "{nothing:?}");
    Ok(())
}

#[tokio::test]
async fn provision_opens_another_slot_and_mints_its_key() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1More").await?;
    let said = desk
        .give(&["provision", "acct_1More", "reports", "--mode", "test", "--output", "json"])
        .await;
    let slots = said.json(0)?["slots"].clone();
    let is_there =
        |slot: &Value| slot["slot"] == "reports" && slot["generations"][0]["state"] == "current";
    assert!(slots.as_array().is_some_and(|slots| slots.iter().any(is_there)), "{slots}");
    let account = desk.world.account(&at).await?;
    let slot = Slot::new(Kind::Secret, SlotName::parse("reports")?);
    assert!(account.current(&slot).is_some());
    Ok(())
}

#[tokio::test]
async fn a_slot_that_needs_an_operator_carries_on_when_one_says_so() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Stuck").await?;
    let refused = FaultKind::BeforeEffect { status: 400, code: "parameter_unknown".to_owned() };
    desk.world.stripe.inject(Fault::once(CallMatch::post("/rotate"), refused));
    let said = desk.give(&["rotate", "acct_1Stuck"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("keysteward resume acct_1Stuck default"), "{said:?}");
    let status = desk.give(&["status", "--output", "json"]).await.json(0)?;
    assert_eq!(status["needs_operator"][0]["why"], "needs_operator", "{status}");
    let said = desk.give(&["status"]).await;
    assert!(
        said.out.contains("keysteward resume acct_1Stuck default --kind secret --mode test"),
        "{said:?}"
    );
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(1), "nothing happens without a person");

    let unasked = desk.give(&["resume", "acct_1Stuck", "default"]).await;
    assert_eq!(unasked.code, 2, "a key is ended by it, and nobody was asked");
    let carried =
        desk.answer(&["resume", "acct_1Stuck", "default", "--output", "json"], "acct_1Stuck").await;
    assert_eq!(carried.json(0)?["given_up"], 1);
    desk.world.sweep_to_rest().await?;
    assert_eq!(current(&desk, &at).await?, Some(3), "the rotation that was asked for is made");
    let again = desk.give(&["resume", "acct_1Stuck", "default"]).await;
    assert!(again.text(0)?.contains("waits for nobody"), "{again:?}");
    Ok(())
}

#[tokio::test]
async fn provision_asks_before_it_gives_up_what_only_a_person_can_end() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1Afresh").await?;
    let refused = FaultKind::BeforeEffect { status: 400, code: "parameter_unknown".to_owned() };
    desk.world.stripe.inject(Fault::once(CallMatch::post("/rotate"), refused));
    assert_eq!(desk.give(&["rotate", "acct_1Afresh"]).await.code, 1);
    let rows = desk.rows()?;
    let args = ["provision", "acct_1Afresh", "--mode", "test"];
    let unasked = desk.give(&args).await;
    assert!(unasked.code == 2 && unasked.err.contains("1 generation is given up"), "{unasked:?}");
    assert_eq!(desk.rows()?, rows);
    let said = desk.answer(&args, "acct_1Afresh").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(current(&desk, &at).await?, Some(3));
    Ok(())
}

#[tokio::test]
async fn expire_now_ends_the_key_before_the_next_one_is_asked_for() -> anyhow::Result<()> {
    let (desk, at) = Desk::with_account("acct_1First").await?;
    let before = desk.world.stripe.log().len();
    assert_eq!(desk.give(&["expire", "acct_1First", "default", "--now", "--yes"]).await.code, 0);
    assert_eq!(current(&desk, &at).await?, Some(2));
    let log = desk.world.stripe.log();
    let position = |end: &str| {
        log[before..].iter().position(|call| call.path.ends_with(end) && call.method == "POST")
    };
    let (expired, created) = (position("/expire"), position("/api_keys"));
    assert!(expired.is_some() && created.is_some() && expired < created, "{expired:?} {created:?}");
    Ok(())
}
