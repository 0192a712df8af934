//! Whose a key is that a call of ours may have made, or the user: it is ended only if it is seen to be ours.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::Choice;
use keysteward::domain::slot::Kind;
use keysteward_tests::World;
use keysteward_tests::world::default_slot;

use crate::unanswered::{installed, pass};
use keysteward_tests::invariants;

/// Why nobody can say who made a key.
#[derive(Clone, Copy, Debug)]
enum Silence {
    EventsAreForbidden,
    EventsAreLate,
    ObjectIdFindsNothing,
}

impl Silence {
    fn begin(self, world: &World) {
        match self {
            Self::EventsAreForbidden => {
                let kind = FaultKind::BeforeEffect { status: 403, code: "forbidden".to_owned() };
                let on = CallMatch::get("/v2/core/events");
                world.stripe.inject(Fault { on, kind, times: u32::MAX });
            }
            Self::EventsAreLate => {
                world.stripe.set_behaviour(|stripe| stripe.events_lag_ms = 7_200_000);
            }
            Self::ObjectIdFindsNothing => {
                world.stripe.set_behaviour(|stripe| stripe.object_id_finds_keys = false);
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_the_user_rotated_while_our_call_was_unanswered_is_the_users_whoever_can_say_so()
-> anyhow::Result<()> {
    for silence in
        [Silence::EventsAreForbidden, Silence::EventsAreLate, Silence::ObjectIdFindsNothing]
    {
        let (world, at) = installed(Choice::default()).await?;
        let slot = default_slot(Kind::Secret);
        let stored = world.account(&at).await?;
        let key = stored.current(&slot).and_then(|(_, state)| state.key()).context("a key")?;
        let kind = FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() };
        world.stripe.inject(Fault { on: CallMatch::post("/rotate"), kind, times: 3 });
        let deadline = world.now().plus(Duration::from_secs(600));
        world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;

        world.stripe.set_behaviour(|stripe| stripe.drop_deliveries = true);
        silence.begin(&world);
        let users = world.stripe.rotate_in_dashboard(at.id.as_str(), key.as_str(), 10_000);
        let users = users.context("the user rotates it")?;
        let lives = |world: &World| {
            let keys = world.stripe.keys(at.id.as_str());
            keys.iter().any(|key| key.id == users && key.status == "active")
        };
        for hours in 0..72 {
            pass(&world, &at, Duration::from_secs(3600)).await?;
            ensure!(lives(&world), "{silence:?}: the user's key is ended in hour {hours}");
        }
        let token = world.token(&at, Kind::Secret).await?;
        ensure!(world.stripe.token_works(&token), "{silence:?}: and a key is served");
        invariants::of_the_world(&world)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_ours_is_ended_once_the_event_of_its_making_is_listed() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    world.stripe.set_behaviour(|stripe| {
        stripe.events_lag_ms = 3_600_000;
        stripe.replay_returns_ciphertext = false;
    });
    // Carried out, and what repeats it is told so without being told of the key.
    world.stripe.inject(Fault::once(CallMatch::post("/rotate"), FaultKind::LostResponse));
    let kind = FaultKind::BeforeEffect { status: 400, code: "api_key_already_rotated".to_owned() };
    world.stripe.inject(Fault { on: CallMatch::post("/rotate").nth(2), kind, times: u32::MAX });
    let old = world.token(&at, Kind::Secret).await?;
    let deadline = world.now().plus(Duration::from_secs(600));
    world.steward().rotate(&at, &default_slot(Kind::Secret), Actor::Operator, deadline).await?;
    let made = world.stripe.keys(at.id.as_str()).len();
    pass(&world, &at, Duration::from_secs(1800)).await?;
    ensure!(world.token(&at, Kind::Secret).await? == old);
    ensure!(world.stripe.keys(at.id.as_str()).len() == made, "nothing is concluded yet");
    pass(&world, &at, Duration::from_secs(3 * 3600)).await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "long before half of the overlap");
    pass(&world, &at, Duration::from_secs(2 * 86_400)).await?;
    let keys = world.stripe.keys(at.id.as_str()).into_iter();
    let alive: Vec<_> = keys.filter(|key| key.status == "active").map(|key| key.id).collect();
    ensure!(alive.len() == 2, "one key a slot, no orphan: {alive:?}");
    invariants::of_the_world(&world)
}
