//! Everything that one test needs, driven through the functions' own handlers.

mod calls;
mod make;
mod orphan;
mod rows;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{AccountSpec, FakeStripe};
use http::header;
use keysteward::domain::id::AccountId;
use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::Choice;
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::domain::time::Timestamp;
use keysteward::http::{Caller, Reply, Request, RequestId};
use keysteward::install::Install;
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::metrics::{Line, Metered, Origin as Writer};
use keysteward::serve::Service;
use keysteward::steward::Steward;

use crate::door::Doors;
use crate::emf::Emf;
use crate::kms_double::KmsDouble;
use crate::table::Table;
use crate::witness::Witness;

use make::Origin;

pub use rows::shard_of;

/// What a test may choose.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The policy.
    pub choice: Choice,
    /// How requests are written.
    pub shape: RequestShape,
    /// Whether installations use OAuth rather than install links.
    pub oauth: bool,
    /// `KEYSTEWARD_PRIVATE_KEY_CACHE_SECONDS`
    pub cache: Duration,
    /// Whether the table, KMS and Stripe are spoken to over sockets on loopback. Otherwise they are called
    /// in process: faster, and every call to any of them goes through [`World::doors`].
    pub sockets: bool,
    /// Random numbers, for jitter.
    pub draw: fn() -> u64,
    /// What time it is at first.
    pub starts_at: Timestamp,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            shape: RequestShape {
                stripe_version: "2026-04-22.preview".to_owned(),
                permissions: Vec::new(),
            },
            oauth: false,
            cache: Duration::from_secs(300),
            sockets: false,
            draw: || 4,
            starts_at: Timestamp::from_millis(START).unwrap_or(Timestamp::EPOCH),
        }
    }
}

/// One world.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct World {
    clock: Arc<AtomicI64>,
    /// Where calls to the table, KMS and Stripe are counted, failed and held.
    pub doors: Doors,
    /// What was wrong with calls to Stripe at the moment they were made.
    pub witness: Witness,
    /// Stripe.
    pub stripe: FakeStripe,
    /// The table.
    pub table: Table,
    /// KMS.
    pub kms: KmsDouble,
    /// The `install` function's state; its steward is also that of `lifecycle` and `rotate`.
    pub install: Install,
    /// The `webhook` function's state.
    pub webhook: WebhookParts,
    /// The `keys` function's state.
    pub service: Service,
    origin: Origin,
    refused: tokio::sync::Mutex<Vec<Vec<u8>>>,
    lines: Mutex<Vec<String>>,
}

/// How deliveries went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// How many there were.
    pub count: usize,
    /// How many the webhook did not take.
    pub refused: usize,
    /// How many the stream would repeat.
    pub not_applied: usize,
}

impl World {
    /// A world with the default settings.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(Setting::default()).await
    }
    /// The metric lines that the functions wrote since the last time, one an invocation at most.
    pub fn take_lines(&self) -> anyhow::Result<Vec<Emf>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines).iter().map(|line| Emf::parse(line)).collect()
    }

    /// The line of the one invocation since the last time.
    pub fn take_line(&self) -> anyhow::Result<Emf> {
        let lines = self.take_lines()?;
        ensure!(lines.len() == 1, "one invocation, one line: {lines:?}");
        lines.into_iter().next().context("a line")
    }

    /// Keeps the line of an invocation as `runtime::lambda` would write it.
    fn written(&self, function: &str, line: &Line) {
        let writer = Writer::of_function(Some(&format!("world-{function}")));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(line.render(&writer, self.now()));
    }

    fn replied(&self, function: &str, mut reply: Reply) -> Reply {
        self.written(function, &reply.extensions_mut().remove().unwrap_or_default());
        reply
    }

    fn answered<T>(&self, function: &str, metered: Metered<T>) -> T {
        self.written(function, &metered.line);
        metered.answer
    }

    /// What changes keys.
    pub fn steward(&self) -> &Steward {
        &self.install.steward
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::SeqCst)).unwrap_or(Timestamp::EPOCH)
    }

    /// Lets time pass, for Stripe too.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(0);
        self.clock.fetch_add(millis, Ordering::SeqCst);
        self.stripe.tick();
    }

    /// Adds an activated account to Stripe.
    pub fn add_account(&self, account: &str) {
        self.stripe.add_account(account, AccountSpec { activated: true, live: true, test: true });
    }
}

/// An account of a test.
pub fn account(mode: Mode, id: &str) -> anyhow::Result<AccountRef> {
    Ok(AccountRef::new(mode, AccountId::parse(id)?))
}

/// The slot that every installation opens for a kind.
pub fn default_slot(kind: Kind) -> Slot {
    Slot::new(kind, SlotName::default())
}

/// A GET as API Gateway hands it on.
pub fn get(path: &str) -> Request {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.extensions_mut().insert(Caller("arn:aws:iam::000000000000:role/shop".to_owned()));
    request.extensions_mut().insert(RequestId("request-of-a-test".to_owned()));
    request
}

/// A header's text.
pub fn text_of(reply: &Reply, name: header::HeaderName) -> Option<String> {
    Some(reply.headers().get(name)?.to_str().ok()?.to_owned())
}

/// A body as JSON.
pub fn json_of(reply: &Reply) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_slice(reply.body())?)
}

/// What Stripe signs webhooks with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests";
/// 2026-11-24T12:00:00Z
const START: i64 = 1_795_521_600_000;
