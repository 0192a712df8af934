//! Some accounts, what happens to them, and what has to hold.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anyhow::ensure;
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::account::Status;
use keysteward::domain::audit::Actor;
use keysteward::domain::policy::{OnUserExpire, Policy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::door::{Fault as CallFault, Peer, When};
use keysteward_tests::race::race;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World, invariants};

use crate::dice::{Dice, JITTER, jitter};

pub(crate) struct Life {
    world: World,
    accounts: Vec<AccountRef>,
    shards: Vec<u8>,
    dice: Dice,
    /// Whether the policy ever was to hold what a user ended.
    ever_held: bool,
    /// Accounts whose keys somebody else ever touched: an event about it may be late or lost.
    touched: Vec<bool>,
    /// Keys at Stripe that are the users' own by now: rotated in the Dashboard, or kept on uninstalling.
    users: BTreeSet<String>,
    /// Those of them that the app never minted.
    foreign: BTreeSet<String>,
    story: Vec<String>,
}

impl Life {
    pub(crate) async fn begin(seed: u64) -> anyhow::Result<Self> {
        let mut dice = Dice(seed);
        JITTER.set(dice.roll());
        let choice = dice.choice()?;
        let setting = Setting { choice, oauth: dice.flip(), draw: jitter, ..Setting::default() };
        let world = World::with(setting).await?;
        let (replays, retrievable, expired, lag, list) =
            (dice.flip(), dice.flip(), dice.flip(), dice.below(2) * 9_000, dice.below(2) * 20_000);
        let (duplicate, shuffle, ids) = (dice.flip(), dice.flip(), dice.roll());
        world.stripe.set_behaviour(|stripe| {
            stripe.replay_returns_ciphertext = replays;
            stripe.replay_returns_token = replays;
            stripe.old_id_retrievable = retrievable;
            stripe.expired_event_after_rotate = expired;
            stripe.expire_lag_ms = lag.cast_signed();
            stripe.list_lag_ms = list.cast_signed();
            stripe.duplicate_deliveries = duplicate;
            stripe.shuffle_deliveries = shuffle;
            stripe.seed = Some(ids);
        });
        let mut accounts = Vec::new();
        for (n, id) in ACCOUNTS.iter().enumerate() {
            let mode = if n % 3 == 1 { Mode::Test } else { Mode::Live };
            let at = account(mode, id)?;
            world.add_account(at.id.as_str());
            world.install_app(&at).await?;
            accounts.push(at);
        }
        let shards = world.shards().await?;
        let story = vec![format!("{choice:?}, replays {replays}, retrievable {retrievable}")];
        Ok(Self {
            world,
            touched: vec![false; accounts.len()],
            accounts,
            shards,
            dice,
            ever_held: choice.on_user_expire == OnUserExpire::Hold,
            users: BTreeSet::new(),
            foreign: BTreeSet::new(),
            story,
        })
    }

    /// Half a year, and the rest after it. Answers what happened, as one number.
    pub(crate) async fn whole(&mut self) -> anyhow::Result<u64> {
        let end = self.world.now().millis() + HALF_A_YEAR;
        while self.world.now().millis() < end {
            self.live().await?;
            if let Some(complaint) = self.world.witness.complaints().first() {
                anyhow::bail!("{complaint}");
            }
        }
        self.come_to_rest().await?;
        self.check().await?;
        self.history().await
    }

    /// What happened, a line each.
    pub(crate) fn story(&self) -> String {
        self.story.join("\n")
    }

    /// Some things happen, and then time passes.
    async fn live(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.dice.below(4) {
            let n = usize::try_from(self.dice.below(self.accounts.len() as u64))?;
            let what = self.dice.below(17);
            self.story.push(format!("{} {what} {}", self.world.now(), self.accounts[n]));
            self.happen(what, n).await?;
        }
        let seconds = match self.dice.below(3) {
            0 => 60 + self.dice.below(600),
            1 => 3_600 + self.dice.below(20 * 3_600),
            _ => 86_400 * (1 + self.dice.below(6)),
        };
        if self.dice.flip() {
            self.heal();
        }
        // The schedule runs every minute. Of a long while only its beginning is played, in which what was
        // going on comes to an end: a fault that outlasts the overlap costs the key, whoever keeps it.
        let pieces = if seconds > 3_600 { vec![61, 3_539, seconds - 3_600] } else { vec![seconds] };
        for (n, seconds) in pieces.into_iter().enumerate() {
            if n > 0 {
                self.heal();
            }
            self.world.pass(Duration::from_secs(seconds));
            self.story.push(format!("{} sweep", self.world.now()));
            self.sweep().await;
        }
        self.check_reads().await
    }

    async fn happen(&mut self, what: u64, n: usize) -> anyhow::Result<()> {
        let at = self.accounts[n].clone();
        match what {
            0..=2 => self.fail_calls(),
            3..=4 => self.fail_stripe(),
            5 => self.world.kms.set_disabled(true),
            6 => {
                // Nobody uninstalls and installs within one second, the precision of Stripe's events.
                self.world.pass(Duration::from_secs(5));
                drop(self.world.install_app(&at).await);
            }
            7 => self.end_a_key(n, &at, true)?,
            8 => self.end_a_key(n, &at, false)?,
            9 if self.dice.below(3) == 0 => {
                self.touched[n] = true;
                let keys = if self.dice.flip() { KeepOrExpire::Keep } else { KeepOrExpire::Expire };
                let live = at.mode == Mode::Live;
                let kept = self.world.stripe.keys(at.id.as_str()).into_iter();
                self.users.extend(kept.filter(|key| key.live == live).map(|key| key.id));
                self.world.stripe.uninstall(at.id.as_str(), live, keys);
            }
            10 => {
                let deadline = self.world.now().plus(Duration::from_secs(600));
                let slot = default_slot(Kind::Secret);
                drop(self.world.steward().rotate(&at, &slot, Actor::Operator, deadline).await);
            }
            11..=12 => drop(self.world.try_deliver().await?),
            // Events about keys that never come. That of an uninstall has to: nobody else would say so.
            13 => self.world.lose_deliveries("v2.iam.api_key.").await,
            14 if self.dice.below(3) == 0 => {
                let choice = self.dice.choice()?;
                self.ever_held |= choice.on_user_expire == OnUserExpire::Hold;
                self.world.install.steward.policy = Policy::new(choice)?;
                self.world.service.policy = Policy::new(choice)?;
                self.story.push(format!("{choice:?}"));
            }
            15 => {
                let name = format!("own {n}");
                let live = at.mode == Mode::Live;
                let own = self.world.stripe.add_users_own_key(at.id.as_str(), live, &name);
                self.users.insert(own.clone());
                self.foreign.insert(own);
            }
            16 => self.forge().await?,
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

    fn heal(&self) {
        self.world.stripe.clear_faults();
        self.world.doors.heal();
        self.world.kms.set_disabled(false);
    }

    fn end_a_key(&mut self, n: usize, at: &AccountRef, expire: bool) -> anyhow::Result<()> {
        self.touched[n] = true;
        let minutes = i64::try_from(self.dice.below(3) * 60)?;
        let live = at.mode == Mode::Live;
        let keys = self.world.stripe.keys(at.id.as_str()).into_iter();
        let is_ours = |key: &fake_stripe::KeyView| {
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
        let old = fake_stripe::sign(
            &[keysteward_tests::world::WEBHOOK_SECRET],
            self.world.now().seconds() - 3_600,
            body,
        );
        let forged = fake_stripe::sign(&["whsec_not_ours"], self.world.now().seconds(), body);
        for signature in [old, forged] {
            let reply = self.world.post(body, &signature).await;
            ensure!(reply.status() == StatusCode::BAD_REQUEST, "I9: {}", reply.status());
        }
        ensure!(self.world.table.calls() == calls, "I9: what is not signed reached the table");
        Ok(())
    }

    /// The schedule's run; one in three is overtaken by another, step by step as the dice fall.
    async fn sweep(&mut self) {
        let (world, shards, dice) = (&self.world, &self.shards, &mut self.dice);
        if dice.below(3) > 0 {
            world.sweep_shards(shards).await;
            return;
        }
        let (one, other) = (world.sweep_shards(shards), world.sweep_shards(shards));
        race(one, other, || dice.flip()).await;
    }

    /// A key that is served works, unless somebody else ended it and nobody has told us yet.
    async fn check_reads(&self) -> anyhow::Result<()> {
        for (n, at) in self.accounts.iter().enumerate().filter(|(n, _)| !self.touched[*n]) {
            let reply = self.world.read(at, Kind::Secret).await;
            if reply.status() == StatusCode::OK {
                let body = json_of(&reply)?;
                let token = body["token"].as_str().unwrap_or_default();
                ensure!(self.world.stripe.token_works(token), "{at} ({n}): a dead key is served");
            }
        }
        Ok(())
    }

    /// The faults are over: events arrive, time passes, the schedule sweeps.
    async fn come_to_rest(&mut self) -> anyhow::Result<()> {
        self.heal();
        for seconds in [200, 700, 3_600, 4_000, 7_200, 90_000, 90_000, 90_000] {
            self.world.pass(Duration::from_secs(seconds));
            self.world.try_deliver().await?;
            for _ in 0..6 {
                let taken = self.world.sweep_shards(&self.shards).await;
                self.world.pass(Duration::from_secs(61));
                if taken == 0 {
                    break;
                }
            }
        }
        self.world.sweep().await?;
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<()> {
        invariants::of_the_world(&self.world)?;
        invariants::of_foreign_keys(&self.world, &self.foreign)?;
        for at in &self.accounts {
            let Some(stored) = self.world.steward().store.load(at).await? else { continue };
            invariants::of_the_trail(&self.world, &stored).await?;
            if matches!(stored.head.status, Status::Uninstalled { .. }) {
                let reply = self.world.read(at, Kind::Secret).await;
                ensure!(reply.status() == StatusCode::CONFLICT, "{at}: uninstalled, but served");
                continue;
            }
            invariants::of_the_slots(&self.world, &stored, self.ever_held).await?;
            invariants::of_strays(&self.world, &stored, &self.users)?;
        }
        Ok(())
    }

    /// What happened, as one number: the story, every call to Stripe with its outcome, and where it ended.
    async fn history(&self) -> anyhow::Result<u64> {
        let mut hasher = DefaultHasher::new();
        self.story.hash(&mut hasher);
        for call in self.world.stripe.log() {
            (call.at_ms, call.method, call.path, call.status, call.replayed).hash(&mut hasher);
            (call.context, call.idempotency_key, call.error_code).hash(&mut hasher);
        }
        for at in &self.accounts {
            let account = self.world.steward().store.load(at).await?;
            let states = account.iter().flat_map(|account| &account.generations);
            for ((slot, generation), state) in states {
                (slot.to_string(), generation.number(), state.name()).hash(&mut hasher);
            }
        }
        Ok(hasher.finish())
    }
}

/// They share two shards of the due index, so that a sweep which finds nothing asks twice and not five times:
/// a third of all calls to the table would be that.
const ACCOUNTS: [&str; 5] =
    ["acct_1Life0", "acct_1Life2", "acct_1Life4", "acct_1Life10", "acct_1Life17"];
const HALF_A_YEAR: i64 = 183 * 86_400_000;
