//! Claimable sandboxes: an account that Stripe makes for somebody who has none yet, and what to do as its
//! owner comes to it. Source:
//! <https://docs.stripe.com/changelog/endive/2026-11-18/adds-the-claimable-sandboxes-api-for-platforms>;
//! what is not known: ADR 19.

use super::id::{AccountId, SandboxId};
use super::slot::{AccountRef, Mode};

/// A sandbox as fetched, without the keys that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// `clmsbx_…`
    pub id: SandboxId,
    /// How far its owner is.
    pub standing: Standing,
    /// The account that it is, in test mode.
    pub account: Option<AccountId>,
    /// The live account that its owner made of it.
    pub owner: Option<AccountId>,
    /// Whether the app is installed on the owner's account.
    pub is_installed: bool,
}

/// How far a sandbox's owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has taken it.
    Unclaimed,
    /// Somebody has.
    Claimed,
    /// Its owner has a live account.
    Live,
    /// Nobody took it in time.
    Expired,
    /// A word that is not documented.
    Unknown,
}

/// What a sandbox asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Open the account and its slots.
    Open(AccountRef),
    /// Retire the account's keys: live ones take their place.
    Vacate(AccountRef),
    /// The account is gone.
    Close(AccountRef),
}

/// What is to be done about a sandbox, in this order. Level-triggered: it follows from what the sandbox is,
/// whichever event made us look.
pub fn errands(sandbox: &Sandbox) -> Vec<Errand> {
    let account = sandbox.account.clone().map(|id| AccountRef::new(Mode::Test, id));
    let owner = sandbox.owner.clone().map(|id| AccountRef::new(Mode::Live, id));
    match sandbox.standing {
        Standing::Unclaimed | Standing::Claimed => account.map(Errand::Open).into_iter().collect(),
        // Until the app is there too, the sandbox is all it has.
        Standing::Live if sandbox.is_installed => match owner {
            Some(owner) => {
                std::iter::once(Errand::Open(owner)).chain(account.map(Errand::Vacate)).collect()
            }
            None => Vec::new(),
        },
        Standing::Live | Standing::Unknown => Vec::new(),
        Standing::Expired => account.map(Errand::Close).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_follows_from_what_the_sandbox_is() {
        let id = |text| AccountId::parse(text).unwrap();
        let sandbox = |standing, is_installed| Sandbox {
            id: SandboxId::parse("clmsbx_test_1").unwrap(),
            standing,
            account: Some(id("acct_box")),
            owner: Some(id("acct_owner")),
            is_installed,
        };
        let account = AccountRef::new(Mode::Test, id("acct_box"));
        let owner = AccountRef::new(Mode::Live, id("acct_owner"));
        for (standing, is_installed, expected) in [
            (Standing::Unclaimed, false, vec![Errand::Open(account.clone())]),
            (Standing::Claimed, false, vec![Errand::Open(account.clone())]),
            (Standing::Live, false, vec![]),
            (Standing::Live, true, vec![Errand::Open(owner), Errand::Vacate(account.clone())]),
            (Standing::Expired, true, vec![Errand::Close(account)]),
            (Standing::Unknown, true, vec![]),
        ] {
            assert_eq!(errands(&sandbox(standing, is_installed)), expected, "{standing:?}");
        }
        let nameless = Sandbox { owner: None, ..sandbox(Standing::Live, true) };
        assert_eq!(
            errands(&nameless),
            vec![],
            "nothing is retired for an account that is not named"
        );
    }
}
