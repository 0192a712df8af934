//! What a [`FakeStripe`](crate::FakeStripe) is started with: the app, its accounts, its event destinations.

use std::fmt;

use crate::clock::Clock;

/// How to start a [`FakeStripe`](crate::FakeStripe). The default listens on any free port, on the system
/// clock, with the default app and no event destination.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// The clock everything is counted on.
    pub clock: Clock,
    /// The app whose keys may call.
    pub app: AppSpec,
    /// Where events go; only `http://` URLs on loopback are accepted.
    pub destinations: Vec<Destination>,
    /// Whether deliveries are sent or kept until taken.
    pub deliver: Deliver,
}

/// The Stripe App that calls. Its keys must contain the word `fake`, so that nobody mistakes them for
/// keys of Stripe, and [`start`](crate::FakeStripe::start) refuses any other.
#[derive(Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// Application id, `ca_…`; the `client_id` of an OAuth link.
    pub id: String,
    /// Name shown on the install page and in the Dashboard.
    pub name: String,
    /// The app developer's own account: a `Stripe-Context` naming it is a direct operation.
    pub account: String,
    /// The app's live key.
    pub api_key_live: String,
    /// The app's test key.
    pub api_key_test: String,
    /// `absec_…`: signs `install_signature`.
    pub signing_secret: String,
    /// Whether the manifest's `api_key_write` permission was granted; without it every key call is a 403.
    pub has_api_key_write: bool,
    /// Whether `event_read` was granted; without it no event of an account is delivered or readable.
    pub has_event_read: bool,
    /// `allowed_redirect_uris` of the manifest, matched exactly. Empty: any URL on loopback.
    pub allowed_redirect_uris: Vec<String>,
}

impl Default for AppSpec {
    fn default() -> Self {
        Self {
            id: "ca_fake_app".into(),
            name: "Fake app".into(),
            account: "acct_fakeplatform".into(),
            api_key_live: "sk_live_fake_app".into(),
            api_key_test: "sk_test_fake_app".into(),
            signing_secret: "absec_fake_app".into(),
            has_api_key_write: true,
            has_event_read: true,
            allowed_redirect_uris: Vec::new(),
        }
    }
}

impl fmt::Debug for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppSpec")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("account", &self.account)
            .field("has_api_key_write", &self.has_api_key_write)
            .field("has_event_read", &self.has_event_read)
            .field("allowed_redirect_uris", &self.allowed_redirect_uris)
            .finish_non_exhaustive()
    }
}

/// A user's account. The default exists in both modes and is activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountSpec {
    /// Whether live keys may be created.
    pub activated: bool,
    /// Whether the account exists in live mode.
    pub live: bool,
    /// Whether the account exists in test mode.
    pub test: bool,
}

impl Default for AccountSpec {
    fn default() -> Self {
        Self { activated: true, live: true, test: true }
    }
}

/// Where events are sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// `http://127.0.0.1:…/path`.
    pub url: String,
    /// One `v1=` is sent for each; two while a secret is rolled.
    pub signing_secrets: Vec<String>,
    /// Which events it takes.
    pub payload: Payload,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("url", &self.url)
            .field("payload", &self.payload)
            .field("signing_secrets", &self.signing_secrets.len())
            .finish()
    }
}

/// What a destination is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Notifications of v2 events (`object: "v2.core.event"`).
    Thin,
    /// Whole v1 events (`object: "event"`).
    Snapshot,
}

/// How events leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deliver {
    /// They are POSTed as they happen, and retried.
    #[default]
    Background,
    /// They wait for [`take_deliveries`](crate::FakeStripe::take_deliveries).
    Manual,
}

/// What becomes of the managed keys when a user uninstalls the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepOrExpire {
    /// They go on working, now the user's own.
    Keep,
    /// They expire at once.
    Expire,
}
