//! What has to hold once the faults are over, asked of fake Stripe and of the tokens themselves.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use fake_stripe::{Call, KeyUsed, KeyView};
use keysteward::domain::account::{Account, HoldReason};
use keysteward::domain::audit::{self, Action, Phase};
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{Kind, Mode};

use crate::world::{World, default_slot};

/// Nothing was wrong with a call when it was made (I1, I2, I8), none was sent with other bytes (I3), and no
/// secret is in the table (I6).
pub fn of_the_world(world: &World) -> anyhow::Result<()> {
    let complaints = world.witness.complaints();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    for call in world.stripe.log() {
        let code = call.error_code.as_deref();
        ensure!(code != Some("idempotency_error"), "I3: a retry sent other bytes: {call:?}");
    }
    let rows = serde_json::to_string(&world.rows()?)?;
    for secret in ["sk_live_51", "sk_test_51"] {
        ensure!(!rows.contains(secret), "I6: {secret} is in the table");
    }
    ensure!(!holds_private_key(&rows), "I6: a private key is in the table");
    Ok(())
}

/// Whether an RSA private key is in a text in a form that a row could have: PEM, the base64 of PKCS#8 DER as it is
/// held in memory, or the base64 of that again, as of a binary attribute that holds text.
pub fn holds_private_key(text: &str) -> bool {
    ["PRIVATE KEY", PKCS8, PKCS8_TWICE].iter().any(|form| text.contains(form))
}

/// Version 0 and `rsaEncryption`, as every PKCS#8 of an RSA key says behind its length (RFC 5958 section 2), in base64:
/// all begin with `MIIE` at 2048 bits, and a public key, `MIIBIj`, has the algorithm alone.
const PKCS8: &str = "IBADANBgkqhkiG9w0BAQEFAASC";
/// The same in base64 once more.
const PKCS8_TWICE: &str = "SUJBREFOQmdrcWhraUc5dzBCQVFFRkFBU0";

/// The audit trail is whole, and nothing in it is open that is not open in the account.
pub async fn of_the_trail(world: &World, stored: &Account) -> anyhow::Result<()> {
    let at = &stored.at;
    let trail = world.steward().store.trail(at, 0, 100_000).await?;
    audit::verify(&trail, &stored.head.audit).with_context(|| format!("{at}"))?;
    let mut open: BTreeMap<_, i32> = BTreeMap::new();
    for entry in &trail {
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
        ensure!(count == i32::from(is_open), "{at} {slot}#{generation}: open {count} in the trail");
    }
    Ok(())
}

/// No event is still to be applied.
pub fn of_events(world: &World) -> anyhow::Result<()> {
    let is_open = |row: &serde_json::Value| {
        row["sk"]["S"].as_str().is_some_and(|key| key.starts_with("EVENT#"))
            && row.get("due_at").is_some()
    };
    let open: Vec<_> = world.rows()?.into_iter().filter(is_open).collect();
    ensure!(open.is_empty(), "events that nobody has applied: {open:#?}");
    Ok(())
}

/// Every slot serves a key that works, but one of `may_be_held` whose key its user ended, where the policy is (or was)
/// to wait; and something will look at the account again (I7).
pub async fn of_the_slots(
    world: &World,
    stored: &Account,
    may_be_held: &[Kind],
) -> anyhow::Result<()> {
    let at = &stored.at;
    of_deadlines(stored)?;
    for kind in [Kind::Secret, Kind::Publishable] {
        let hold = stored.slots.get(&default_slot(kind)).and_then(|slot| slot.hold);
        let is_held = hold.is_some_and(|hold| hold.why == HoldReason::RevokedByUser);
        ensure!(!is_held || may_be_held.contains(&kind), "{at} {kind}: held");
        if is_held {
            continue;
        }
        let token = world.token(at, kind).await;
        let token = token.with_context(|| format!("{at} {kind}: {stored:#?}"))?;
        ensure!(world.stripe.token_works(&token), "{at} {kind}: a dead key is served");
    }
    Ok(())
}

/// I7: an installed account is due by each of the instants that its states wait for.
pub fn of_deadlines(stored: &Account) -> anyhow::Result<()> {
    let at = &stored.at;
    let due_at =
        stored.head.due_at.with_context(|| format!("I7: nobody will look at {at} again"))?;
    let of_states = stored.generations.iter().filter_map(|((slot, _), state)| match state {
        State::Current { look_at, .. } => Some((slot, *look_at)),
        State::Retiring { try_at, .. } => Some((slot, *try_at)),
        _ => None,
    });
    let of_holds = stored.slots.iter().filter_map(|(slot, state)| Some((slot, state.hold?.until?)));
    for (slot, deadline) in of_states.chain(of_holds) {
        ensure!(due_at <= deadline, "I7: {at} {slot} waits until {deadline}: {stored:#?}");
    }
    Ok(())
}

/// I5: every key of ours that is alive at Stripe is the current one of a slot, or in its overlap, or kept with an
/// alarm on because nobody can read it. `users`: keys that are the user's own.
pub fn of_strays(world: &World, stored: &Account, users: &BTreeSet<String>) -> anyhow::Result<()> {
    let (live, now) = (stored.at.mode == Mode::Live, world.now());
    let known: Vec<&str> = stored
        .generations
        .values()
        .filter_map(|state| match state {
            State::Current { key, .. } | State::Undecryptable { key, .. } => Some(key.as_str()),
            State::Retiring { key, dies_at, .. } if *dies_at > now => Some(key.as_str()),
            _ => None,
        })
        .collect();
    for key in world.stripe.keys(stored.at.id.as_str()) {
        let is_ours = key.live == live && !users.contains(&key.id);
        let token = world.stripe.token_of(&key.id).unwrap_or_default();
        ensure!(
            !is_ours || !world.stripe.token_works(&token) || known.contains(&key.id.as_str()),
            "{}: a key lives and nobody knows it: {key:?}\n{:#?}\n{stored:#?}",
            stored.at,
            calls_around(world, stored.at.id.as_str(), key.created_ms)
        );
    }
    Ok(())
}

/// What was asked of Stripe about an account from an hour before an instant on.
fn calls_around(world: &World, account: &str, millis: i64) -> Vec<String> {
    let calls = world.stripe.log().into_iter();
    let near = calls.filter(|call| {
        call.context.as_deref() == Some(account)
            && (millis - 3_600_000..millis + 120 * 86_400_000).contains(&call.at_ms)
    });
    near.map(|call| {
        let (key, code) = (call.idempotency_key.unwrap_or_default(), call.error_code);
        let ending = key.get(key.len().saturating_sub(8)..).unwrap_or_default();
        format!("{} {} {} {ending} {:?} {code:?}", call.at_ms, call.method, call.path, call.status)
    })
    .collect()
}

/// A key that the app did not mint is never changed.
pub fn of_foreign_keys(world: &World, foreign: &BTreeSet<String>) -> anyhow::Result<()> {
    for call in world.stripe.log() {
        let key = call.path.split('/').nth(4).unwrap_or_default();
        let is_change = call.method == "POST" && foreign.contains(key);
        ensure!(!is_change, "a key that is not ours was changed: {call:?}");
    }
    Ok(())
}

/// I1, from Stripe's own log: no key that was seen working is ended before one that can take its place was. `accounts`:
/// those whose keys can take each other's, as a sandbox's owner's do.
pub fn of_endings(world: &World, log: &[Call], accounts: &[&str]) -> anyhow::Result<()> {
    let keys =
        accounts.iter().flat_map(|at| world.stripe.keys(at).into_iter().map(move |it| (*at, it)));
    let keys: BTreeMap<String, (&str, KeyView)> =
        keys.map(|(at, key)| (key.id.clone(), (at, key))).collect();
    let (mut seen, mut over) = (BTreeSet::new(), BTreeSet::new());
    for call in log {
        if let KeyUsed::Minted(key) = &call.key_used
            && call.status.is_some_and(|status| status != 401)
        {
            seen.insert(key.as_str());
        }
        let Some((ended, (at, key))) = ended_by(call).and_then(|id| keys.get_key_value(id)) else {
            continue;
        };
        over.insert(ended.as_str());
        let takes_its_place = |(its, it): &(&str, KeyView)| {
            let is_public = it.kind == "publishable_key";
            let is_of_use =
                it.kind == key.kind && if its == at { it.live == key.live } else { it.live };
            // There is next to nothing that a publishable key could be seen to do.
            is_of_use
                && (seen.contains(it.id.as_str()) || is_public && it.created_ms <= call.at_ms)
                && !over.contains(it.id.as_str())
                && it.dies_at.is_none_or(|dies_at| dies_at >= call.at_ms)
        };
        ensure!(
            !seen.contains(ended.as_str()) || keys.values().any(takes_its_place),
            "I1: nothing takes the place of {ended}: {call:?}"
        );
    }
    Ok(())
}

/// The key that a call ended, as far as the log tells.
fn ended_by(call: &Call) -> Option<&str> {
    let rest = call.path.strip_prefix("/v2/iam/api_keys/")?;
    let key = rest.strip_suffix("/expire")?;
    (call.error_code.is_none() && !call.replayed).then_some(key)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use keysteward::vault::pair::{Bits, generate};

    use super::holds_private_key;

    #[test]
    fn a_private_key_is_found_in_each_of_its_forms_and_a_public_one_is_none() -> anyhow::Result<()>
    {
        let (private, public) = generate(Bits::Rsa2048)?;
        let once = STANDARD.encode(private.expose());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{once}\n-----END PRIVATE KEY-----\n");
        for form in [STANDARD.encode(&once), URL_SAFE.encode(private.expose()), once, pem] {
            assert!(holds_private_key(&form));
        }
        assert!(public.contains("MIIBIj") && !holds_private_key(&public));
        Ok(())
    }
}
