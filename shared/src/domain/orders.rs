//! What holds for the whole bundle for now, beside the policy: what an operator ordered, what a safeguard
//! did by itself, and which table this is.

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use super::lifecycle::State;
use super::slot::{AccountRef, Kind, Mode};
use super::time::Timestamp;

/// The orders that the plan follows; all off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// How often the table was restored from a copy. An account acts once it was reconciled since.
    pub epoch: Epoch,
    /// Nothing is changed at Stripe, only looked at: the table was restored and nobody has said that it
    /// may act. Since when.
    pub report_only: Option<Timestamp>,
    /// No rotation by age is begun: an operator paused the bundle. An emergency goes on.
    pub is_paused: bool,
    /// No rotation begins, not even in an emergency, unless somebody asked for that one key: most recent ones failed.
    pub breaker_is_open: bool,
    /// Replace keys before their time.
    pub emergency: Option<Emergency>,
}

/// Counts restores of the table, from 0.
pub type Epoch = u32;

/// An order to replace every key that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// When it was ordered.
    pub since: Timestamp,
    /// Keys that were issued before this instant are replaced.
    pub issued_before: Timestamp,
    /// Only accounts in this mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Publishable keys too: they are public, and pages embed them.
    #[serde(default)]
    pub publishable: bool,
    /// How long the replaced keys live on, in minutes; `None`: as the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_minutes: Option<u32>,
}

impl Emergency {
    /// Whether it is about this account.
    pub fn covers(&self, at: &AccountRef) -> bool {
        self.mode.is_none_or(|mode| mode == at.mode)
    }

    /// Whether it wants this key replaced.
    pub fn condemns(&self, at: &AccountRef, kind: Kind, state: &State) -> bool {
        let is_wanted = match kind {
            Kind::Secret => true,
            Kind::Publishable => self.publishable,
        };
        match state {
            State::Current { issued_at, .. } => {
                is_wanted && self.covers(at) && *issued_at < self.issued_before
            }
            State::Requested { .. }
            | State::Issued { .. }
            | State::Proven { .. }
            | State::Retiring { .. }
            | State::Ended { .. }
            | State::Undecryptable { .. }
            | State::NeedsOperator { .. } => false,
        }
    }
}

/// The bundle's own row: what the orders are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Counts writes; every write names the one it builds on.
    #[serde(default)]
    pub version: u64,
    /// AWS's name of the table that the row was written in: a restored copy has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_id: Option<String>,
    /// How often the table was restored.
    #[serde(default)]
    pub epoch: Epoch,
    /// Since when the bundle only reports; `None`: it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_only: Option<Timestamp>,
    /// Since when an operator wants no rotation by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// The emergency that is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
    /// How new rotations fared, as of the last time that the breaker opened or closed.
    #[serde(default)]
    pub breaker: Breaker,
    /// How far the accounts were woken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summons: Option<Summons>,
    /// How far the app's own record of events was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_record: Option<OwnRecord>,
}

/// How far the app's own record of events was read, and when that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRecord {
    /// Up to when it was read; `None`: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_to: Option<Timestamp>,
    /// When it is read again.
    pub next_at: Timestamp,
}

impl Standing {
    /// The orders that follow at `now`.
    pub fn orders(&self, now: Timestamp) -> Orders {
        Orders {
            epoch: self.epoch,
            report_only: self.report_only,
            is_paused: self.paused_since.is_some(),
            breaker_is_open: self.breaker.trials_left(now) == Some(0),
            emergency: self.emergency.clone(),
        }
    }

    /// Compares the table with the one that the row was written in, and answers whether that is news.
    ///
    /// A copy of the table brings the row along and has a name of its own: from then on the bundle only
    /// reports, until [`Standing::release`].
    pub fn recognise(&mut self, table_id: &str, now: Timestamp) -> bool {
        let is_other = self.table_id.as_deref() != Some(table_id);
        if is_other && self.table_id.is_some() {
            self.epoch += 1;
            self.report_only = Some(now);
        }
        if is_other {
            self.table_id = Some(table_id.to_owned());
        }
        is_other
    }

    /// Lets the bundle act on a restored table.
    pub fn release(&mut self) {
        self.report_only = None;
    }

    /// Orders an emergency; one that is on is replaced.
    pub fn order(&mut self, emergency: Emergency) {
        let first = emergency.mode.unwrap_or(Mode::Live);
        self.summons = Some(Summons::of(first));
        self.emergency = Some(emergency);
    }

    /// Ends the emergency. What was begun for it is finished; nothing more is begun.
    pub fn stand_down(&mut self) {
        self.emergency = None;
        self.summons = None;
    }
}

/// How far accounts were woken for an emergency: live accounts first, all shards in turn, so that in none of them
/// whatever else is due waits behind all that the shard has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summons {
    /// The accounts of this mode are being woken.
    pub mode: Mode,
    /// The shard of the due index that is next.
    pub shard: u8,
    /// As older versions left it, which woke one shard after the other: how far they came in `shard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<(Timestamp, AccountRef)>,
    /// How far each shard has come; those that are not there have not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<Reached>,
    /// How many were woken so far.
    pub woken: u64,
}

/// How far the accounts of one shard were woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reached", rename_all = "snake_case")]
pub enum Reached {
    /// None was.
    Start,
    /// All that would have been due by then, this one the last.
    Until {
        /// When it would have been due.
        due_at: Timestamp,
        /// Which account.
        account: AccountRef,
    },
    /// All were.
    End,
}

impl Summons {
    /// The beginning, with the accounts of this mode.
    pub fn of(mode: Mode) -> Self {
        Self { mode, shard: 0, after: None, shards: Vec::new(), woken: 0 }
    }

    /// Each shard's place of `count`, also from what an older version left.
    fn places(&self, count: u8) -> Vec<Reached> {
        let mut shards = self.shards.clone();
        if shards.is_empty() {
            shards = vec![Reached::End; usize::from(self.shard.min(count))];
            shards.extend(
                self.after.clone().map(|(due_at, account)| Reached::Until { due_at, account }),
            );
        }
        shards.resize(usize::from(count), Reached::Start);
        shards
    }

    /// The shard whose turn it is, and how far it has come; `None` when all were woken.
    pub fn turn(&self, count: u8) -> Option<(u8, Reached)> {
        let places = self.places(count);
        let in_turn = (0..count).map(|n| (self.shard % count + n) % count);
        in_turn
            .map(|shard| (shard, places[usize::from(shard)].clone()))
            .find(|(_, reached)| *reached != Reached::End)
    }

    /// The same after `shard` has come so far: the next one's turn.
    pub fn come(mut self, shard: u8, reached: Reached, count: u8) -> Self {
        self.shards = self.places(count);
        if let Some(place) = self.shards.get_mut(usize::from(shard)) {
            *place = reached;
        }
        self.shard = (shard + 1) % count;
        self.after = None;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AccountId;

    #[test]
    fn a_copy_of_the_table_is_noticed_once_and_only_reports_until_it_is_released() {
        let (now, later) = (Timestamp::EPOCH, Timestamp::from_seconds(60).unwrap());
        let mut standing = Standing::default();
        assert!(standing.recognise("first", now), "the row is new");
        assert_eq!(standing.orders(now), Orders::default(), "a new table acts");
        assert!(!standing.recognise("first", later));
        assert!(standing.recognise("copy", later));
        assert_eq!((standing.epoch, standing.report_only), (1, Some(later)));
        assert!(!standing.recognise("copy", later));
        standing.release();
        assert_eq!((standing.epoch, standing.report_only), (1, None));
    }

    #[test]
    fn an_emergency_without_a_mode_begins_with_live_accounts() {
        let now = Timestamp::EPOCH;
        let order = |mode| Emergency {
            since: now,
            issued_before: now,
            mode,
            publishable: false,
            overlap_minutes: None,
        };
        for (mode, first) in
            [(None, Mode::Live), (Some(Mode::Test), Mode::Test), (Some(Mode::Live), Mode::Live)]
        {
            let mut standing = Standing::default();
            standing.order(order(mode));
            assert_eq!(standing.summons.clone().unwrap().mode, first);
            standing.stand_down();
            assert_eq!(standing, Standing::default());
        }
    }

    /// Wakes `sizes` accounts, three at a turn; answers the shards in the order of their turns.
    fn turns(mut summons: Summons, sizes: [usize; 4]) -> Vec<u8> {
        let (mut woken, mut turns) = ([0; 4], vec![]);
        while let Some((shard, reached)) = summons.turn(4) {
            let place = &mut woken[usize::from(shard)];
            if let Reached::Until { due_at, .. } = &reached {
                *place = usize::try_from(due_at.seconds()).unwrap();
            }
            *place = sizes[usize::from(shard)].min(*place + 3);
            let is_over = *place == sizes[usize::from(shard)];
            let account = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
            let due_at = Timestamp::from_seconds(i64::try_from(*place).unwrap()).unwrap();
            let reached = if is_over { Reached::End } else { Reached::Until { due_at, account } };
            summons = summons.come(shard, reached, 4);
            turns.push(shard);
        }
        assert_eq!(woken, sizes, "all were woken");
        turns
    }

    #[test]
    fn shards_are_woken_in_turn_and_each_to_its_end() {
        assert_eq!(turns(Summons::of(Mode::Live), [3, 7, 0, 9]), [0, 1, 2, 3, 1, 3, 1, 3]);
        assert_eq!(turns(Summons::of(Mode::Live), [0; 4]), [0, 1, 2, 3]);
    }

    #[test]
    fn what_an_older_version_began_goes_on_where_it_was() {
        let account = AccountRef::new(Mode::Live, AccountId::parse("acct_1").unwrap());
        let old =
            serde_json::json!({"mode": "live", "shard": 2, "after": [4000, account], "woken": 9});
        let old: Summons = serde_json::from_value(old).unwrap();
        let due_at = Timestamp::from_millis(4000).unwrap();
        assert_eq!(old.turn(4), Some((2, Reached::Until { due_at, account })));
        let next = old.come(2, Reached::End, 4);
        assert_eq!(next.turn(4), Some((3, Reached::Start)));
        assert_eq!(next.come(3, Reached::End, 4).turn(4), None, "the first two were done");
    }
}
