//! Months of a few accounts' lives, seeded: faults, disorder, users who act, people who operate. Whatever
//! happened, once the faults are over the sweep brings every account to rest with one key a slot.
//!
//! `SEED=… cargo test simulation` repeats one seed exactly; `SEEDS=n` runs the first n.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::account::{Account, HoldReason, Status};
use keysteward::domain::audit::{self, Action, Actor, Phase};
use keysteward::domain::lifecycle::State;
use keysteward::domain::policy::{Choice, OnDrift, OnUninstall, OnUserExpire, Strategy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::store::{Due, SHARDS};
use keysteward_tests::table::When;
use keysteward_tests::world::{account, default_slot, json_of};
use keysteward_tests::{Setting, World};

/// splitmix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn flip(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

struct Life {
    world: World,
    accounts: Vec<AccountRef>,
    dice: Dice,
    on_user_expire: OnUserExpire,
    /// Accounts whose keys somebody else ever touched: an event about it may be late or lost.
    touched: Vec<bool>,
    /// Keys at Stripe that are the users' own by now: rotated in the Dashboard, or kept on uninstalling.
    users: BTreeSet<String>,
    story: Vec<String>,
}

impl Life {
    async fn begin(seed: u64) -> anyhow::Result<Self> {
        let mut dice = Dice(seed);
        let on_user_expire = if dice.flip() { OnUserExpire::Hold } else { OnUserExpire::Reissue };
        let choice = Choice {
            rotate_every_days: 5 + u32::try_from(dice.below(40))?,
            overlap_minutes: 60 + u32::try_from(dice.below(2000))?,
            strategy: if dice.flip() { Strategy::Rotate } else { Strategy::CreateThenExpire },
            on_user_expire,
            on_uninstall: if dice.flip() { OnUninstall::Keep } else { OnUninstall::Expire },
            on_drift: if dice.flip() { OnDrift::Report } else { OnDrift::Apply },
        };
        let world =
            World::with(Setting { choice, oauth: dice.flip(), ..Setting::default() }).await?;
        let (replays, retrievable, expired, lag, list) =
            (dice.flip(), dice.flip(), dice.flip(), dice.below(2) * 9_000, dice.below(2) * 20_000);
        let (duplicate, shuffle, fetch) = (dice.flip(), dice.flip(), dice.roll());
        world.stripe.set_behaviour(|stripe| {
            stripe.replay_returns_ciphertext = replays;
            stripe.replay_returns_token = replays;
            stripe.old_id_retrievable = retrievable;
            stripe.expired_event_after_rotate = expired;
            stripe.expire_lag_ms = lag.cast_signed();
            stripe.list_lag_ms = list.cast_signed();
            stripe.duplicate_deliveries = duplicate;
            stripe.shuffle_deliveries = shuffle;
            stripe.seed = Some(fetch);
        });
        let mut accounts = Vec::new();
        for (n, mode) in [Mode::Live, Mode::Test, Mode::Live].into_iter().enumerate() {
            let at = account(mode, &format!("acct_1Life{n}"))?;
            world.add_account(at.id.as_str());
            accounts.push(at);
        }
        let touched = vec![false; accounts.len()];
        let story = vec![format!("{choice:?}, replays {replays}, retrievable {retrievable}")];
        let users = BTreeSet::new();
        Ok(Self { world, accounts, dice, on_user_expire, touched, users, story })
    }

    /// One thing happens.
    async fn live(&mut self) -> anyhow::Result<()> {
        let n = usize::try_from(self.dice.below(self.accounts.len() as u64))?;
        let at = self.accounts[n].clone();
        let what = self.dice.below(20);
        self.story.push(format!("{} {what} {at}", self.world.now()));
        match what {
            0..=1 => self.fail_the_table(),
            2..=3 => self.fail_stripe(),
            4 => self.world.kms.set_disabled(true),
            5 => {
                // Nobody uninstalls and installs within one second, the precision of Stripe's events.
                self.world.pass(Duration::from_secs(5));
                drop(self.world.install_app(&at).await);
            }
            6 => self.end_a_key(n, &at, true).await?,
            7 => self.end_a_key(n, &at, false).await?,
            8 if self.dice.below(3) == 0 => {
                self.touched[n] = true;
                let keys = if self.dice.flip() { KeepOrExpire::Keep } else { KeepOrExpire::Expire };
                let live = at.mode == Mode::Live;
                let kept = self.world.stripe.keys(at.id.as_str()).into_iter();
                self.users.extend(kept.filter(|key| key.live == live).map(|key| key.id));
                self.world.stripe.uninstall(at.id.as_str(), at.mode == Mode::Live, keys);
            }
            9 => {
                let deadline = self.world.now().plus(Duration::from_secs(600));
                let slot = default_slot(Kind::Secret);
                drop(self.world.steward().rotate(&at, &slot, Actor::Operator, deadline).await);
            }
            10..=11 => drop(self.world.try_deliver().await?),
            // Events about keys that never come. That of an uninstall has to: nobody else would say so.
            12 => self.world.lose_deliveries("v2.iam.api_key.").await,
            _ => {
                let seconds = match self.dice.below(3) {
                    0 => 60 + self.dice.below(600),
                    1 => 3_600 + self.dice.below(20 * 3_600),
                    _ => 86_400 * (1 + self.dice.below(6)),
                };
                self.heal();
                self.world.pass(Duration::from_secs(seconds));
                self.sweep().await;
                self.check_reads().await?;
            }
        }
        Ok(())
    }

    fn fail_the_table(&mut self) {
        let skip = u32::try_from(self.dice.below(12)).unwrap_or(0);
        let when = if self.dice.flip() { When::BeforeEffect } else { When::AfterEffect };
        self.world.table.fail(skip, when, self.dice.below(3) == 0);
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

    fn heal(&mut self) {
        if self.dice.flip() {
            self.world.stripe.clear_faults();
            self.world.table.heal();
            self.world.kms.set_disabled(false);
        }
    }

    async fn end_a_key(&mut self, n: usize, at: &AccountRef, expire: bool) -> anyhow::Result<()> {
        self.touched[n] = true;
        let minutes = i64::try_from(self.dice.below(3) * 60)?;
        let live = at.mode == Mode::Live;
        let alive: Vec<_> = self
            .world
            .stripe
            .keys(at.id.as_str())
            .into_iter()
            .filter(|key| key.live == live && key.status == "active" && key.kind == "secret_key")
            .collect();
        let Some(key) = alive.last() else { return Ok(()) };
        if expire {
            self.world.stripe.expire_in_dashboard(at.id.as_str(), &key.id);
        } else {
            let made = self.world.stripe.rotate_in_dashboard(at.id.as_str(), &key.id, minutes);
            self.users.extend(made);
        }
        Ok(())
    }

    /// The schedule's run, one thing after the other so that a seed repeats exactly. A failure is a log
    /// line to the schedule, so it is none here.
    async fn sweep(&self) {
        let deadline = self.world.now().plus(Duration::from_secs(600));
        for shard in 0..SHARDS {
            let now = self.world.now();
            let Ok(due) = self.world.steward().store.due(shard, now, 100).await else { continue };
            for due in due {
                match due {
                    Due::Account(at) => {
                        drop(self.world.steward().advance(&at, Actor::Sweep, deadline).await);
                    }
                    Due::Event(event) => {
                        drop(self.world.steward().ingest(&event, deadline).await);
                    }
                }
            }
        }
    }

    /// A key that is served works, unless somebody else ended it and nobody has told us yet.
    async fn check_reads(&self) -> anyhow::Result<()> {
        for (n, at) in self.accounts.iter().enumerate() {
            let reply = self.world.read(at, Kind::Secret).await;
            if reply.status() == StatusCode::OK && !self.touched[n] {
                let body = json_of(&reply)?;
                let token = body["token"].as_str().unwrap_or_default();
                ensure!(self.world.stripe.token_works(token), "{at}: a dead key is served");
            }
        }
        Ok(())
    }

    /// The faults are over: events arrive, time passes, the schedule sweeps.
    async fn come_to_rest(&mut self) -> anyhow::Result<()> {
        self.world.stripe.clear_faults();
        self.world.table.heal();
        self.world.kms.set_disabled(false);
        for seconds in [200, 700, 3_600, 4_000, 7_200, 90_000, 90_000, 90_000] {
            self.world.pass(Duration::from_secs(seconds));
            self.world.try_deliver().await?;
            for _ in 0..6 {
                self.sweep().await;
                self.world.pass(Duration::from_secs(61));
            }
        }
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<()> {
        for call in self.world.stripe.log() {
            let code = call.error_code.as_deref();
            ensure!(code != Some("idempotency_error"), "I3: a retry sent other bytes");
        }
        for at in &self.accounts {
            let Some(stored) = self.world.steward().store.load(at).await? else { continue };
            let trail = self.world.steward().store.trail(at, 0, 100_000).await?;
            audit::verify(&trail, &stored.head.audit)?;
            if matches!(stored.head.status, Status::Uninstalled { .. }) {
                let reply = self.world.read(at, Kind::Secret).await;
                ensure!(reply.status() == StatusCode::CONFLICT, "{at}: uninstalled, but served");
                continue;
            }
            for kind in [Kind::Secret, Kind::Publishable] {
                let slot = default_slot(kind);
                let hold = stored.slots.get(&slot).and_then(|slot| slot.hold);
                let is_held = hold.is_some_and(|hold| hold.why == HoldReason::RevokedByUser);
                ensure!(!is_held || self.on_user_expire == OnUserExpire::Hold, "{at}: held");
                if is_held {
                    continue;
                }
                let token = self.world.token(at, kind).await;
                let token = token.with_context(|| format!("{at} {kind}: {stored:#?}"))?;
                ensure!(self.world.stripe.token_works(&token), "{at} {kind}: a dead key is served");
            }
            self.check_orphans(&stored)?;
            check_trail(&trail, &stored).with_context(|| format!("{at}"))?;
        }
        Ok(())
    }

    /// Every key of ours that is alive at Stripe is the current one of a slot, or in its overlap.
    fn check_orphans(&self, stored: &Account) -> anyhow::Result<()> {
        let (live, now) = (stored.at.mode == Mode::Live, self.world.now());
        let known: Vec<&str> = stored
            .generations
            .values()
            .filter_map(|state| match state {
                State::Current { key, .. } => Some(key.as_str()),
                State::Retiring { key, dies_at, .. } if *dies_at > now => Some(key.as_str()),
                _ => None,
            })
            .collect();
        for key in self.world.stripe.keys(stored.at.id.as_str()) {
            let is_ours = key.live == live && !self.users.contains(&key.id);
            ensure!(
                !is_ours || key.status != "active" || known.contains(&key.id.as_str()),
                "{}: a key lives and nobody knows it: {key:?}\n{stored:#?}",
                stored.at
            );
        }
        Ok(())
    }
}

fn check_trail(trail: &[audit::Entry], stored: &Account) -> anyhow::Result<()> {
    let mut open: BTreeMap<_, i32> = BTreeMap::new();
    for entry in trail {
        let about = (entry.slot.clone(), entry.generation, entry.action == Action::Issue);
        match entry.phase {
            Phase::Begin => *open.entry(about).or_default() += 1,
            Phase::Complete => *open.entry(about).or_default() -= 1,
            Phase::Note => {}
        }
    }
    for ((slot, generation, is_issue), count) in open {
        let (Some(slot), Some(generation)) = (slot, generation) else { continue };
        let state = stored.generations.get(&(slot.clone(), generation));
        let is_open = state.is_some_and(|state| {
            if is_issue { state.is_pending() } else { state.name() == "retiring" }
        });
        ensure!(count == i32::from(is_open), "{slot}#{generation} is open in the trail: {count}");
    }
    Ok(())
}

async fn simulate(seed: u64) -> anyhow::Result<()> {
    let mut life = Life::begin(seed).await?;
    let outcome = async {
        for at in life.accounts.clone() {
            life.world.install_app(&at).await?;
        }
        while life.world.now().millis() < 1_795_521_600_000 + HALF_A_YEAR {
            life.live().await?;
        }
        life.come_to_rest().await?;
        life.check().await
    }
    .await;
    let story = life.story.join("\n");
    outcome.with_context(|| format!("{story}\nSEED={seed} cargo test simulation"))
}

#[expect(clippy::disallowed_methods, reason = "the seed is chosen from outside")]
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(FIXED_SEEDS)).collect(),
    }
}

#[tokio::test]
async fn simulation_of_half_a_year_ends_with_one_key_a_slot() -> anyhow::Result<()> {
    for seed in seeds() {
        simulate(seed).await?;
    }
    Ok(())
}

const HALF_A_YEAR: i64 = 183 * 86_400_000;
/// How many seeds the plain test runs.
const FIXED_SEEDS: u64 = 3;
