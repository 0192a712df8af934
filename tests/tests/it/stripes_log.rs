//! What Stripe's own log says, whatever our table does.

use std::collections::BTreeSet;

use anyhow::ensure;
use fake_stripe::{Call, KeyUsed, KeyView};
use keysteward_tests::World;

/// How often Stripe was asked to end a key, whatever it answered.
pub(crate) fn asked_to_end(world: &World) -> usize {
    world.stripe.log().iter().filter(|call| call.path.ends_with("/expire")).count()
}

/// I1: no key that was seen working is ended before one that can take its place was. `accounts`: those whose
/// keys can take each other's.
pub(crate) fn of_endings(world: &World, accounts: &[&str]) -> anyhow::Result<()> {
    let keys: Vec<KeyView> = accounts.iter().flat_map(|it| world.stripe.keys(it)).collect();
    let (mut seen, mut over) = (BTreeSet::new(), BTreeSet::new());
    for call in world.stripe.log() {
        if let KeyUsed::Minted(key) = &call.key_used
            && call.status.is_some_and(|status| status != 401)
        {
            seen.insert(key.clone());
        }
        let Some(ended) = ended_by(&call) else { continue };
        over.insert(ended.to_owned());
        let takes_its_place = |key: &KeyView| {
            seen.contains(&key.id)
                && !over.contains(&key.id)
                && key.dies_at.is_none_or(|dies_at| dies_at >= call.at_ms)
        };
        if !seen.contains(ended) {
            continue;
        }
        ensure!(
            keys.iter().any(takes_its_place),
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
