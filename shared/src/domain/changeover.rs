//! Changes to a slot as a whole: a fresh start, and the end of a sandbox's keys.

use super::account::{Change, Hold, HoldReason};
use super::lifecycle::{Happened, Illegal, State};
use super::slot::{Generation, Slot};
use super::time::Timestamp;

impl Change {
    /// Opens a slot or lifts what holds it, and gives up the keys that only a person can end: they are ended
    /// at Stripe like any other, and make room for the next.
    pub fn start_afresh(&mut self, slot: &Slot) -> Result<(), Illegal> {
        let at = self.now();
        let stuck: Vec<Generation> = self
            .account()
            .generations_of(slot)
            .filter(|(_, state)| state.is_stuck())
            .map(|(generation, _)| generation)
            .collect();
        for generation in stuck {
            self.apply(slot, generation, Happened::Abandoned { at }, None)?;
        }
        self.open_slot(slot);
        if let Some((current, _)) = self.account().current(slot) {
            // Whether there is something to ask for at all, Stripe says.
            self.apply(slot, current, Happened::LookedAt { look_at: at }, None)?;
        }
        Ok(())
    }

    /// Retires the current keys of a sandbox whose owner went live, by `dies_at`, and makes no others: of as many
    /// slots as one change holds.
    pub fn vacate(&mut self, dies_at: Timestamp) -> Result<Vacated, Illegal> {
        let slots: Vec<Slot> = self.account().slots.keys().cloned().collect();
        if slots.iter().any(|slot| self.account().pending(slot).is_some()) {
            return Ok(Vacated::NotYet);
        }
        let why = HoldReason::MovedToLive;
        for slot in slots {
            let held = self.account().slots.get(&slot).and_then(|state| state.hold);
            let current = self.account().current(&slot);
            if current.is_none() && held.is_some_and(|hold| hold.why == why) {
                continue;
            }
            if self.room() == 0 {
                return Ok(Vacated::InPart);
            }
            if let Some((current, state)) = current {
                let doom = match state {
                    State::Current { doom, .. } => doom.map_or(dies_at, |doom| doom.at),
                    _ => dies_at,
                };
                let dies_at = dies_at.min(doom);
                let over = Happened::Superseded { dies_at, try_at: dies_at };
                self.apply(&slot, current, over, None)?;
            }
            self.hold(&slot, Some(Hold { why, since: self.now(), until: None }));
        }
        Ok(Vacated::Wholly)
    }
}

/// How far the slots of a sandbox are without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacated {
    /// All of them.
    Wholly,
    /// There are more of them than one change holds.
    InPart,
    /// Nothing is changed while a key is on its way: it may be alive at Stripe already.
    NotYet,
}
