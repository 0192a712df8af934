//! What people do who run the bundle, and what only they or the users can mend.

use std::time::Duration;

use anyhow::ensure;
use keysteward::domain::attention::needs_operator;
use keysteward::domain::audit::Actor;
use keysteward::domain::lifecycle::State;
use keysteward::domain::orders::{Emergency, Standing};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::steward::operator::{self, Asked, Expiry};
use keysteward::steward::{Advanced, Error};
use keysteward_tests::world::default_slot;

use crate::life::Life;

impl Life {
    /// A command.
    pub(crate) async fn operate(
        &mut self,
        what: u64,
        n: usize,
        at: &AccountRef,
    ) -> anyhow::Result<()> {
        let (now, slot) = (self.world.now(), default_slot(Kind::Secret));
        let deadline = now.plus(Duration::from_secs(600));
        let draw = self.dice.below(3);
        let steward = self.world.steward();
        match (what, draw) {
            (0, _) => {
                let asked = steward.rotate(at, &slot, Actor::Operator, deadline).await;
                self.judge("rotate", n, asked)?;
            }
            (1, _) => self.expire(n, at, draw, deadline).await?,
            (2, 0) => {
                let pause = |standing: &mut Standing| standing.paused_since = Some(now);
                let asked = steward.give_order(pause).await.map(|_| "done");
                self.judge("pause all", n, asked)?;
            }
            (2, _) => {
                let asked = operator::pause(&steward.store, at, true, now).await;
                self.is_paused = true;
                self.judge("pause", n, asked)?;
            }
            (3, 0) => {
                let (publishable, is_short) = (self.dice.flip(), self.dice.flip());
                let asked = self.order_all_replaced(publishable, is_short.then_some(60)).await;
                self.judge("emergency", n, asked.map(|_| "ordered"))?;
                self.sweep_all().await?;
            }
            (4, _) => {
                let asked = steward.set_right(at, Actor::Operator, deadline).await;
                self.judge("reconcile", n, asked.map(|(_, advanced)| advanced))?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn expire(
        &mut self,
        n: usize,
        at: &AccountRef,
        draw: u64,
        deadline: Timestamp,
    ) -> anyhow::Result<()> {
        let (expiry, what) = match draw {
            0 => (Expiry::OnceReplaced, "expire once replaced"),
            1 => (Expiry::AtOnce, "expire at once"),
            _ => (Expiry::Replaced, "expire replaced"),
        };
        let (steward, slot) = (self.world.steward(), default_slot(Kind::Secret));
        let asked = steward.expire(at, &slot, expiry, Actor::Operator, deadline).await;
        let is_nothing = matches!(&asked, Err(Error::NoCurrentKey) | Ok(Advanced::Busy(_)));
        if expiry != Expiry::OnceReplaced && !is_nothing {
            self.by_hand.insert(n);
            self.unsettled.insert((n, Kind::Secret));
        }
        self.judge(what, n, asked)
    }

    /// Counts what a command came to. It may fail with what fails around it, and else for what has a name.
    fn judge(
        &mut self,
        what: &'static str,
        n: usize,
        asked: Result<impl CameTo, Error>,
    ) -> anyhow::Result<()> {
        let at = &self.accounts[n];
        let how = match asked {
            Ok(came_to) => came_to.word(),
            Err(Error::NoCurrentKey) => "nothing to do",
            Err(_) if self.trouble.is_on => "failed",
            Err(Error::List(error)) => {
                let is_installed =
                    self.world.stripe.is_installed(at.id.as_str(), at.mode == Mode::Live);
                ensure!(self.is_limited || !is_installed, "{at}: {what}: {error:?}");
                "refused"
            }
            Err(error) => anyhow::bail!("{at}: {what}: {error:?}"),
        };
        self.happened.note(what, how);
        Ok(())
    }

    /// An emergency; the last one stays on at rest.
    pub(crate) async fn order_all_replaced(
        &self,
        publishable: bool,
        overlap_minutes: Option<u32>,
    ) -> Result<Standing, Error> {
        let since = self.world.now();
        let order =
            Emergency { since, issued_before: since, mode: None, publishable, overlap_minutes };
        self.world.steward().give_order(|standing| standing.order(order.clone())).await
    }

    /// People mend what only they can, and take back what they ordered.
    pub(crate) async fn lift(&mut self) -> anyhow::Result<()> {
        self.heal()?;
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
        let accounts = self.accounts.iter().enumerate();
        for (n, at) in accounts.filter(|_| self.is_paused || self.ever_garbled) {
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
                let (_, cleared) = operator::carry_on(&steward.store, at, slot, now).await?;
                self.unsettled.insert((n, slot.kind));
                self.happened.note("carry on", "done");
                self.happened.add("keys", "undecryptable", cleared.given_up.into());
            }
        }
        self.is_paused = is_paused;
        Ok(())
    }
}

/// What a command came to, in a word.
trait CameTo {
    fn word(&self) -> &'static str;
}

impl CameTo for &'static str {
    fn word(&self) -> &'static str {
        self
    }
}

impl CameTo for Advanced {
    fn word(&self) -> &'static str {
        match self {
            Self::Settled(_) => "done",
            Self::Unknown | Self::Busy(_) | Self::Overtaken | Self::OutOfTime => "put off",
        }
    }
}

impl CameTo for Asked {
    fn word(&self) -> &'static str {
        match self {
            Self::Recorded(_) => "done",
            Self::Unknown | Self::Busy(_) => "put off",
        }
    }
}
