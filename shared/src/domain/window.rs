//! Never both keys of an account in one window: by age, the slots of an account are replaced one after the
//! other. While one slot's new key is on its way or in its overlap, a consumer that did not follow finds the
//! account's other keys as they were.

use super::account::Account;
use super::attention::needs_operator;
use super::lifecycle::{Doom, DoomedBy, Ending, State};
use super::policy::{OnUserExpire, Policy};
use super::slot::Slot;
use super::time::Timestamp;

/// What a slot whose rotation by age is due waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Another slot's overlap, which is over then.
    Until(Timestamp),
    /// Another slot's replacement that is under way or goes first: its own rules have a step for it now or
    /// know when to look again, so nothing more is needed to be woken.
    ForTheOther,
}

/// What is in the way of rotating `slot`, whose time by age has come at `due`.
///
/// Nothing here waits for ever: an overlap ends by its deadline, spared keys included, and what waits for
/// a person does not count. Of two slots that could go, exactly one does, since `(due, slot)` orders them.
pub(super) fn in_the_way(
    now: Timestamp,
    policy: &Policy,
    account: &Account,
    slot: &Slot,
    due: Timestamp,
) -> Option<Waits> {
    let others = || account.slots.keys().filter(|other| *other != slot);
    let latest = others().filter_map(|other| overlap_ends(account, other)).max();
    if let Some(until) = latest.filter(|until| *until > now) {
        return Some(Waits::Until(until));
    }
    let goes_first = |other: &Slot| {
        is_under_way(account, other)
            || begins_now(now, policy, account, other)
                .is_some_and(|theirs| (theirs, other) < (due, slot))
    };
    others().any(goes_first).then_some(Waits::ForTheOther)
}

/// When the last of the slot's replaced keys dies.
fn overlap_ends(account: &Account, slot: &Slot) -> Option<Timestamp> {
    let replaced = account.generations_of(slot).filter_map(|(_, state)| match state {
        State::Retiring { ending: Ending::Superseded, dies_at, .. } => Some(*dies_at),
        _ => None,
    });
    replaced.max()
}

/// Whether a successor of the slot's key is on its way, and nobody has to be waited for.
fn is_under_way(account: &Account, slot: &Slot) -> bool {
    let hold = account.slots.get(slot).and_then(|state| state.hold);
    let waits_for_somebody = hold.is_some_and(|hold| hold.until.is_none());
    !waits_for_somebody && account.pending(slot).is_some() && account.current(slot).is_some()
}

/// Since when the slot's key has been waiting to be replaced, when nothing keeps it from that now.
///
/// What does not wait its turn (a key that is doomed, a rotation that was asked for) goes before what does.
fn begins_now(
    now: Timestamp,
    policy: &Policy,
    account: &Account,
    slot: &Slot,
) -> Option<Timestamp> {
    let hold = account.slots.get(slot)?.hold;
    let is_held = hold.is_some_and(|hold| hold.until.is_none_or(|until| until > now));
    if is_held || account.pending(slot).is_some() || needs_operator(account, slot).is_some() {
        return None;
    }
    let Some((_, State::Current { rotates_at, asked, doom, .. })) = account.current(slot) else {
        return None;
    };
    match doom {
        Some(Doom { by: DoomedBy::SomebodyElse, .. })
            if policy.on_user_expire() == OnUserExpire::Hold =>
        {
            None
        }
        Some(_) => Some(Timestamp::EPOCH),
        None => match rotates_at.filter(|at| *at <= now) {
            Some(_) if *asked => Some(Timestamp::EPOCH),
            at => at,
        },
    }
}
