//! What people do who run the bundle, and what only they or the users can mend.

use std::time::Duration;

use anyhow::ensure;
use keysteward::domain::attention::needs_operator;
use keysteward::domain::audit::Actor;
use keysteward::domain::lifecycle::State;
use keysteward::domain::orders::{Emergency, Standing};
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward::steward::operator::{self, Asked, Expiry};
use keysteward_tests::world::default_slot;

use crate::life::Life;

impl Life {
    /// A command. It may fail, with whatever fails around it.
    pub(crate) async fn operate(&mut self, what: u64, at: &AccountRef) {
        let (now, slot) = (self.world.now(), default_slot(Kind::Secret));
        let deadline = now.plus(Duration::from_secs(600));
        let draw = self.dice.below(3);
        let steward = self.world.steward();
        match (what, draw) {
            (0, _) => drop(steward.rotate(at, &slot, Actor::Operator, deadline).await),
            (1, _) => {
                let expiry = match draw {
                    0 => Expiry::OnceReplaced,
                    1 => Expiry::AtOnce,
                    _ => Expiry::Replaced,
                };
                drop(steward.expire(at, &slot, expiry, Actor::Operator, deadline).await);
            }
            (2, 0) => {
                let pause = |standing: &mut Standing| standing.paused_since = Some(now);
                drop(steward.give_order(pause).await);
            }
            (2, _) => {
                drop(operator::pause(&steward.store, at, true, now).await);
                self.is_paused = true;
            }
            (3, 0) => {
                let (publishable, is_short) = (self.dice.flip(), self.dice.flip());
                drop(self.order_all_replaced(publishable, is_short.then_some(60)).await);
                drop(self.world.sweep().await);
            }
            (4, _) => drop(steward.set_right(at, Actor::Operator, deadline).await),
            _ => {}
        }
    }

    /// An emergency; the last one stays on at rest.
    pub(crate) async fn order_all_replaced(
        &self,
        publishable: bool,
        overlap_minutes: Option<u32>,
    ) -> anyhow::Result<()> {
        let since = self.world.now();
        let order =
            Emergency { since, issued_before: since, mode: None, publishable, overlap_minutes };
        self.world.steward().give_order(|standing| standing.order(order.clone())).await?;
        Ok(())
    }

    /// People mend what only they can, and take back what they ordered.
    pub(crate) async fn lift(&mut self) -> anyhow::Result<()> {
        self.heal();
        let stripe = &self.world.stripe;
        for n in std::mem::take(&mut self.deactivated) {
            stripe.set_activated(self.accounts[n].id.as_str(), true);
        }
        stripe.set_permissions(true, true);
        stripe.set_behaviour(|stripe| stripe.key_limit = 100);
        self.is_limited = false;
        let steward = self.world.steward();
        let standing = steward.standing().await?;
        if standing.paused_since.is_some() || standing.emergency.is_some() {
            let take_back = |standing: &mut Standing| {
                standing.paused_since = None;
                standing.stand_down();
            };
            steward.give_order(take_back).await?;
        }
        let mut is_paused = false;
        // Nothing else needs anybody, which is seen at rest.
        for at in self.accounts.iter().filter(|_| self.is_paused || self.ever_garbled) {
            let (stored, now) = (self.world.account(at).await?, self.world.now());
            if stored.head.paused_since.is_some() {
                let asked = operator::pause(&steward.store, at, false, now).await?;
                is_paused |= !matches!(asked, Asked::Recorded(_));
            }
            for slot in stored.slots.keys().filter(|slot| needs_operator(&stored, slot).is_some()) {
                let mut states = stored.generations_of(slot).map(|(_, state)| state);
                let is_given_up = states.any(|state| matches!(state, State::NeedsOperator { .. }));
                ensure!(
                    !is_given_up,
                    "{at} {slot}: waits for a person, and not for secrets that open"
                );
                operator::carry_on(&steward.store, at, slot, now).await?;
            }
        }
        self.is_paused = is_paused;
        Ok(())
    }
}
