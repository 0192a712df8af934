//! When repeating a call that stays unanswered is not enough, and what is known of rotations that came to nothing.
//!
//! A rotation may have taken effect although nobody answered; then the old key dies when the overlap is over.
//! So before half of it is gone, what became of the call is looked for and another key is made.

use std::time::Duration;

use super::account::{Account, Hold, HoldReason};
use super::intent::{How, Intent};
use super::lifecycle::{Doom, DoomedBy, Ending, State, Trouble};
use super::policy::Policy;
use super::slot::{Generation, Slot};
use super::time::Timestamp;

/// From when on an unanswered call is looked for and no longer only repeated: half of what the old key may have
/// left, counted from when the call was first made, less what the sweep may be late.
pub fn due_at(policy: &Policy, account: &Account, slot: &Slot, intent: &Intent) -> Timestamp {
    let left = match (intent.how, doom_of(account, slot)) {
        (How::Rotate { overlap_minutes, .. }, _) => {
            Duration::from_secs(u64::from(overlap_minutes) * 60)
        }
        (How::Create, Some(Doom { at, by: DoomedBy::LostAnswer | DoomedBy::SomebodyElse })) => {
            at.since(intent.asked_at)
        }
        (How::Create, Some(Doom { by: DoomedBy::Operator, .. }) | None) => policy.overlap(),
    };
    intent.asked_at.plus((left / 2).saturating_sub(Policy::SWEEP_INTERVAL + Policy::STALL))
}

/// Until when a slot is held. A hold for want of an answer ends where repeating is not enough any more.
pub(super) fn held_until(
    policy: &Policy,
    account: &Account,
    slot: &Slot,
    hold: Hold,
) -> Option<Timestamp> {
    let until = hold.until?;
    match (hold.why, account.pending(slot)) {
        (HoldReason::NoAnswer, Some((_, State::Requested { intent }))) => {
            let due = due_at(policy, account, slot, intent);
            Some(if hold.since < due { until.min(due) } else { until })
        }
        _ => Some(until),
    }
}

/// When Stripe ends the key that an intent rotates away, where its successor was made at `made_at`: after a refusal
/// that was lifted that is long after it was first asked.
pub fn predecessor_dies_at(intent: &Intent, made_at: Timestamp) -> Option<Timestamp> {
    match intent.how {
        How::Create => None,
        How::Rotate { overlap_minutes, .. } => {
            let overlap = Duration::from_secs(u64::from(overlap_minutes) * 60);
            Some(made_at.max(intent.asked_at).plus(overlap))
        }
    }
}

/// When the slot's key ends if our own rotation of it, which is still unanswered, has taken effect.
pub fn unanswered_rotation_ends(account: &Account, slot: &Slot) -> Option<Timestamp> {
    match account.pending(slot) {
        Some((_, State::Requested { intent })) if intent.attempts > 0 => {
            // The first attempt may be the one that took effect.
            predecessor_dies_at(intent, intent.asked_at)
        }
        _ => None,
    }
}

/// When the slot's key ends because Stripe has answered our rotation of it, whose key is still to be proven.
pub fn answered_rotation_ends(account: &Account, slot: &Slot) -> Option<Timestamp> {
    match account.pending(slot)?.1 {
        State::Issued { predecessor_dies_at, .. } | State::Proven { predecessor_dies_at, .. } => {
            *predecessor_dies_at
        }
        _ => None,
    }
}

/// Whether a rotation of this key by us may have taken effect unheard: what ends the key then is our own doing.
pub fn may_be_rotated_by_us(account: &Account, slot: &Slot, current: Generation) -> bool {
    unanswered_rotation_ends(account, slot).is_some() || is_given_up(account, slot, current)
}

/// Whether a rotation by us may have ended the key by `now`: one that is still repeated or was answered, not before its
/// overlap is over.
pub fn may_have_died_of_us(
    account: &Account,
    slot: &Slot,
    current: Generation,
    now: Timestamp,
) -> bool {
    let ends = [unanswered_rotation_ends(account, slot), answered_rotation_ends(account, slot)];
    ends.into_iter().flatten().any(|at| at <= now) || is_given_up(account, slot, current)
}

/// Whether a call that was to replace this key was given up unanswered.
fn is_given_up(account: &Account, slot: &Slot, current: Generation) -> bool {
    let mut later = account.generations_of(slot).filter(|(generation, _)| *generation > current);
    later.any(|(_, state)| match state {
        State::Ended { key: None, why: Ending::Lost, .. }
        | State::NeedsOperator { key: None, trouble: Trouble::NoAnswer, .. } => true,
        State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Retiring { .. }
        | State::Ended { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => false,
    })
}

/// Whether a call of ours that was given up may have made a key at this instant: nobody has its secret. An older
/// key that no generation knows is another matter: somebody may use it.
pub fn may_be_lost(account: &Account, slot: &Slot, created: Timestamp) -> bool {
    account.generations_of(slot).any(|(_, state)| match state {
        State::Ended { key: None, why: Ending::Lost, at, .. } => {
            (at.minus(LONGEST_REPEATED)..=at.plus(UNDER_WAY)).contains(&created)
        }
        State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Retiring { .. }
        | State::Ended { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => false,
    })
}

/// How many of the slot's youngest generations, one after the other, came without a secret.
pub fn lost_in_a_row(account: &Account, slot: &Slot) -> usize {
    let states: Vec<&State> = account.generations_of(slot).map(|(_, state)| state).collect();
    let is_lost = |state: &&&State| match state {
        State::Retiring { ending, .. } | State::Ended { why: ending, .. } => {
            *ending == Ending::Lost
        }
        State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => false,
    };
    states.iter().rev().take_while(is_lost).count()
}

fn doom_of(account: &Account, slot: &Slot) -> Option<Doom> {
    match account.current(slot) {
        Some((_, State::Current { doom, .. })) => *doom,
        _ => None,
    }
}

/// No call is repeated for longer: neither half of the longest overlap that there is, nor
/// [`Policy::ATTEMPTS`] with their pauses.
const LONGEST_REPEATED: Duration = Duration::from_secs(7 * 86_400);
/// How long a call that was given up may be under way.
const UNDER_WAY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
