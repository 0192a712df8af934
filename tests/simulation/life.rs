//! Some accounts, and half a year of theirs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use http::StatusCode;
use keysteward::domain::policy::{Choice, OnUserExpire, Policy};
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward_tests::race::race;
use keysteward_tests::world::account;
use keysteward_tests::{Setting, World};

use crate::dice::{Dice, JITTER, jitter};
use crate::happened::Happened;
use crate::trouble::Trouble;

pub(crate) struct Life {
    pub(crate) world: World,
    pub(crate) accounts: Vec<AccountRef>,
    pub(crate) dice: Dice,
    pub(crate) choice: Choice,
    pub(crate) happened: Happened,
    pub(crate) trouble: Trouble,
    /// Slots of accounts whose keys somebody else touched, and nobody need have noticed yet.
    pub(crate) unnoticed: BTreeSet<(usize, Kind)>,
    /// Slots that may be without a key for some other reason, and have had no quiet day since.
    pub(crate) unsettled: BTreeSet<(usize, Kind)>,
    /// Slots whose keys somebody else touched while the policy was to hold what a user ended, or before it was and
    /// nobody need have noticed, and that were not seen to be served since.
    pub(crate) may_be_held: BTreeSet<(usize, Kind)>,
    /// Accounts of which a person ended keys, or that left: of theirs no log tells whether there was another.
    pub(crate) by_hand: BTreeSet<usize>,
    /// Accounts whose owners saw an installation fail, and have not tried again.
    pub(crate) turned_away: BTreeSet<usize>,
    /// Accounts that Stripe makes no live keys for, for now.
    pub(crate) deactivated: BTreeSet<usize>,
    /// Whether the app lacks a permission, or accounts have as many keys as they may.
    pub(crate) is_limited: bool,
    /// Whether secrets ever came that do not open: two in a row wait for a person.
    pub(crate) ever_garbled: bool,
    /// Whether rotations were paused, and not resumed.
    pub(crate) is_paused: bool,
    /// Keys at Stripe that are the users' own by now: rotated in the Dashboard, or kept on uninstalling.
    pub(crate) users: BTreeSet<String>,
    /// Those of them that the app never minted.
    pub(crate) foreign: BTreeSet<String>,
    shards: Vec<u8>,
    pub(crate) story: Vec<String>,
}

impl Life {
    pub(crate) async fn begin(seed: u64) -> anyhow::Result<Self> {
        let mut dice = Dice(seed);
        JITTER.set(dice.roll());
        let choice = dice.choice()?;
        let setting = Setting { choice, oauth: dice.flip(), draw: jitter, ..Setting::default() };
        let world = World::with(setting).await?;
        world.stripe.set_behaviour(|stripe| dice.vary(stripe));
        let mut accounts = Vec::new();
        for (n, id) in ACCOUNTS.iter().enumerate() {
            let mode = if n % 3 == 1 { Mode::Test } else { Mode::Live };
            let at = account(mode, id)?;
            world.add_account(at.id.as_str());
            world.install_app(&at).await?;
            accounts.push(at);
        }
        let shards = world.shards().await?;
        let story = vec![format!("{choice:?}\n{:?}", world.stripe.behaviour())];
        Ok(Self {
            world,
            accounts,
            dice,
            choice,
            happened: Happened::default(),
            trouble: Trouble::default(),
            unnoticed: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            may_be_held: BTreeSet::new(),
            by_hand: BTreeSet::new(),
            turned_away: BTreeSet::new(),
            deactivated: BTreeSet::new(),
            is_limited: false,
            ever_garbled: false,
            is_paused: false,
            users: BTreeSet::new(),
            foreign: BTreeSet::new(),
            shards,
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
        self.lift_holds().await?;
        self.count_at_rest().await?;
        self.history()
    }

    pub(crate) fn holds(&self) -> bool {
        self.choice.on_user_expire == OnUserExpire::Hold
    }

    /// Another policy from now on.
    pub(crate) fn choose(&mut self, choice: Choice) -> anyhow::Result<()> {
        self.choice = choice;
        if self.holds() {
            self.may_be_held.extend(self.unnoticed.iter().copied());
        }
        self.world.install.steward.policy = Policy::new(choice)?;
        self.world.service.policy = Policy::new(choice)?;
        self.tell(&format!("{choice:?}"));
        Ok(())
    }

    /// Some things happen, and then time passes.
    async fn live(&mut self) -> anyhow::Result<()> {
        if self.dice.below(3) == 0 {
            self.lift().await?;
        }
        for _ in 0..self.dice.below(4) {
            let n = usize::try_from(self.dice.below(self.accounts.len() as u64))?;
            // On the heap: all that may happen is more than a test's stack holds.
            Box::pin(self.happen(n)).await?;
        }
        let seconds = match self.dice.below(3) {
            0 => 60 + self.dice.below(600),
            1 => 3_600 + self.dice.below(20 * 3_600),
            _ => 86_400 * (1 + self.dice.below(8)),
        };
        if self.dice.flip() {
            self.heal()?;
        }
        // The schedule runs every minute. Of a long while only its beginning is played, in which what was
        // going on comes to an end, and its end: a fault that outlasts the overlap costs the key, whoever keeps it.
        let pieces = if seconds > 3_600 { vec![61, 3_539, seconds - 3_600] } else { vec![seconds] };
        for (n, seconds) in pieces.into_iter().enumerate() {
            if n > 0 {
                self.heal()?;
            }
            self.world.pass(Duration::from_secs(seconds));
            let is_struck = n == 2 && self.dice.below(3) == 0;
            if is_struck {
                Box::pin(self.strike_the_schedule()).await?;
            }
            self.tell("sweep");
            Box::pin(self.sweep()).await?;
            let is_quiet = n > 0 && !is_struck && seconds > A_QUIET_DAY;
            if is_quiet && !self.is_hampered().await? {
                self.settle();
            }
        }
        // Opening a key costs more than anything else here: half are read after a long while, else one.
        let whose: Vec<usize> = match seconds {
            86_400.. => (0..self.accounts.len()).filter(|_| self.dice.flip()).collect(),
            _ => vec![usize::try_from(self.dice.below(self.accounts.len() as u64))?],
        };
        self.check_reads(&whose).await
    }

    /// The schedule's run; one in three is overtaken, step by step as the dice fall: by another, or by events
    /// that arrive. One in eight of the others is the function's own, which looks at every shard and works at many
    /// accounts at once; the rest take what is due from the shards that hold anything, one after the other.
    pub(crate) async fn sweep(&mut self) -> anyhow::Result<()> {
        match self.dice.below(6) {
            0 => {
                let (world, shards, dice) = (&self.world, &self.shards, &mut self.dice);
                let one = Box::pin(world.sweep_shards(shards));
                let other = Box::pin(world.sweep_shards(shards));
                race(one, other, || dice.flip()).await;
                self.happened.note("sweeps", "overtaken by a sweep");
            }
            1 => {
                let (world, shards, dice) = (&self.world, &self.shards, &mut self.dice);
                let one = Box::pin(world.sweep_shards(shards));
                let events = Box::pin(world.try_deliver());
                let delivered = race(one, events, || dice.flip()).await.1?;
                self.count_events(delivered);
                self.happened.note("sweeps", "overtaken by events");
            }
            2 if self.dice.flip() => Box::pin(self.sweep_all()).await?,
            _ => drop(self.world.sweep_shards(&self.shards).await),
        }
        self.trouble.was_swept(self.world.now());
        Ok(())
    }

    /// The run of the `rotate` function. It fails only while something is wrong, and so does what it takes.
    pub(crate) async fn sweep_all(&mut self) -> anyhow::Result<()> {
        match self.world.sweep().await {
            Ok(swept) => {
                ensure!(swept.failed == 0 || self.trouble.is_on, "a sweep: {swept:?}");
                self.happened.note("sweeps", "settled");
                self.happened.add("sweeps", "accounts deferred", swept.deferred.into());
                self.happened.add("sweeps", "accounts failed", swept.failed.into());
            }
            Err(error) => {
                ensure!(self.trouble.is_on, "a sweep failed: {error:#}");
                self.happened.note("sweeps", "failed");
            }
        }
        Ok(())
    }

    /// A person installs the app, or does so again; every other time in the middle of a sweep.
    pub(crate) async fn install(&mut self, n: usize) -> anyhow::Result<()> {
        let at = self.accounts[n].clone();
        let was_there = self.world.stripe.is_installed(at.id.as_str(), at.mode == Mode::Live);
        if !was_there || self.turned_away.contains(&n) {
            self.unsettle(n);
        }
        // A hold that is lifted makes room for a key that Stripe may not make yet.
        let held = self.may_be_held.iter().filter(|(whose, _)| *whose == n);
        self.unsettled.extend(held.copied());
        let (world, shards, dice) = (&self.world, &self.shards, &mut self.dice);
        let install = Box::pin(world.install_app(&at));
        let reply = if dice.flip() {
            let sweep = Box::pin(world.sweep_shards(shards));
            race(install, sweep, || dice.flip()).await.0?
        } else {
            install.await?
        };
        if reply.status() == StatusCode::OK {
            self.turned_away.remove(&n);
            self.happened.note("install", "done");
            self.happened.add("install", "after an uninstall", u64::from(!was_there));
        } else {
            ensure!(self.trouble.is_on, "{at}: turned away: {}", reply.status());
            self.turned_away.insert(n);
            self.happened.note("install", "turned away");
        }
        Ok(())
    }

    /// The faults are over: events arrive, time passes, the schedule sweeps, and who has to act does.
    async fn come_to_rest(&mut self) -> anyhow::Result<()> {
        self.heal()?;
        for seconds in [200, 700, 3_600, 4_000, 7_200, LONGER_THAN_ANY_GRACE, 90_000, 90_000] {
            self.world.pass(Duration::from_secs(seconds));
            if seconds < 90_000 {
                self.lift().await?;
            }
            if seconds == LONGER_THAN_ANY_GRACE && self.dice.flip() {
                let publishable = self.dice.flip();
                self.order_all_replaced(publishable, None).await?;
            }
            for n in std::mem::take(&mut self.turned_away) {
                let reply = self.world.install_app(&self.accounts[n]).await?;
                ensure!(reply.status() == StatusCode::OK, "{}: turned away", self.accounts[n]);
            }
            self.world.try_deliver().await?;
            for _ in 0..6 {
                let taken = self.world.sweep_shards(&self.shards).await;
                self.world.pass(Duration::from_secs(61));
                if taken == 0 {
                    break;
                }
            }
        }
        self.sweep_all().await
    }
}

/// They share two shards of the due index, so that a sweep which finds nothing asks twice and not five times:
/// a third of all calls to the table would be that.
const ACCOUNTS: [&str; 5] =
    ["acct_1Life0", "acct_1Life2", "acct_1Life4", "acct_1Life10", "acct_1Life17"];
const HALF_A_YEAR: i64 = 183 * 86_400_000;
/// `Policy::LOOK_EVERY` and `Policy::LOOK_AGAIN`: whatever somebody did to a key by its beginning is known at its end.
const A_QUIET_DAY: u64 = 90_000 + 120;
/// `Policy::UNINSTALL_GRACE` and a day.
const LONGER_THAN_ANY_GRACE: u64 = 8 * 86_400;
