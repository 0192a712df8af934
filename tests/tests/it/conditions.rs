//! What Stripe refuses for now: a condition with a name and a next time on the slot, and healed by itself after it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use http::StatusCode;
use keysteward::domain::account::Hold;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::World;
use keysteward_tests::world::{account, default_slot, json_of};

const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// A refusal, and how it comes about and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The app's key and the account are of different modes.
    OtherMode,
    /// The user took `api_key_write` from the app.
    MissingPermission,
    /// The account is not activated, and nobody tells when it is.
    NotActivated,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::OtherMode => "mode_mismatch",
            Self::MissingPermission | Self::NotActivated => "not_permitted",
        }
    }

    fn begins(self, world: &World) {
        match self {
            Self::OtherMode => {
                let code = "api_key_livemode_mismatch".to_owned();
                for path in ["/v2/iam/api_keys", "/rotate"] {
                    let kind = FaultKind::BeforeEffect { status: 400, code: code.clone() };
                    let on = CallMatch::post(path);
                    world.stripe.inject(Fault { on, kind, times: u32::MAX });
                }
            }
            Self::MissingPermission => world.stripe.set_permissions(false, true),
            Self::NotActivated => _ = world.stripe.set_activated(ACCOUNT, false),
        }
    }

    fn ends(self, world: &World) {
        match self {
            Self::OtherMode => world.stripe.clear_faults(),
            Self::MissingPermission => world.stripe.set_permissions(true, true),
            Self::NotActivated => _ = world.stripe.set_activated(ACCOUNT, true),
        }
    }
}

const REFUSALS: [Refusal; 3] =
    [Refusal::OtherMode, Refusal::MissingPermission, Refusal::NotActivated];
const ACCOUNT: &str = "acct_1Refused";

async fn hold_of(world: &World, at: &AccountRef) -> anyhow::Result<Hold> {
    let stored = world.account(at).await?;
    let slot = stored.slots.get(&default_slot(Kind::Secret)).context("the slot is open")?;
    slot.hold.context("it is held")
}

#[tokio::test]
async fn a_refusal_at_the_first_key_has_its_name_and_a_next_time_and_heals_then()
-> anyhow::Result<()> {
    for refusal in REFUSALS {
        let world = World::start().await?;
        let at = account(Mode::Live, ACCOUNT)?;
        world.add_account(at.id.as_str());
        refusal.begins(&world);
        world.install_app(&at).await?;
        for kind in [Kind::Secret, Kind::Publishable] {
            let reply = world.read(&at, kind).await;
            ensure!(reply.status() == StatusCode::CONFLICT, "{refusal:?}: {}", reply.status());
            ensure!(json_of(&reply)?["code"] == refusal.name(), "{refusal:?}");
        }
        let hold = hold_of(&world, &at).await?;
        ensure!(hold.why.as_str() == refusal.name(), "{refusal:?}: {hold:?}");
        let next = world.now().plus(HOUR);
        ensure!(hold.until == Some(next), "{refusal:?}: a next time is stored: {hold:?}");
        let due = world.account(&at).await?.head.due_at;
        ensure!(due == Some(next), "{refusal:?}: and the account is due then: {due:?}");

        // Not before: each try of a thousand accounts would be a thousand refusals.
        let calls = world.stripe.log().len();
        world.pass(HOUR - Duration::from_secs(1));
        world.sweep().await?;
        let asked = world.stripe.log().split_off(calls);
        ensure!(asked.iter().all(|call| call.method == "GET"), "{refusal:?}: {asked:?}");
        // Still refused: held anew, with a next time of its own.
        world.pass(Duration::from_secs(1));
        world.sweep().await?;
        let again = hold_of(&world, &at).await?;
        ensure!(again.until == Some(world.now().plus(HOUR)), "{refusal:?}: {again:?}");

        refusal.ends(&world);
        world.pass(HOUR);
        world.sweep_to_rest().await?;
        for kind in [Kind::Secret, Kind::Publishable] {
            ensure!(world.stripe.token_works(&world.token(&at, kind).await?), "{refusal:?}");
        }
        let alive = world.stripe.keys(at.id.as_str());
        let alive = alive.iter().filter(|key| key.status == "active").count();
        ensure!(alive == 2, "{refusal:?}: a key a slot, {alive} are alive");
        let stored = world.account(&at).await?;
        ensure!(stored.slots.values().all(|slot| slot.hold.is_none()), "{refusal:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_of_a_rotation_leaves_the_current_key_served_until_it_heals() -> anyhow::Result<()>
{
    for refusal in REFUSALS {
        let world = World::start().await?;
        let at = account(Mode::Live, ACCOUNT)?;
        world.add_account(at.id.as_str());
        world.install_app(&at).await?;
        let old = world.token(&at, Kind::Secret).await?;
        world.pass(MONTH);
        refusal.begins(&world);
        world.sweep().await?;
        let hold = hold_of(&world, &at).await?;
        ensure!(hold.why.as_str() == refusal.name(), "{refusal:?}: {hold:?}");
        ensure!(hold.until == Some(world.now().plus(HOUR)), "{refusal:?}: {hold:?}");
        for _ in 0..3 {
            world.pass(HOUR);
            world.sweep().await?;
            ensure!(world.token(&at, Kind::Secret).await? == old, "{refusal:?}: served on");
            ensure!(world.stripe.token_works(&old), "{refusal:?}");
        }
        refusal.ends(&world);
        world.pass(HOUR);
        world.sweep_to_rest().await?;
        let new = world.token(&at, Kind::Secret).await?;
        ensure!(new != old && world.stripe.token_works(&new), "{refusal:?}: rotated");
    }
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_was_refused_for_days_leaves_the_old_key_its_whole_overlap()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, ACCOUNT)?;
    world.add_account(ACCOUNT);
    world.install_app(&at).await?;
    let old = world.token(&at, Kind::Secret).await?;
    Refusal::MissingPermission.begins(&world);
    world.pass(MONTH);
    for _ in 0..72 {
        world.sweep_to_rest().await?;
        world.pass(HOUR);
    }
    ensure!(hold_of(&world, &at).await?.why.as_str() == "not_permitted");
    Refusal::MissingPermission.ends(&world);
    world.pass(HOUR);
    world.sweep_to_rest().await?;
    ensure!(world.token(&at, Kind::Secret).await? != old, "it is rotated");
    for _ in 0..23 {
        world.pass(HOUR);
        world.sweep_to_rest().await?;
        ensure!(world.stripe.token_works(&old), "whoever still holds it has a day");
    }
    world.pass(2 * HOUR);
    world.sweep_to_rest().await?;
    ensure!(!world.stripe.token_works(&old), "and no longer");
    Ok(())
}
