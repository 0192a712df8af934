//! Installing: a person comes back from Stripe, the account is opened, its keys are minted.

pub mod link;
pub mod state;

use std::time::Duration;

use crate::class::Class;
use crate::domain::account::{Account, Change, Status};
use crate::domain::audit::{Action, Actor};
use crate::domain::id::AccountId;
use crate::domain::secret::SecretToken;
use crate::domain::slot::{AccountRef, Mode, Slot};
use crate::domain::time::Timestamp;
use crate::fault::Fault;
use crate::runtime::metrics::Metric;
use crate::steward::{self, Advanced, Steward};
use crate::stripe;
use crate::webhook::install_link;

use link::InstallLink;
use state::BadState;

/// What the install function works with.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Install {
    /// What changes keys.
    pub steward: Steward,
    /// Where people are sent, per mode.
    pub links: Links,
    /// Where Stripe sends them back: the public base and `/install/callback`.
    pub callback_url: String,
    /// Where they go afterwards; our own page when `None`.
    pub after_install_url: Option<String>,
    /// The app's signing secrets, `absec_…`: all that are valid, so that one can be rolled.
    pub signing_secrets: Vec<SecretToken>,
    /// Signs our `state`.
    pub state_key: SecretToken,
}

/// Where people are sent to install, per mode.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// `KEYSTEWARD_INSTALL_URL_LIVE`
    pub live: Option<InstallLink>,
    /// `KEYSTEWARD_INSTALL_URL_TEST`
    pub test: Option<InstallLink>,
}

impl Links {
    /// The link of a mode.
    pub fn of(&self, mode: Mode) -> Option<&InstallLink> {
        match mode {
            Mode::Live => self.live.as_ref(),
            Mode::Test => self.test.as_ref(),
        }
    }
}

/// What Stripe's redirect brings back, apart from the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Return {
    /// The OAuth form: `code`.
    Code(String),
    /// The install-link form.
    Signed {
        /// `user_id`
        user: String,
        /// `account_id`
        account: AccountId,
        /// `install_signature`
        signature: String,
        /// The mode that `livemode` names; it is sent for test installations alone.
        mode: Mode,
    },
}

/// An installation that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The account.
    pub at: AccountRef,
    /// Whether every slot has its key already.
    pub is_ready: bool,
}

/// Why an installation is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state is not ours, not this browser's, or too old.
    #[error("the state does not hold")]
    State(#[from] BadState),
    /// The install signature does not hold.
    #[error("the install signature does not hold")]
    Signature,
    /// What came back is of another mode than what was started.
    #[error("the installation is of another mode than was started")]
    Mode,
    /// The code could not be exchanged.
    #[error("could not exchange the code")]
    Exchange(#[source] stripe::Error),
    /// The account could not be recorded.
    #[error("could not record the installation")]
    Record(#[from] steward::Error),
    /// The table did not take or give what was asked.
    #[error("could not read the account")]
    Store(#[from] crate::store::Error),
}

impl Error {
    /// The class of the failure.
    pub fn class(&self) -> Class {
        match self {
            Self::State(_) | Self::Signature | Self::Mode => Class::Caller,
            Self::Exchange(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }

    /// Under which name it is counted; `None` when it is not ours.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::State(_) | Self::Signature | Self::Mode => None,
            Self::Exchange(error) => (error.class() != Class::Caller).then_some(Fault::Stripe),
            Self::Record(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }
}

impl Install {
    /// The link for a new installation by the browser that holds `nonce`; `None` when the mode has none.
    pub fn start(&self, mode: Mode, nonce: &str) -> Option<String> {
        let now = self.steward.clock.now();
        let state = state::sign(&self.state_key, mode, nonce, now);
        Some(self.links.of(mode)?.with(&state, &self.callback_url))
    }

    /// Confirms an installation and brings its keys as far as they come.
    ///
    /// Once the account is recorded this succeeds: what then fails is repeated by the sweep.
    pub async fn finish(
        &self,
        state: &str,
        nonce: &str,
        returned: Return,
    ) -> Result<Installed, Error> {
        let now = self.steward.clock.now();
        let mode = state::verify(&self.state_key, state, nonce, now)?;
        let at = match returned {
            Return::Code(code) => {
                let authorized = self.steward.stripe.exchange_code(mode, &code).await;
                let authorized = authorized.map_err(Error::Exchange)?;
                if authorized.mode != mode {
                    return Err(Error::Mode);
                }
                AccountRef::new(mode, authorized.account)
            }
            Return::Signed { user, account, signature, mode: returned_mode } => {
                let claim = install_link::Claim {
                    state: Some(state),
                    user_id: &user,
                    account_id: account.as_str(),
                };
                install_link::verify(&claim, &signature, &self.signing_secrets, now)
                    .map_err(|_| Error::Signature)?;
                // The signature does not cover the mode, our own state does.
                if returned_mode != mode {
                    return Err(Error::Mode);
                }
                AccountRef::new(mode, account)
            }
        };
        let account = self.open(&at).await?;
        let is_ready = match account {
            Some(account) => self.mint(account).await,
            None => false,
        };
        Ok(Installed { at, is_ready })
    }

    /// Records the account and its slots, whoever else is at the account right now: the code is spent and the
    /// person has left, so nobody comes a second time. `None` when somebody else's lease has to run out first.
    async fn open(&self, at: &AccountRef) -> Result<Option<Account>, Error> {
        let mut tries = 1;
        loop {
            let now = self.steward.clock.now();
            let account = self.steward.loaded_or_new(at).await?;
            let is_leased = account.leased_until(now).is_some();
            if is_leased && is_installed_just_now(&account, now) {
                return Ok(None);
            }
            match self.steward.store.record(opened(account, now)?).await {
                Ok(account) => return Ok(Some(account).filter(|_| !is_leased)),
                Err(error) if error.class() == Class::Conflict && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn mint(&self, account: Account) -> bool {
        let deadline = self.steward.clock.now().plus(PATIENCE);
        let at = account.at.clone();
        match self.steward.drive_held(account, true, Actor::Install, deadline).await {
            Ok(Advanced::Settled(account)) => {
                account.slots.keys().all(|slot| account.current(slot).is_some())
            }
            Ok(
                Advanced::Unknown | Advanced::Busy(_) | Advanced::Overtaken | Advanced::OutOfTime,
            ) => false,
            Err(error) => {
                self.steward.tally.count(Metric::InstallationsFailed);
                self.steward.tally.fault(error.fault());
                tracing::error!(
                    account.id = %at.id,
                    account.mode = at.mode.as_str(),
                    class = error.class().as_str(),
                    error = crate::runtime::log::chain(&error),
                    "the keys of a new installation are left to the sweep"
                );
                false
            }
        }
    }
}

/// The account with this installation in it. Whoever holds its lease is overtaken by the write and does no more; what
/// he has asked of Stripe may still be under way, so his lease is left to run out.
fn opened(account: Account, now: Timestamp) -> Result<Change, Error> {
    let is_new = account.head.version == 0;
    let is_leased = account.leased_until(now).is_some();
    let mut change = Change::of(account, now, Actor::Install);
    if is_leased {
        change.wait_for_lease();
    } else {
        change.claim();
    }
    // Also when it counts as installed already: an uninstall in between may not have been heard of, and
    // when it is, it must not end what starts here. What its keys came to, Stripe is asked at once.
    change.set_status(Status::Installed { since: now }, Action::Install);
    if !is_new {
        steward::look_at_all(&mut change)?;
    }
    for slot in Slot::of_an_installation() {
        change.open_slot(&slot);
    }
    Ok(change)
}

/// Whether the same callback was here a moment ago: its lease is that installation's, and overtaking it would only
/// keep the person waiting. Within so short a time nobody uninstalls and installs again.
fn is_installed_just_now(account: &Account, now: Timestamp) -> bool {
    let is_open = Slot::of_an_installation()
        .iter()
        .all(|slot| account.slots.get(slot).is_some_and(|state| state.hold.is_none()));
    match account.head.status {
        Status::Installed { since } => is_open && now.since(since) < TWICE,
        Status::Uninstalled { .. } => false,
    }
}

/// How often it is tried to record an installation when others are faster.
const TRIES: u32 = 8;
/// How soon after an installation the next callback is taken for the same one.
const TWICE: Duration = Duration::from_secs(10);
/// API Gateway gives up after 30 s; a step that starts by now usually leaves time for the page. Where it does
/// not, the browser sees an error and the sweep carries on.
const PATIENCE: Duration = Duration::from_secs(8);
