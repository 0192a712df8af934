//! What has to hold.

use std::time::Duration;

use anyhow::ensure;
use http::StatusCode;
use keysteward::domain::account::{Account, Hold, HoldReason, Status};
use keysteward::domain::attention::needs_operator;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::invariants;

use crate::life::Life;
use crate::served::KINDS;

impl Life {
    /// At rest.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        invariants::of_the_world(&self.world)?;
        invariants::of_foreign_keys(&self.world, &self.foreign)?;
        invariants::of_events(&self.world)?;
        let log = self.world.stripe.log();
        for (n, at) in self.accounts.iter().enumerate() {
            let stored = self.world.account(at).await?;
            invariants::of_the_trail(&self.world, &stored).await?;
            invariants::of_strays(&self.world, &stored, &self.users)?;
            if !self.by_hand.contains(&n) {
                invariants::of_endings(&self.world, &log, &[at.id.as_str()])?;
            }
            let is_installed =
                self.world.stripe.is_installed(at.id.as_str(), at.mode == Mode::Live);
            match stored.head.status {
                Status::Installed { .. } => {
                    ensure!(is_installed, "{at}: the uninstall was not noticed");
                    let held = KINDS.into_iter().filter(|it| self.may_be_held.contains(&(n, *it)));
                    let held: Vec<Kind> = held.collect();
                    invariants::of_the_slots(&self.world, &stored, &held).await?;
                    self.check_orders(&stored).await?;
                }
                Status::Uninstalled { .. } => {
                    ensure!(!is_installed, "{at}: the installation was not noticed");
                    self.check_uninstalled(&stored).await?;
                }
            }
        }
        Ok(())
    }

    /// Who ended a key and was to be waited for may install the app again, and has a key in each slot then, as
    /// everybody else.
    pub(crate) async fn lift_holds(&mut self) -> anyhow::Result<()> {
        self.world.pass(Duration::from_secs(5));
        let mut is_any = false;
        for at in &self.accounts {
            let stored = self.world.account(at).await?;
            let is_installed = matches!(stored.head.status, Status::Installed { .. });
            let waits = |hold: Hold| hold.why == HoldReason::RevokedByUser;
            if !is_installed || !stored.slots.values().any(|slot| slot.hold.is_some_and(waits)) {
                continue;
            }
            is_any = true;
            self.happened.note("hold", "seen");
            let reply = self.world.install_app(at).await?;
            ensure!(reply.status() == StatusCode::OK, "{at}: turned away");
        }
        if !is_any {
            return Ok(());
        }
        self.world.pass(Duration::from_secs(180));
        self.world.try_deliver().await?;
        self.world.sweep_to_rest().await?;
        self.may_be_held.clear();
        self.happened.note("hold", "lifted by an installation");
        self.check().await
    }

    /// Nobody waits for a person, and what an operator wanted replaced is.
    async fn check_orders(&self, stored: &Account) -> anyhow::Result<()> {
        let (at, standing) = (&stored.at, self.world.steward().standing().await?);
        for slot in stored.slots.keys() {
            ensure!(needs_operator(stored, slot).is_none(), "{at} {slot}: waits for a person");
            let emergency = standing.emergency.as_ref();
            let current = stored.current(slot).map(|(_, state)| state);
            ensure!(
                !emergency
                    .zip(current)
                    .is_some_and(|(order, key)| order.condemns(at, slot.kind, key)),
                "{at} {slot}: an emergency passed it by"
            );
        }
        Ok(())
    }

    /// Nothing is served, nothing is going on, and nothing that was sealed can be opened any more.
    async fn check_uninstalled(&self, stored: &Account) -> anyhow::Result<()> {
        let at = &stored.at;
        for kind in KINDS {
            let reply = self.world.read(at, kind).await;
            ensure!(reply.status() == StatusCode::CONFLICT, "{at} {kind}: uninstalled, but served");
        }
        let is_over = |state: &State| matches!(state, State::Ended { .. });
        ensure!(stored.generations.values().all(is_over), "{at}: not let go of: {stored:#?}");
        let pairs: Vec<_> = stored.pairs.keys().collect();
        ensure!(pairs.is_empty(), "{at}: private keys outlive the grace: {pairs:?}");
        Ok(())
    }

    /// Whether anything lasts that keeps what a user did from being dealt with.
    pub(crate) async fn is_hampered(&self) -> anyhow::Result<bool> {
        let lasts = !self.deactivated.is_empty() || self.is_limited;
        for at in self.accounts.iter().filter(|_| self.ever_garbled && !lasts) {
            let stored = self.world.account(at).await?;
            if stored.slots.keys().any(|slot| needs_operator(&stored, slot).is_some()) {
                return Ok(true);
            }
        }
        Ok(lasts)
    }
}
