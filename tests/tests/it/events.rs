//! What users do in Stripe's Dashboard reaches the slots.

use std::time::Duration;

use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{Choice, OnUninstall, OnUserExpire};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World};

async fn installed(choice: Choice) -> anyhow::Result<(World, AccountRef)> {
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1User")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.deliver().await?;
    Ok((world, at))
}

#[tokio::test]
async fn a_key_that_the_user_expires_is_held_until_somebody_asks() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    world.sweep_to_rest().await?;
    let reply = world.read(&at, Kind::Secret).await;
    assert_eq!(reply.status(), StatusCode::CONFLICT);
    assert_eq!(json_of(&reply)?["code"], "revoked_by_user");
    assert!(world.token(&at, Kind::Publishable).await.is_ok(), "the other slot is untouched");
    world.install_app(&at).await?;
    assert!(world.token(&at, Kind::Secret).await.is_ok(), "installing again asks for a new one");
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_user_expires_is_replaced_when_the_policy_says_so() -> anyhow::Result<()> {
    let choice = Choice { on_user_expire: OnUserExpire::Reissue, ..Choice::default() };
    let (world, at) = installed(choice).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.deliver().await?;
    let token = world.token(&at, Kind::Secret).await?;
    assert!(world.stripe.token_works(&token));
    assert_ne!(world.key(&at, Kind::Secret).await?, key);
    Ok(())
}

#[tokio::test]
async fn a_key_that_somebody_else_rotates_is_served_while_it_lives() -> anyhow::Result<()> {
    for (on_user_expire, afterwards) in
        [(OnUserExpire::Hold, StatusCode::CONFLICT), (OnUserExpire::Reissue, StatusCode::OK)]
    {
        let (world, at) = installed(Choice { on_user_expire, ..Choice::default() }).await?;
        let key = world.key(&at, Kind::Secret).await?;
        let token = world.token(&at, Kind::Secret).await?;
        world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 60);
        world.deliver().await?;
        let served = world.token(&at, Kind::Secret).await?;
        assert!(world.stripe.token_works(&served));
        if on_user_expire == OnUserExpire::Hold {
            assert_eq!(served, token, "the key lives for another hour");
        }
        world.pass(Duration::from_secs(3600));
        world.sweep_to_rest().await?;
        assert_eq!(world.read(&at, Kind::Secret).await.status(), afterwards);
    }
    Ok(())
}

#[tokio::test]
async fn an_uninstall_serves_nothing_and_shreds_the_private_keys_after_the_grace()
-> anyhow::Result<()> {
    for on_uninstall in [OnUninstall::Keep, OnUninstall::Expire] {
        let (world, at) = installed(Choice { on_uninstall, ..Choice::default() }).await?;
        let calls = world.stripe.log().len();
        world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
        world.deliver().await?;
        let reply = world.read(&at, Kind::Secret).await;
        assert_eq!(reply.status(), StatusCode::CONFLICT);
        assert_eq!(json_of(&reply)?["code"], "uninstalled");
        if on_uninstall == OnUninstall::Keep {
            assert_eq!(world.stripe.log().len(), calls, "nobody is asked: access is gone");
        }
        assert_eq!(world.account(&at).await?.pairs.len(), 1, "the grace runs");
        world.pass(Duration::from_secs(8 * 86_400));
        world.sweep_to_rest().await?;
        let stored = world.account(&at).await?;
        assert_eq!(stored.pairs.len(), 0, "the private key is gone");
        assert!(matches!(stored.head.status, Status::Uninstalled { .. }));
        let trail = world.steward().store.trail(&at, 0, 1000).await?;
        assert!(trail.len() > 5, "the audit trail stays");

        world.install_app(&at).await?;
        assert!(world.token(&at, Kind::Secret).await.is_ok(), "installing again mints anew");
    }
    Ok(())
}

#[tokio::test]
async fn events_come_twice_late_and_in_any_order() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    world.stripe.set_behaviour(|stripe| {
        stripe.duplicate_deliveries = true;
        stripe.shuffle_deliveries = true;
    });
    for _ in 0..3 {
        world.pass(Duration::from_secs(31 * 86_400));
        world.sweep_to_rest().await?;
        world.pass(Duration::from_secs(2 * 86_400));
        world.sweep_to_rest().await?;
        let before = world.token(&at, Kind::Secret).await?;
        assert!(world.deliver().await? > 0);
        world.sweep_to_rest().await?;
        assert_eq!(world.token(&at, Kind::Secret).await?, before);
        assert!(world.stripe.token_works(&before));
    }
    Ok(())
}

#[tokio::test]
async fn an_event_whose_stream_record_was_lost_is_found_by_the_sweep() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    for delivery in world.stripe.take_deliveries() {
        let signature = delivery
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("stripe-signature"))
            .map(|(_, value)| value.as_str());
        let reply = world.post(&delivery.body, signature.unwrap_or_default()).await;
        assert_eq!(reply.status(), StatusCode::OK);
    }
    assert!(world.token(&at, Kind::Secret).await.is_ok(), "nobody has looked at the event yet");
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await?;
    assert_eq!(world.read(&at, Kind::Secret).await.status(), StatusCode::CONFLICT);
    Ok(())
}

#[tokio::test]
async fn an_event_that_never_comes_is_made_up_for_within_a_day() -> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let key = world.key(&at, Kind::Secret).await?;
    world.stripe.expire_in_dashboard(at.id.as_str(), &key);
    world.lose_deliveries("v2.iam.api_key.").await;
    world.pass(Duration::from_secs(86_401));
    world.sweep_to_rest().await?;
    let reply = world.read(&at, Kind::Secret).await;
    assert_eq!(reply.status(), StatusCode::CONFLICT);
    assert_eq!(json_of(&reply)?["code"], "revoked_by_user");
    Ok(())
}

#[tokio::test]
async fn after_an_uninstall_that_nobody_told_of_a_dead_key_is_served_for_a_day_at_most()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    let token = world.token(&at, Kind::Secret).await?;
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Expire);
    world.lose_deliveries("").await;
    world.pass(Duration::from_secs(86_401));
    world.sweep_to_rest().await?;
    assert!(!world.stripe.token_works(&token));
    assert_eq!(world.read(&at, Kind::Secret).await.status(), StatusCode::CONFLICT);
    Ok(())
}

/// Stripe's events tell whole seconds: this one's says that it was before the key.
#[tokio::test]
async fn an_uninstall_within_the_second_in_which_a_key_was_issued_is_one() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Brief")?;
    world.add_account(at.id.as_str());
    world.pass(Duration::from_millis(400));
    world.install_app(&at).await?;
    world.deliver().await?;
    world.pass(Duration::from_millis(200));
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
    world.deliver().await?;
    let reply = world.read(&at, Kind::Secret).await;
    assert_eq!(reply.status(), StatusCode::CONFLICT);
    assert_eq!(json_of(&reply)?["code"], "uninstalled");
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_is_heard_of_after_the_next_installation_ends_nothing()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Expire);
    world.pass(Duration::from_secs(3600));
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    assert!(world.stripe.token_works(&token), "the keys that went with the app were replaced");
    world.deliver().await?;
    world.sweep_to_rest().await?;
    assert_eq!(world.token(&at, Kind::Secret).await?, token, "the late event is about the past");
    Ok(())
}

#[tokio::test]
async fn an_uninstall_that_is_heard_of_after_a_key_was_issued_again_ends_nothing()
-> anyhow::Result<()> {
    let (world, at) = installed(Choice::default()).await?;
    world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Expire);
    world.pass(Duration::from_secs(3600));
    // The user installs again at Stripe, but the browser never comes back to us: the account still counts as
    // installed since long ago. An operator, or the sweep by itself, then gets a key.
    world.click_install(&at, "install").await?;
    world.pass(Duration::from_secs(86_500));
    world.sweep_to_rest().await?;
    let deadline = world.now().plus(Duration::from_secs(60));
    world.steward().provision(&at, &default_slot(Kind::Secret), Actor::Operator, deadline).await?;
    let token = world.token(&at, Kind::Secret).await?;
    assert!(world.stripe.token_works(&token));
    world.deliver().await?;
    world.sweep_to_rest().await?;
    assert_eq!(world.token(&at, Kind::Secret).await?, token, "the late event is about the past");
    Ok(())
}

/// What a user does before any event about it arrives.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Rotates the key with an overlap, which then runs out.
    Rotates,
    /// Ends the key, and uninstalls the app within the same second.
    EndsAndUninstalls,
}

/// Where an account ends when these events come in this order, the first one twice. Keys go by their place
/// among those that Stripe ever made for the account: their ids are drawn with everything else that Stripe
/// draws, which is more or less as events wait for one another.
async fn ending(deed: Deed, choice: Choice, order: &[usize]) -> anyhow::Result<(String, usize)> {
    let world = World::with(Setting { choice, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Order")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let key = world.key(&at, Kind::Secret).await?;
    match deed {
        Deed::Rotates => {
            world.stripe.rotate_in_dashboard(at.id.as_str(), &key, 60);
            world.pass(Duration::from_secs(3_601));
        }
        Deed::EndsAndUninstalls => {
            world.stripe.expire_in_dashboard(at.id.as_str(), &key);
            world.stripe.uninstall(at.id.as_str(), true, fake_stripe::KeepOrExpire::Keep);
        }
    }
    let bodies: Vec<_> = world.stripe.take_deliveries().into_iter().map(|it| it.body).collect();
    let mut in_order: Vec<_> = order.iter().filter_map(|n| bodies.get(*n).cloned()).collect();
    in_order.extend(in_order.first().cloned());
    world.deliver_bodies(in_order).await?;
    world.sweep_to_rest().await?;
    world.deliver().await?;
    world.sweep_to_rest().await?;

    let stored = world.account(&at).await?;
    // Ids differ with the number of calls before; which of Stripe's keys it is does not.
    let keys = world.stripe.keys(at.id.as_str());
    let mut end = match stored.head.status {
        Status::Installed { .. } => "installed".to_owned(),
        Status::Uninstalled { .. } => "uninstalled".to_owned(),
    };
    for (slot, state) in &stored.slots {
        end.push_str(&format!("; {slot} {:?}", state.hold.map(|hold| hold.why)));
    }
    for ((slot, generation), state) in &stored.generations {
        let key = keys.iter().position(|key| state.key().is_some_and(|id| id.as_str() == key.id));
        end.push_str(&format!("; {slot}#{generation} {} {key:?}", state.name()));
    }
    for kind in [Kind::Secret, Kind::Publishable] {
        end.push_str(&format!("; {}", world.read(&at, kind).await.status()));
    }
    Ok((end, bodies.len()))
}

fn permutations(of: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for n in 0..of {
        let longer = |order: Vec<usize>| {
            (0..=order.len()).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, n);
                longer
            })
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    orders
}

/// What each end has to say, so that no order is right in which nothing is heard of.
fn moral(deed: Deed, on_user_expire: OnUserExpire) -> &'static str {
    match (deed, on_user_expire) {
        (Deed::Rotates, OnUserExpire::Hold) => "secret/default Some(RevokedByUser)",
        (Deed::Rotates, OnUserExpire::Reissue) => "secret/default#2 current",
        (Deed::EndsAndUninstalls, OnUserExpire::Hold | OnUserExpire::Reissue) => "uninstalled",
    }
}

async fn every_order(deed: Deed, expected: usize) -> anyhow::Result<()> {
    for on_user_expire in [OnUserExpire::Hold, OnUserExpire::Reissue] {
        let choice = Choice { on_user_expire, ..Choice::default() };
        let (first, events) = ending(deed, choice, &(0..expected).collect::<Vec<_>>()).await?;
        anyhow::ensure!(events == expected, "{deed:?} makes {events} events");
        let moral = moral(deed, on_user_expire);
        anyhow::ensure!(first.contains(moral), "{first}\ndoes not say\n{moral}");
        for order in permutations(expected) {
            let (end, _) = ending(deed, choice, &order).await?;
            anyhow::ensure!(end == first, "{deed:?} {order:?}:\n{end}\ninstead of\n{first}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn events_of_a_rotation_by_the_user_end_in_the_same_state_in_any_order() -> anyhow::Result<()>
{
    every_order(Deed::Rotates, 5).await
}

#[tokio::test]
async fn events_of_one_second_with_an_uninstall_end_in_the_same_state_in_any_order()
-> anyhow::Result<()> {
    every_order(Deed::EndsAndUninstalls, 5).await
}
