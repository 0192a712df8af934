//! What goes wrong for a while, and when all that it did has to be repaired.

use std::time::Duration;

use fake_stripe::{CallMatch, Fault, FaultKind};
use keysteward::domain::time::Timestamp;
use keysteward_tests::door::{Fault as CallFault, Peer, When};

use crate::life::Life;

/// What is wrong now, and what may not be repaired yet.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Whether anything is wrong that heals.
    pub(crate) is_on: bool,
    /// Whether the table may be out of reach.
    pub(crate) table: bool,
    /// Whether KMS may be.
    pub(crate) vault: bool,
    /// Whether it is that a process died.
    is_death: bool,
    /// Since when something is or was wrong that may not be repaired yet.
    since: Option<Timestamp>,
    healed_at: Option<Timestamp>,
}

impl Trouble {
    /// Whether it may cost a key. A rotation whose answer was lost is made up for before half of its overlap is gone,
    /// as long as somebody sweeps and Stripe answers: so not before the shortest overlap is over.
    pub(crate) fn may_cost_a_key(&self, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.since(since) > WITHIN_ANY_OVERLAP)
    }

    /// Whether nothing is wrong and all that was has been repaired.
    pub(crate) fn is_over(&self) -> bool {
        self.since.is_none()
    }

    /// A sweep is over. One without trouble repairs what there was, once no lease and no pause is left of it.
    pub(crate) fn was_swept(&mut self, now: Timestamp) {
        let is_long_ago = self.healed_at.is_none_or(|at| now.since(at) > LONGER_THAN_ANY_PAUSE);
        if !self.is_on && is_long_ago {
            self.since = None;
        }
    }
}

impl Life {
    /// The next calls fail, to whomever; for good means that a process dies.
    pub(crate) fn fail_calls(&mut self) {
        let peer = match self.dice.below(4) {
            0 => None,
            1 => Some(Peer::Kms),
            2 => Some(Peer::Stripe),
            _ => Some(Peer::Table),
        };
        let skip = u32::try_from(self.dice.below(20)).unwrap_or(0);
        let when = if self.dice.flip() { When::BeforeEffect } else { When::AfterEffect };
        let times = if self.dice.below(3) == 0 { u32::MAX } else { 1 };
        // What was ordered before is replaced.
        let struck = self.world.doors.heal();
        self.happened.add("calls", "struck", struck.into());
        self.world.doors.fail(CallFault { peer, skip, when, times });
        self.begin_trouble();
        self.trouble.table |= matches!(peer, None | Some(Peer::Table));
        self.trouble.vault |= matches!(peer, None | Some(Peer::Kms));
        self.trouble.is_death |= times == u32::MAX;
    }

    pub(crate) fn fail_stripe(&mut self) {
        let kind = match self.dice.below(5) {
            0 => FaultKind::BeforeEffect { status: 500, code: "api_error".to_owned() },
            1 => FaultKind::AfterEffect { status: 500 },
            2 => FaultKind::LostResponse,
            3 => FaultKind::Refused,
            _ => FaultKind::RateLimited { reason: "endpoint-rate".to_owned() },
        };
        let nth = u32::try_from(1 + self.dice.below(4)).ok();
        let on = CallMatch { method: String::new(), path_suffix: String::new(), nth };
        let times = u32::try_from(1 + self.dice.below(8)).unwrap_or(1);
        self.world.stripe.inject(Fault { on, kind, times });
        self.begin_trouble();
    }

    pub(crate) fn switch_vault_off(&mut self) {
        self.world.kms.set_disabled(true);
        self.happened.note("vault", "off");
        self.begin_trouble();
        self.trouble.vault = true;
    }

    pub(crate) fn garble(&mut self) {
        self.ever_garbled = true;
        self.world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
    }

    fn begin_trouble(&mut self) {
        self.trouble.is_on = true;
        self.trouble.since.get_or_insert(self.world.now());
        self.excuse_what_meets();
    }

    /// What was lost cannot be replaced while Stripe makes no keys: where trouble meets that, any key may die.
    pub(crate) fn excuse_what_meets(&mut self) {
        let lasts = self.is_limited || !self.deactivated.is_empty();
        if lasts && !self.trouble.is_over() {
            for n in 0..self.accounts.len() {
                self.unsettle(n);
            }
        }
    }

    /// Ends what may not last: a key that is being rotated does not wait for it. A process that died is followed by
    /// one that remembers nothing.
    pub(crate) fn heal(&mut self) -> anyhow::Result<()> {
        self.world.stripe.clear_faults();
        self.world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
        let struck = self.world.doors.heal();
        self.happened.add("calls", "struck", struck.into());
        self.world.kms.set_disabled(false);
        if self.trouble.is_death {
            self.world.restart()?;
            self.happened.note("process", "restarted");
        }
        if self.trouble.is_on {
            let (since, healed_at) = (self.trouble.since, Some(self.world.now()));
            self.trouble = Trouble { since, healed_at, ..Trouble::default() };
        }
        Ok(())
    }

    /// What has come due meets trouble: in one sweep or in several, and not for so long that it costs a key.
    pub(crate) async fn strike_the_schedule(&mut self) -> anyhow::Result<()> {
        match self.dice.below(5) {
            0..=1 => self.fail_calls(),
            2..=3 => {
                self.fail_stripe();
                self.happened.note("schedule", "met stripe in trouble");
            }
            _ => {
                self.garble();
                self.happened.note("schedule", "met garbled secrets");
            }
        }
        let sweeps = if self.dice.below(3) == 0 { 2 + self.dice.below(4) } else { 1 };
        for n in 0..sweeps {
            if n > 0 {
                self.world.pass(Duration::from_secs(61 + self.dice.below(180)));
            }
            self.tell("sweep in trouble");
            Box::pin(self.sweep()).await?;
        }
        let who = usize::try_from(self.dice.below(self.accounts.len() as u64))?;
        self.check_reads(&[who]).await?;
        let struck = self.world.doors.heal();
        self.happened.add("calls", "struck", struck.into());
        self.happened.add("schedule", "struck", u64::from(struck > 0));
        self.heal()?;
        self.world.pass(Duration::from_secs(180));
        Ok(())
    }
}

/// The policies of these lives, and their emergencies, give at least an hour.
const WITHIN_ANY_OVERLAP: Duration = Duration::from_secs(55 * 60);
/// Leases, `FAILED_PAUSE` and `Policy::backoff` are shorter; an hour is what a slot waits after three lost secrets.
const LONGER_THAN_ANY_PAUSE: Duration = Duration::from_secs(3_700);
