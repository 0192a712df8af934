//! What has to hold.

use anyhow::ensure;
use http::StatusCode;
use keysteward::domain::account::{Account, Status};
use keysteward::domain::attention::needs_operator;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{Kind, Mode};
use keysteward_tests::invariants;
use keysteward_tests::world::json_of;

use crate::life::Life;

impl Life {
    /// A key that is served works, unless somebody else ended it and nobody need have noticed yet.
    pub(crate) async fn check_reads(&self, whose: &[usize]) -> anyhow::Result<()> {
        for n in whose.iter().filter(|n| !self.unnoticed.contains(n)) {
            let at = &self.accounts[*n];
            let reply = self.world.read(at, Kind::Secret).await;
            if reply.status() == StatusCode::OK {
                let body = json_of(&reply)?;
                let token = body["token"].as_str().unwrap_or_default();
                ensure!(self.world.stripe.token_works(token), "{at} ({n}): a dead key is served");
            }
        }
        Ok(())
    }

    /// At rest.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        invariants::of_the_world(&self.world)?;
        invariants::of_foreign_keys(&self.world, &self.foreign)?;
        invariants::of_events(&self.world)?;
        for (n, at) in self.accounts.iter().enumerate() {
            let stored = self.world.account(at).await?;
            invariants::of_the_trail(&self.world, &stored).await?;
            invariants::of_strays(&self.world, &stored, &self.users)?;
            let is_installed =
                self.world.stripe.is_installed(at.id.as_str(), at.mode == Mode::Live);
            match stored.head.status {
                Status::Installed { .. } => {
                    ensure!(is_installed, "{at}: the uninstall was not noticed");
                    let may_be_held = self.may_be_held.contains(&n);
                    invariants::of_the_slots(&self.world, &stored, may_be_held).await?;
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
        for kind in [Kind::Secret, Kind::Publishable] {
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
