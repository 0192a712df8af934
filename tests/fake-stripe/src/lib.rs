//! A stateful double of Stripe's API for app-managed API keys (`/v2/iam/api_keys`), with what surrounds it:
//! events and their signed delivery, the install pages, OAuth, a small Dashboard. It listens on 127.0.0.1
//! only and speaks to loopback only.
//!
//! What is known of Stripe is from the sources that the README names; what nobody has seen is a switch in
//! [`Behaviour`]. Faults are ordered with [`FakeStripe::inject`]. Time is a [`Clock`] that tests move.
//!
//! Its keys open nothing outside this process; no `Debug` and no log shows one all the same, because those
//! who use it are tested for just that.

mod api;
mod behaviour;
mod calls;
mod clock;
mod deliver;
mod error;
mod events;
mod fake;
mod faults;
mod http;
mod iam;
mod idempotency;
mod jwe;
mod keys;
mod latency;
mod limits;
mod merchant;
mod oauth;
mod options;
mod page;
mod pages;
mod random;
mod sandbox;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use behaviour::{Behaviour, JweAlg, RelatedObject, SandboxContext};
pub use calls::{Call, KeyUsed};
pub use clock::Clock;
pub use deliver::{Delivery, sign};
pub use fake::{FakeStripe, KeyView};
pub use faults::{CallMatch, Fault, FaultKind};
pub use options::{AccountSpec, AppSpec, Deliver, Destination, KeepOrExpire, Options, Payload};
pub use sandbox::AppInstall;

use world::World;

/// The world behind its lock, shared by the server, the deliveries and the handles.
pub(crate) struct Shared(Mutex<World>);

impl Shared {
    /// A panic while the lock was held is a bug of ours; the other tests of the process may go on.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
