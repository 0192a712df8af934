//! The drill of `docs/recovery.md`: the table is restored from a copy that is days old.

use std::time::Duration;

use anyhow::{Context, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use keysteward::domain::account::Status;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::steward::OrderBook;
use keysteward_tests::world::{account, default_slot};
use keysteward_tests::{Setting, World};

const DAY: Duration = Duration::from_secs(86_400 + 60);

/// The calls to Stripe that change something.
fn changes_at_stripe(world: &World) -> usize {
    world
        .stripe
        .log()
        .iter()
        .filter(|call| call.method != "GET" && call.path.contains("api_keys"))
        .count()
}

async fn rotate(world: &World, at: &AccountRef) -> anyhow::Result<String> {
    let deadline = world.now().plus(Duration::from_secs(60));
    world.steward().rotate(at, &default_slot(Kind::Secret), Actor::Operator, deadline).await?;
    world.token(at, Kind::Secret).await
}

#[tokio::test]
async fn a_restored_table_reports_first_and_acts_only_when_it_is_released() -> anyhow::Result<()> {
    for strategy in [Strategy::Rotate, Strategy::CreateThenExpire] {
        let choice = Choice { strategy, ..Choice::default() };
        let mut world = World::with(Setting { choice, ..Setting::default() }).await?;
        let [moved, still] =
            [account(Mode::Live, "acct_1Moved")?, account(Mode::Live, "acct_1Still")?];
        for at in [&moved, &still] {
            world.add_account(at.id.as_str());
            world.install_app(at).await?;
        }
        let kept = world.token(&still, Kind::Secret).await?;
        let copy = world.copy()?;

        // Two rotations that the copy knows nothing of; the consumers use the last key.
        rotate(&world, &moved).await?;
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        let in_use = rotate(&world, &moved).await?;
        world.pass(DAY * 2);
        world.sweep_to_rest().await?;
        world.deliver().await?;

        world.restore(copy).await?;
        let before = changes_at_stripe(&world);
        for _ in 0..3 {
            world.pass(DAY);
            world.sweep_to_rest().await?;
        }
        ensure!(changes_at_stripe(&world) == before, "nothing is changed at Stripe");
        ensure!(world.stripe.token_works(&in_use), "what the consumers use still works");
        let standing = world.steward().standing().await?;
        ensure!(standing.epoch == 1 && standing.report_only.is_some(), "{standing:?}");
        let found = world.account(&moved).await?.head.reconciled.context("it was reconciled")?;
        ensure!(found.drift > 0, "what the copy lacks is reported");
        let found = world.account(&still).await?.head.reconciled.context("it was reconciled")?;
        ensure!(found.drift == 0, "what did not change is not");

        world.steward().give_order(|standing| standing.release()).await?;
        for at in [&moved, &still] {
            world.steward().store.wake(at, world.now()).await?;
        }
        world.sweep_to_rest().await?;
        let served = world.token(&moved, Kind::Secret).await?;
        ensure!(served != in_use && world.stripe.token_works(&served), "a new key is served");
        ensure!(world.stripe.token_works(&in_use), "and the one in use has a whole overlap");
        ensure!(world.token(&still, Kind::Secret).await? == kept, "the other account is as it was");

        world.pass(DAY);
        world.sweep_to_rest().await?;
        ensure!(!world.stripe.token_works(&in_use), "then it is ended");
        ensure!(world.token(&moved, Kind::Secret).await? == served);
        let active = world.stripe.keys(moved.id.as_str());
        let active = active.iter().filter(|key| key.status == "active").count();
        ensure!(active == 2, "one key a slot, no orphan: {active}");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_older_than_the_reconciliation_waits_for_it() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let at = account(Mode::Live, "acct_1Event")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let copy = world.copy()?;
    let in_use = rotate(&world, &at).await?;
    world.restore(copy).await?;
    world.deliver().await?;
    world.sweep_to_rest().await?;
    let stored = world.account(&at).await?;
    let (_, state) = stored.current(&default_slot(Kind::Secret)).context("nothing was ended")?;
    ensure!(state.name() == "current");
    world.steward().give_order(|standing| standing.release()).await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    world.pass(DAY * 2);
    world.sweep_to_rest().await?;
    let served = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&served) && served != in_use);
    ensure!(!world.stripe.token_works(&in_use));
    Ok(())
}

#[tokio::test]
async fn a_key_that_stripe_no_longer_shows_is_served_until_another_one_is_there()
-> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.old_id_retrievable = false);
    let at = account(Mode::Live, "acct_1Hidden")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let old = world.token(&at, Kind::Secret).await?;
    let copy = world.copy()?;
    rotate(&world, &at).await?;
    world.pass(Duration::from_secs(2 * 3600));
    world.restore(copy).await?;
    // This process is the first to see the copy; then an operator releases it.
    world.sweep().await?;
    world.steward().give_order(|standing| standing.release()).await?;
    let down = FaultKind::BeforeEffect { status: 500, code: "api_error".into() };
    let on = CallMatch::post("/v2/iam/api_keys");
    world.stripe.inject(Fault { times: u32::MAX, ..Fault::once(on, down) });
    world.steward().store.wake(&at, world.now()).await?;
    world.sweep_to_rest().await?;
    ensure!(world.stripe.token_works(&old), "its overlap is not over");
    ensure!(
        world.token(&at, Kind::Secret).await? == old,
        "I1: it is the last that is known to work"
    );
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(1200));
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new));
    Ok(())
}

async fn release(world: &World, at: &AccountRef) -> anyhow::Result<()> {
    world.steward().give_order(|standing| standing.release()).await?;
    world.steward().store.wake(at, world.now()).await?;
    world.sweep_to_rest().await?;
    world.deliver().await?;
    world.pass(DAY);
    world.sweep_to_rest().await
}

/// By what an uninstall is heard of after the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeardBy {
    Record,
    LateWebhook,
}

#[tokio::test]
async fn an_uninstall_that_was_followed_by_an_installation_ends_nothing_after_a_restore()
-> anyhow::Result<()> {
    for heard_by in [HeardBy::Record, HeardBy::LateWebhook] {
        for keys in [KeepOrExpire::Keep, KeepOrExpire::Expire] {
            let mut world = World::start().await?;
            world.stripe.set_behaviour(|stripe| stripe.thin_account_events = true);
            let at = account(Mode::Live, "acct_1Back")?;
            world.add_account(at.id.as_str());
            world.install_app(&at).await?;
            world.deliver().await?;
            let copy = world.copy()?;
            world.pass(DAY);
            world.stripe.uninstall(at.id.as_str(), true, keys);
            let mut late = vec![];
            match heard_by {
                HeardBy::Record => drop(world.deliver().await?),
                HeardBy::LateWebhook => {
                    late.extend(world.stripe.take_deliveries().into_iter().map(|it| it.body));
                }
            }
            world.pass(Duration::from_secs(3600));
            world.install_app(&at).await?;
            world.deliver().await?;
            world.pass(DAY);
            world.sweep_to_rest().await?;

            world.restore(copy).await?;
            world.sweep().await?;
            world.deliver_bodies(late).await?;
            world.pass(DAY);
            world.sweep_to_rest().await?;
            release(&world, &at).await?;
            let stored = world.account(&at).await?;
            let is_installed = matches!(stored.head.status, Status::Installed { .. });
            ensure!(is_installed, "{heard_by:?} {keys:?}: it has been installed again since");
            let served = world.token(&at, Kind::Secret).await?;
            ensure!(world.stripe.token_works(&served), "{heard_by:?} {keys:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_still_stands_is_believed_once_the_bundle_is_released()
-> anyhow::Result<()> {
    let mut world = World::start().await?;
    let at = account(Mode::Live, "acct_1Gone")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    let copy = world.copy()?;
    world.pass(DAY);
    world.restore(copy).await?;
    world.sweep().await?;
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Keep);
    world.deliver().await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let status = |stored: &keysteward::domain::account::Account| stored.head.status;
    let is_installed = matches!(status(&world.account(&at).await?), Status::Installed { .. });
    ensure!(is_installed, "while the bundle only reports, the copy stays as it is");
    release(&world, &at).await?;
    let is_gone = matches!(status(&world.account(&at).await?), Status::Uninstalled { .. });
    ensure!(is_gone, "Stripe refuses the list, as after an uninstall");
    Ok(())
}

#[tokio::test]
async fn a_table_that_was_restored_under_its_own_name_is_noticed_by_a_warm_process_and_by_all_alike()
-> anyhow::Result<()> {
    let mut world = World::start().await?;
    let at = account(Mode::Live, "acct_1Warm")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let copy = world.copy()?;
    rotate(&world, &at).await?;
    let other = OrderBook::default();
    other.standing(&world.steward().store, world.now()).await?;

    world.restore_under_warm_processes(copy).await?;
    world.pass(DAY);
    let before = changes_at_stripe(&world);
    world.sweep().await?;
    let standing = world.steward().standing().await?;
    ensure!(standing.epoch == 1 && standing.report_only.is_some(), "{standing:?}");
    ensure!(changes_at_stripe(&world) == before, "nothing is changed at Stripe");
    let (cold, store) = (OrderBook::default(), &world.steward().store);
    for _ in 0..2 {
        for book in [&other, &cold] {
            let standing = book.standing(store, world.now()).await?;
            ensure!(standing.epoch == 1, "one restore, whoever looks: {standing:?}");
        }
        world.sweep().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_account_with_more_keys_than_one_change_holds_is_reconciled_in_several()
-> anyhow::Result<()> {
    const SLOTS: usize = 60;
    let mut world = World::start().await?;
    world.stripe.set_behaviour(|stripe| stripe.key_limit = 1000);
    let at = account(Mode::Live, "acct_1Many")?;
    world.add_account(at.id.as_str());
    world.stripe.install(at.id.as_str(), true);
    let slots = (0..SLOTS).map(|n| Ok(Slot::new(Kind::Secret, SlotName::parse(&format!("s{n}"))?)));
    let slots: Vec<Slot> = slots.collect::<anyhow::Result<_>>()?;
    let deadline = world.now().plus(Duration::from_secs(600));
    for slot in &slots {
        world.steward().provision(&at, slot, Actor::Operator, deadline).await?;
    }
    let copy = world.copy()?;
    for slot in &slots {
        world.steward().rotate(&at, slot, Actor::Operator, deadline).await?;
    }
    world.pass(Duration::from_secs(2 * 3600));
    world.restore(copy).await?;
    world.sweep().await?;
    world.steward().store.wake(&at, world.now()).await?;
    world.sweep_to_rest().await?;
    let reconciled = world.account(&at).await?.head.reconciled.context("it is reported")?;
    ensure!(reconciled.drift as usize == 2 * SLOTS, "{reconciled:?}");
    release(&world, &at).await?;

    let stored = world.account(&at).await?;
    ensure!(stored.head.epoch == 1, "it acts again");
    let mut numbers = vec![];
    for slot in &slots {
        let (generation, _) = stored.current(slot).context("a key in every slot")?;
        numbers.push(generation.number());
    }
    let in_bounds = numbers.iter().all(|number| (1000..2000).contains(number));
    ensure!(in_bounds, "each slot's numbers are skipped once: {numbers:?}");
    // Told by webhooks, one after the other: of one account's events, a sweep takes few.
    world.deliver().await?;
    world.pass(DAY);
    world.sweep_to_rest().await?;
    let active = world.stripe.keys(at.id.as_str());
    let active = active.iter().filter(|key| key.status == "active").count();
    ensure!(active == SLOTS, "one key a slot, no orphan: {active}");
    let stored = world.account(&at).await?;
    ensure!(stored.head.reconciled.context("again")?.drift == 0);
    keysteward_tests::invariants::of_the_trail(&world, &stored).await
}
