//! What happens to the accounts: users who act, events in disorder, what only people can mend.

use std::time::Duration;

use anyhow::ensure;
use fake_stripe::{KeepOrExpire, KeyView};
use http::StatusCode;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::world::{Delivered, WEBHOOK_SECRET};

use crate::life::Life;
use crate::served::KINDS;

impl Life {
    /// One thing, to one account where it is about one.
    pub(crate) async fn happen(&mut self, n: usize) -> anyhow::Result<()> {
        let at = self.accounts[n].clone();
        let what = self.dice.below(26);
        self.tell(&format!("{what} {at}"));
        match what {
            0..=2 => self.fail_calls(),
            3..=4 => self.fail_stripe(),
            5 => self.switch_vault_off(),
            6 => {
                // Nobody uninstalls and installs within one second, the precision of Stripe's events.
                self.world.pass(Duration::from_secs(5));
                self.install(n).await?;
            }
            7 => self.end_a_key(n, &at, true)?,
            8 => self.end_a_key(n, &at, false)?,
            9 if self.dice.below(3) == 0 => self.uninstall(n, &at),
            10..=12 => {
                let delivered = self.world.try_deliver().await?;
                self.count_events(delivered);
            }
            // Events about keys that never come. That of an uninstall has to: nobody else would say so.
            13 => {
                self.world.lose_deliveries("v2.iam.api_key.").await;
                self.happened.note("events", "lost");
            }
            14 if self.dice.below(3) == 0 => {
                let choice = self.dice.choice()?;
                self.choose(choice)?;
                self.happened.note("policy", "changed");
            }
            15 => {
                let (live, name) = (at.mode == Mode::Live, format!("own {n}"));
                let own = self.world.stripe.add_users_own_key(at.id.as_str(), live, &name);
                self.users.insert(own.clone());
                self.foreign.insert(own);
                self.happened.note("user", "made a key");
            }
            16 => self.forge().await?,
            17..=20 => self.hamper(what - 17, n, &at),
            21..=25 => self.operate(what - 21, n, &at).await?,
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn count_events(&mut self, delivered: Delivered) {
        self.happened.add("events", "delivered", delivered.count as u64);
        self.happened.add("events", "refused", delivered.refused as u64);
        self.happened.add("events", "not applied", delivered.not_applied as u64);
    }

    /// Something that only the user or the app's developer can mend: no new keys until then, or none that open.
    fn hamper(&mut self, how: u64, n: usize, at: &AccountRef) {
        let stripe = &self.world.stripe;
        match how {
            0 if at.mode == Mode::Live => {
                self.deactivated.insert(n);
                stripe.set_activated(at.id.as_str(), false);
                self.happened.note("lasting", "account deactivated");
            }
            1 => {
                self.is_limited = true;
                stripe.set_permissions(false, true);
                self.happened.note("lasting", "permission lost");
            }
            2 => {
                self.is_limited = true;
                stripe.set_behaviour(|stripe| stripe.key_limit = 2);
                self.happened.note("lasting", "limit of keys");
            }
            3 => self.garble(),
            _ => {}
        }
        self.excuse_what_meets();
    }

    fn uninstall(&mut self, n: usize, at: &AccountRef) {
        let keys = if self.dice.flip() { KeepOrExpire::Keep } else { KeepOrExpire::Expire };
        let live = at.mode == Mode::Live;
        if !self.world.stripe.uninstall(at.id.as_str(), live, keys) {
            return;
        }
        self.touched(n, &KINDS);
        let left = self.world.stripe.keys(at.id.as_str()).into_iter();
        self.users.extend(left.filter(|key| key.live == live).map(|key| key.id));
        self.turned_away.remove(&n);
        let how = match keys {
            KeepOrExpire::Keep => "uninstalled, keys kept",
            KeepOrExpire::Expire => "uninstalled, keys expired",
        };
        self.happened.note("user", how);
    }

    /// The user ends the youngest key of ours that lives, at once or by rotating it.
    fn end_a_key(&mut self, n: usize, at: &AccountRef, expire: bool) -> anyhow::Result<()> {
        let minutes = i64::try_from(self.dice.below(3) * 60)?;
        let (kind, name) = match self.dice.below(4) {
            0 => (Kind::Publishable, "publishable_key"),
            _ => (Kind::Secret, "secret_key"),
        };
        let (live, stripe) = (at.mode == Mode::Live, &self.world.stripe);
        // What a rotation in the Dashboard made counts as the app's to Stripe, and is the user's.
        let is_ours = |key: &KeyView| {
            key.live == live
                && key.status == "active"
                && key.kind == name
                && key.managed
                && !self.users.contains(&key.id)
        };
        let mut keys = stripe.keys(at.id.as_str()).into_iter().rev();
        let Some(key) = keys.find(is_ours) else { return Ok(()) };
        let is_done = if expire {
            stripe.expire_in_dashboard(at.id.as_str(), &key.id)
        } else {
            let made = stripe.rotate_in_dashboard(at.id.as_str(), &key.id, minutes);
            self.users.extend(made.clone());
            self.foreign.extend(made.clone());
            made.is_some()
        };
        if is_done {
            self.touched(n, &[kind]);
            let how = match (expire, kind) {
                (true, Kind::Secret) => "expired a secret key",
                (true, Kind::Publishable) => "expired a publishable key",
                (false, Kind::Secret) => "rotated a secret key",
                (false, Kind::Publishable) => "rotated a publishable key",
            };
            self.happened.note("user", how);
        }
        Ok(())
    }

    /// I9: what nobody signed changes nothing.
    async fn forge(&mut self) -> anyhow::Result<()> {
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
        self.happened.note("events", "forged");
        Ok(())
    }
}
