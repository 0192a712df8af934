//! What happens to the accounts: faults, users who act, events in disorder.

use std::time::Duration;

use anyhow::ensure;
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire, KeyView};
use http::StatusCode;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward_tests::door::{Fault as CallFault, Peer, When};
use keysteward_tests::world::WEBHOOK_SECRET;

use crate::life::Life;

impl Life {
    /// One thing, to one account where it is about one.
    pub(crate) async fn happen(&mut self, n: usize) -> anyhow::Result<()> {
        let at = self.accounts[n].clone();
        let what = self.dice.below(26);
        self.tell(&format!("{what} {at}"));
        match what {
            0..=2 => self.fail_calls(),
            3..=4 => self.fail_stripe(),
            5 => self.world.kms.set_disabled(true),
            6 => {
                // Nobody uninstalls and installs within one second, the precision of Stripe's events.
                self.world.pass(Duration::from_secs(5));
                self.install(n).await?;
            }
            7 => self.end_a_key(n, &at, true)?,
            8 => self.end_a_key(n, &at, false)?,
            9 if self.dice.below(3) == 0 => self.uninstall(n, &at),
            10..=12 => drop(self.world.try_deliver().await?),
            // Events about keys that never come. That of an uninstall has to: nobody else would say so.
            13 => self.world.lose_deliveries("v2.iam.api_key.").await,
            14 if self.dice.below(3) == 0 => {
                let choice = self.dice.choice()?;
                self.choose(choice)?;
            }
            15 => {
                let (live, name) = (at.mode == Mode::Live, format!("own {n}"));
                let own = self.world.stripe.add_users_own_key(at.id.as_str(), live, &name);
                self.users.insert(own.clone());
                self.foreign.insert(own);
            }
            16 => self.forge().await?,
            17..=20 => self.hamper(what - 17, n, &at),
            21..=25 => self.operate(what - 21, &at).await,
            _ => {}
        }
        Ok(())
    }

    /// The next calls fail, to whomever; for good means that a process dies.
    fn fail_calls(&mut self) {
        let peer = match self.dice.below(4) {
            0 => None,
            1 => Some(Peer::Kms),
            2 => Some(Peer::Stripe),
            _ => Some(Peer::Table),
        };
        let skip = u32::try_from(self.dice.below(20)).unwrap_or(0);
        let when = if self.dice.flip() { When::BeforeEffect } else { When::AfterEffect };
        let times = if self.dice.below(3) == 0 { u32::MAX } else { 1 };
        self.world.doors.fail(CallFault { peer, skip, when, times });
    }

    fn fail_stripe(&mut self) {
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
    }

    /// Ends what may not last: a key that is being rotated does not wait for it.
    pub(crate) fn heal(&self) {
        self.world.stripe.clear_faults();
        self.world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = false);
        self.world.doors.heal();
        self.world.kms.set_disabled(false);
    }

    /// Something that only the user or the app's developer can mend: no new keys until then, or none that open.
    fn hamper(&mut self, how: u64, n: usize, at: &AccountRef) {
        let stripe = &self.world.stripe;
        match how {
            0 if at.mode == Mode::Live => {
                self.deactivated.insert(n);
                stripe.set_activated(at.id.as_str(), false);
            }
            1 => {
                self.is_limited = true;
                stripe.set_permissions(false, true);
            }
            2 => {
                self.is_limited = true;
                stripe.set_behaviour(|stripe| stripe.key_limit = 2);
            }
            3 => {
                self.ever_garbled = true;
                stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
            }
            _ => {}
        }
    }

    /// Notes that somebody else touches keys of an account.
    fn touched(&mut self, n: usize) {
        self.unnoticed.insert(n);
        if self.holds() {
            self.may_be_held.insert(n);
        }
    }

    fn uninstall(&mut self, n: usize, at: &AccountRef) {
        self.touched(n);
        let keys = if self.dice.flip() { KeepOrExpire::Keep } else { KeepOrExpire::Expire };
        let live = at.mode == Mode::Live;
        let kept = self.world.stripe.keys(at.id.as_str()).into_iter();
        self.users.extend(kept.filter(|key| key.live == live).map(|key| key.id));
        self.world.stripe.uninstall(at.id.as_str(), live, keys);
        self.turned_away.remove(&n);
    }

    fn end_a_key(&mut self, n: usize, at: &AccountRef, expire: bool) -> anyhow::Result<()> {
        self.touched(n);
        let minutes = i64::try_from(self.dice.below(3) * 60)?;
        let live = at.mode == Mode::Live;
        let keys = self.world.stripe.keys(at.id.as_str()).into_iter();
        let is_ours = |key: &KeyView| {
            key.live == live && key.status == "active" && key.kind == "secret_key" && key.managed
        };
        let Some(key) = keys.rev().find(is_ours) else { return Ok(()) };
        if expire {
            self.world.stripe.expire_in_dashboard(at.id.as_str(), &key.id);
        } else {
            let made = self.world.stripe.rotate_in_dashboard(at.id.as_str(), &key.id, minutes);
            self.users.extend(made.clone());
            self.foreign.extend(made);
        }
        Ok(())
    }

    /// I9: what nobody signed changes nothing.
    async fn forge(&self) -> anyhow::Result<()> {
        let calls = self.world.table.calls();
        let body = br#"{"id":"evt_1","object":"event","type":"account.application.deauthorized"}"#;
        let an_hour_ago = self.world.now().seconds() - 3_600;
        let old = fake_stripe::sign(&[WEBHOOK_SECRET], an_hour_ago, body);
        let forged = fake_stripe::sign(&["whsec_not_ours"], self.world.now().seconds(), body);
        for signature in [old, forged] {
            let reply = self.world.post(body, &signature).await;
            ensure!(reply.status() == StatusCode::BAD_REQUEST, "I9: {}", reply.status());
        }
        ensure!(self.world.table.calls() == calls, "I9: what is not signed reached the table");
        Ok(())
    }
}
