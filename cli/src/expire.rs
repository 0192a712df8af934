//! `expire`: a key leaked, and is ended before its time.

use anyhow::bail;
use keysteward::domain::audit::Actor;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::Slot;
use keysteward::steward::operator::Expiry;

use crate::args::Expire;
use crate::one::{patience, settled};
use crate::output::{count, instant};
use crate::rotate::{current, waits};
use crate::session::{Found, Session};
use crate::show::Shown;

pub(crate) async fn run(asked: Expire, session: &mut Session) -> anyhow::Result<Found> {
    let at = session.find(&asked.at).await?;
    let slot = asked.kind.slot(asked.slot);
    let expiry = match (asked.now, asked.replaced) {
        (true, _) => Expiry::AtOnce,
        (false, true) => Expiry::Replaced,
        (false, false) => Expiry::OnceReplaced,
    };
    session.confirm(asked.yes, &question(&slot, expiry), at.id.as_str())?;
    let steward = session.parts.steward().await?;
    let before = steward.store.load(&at).await?.and_then(|account| current(&account, &slot));
    let deadline = patience(session.now());
    let account = settled(steward.expire(&at, &slot, expiry, Actor::Operator, deadline).await?)?;
    session.show(&Shown::of(&account), Shown::as_text)?;
    let has_next = current(&account, &slot).is_some_and(|number| Some(number) != before);
    if expiry != Expiry::Replaced && !has_next {
        bail!("{}", waits(&account, &slot));
    }
    let dying = account.generations_of(&slot).filter_map(|(_, state)| match state {
        State::Retiring { try_at, dies_at, .. } if *dies_at <= session.parts.clock().now() => {
            Some(*try_at)
        }
        State::Retiring { .. }
        | State::Requested { .. }
        | State::Issued { .. }
        | State::Proven { .. }
        | State::Current { .. }
        | State::Ended { .. }
        | State::Undecryptable { .. }
        | State::NeedsOperator { .. } => None,
    });
    let next: Vec<_> = dying.collect();
    if let Some(try_at) = next.iter().min() {
        // Stripe was measured to accept a key for about nine seconds after it was expired.
        session.terminal.say(&format!(
            "{} not seen dead yet: the sweep tries again from {} on, until Stripe answers 401",
            count(next.len() as u64, "key is", "keys are"),
            instant(*try_at)
        ));
    }
    Ok(Found::NothingWrong)
}

fn question(slot: &Slot, expiry: Expiry) -> String {
    match expiry {
        Expiry::OnceReplaced => format!(
            "This mints the next key of {slot} and then ends the current one at once, without an overlap: \
             a service that still holds it fails until it asks for the key again."
        ),
        Expiry::AtOnce => format!(
            "This ends the current key of {slot} first: from then on the slot HAS NO KEY until the next one \
             is minted, and every service that holds the old one fails until it asks again. Without --now \
             the next key is minted first."
        ),
        Expiry::Replaced => format!(
            "This ends the replaced keys of {slot} that still work, and leaves the current one alone: \
             a service that still holds a replaced one fails until it asks for the key again."
        ),
    }
}
