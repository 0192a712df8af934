//! An emergency wakes the accounts that it is about, a wave at each sweep; the plan does the rest.
//!
//! Nothing remembers which keys are done: a key that was issued before the order's instant is not, so
//! neither a crash nor a second run can skip one or replace one twice. An account that no wave reaches wakes
//! by itself within a day.

use crate::domain::orders::{Emergency, Reached, Standing, Summons};
use crate::domain::slot::Mode;
use crate::domain::time::Timestamp;
use crate::steward::{Error, Steward};
use crate::store::{Listed, SHARDS};

impl Steward {
    /// Wakes the next wave and records how far it came. A wave that dies half-way is woken again.
    pub(crate) async fn summon(
        &self,
        standing: &Standing,
        deadline: Timestamp,
    ) -> Result<(), Error> {
        let (Some(emergency), Some(summons)) = (&standing.emergency, &standing.summons) else {
            return Ok(());
        };
        if standing.report_only.is_some() {
            return Ok(());
        }
        let mut at = Some(summons.clone());
        let mut wave = 0;
        // What is woken together is taken in any order: test accounts wait for a wave of their own.
        let belongs = |next: &Summons, wave| wave == 0 || next.mode == summons.mode;
        while let Some(summons) =
            at.take_if(|next| wave < WAVE && belongs(next, wave) && self.clock.now() < deadline)
        {
            let (next, woken) = self.summon_page(emergency, summons).await?;
            wave += woken;
            at = next;
        }
        let woken = summons.woken + u64::from(wave);
        let since = emergency.since;
        self.give_order(|standing| {
            // An order that was given meanwhile starts from its own beginning.
            if standing.emergency.as_ref().is_some_and(|emergency| emergency.since == since) {
                standing.summons = at.clone().map(|summons| Summons { woken, ..summons });
            }
        })
        .await?;
        tracing::warn!(wave, woken, done = at.is_none(), "accounts were woken for an emergency");
        Ok(())
    }

    async fn summon_page(
        &self,
        emergency: &Emergency,
        summons: Summons,
    ) -> Result<(Option<Summons>, u32), Error> {
        let Some((shard, reached)) = summons.turn(SHARDS) else {
            return Ok((of_the_next_mode(emergency, &summons), 0));
        };
        let after = match reached {
            Reached::Until { due_at, account } => Some(Listed { account, due_at }),
            Reached::Start | Reached::End => None,
        };
        let now = self.clock.now();
        let page = self.store.listed(shard, after.as_ref(), PAGE).await?;
        let mut woken = 0;
        for listed in page.iter().filter(|listed| listed.account.mode == summons.mode) {
            self.store.wake(&listed.account, now).await?;
            woken += 1;
        }
        let is_over = page.len() < PAGE as usize;
        let reached = match page.into_iter().next_back() {
            Some(Listed { account, due_at }) if !is_over => Reached::Until { due_at, account },
            Some(_) | None => Reached::End,
        };
        Ok((Some(summons.come(shard, reached, SHARDS)), woken))
    }
}

/// The beginning of the next mode; `None` after the last.
fn of_the_next_mode(emergency: &Emergency, summons: &Summons) -> Option<Summons> {
    let is_next = summons.mode == Mode::Live && emergency.mode.is_none();
    is_next.then(|| Summons { woken: summons.woken, ..Summons::of(Mode::Test) })
}

/// How many accounts one sweep wakes at least, about as many as it can rotate before the next: what is
/// due for other reasons is not kept waiting behind all of them.
const WAVE: u32 = 500;
/// How many accounts of a shard are woken before it is the next one's turn: a wave is spread over all of them.
const PAGE: u32 = 32;
