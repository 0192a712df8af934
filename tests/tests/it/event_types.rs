//! What an event of each type does, from its signed body to the row that is closed, and what one does that is about
//! something else than it seems: another mode, a foreign key, a key that nobody here knows yet.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire, sign};
use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit::{Action, Actor, Entry};
use keysteward::domain::policy::{Choice, Policy, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{WEBHOOK_SECRET, account, default_slot, json_of};
use keysteward_tests::{Setting, World};
use serde_json::{Value, json};

/// The types about keys, and what the trail says of each where it says anything.
const OF_KEYS: [(&str, Option<&str>); 6] = [
    ("v2.iam.api_key.created", None),
    ("v2.iam.api_key.updated", Some("key_updated")),
    ("v2.iam.api_key.rotated", None),
    ("v2.iam.api_key.expired", None),
    ("v2.iam.api_key.permissions_updated", Some("key_permissions_updated")),
    ("v2.iam.api_key.default_secret_revealed", Some("key_default_secret_revealed")),
];

/// What an event about an account does to one whose keys wait for a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Stripe is asked for the keys again.
    AsksAgain,
    /// It goes on waiting.
    Nothing,
    /// The account is closed.
    Closes,
}

/// The types about accounts, thin or with an object, and what each does.
fn of_accounts() -> [(&'static str, Option<Value>, Effect); 8] {
    [
        ("account.application.authorized", Some(json!({})), Effect::AsksAgain),
        ("v1.account.application.authorized", None, Effect::AsksAgain),
        ("account.updated", Some(json!({"charges_enabled": true})), Effect::AsksAgain),
        ("account.updated", Some(json!({"charges_enabled": false})), Effect::Nothing),
        ("account.updated", Some(json!({})), Effect::AsksAgain),
        // A thin form has no object, so that Stripe has to be asked.
        ("v1.account.updated", None, Effect::AsksAgain),
        ("account.application.deauthorized", Some(json!({})), Effect::Closes),
        ("v1.account.application.deauthorized", None, Effect::Closes),
    ]
}

/// An event about an account as Stripe notifies of it: a snapshot where it has an object, else thin.
fn body(world: &World, at: &AccountRef, event_type: &str, object: Option<&Value>) -> Vec<u8> {
    let (form, created, data) = match object {
        Some(object) => ("event", json!(world.now().seconds()), json!({"object": object})),
        None => ("v2.core.event", json!(world.now().to_string()), Value::Null),
    };
    json!({
        "id": "evt_test_typed", "object": form, "type": event_type, "created": created,
        "livemode": at.mode == Mode::Live, "account": at.id.as_str(), "data": data,
    })
    .to_string()
    .into_bytes()
}

async fn installed(id: &str) -> anyhow::Result<(World, AccountRef)> {
    let world = World::start().await?;
    let at = account(Mode::Live, id)?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

async fn trail(world: &World, at: &AccountRef) -> anyhow::Result<Vec<Entry>> {
    Ok(world.steward().store.trail(at, 0, 1000).await?)
}

/// How many rows of events the account has, none of which is open.
async fn closed(world: &World, at: &AccountRef) -> anyhow::Result<usize> {
    let rows = world.steward().store.events(at, 1000).await?;
    let open: Vec<_> = rows.iter().filter(|row| row.open).collect();
    ensure!(open.is_empty(), "{open:?}");
    Ok(rows.len())
}

#[test]
fn the_tables_here_have_every_type_that_the_destinations_ask_for() -> anyhow::Result<()> {
    let mut asked = BTreeSet::new();
    for body in [
        include_str!("../../../infra/event-destinations/thin.json"),
        include_str!("../../../infra/event-destinations/snapshot.json"),
    ] {
        let body: Value = serde_json::from_str(body)?;
        let types = body["enabled_events"].as_array().context("a list")?.clone();
        asked.extend(types.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    let of_keys = OF_KEYS.iter().map(|(name, _)| *name);
    let of_accounts = of_accounts().into_iter().map(|(name, ..)| name);
    let here: BTreeSet<String> = of_keys
        .chain(of_accounts.filter(|name| !name.starts_with("v1.")))
        .map(str::to_owned)
        .collect();
    ensure!(here == asked, "{here:?} instead of {asked:?}");
    Ok(())
}

/// Stripe's object decides (I4): it says that nothing became of the key, whatever the event is called.
#[tokio::test]
async fn an_event_about_a_key_that_stands_changes_nothing_and_is_noted_once_where_it_says_something()
-> anyhow::Result<()> {
    for (event_type, noted) in OF_KEYS {
        let (world, at) = installed("acct_1Typed").await?;
        let (token, rows) = (world.token(&at, Kind::Secret).await?, closed(&world, &at).await?);
        let (key, before) = (world.key(&at, Kind::Secret).await?, trail(&world, &at).await?.len());
        let what = event_type.strip_prefix("v2.iam.api_key.").context("of a key")?;
        world.stripe.set_behaviour(|stripe| stripe.duplicate_deliveries = true);
        ensure!(world.stripe.tell_of_key(at.id.as_str(), &key, what));
        ensure!(world.deliver().await? > 0, "{event_type}");

        ensure!(closed(&world, &at).await? == rows + 1, "{event_type}: a row, and it is done");
        let new = trail(&world, &at).await?.split_off(before);
        let said: Vec<_> =
            new.iter().map(|entry| (entry.action, entry.outcome.as_deref())).collect();
        let expected: Vec<_> = noted.iter().map(|name| (Action::Notice, Some(*name))).collect();
        ensure!(said == expected, "{event_type}: {said:?}");
        let about = new.iter().filter_map(|entry| entry.key_id.as_ref());
        ensure!(about.into_iter().all(|id| id.as_str() == key), "{event_type}: {new:?}");
        ensure!(new.iter().all(|entry| entry.actor == Actor::Event), "{event_type}: {new:?}");
        ensure!(world.token(&at, Kind::Secret).await? == token, "{event_type}");
        ensure!(world.stripe.token_works(&token), "{event_type}");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_about_an_account_does_what_it_says_and_its_row_is_closed() -> anyhow::Result<()> {
    for (event_type, object, effect) in of_accounts() {
        let case = format!("{event_type} {object:?}");
        let world = World::start().await?;
        let at = account(Mode::Live, "acct_1Typed")?;
        world.add_account(at.id.as_str());
        world.stripe.set_permissions(false, true);
        world.install_app(&at).await?;
        let reply = world.read(&at, Kind::Secret).await;
        ensure!(json_of(&reply)?["code"] == "not_permitted", "{case}: {}", reply.status());
        world.stripe.set_permissions(true, true);
        let _ = world.stripe.take_deliveries();

        world.pass(Duration::from_secs(5));
        let (calls, told) =
            (world.stripe.log().len(), body(&world, &at, event_type, object.as_ref()));
        let delivered = world.deliver_bodies(vec![told]).await?;
        ensure!(delivered.refused == 0 && delivered.not_applied == 0, "{case}: {delivered:?}");
        ensure!(closed(&world, &at).await? == 1, "{case}");
        let status = world.account(&at).await?.head.status;
        let reply = world.read(&at, Kind::Secret).await;
        match effect {
            Effect::AsksAgain => {
                let token = world.token(&at, Kind::Secret).await.context(case.clone())?;
                ensure!(world.stripe.token_works(&token), "{case}");
            }
            Effect::Nothing => {
                ensure!(json_of(&reply)?["code"] == "not_permitted", "{case}");
                ensure!(world.stripe.log().len() == calls, "{case}: nobody is asked");
            }
            Effect::Closes => {
                ensure!(json_of(&reply)?["code"] == "uninstalled", "{case}");
                ensure!(world.stripe.log().len() == calls, "{case}: nobody is asked");
            }
        }
        let is_closed = matches!(status, Status::Uninstalled { .. });
        ensure!(is_closed == (effect == Effect::Closes), "{case}: {status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_may_not_be_fetched_or_is_not_there_is_a_spent_hint_and_no_error()
-> anyhow::Result<()> {
    for (status, code) in [(403, "forbidden"), (404, "not_found")] {
        let (world, at) = installed("acct_1Hint").await?;
        let (key, token) =
            (world.key(&at, Kind::Secret).await?, world.token(&at, Kind::Secret).await?);
        let rows = closed(&world, &at).await?;
        world.stripe.tell_of_key(at.id.as_str(), &key, "expired");
        let told = world.stripe.take_deliveries().pop().context("a delivery")?.body;
        let id =
            serde_json::from_slice::<Value>(&told)?["id"].as_str().unwrap_or_default().to_owned();
        let on = CallMatch::get(&format!("/v2/core/events/{id}"));
        let kind = FaultKind::BeforeEffect { status, code: code.to_owned() };
        world.stripe.inject(Fault { on, kind, times: u32::MAX });
        world.take_lines()?;
        let delivered = world.deliver_bodies(vec![told]).await?;
        ensure!(delivered.not_applied == 0, "{status}: {delivered:?}");
        for line in world.take_lines()? {
            ensure!(line.value("EventsFailed").is_none_or(|failed| failed == 0.0), "{line:?}");
        }
        ensure!(closed(&world, &at).await? == rows + 1, "{status}");
        let asked = world.stripe.log().iter().filter(|call| call.path.ends_with(&id)).count();
        ensure!(asked == 1, "{status}: asked {asked} times");
        ensure!(
            world.token(&at, Kind::Secret).await? == token,
            "{status}: nothing follows from it"
        );
    }
    Ok(())
}

/// The same as Stripe does it: the event of the uninstall is on its way, access is gone already.
#[tokio::test]
async fn an_event_about_a_key_that_comes_after_an_unheard_uninstall_is_a_spent_hint()
-> anyhow::Result<()> {
    let (world, at) = installed("acct_1Gone").await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Keep);
    world.lose_deliveries("deauthorized").await;
    world.take_lines()?;
    ensure!(world.deliver().await? > 0);
    for line in world.take_lines()? {
        ensure!(line.value("EventsFailed").is_none_or(|failed| failed == 0.0), "{line:?}");
    }
    closed(&world, &at).await?;
    let status = world.account(&at).await?.head.status;
    ensure!(matches!(status, Status::Installed { .. }), "a refusal is no uninstall");
    Ok(())
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_about_an_account_that_nobody_knows() -> anyhow::Result<()> {
    for (mode, other) in [(Mode::Test, Mode::Live), (Mode::Live, Mode::Test)] {
        let world = World::start().await?;
        let (at, stranger) = (account(mode, "acct_1Both")?, account(other, "acct_1Both")?);
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        world.deliver().await?;
        let token = world.token(&at, Kind::Secret).await?;
        let (before, rows) = (world.account(&at).await?, closed(&world, &at).await?);
        let calls = world.stripe.log().len();

        // Somebody has the app in the other mode for a while, of which nobody here was told.
        world.pass(Duration::from_secs(60));
        world.stripe.install(stranger.id.as_str(), other == Mode::Live);
        world.stripe.uninstall(stranger.id.as_str(), other == Mode::Live, KeepOrExpire::Expire);
        ensure!(world.deliver().await? >= 2, "authorized and deauthorized");

        ensure!(closed(&world, &stranger).await? >= 2, "{other}: put down and closed");
        ensure!(closed(&world, &at).await? == rows, "{mode}: none of it is this mode's");
        ensure!(world.steward().store.load(&stranger).await?.is_none(), "{other}: not opened");
        ensure!(world.account(&at).await? == before, "{mode}: unchanged");
        ensure!(world.stripe.log().len() == calls, "nobody was asked about anything");
        ensure!(world.token(&at, Kind::Secret).await? == token && world.stripe.token_works(&token));
    }
    Ok(())
}

#[tokio::test]
async fn what_becomes_of_a_key_that_is_not_ours_is_looked_up_once_and_touches_nothing()
-> anyhow::Result<()> {
    let (world, at) = installed("acct_1Theirs").await?;
    let (token, rows) = (world.token(&at, Kind::Secret).await?, closed(&world, &at).await?);
    let own = world.stripe.add_users_own_key(at.id.as_str(), true, "the user's own");
    let other = world.stripe.rotate_in_dashboard(at.id.as_str(), &own, 60).context("rotated")?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &other);
    let (before, calls) = (world.account(&at).await?, world.stripe.log().len());
    let entries = trail(&world, &at).await?.len();
    let told = world.deliver().await?;

    ensure!(told >= 3, "created, rotated, expired: {told}");
    ensure!(closed(&world, &at).await? == rows + told, "each is put down and closed");
    let asked = world.stripe.log().split_off(calls);
    let is_a_fetch = |call: &fake_stripe::Call| call.path.starts_with("/v2/core/events/");
    ensure!(asked.iter().all(is_a_fetch) && asked.len() == told, "events alone: {asked:?}");
    let after = world.account(&at).await?;
    ensure!((&after.slots, &after.generations) == (&before.slots, &before.generations));
    ensure!(trail(&world, &at).await?.len() == entries, "and nothing to say of it");
    ensure!(world.token(&at, Kind::Secret).await? == token && world.stripe.token_works(&token));
    Ok(())
}

/// A rotation is held or killed before its n-th call to the table, and what Stripe has to say by then is delivered.
/// Answers whether a key was there at Stripe of which no row knew, and whether there was an n-th call.
async fn told_before_it_is_known(
    strategy: Strategy,
    n: u32,
    dies: bool,
) -> anyhow::Result<(bool, bool)> {
    let choice = Choice { strategy, ..Choice::default() };
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Early")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    let (slot, keys) = (default_slot(Kind::Secret), world.stripe.keys(at.id.as_str()).len());
    let installed_as = world.account(&at).await?;
    let pause = world.table.hold(n);
    let deadline = world.now().plus(Duration::from_secs(60));
    let mut rotation = Box::pin(world.steward().rotate(&at, &slot, Actor::Operator, deadline));
    let is_under_way = tokio::select! {
        biased;
        () = pause.reached() => true,
        finished = &mut rotation => {
            finished?;
            false
        }
    };
    let stored = world.account(&at).await?;
    let is_recorded = stored.head.version > installed_as.head.version;
    let is_asked = stored.pending(&slot).is_some_and(|(_, state)| state.key().is_none());
    let is_early = is_under_way && is_asked && world.stripe.keys(at.id.as_str()).len() > keys;
    if is_under_way {
        if dies {
            drop(rotation);
            pause.let_go();
            world.pass(Policy::STALL);
            world.try_deliver().await?;
        } else {
            world.try_deliver().await?;
            pause.let_go();
            rotation.await?;
        }
    }
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await?;
    world.deliver().await?;
    closed(&world, &at).await.with_context(|| format!("at {n}"))?;
    let token = world.token(&at, Kind::Secret).await?;
    ensure!(world.stripe.token_works(&token), "at {n}: what is served works");
    let stored = world.account(&at).await?;
    let states: Vec<_> = stored.generations_of(&slot).map(|(_, state)| state.name()).collect();
    // What died before it was written down was never asked for.
    let is_rotated = is_recorded || !dies;
    let expected: &[&str] = if is_rotated { &["retiring", "current"] } else { &["current"] };
    ensure!(states == expected, "at {n}: one new key and no more: {states:?}");
    let made = world.stripe.keys(at.id.as_str()).len() - keys;
    ensure!(made == usize::from(is_rotated), "at {n}: at Stripe too");
    ensure!(stored.slots[&slot].hold.is_none(), "at {n}: nobody is said to have revoked it");
    Ok((is_early, is_under_way))
}

#[tokio::test]
async fn an_event_about_a_key_that_our_own_row_does_not_name_yet_changes_nothing()
-> anyhow::Result<()> {
    // Told of as `rotated` and as `created`, while the process that made it lives and after it died.
    for (strategy, dies) in [
        (Strategy::Rotate, false),
        (Strategy::Rotate, true),
        (Strategy::CreateThenExpire, false),
        (Strategy::CreateThenExpire, true),
    ] {
        let (mut n, mut early) = (0, 0);
        loop {
            let (is_early, is_under_way) = told_before_it_is_known(strategy, n, dies).await?;
            early += u32::from(is_early);
            if !is_under_way {
                break;
            }
            n += 1;
        }
        ensure!(early > 0, "{strategy:?}: Stripe had told of the key before the row named it");
    }
    Ok(())
}

#[tokio::test]
async fn many_events_of_one_account_are_applied_in_turn_by_one_sweep() -> anyhow::Result<()> {
    let (world, at) = installed("acct_1Busy").await?;
    let object = json!({"charges_enabled": true});
    let one = String::from_utf8(body(&world, &at, "account.updated", Some(&object)))?;
    for n in 0..60 {
        let body = one.replace("evt_test_typed", &format!("evt_test_{n}")).into_bytes();
        let signature = sign(&[WEBHOOK_SECRET], world.now().seconds(), &body);
        ensure!(world.post(&body, &signature).await.status() == StatusCode::OK);
    }
    // Nobody has read the stream, and the sweep takes them.
    world.pass(Duration::from_secs(61));
    let swept = world.sweep().await?;
    ensure!((swept.events, swept.deferred) == (60, 0), "{swept:?}");
    closed(&world, &at).await?;
    Ok(())
}
