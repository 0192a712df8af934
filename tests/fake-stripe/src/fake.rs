//! The handle that tests and tools hold.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::behaviour::Behaviour;
use crate::calls::Call;
use crate::deliver::{self, Delivery};
use crate::events::Cause;
use crate::faults::Fault;
use crate::keys::{KeySpec, KeyType};
use crate::options::{AccountSpec, AppSpec, Deliver, Destination, KeepOrExpire, Options};
use crate::pages::is_loopback;
use crate::random::Random;
use crate::sandbox::AppInstall;
use crate::world::World;
use crate::{Shared, http};

/// A running double. Clones share it; the server stops when the last one is dropped.
#[derive(Clone)]
pub struct FakeStripe(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    url: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for FakeStripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeStripe").field("url", &self.0.url).finish_non_exhaustive()
    }
}

/// A key as it truly is at the moment of asking, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// `mk_…`.
    pub id: String,
    /// Mode.
    pub live: bool,
    /// `secret_key` or `publishable_key`.
    pub kind: &'static str,
    /// Whether it is a restricted key (`rk_`).
    pub restricted: bool,
    /// `active` or `expired`.
    pub status: &'static str,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// When it expires or expired, milliseconds since the epoch; `None` if it lives for ever.
    pub dies_at: Option<i64>,
    /// Name.
    pub name: Option<String>,
    /// Note.
    pub note: Option<String>,
    /// Whether the app manages it: false for the user's own keys and for keys kept at an uninstall.
    pub managed: bool,
    /// Whether it has a successor.
    pub rotated: bool,
}

impl FakeStripe {
    /// Starts the server on 127.0.0.1 of the current tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` if an app key lacks the word `fake` or a destination is not an `http` URL on loopback;
    /// what binding the port answers.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options { port, clock, app, destinations, deliver } = options;
        check(&app, &destinations)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let world = World::new(clock, url.clone(), app, destinations);
        let shared = Arc::new(Shared(Mutex::new(world)));
        let mut tasks = vec![tokio::spawn(http::serve(listener, Arc::clone(&shared)))];
        if deliver == Deliver::Background {
            tasks.push(tokio::spawn(deliver::run(Arc::clone(&shared))));
        }
        Ok(Self(Arc::new(Running { shared, url, tasks })))
    }

    /// A double without a socket: [`answer`](Self::answer) is the only way in, and nothing is delivered by
    /// itself. Its URL leads nowhere.
    ///
    /// # Errors
    /// As for [`start`](Self::start), but for the port.
    pub fn in_process(options: Options) -> io::Result<Self> {
        let Options { clock, app, destinations, .. } = options;
        check(&app, &destinations)?;
        let url = "http://127.0.0.1:9".to_owned();
        let world = World::new(clock, url.clone(), app, destinations);
        let shared = Arc::new(Shared(Mutex::new(world)));
        Ok(Self(Arc::new(Running { shared, url, tasks: Vec::new() })))
    }

    /// Carries out one request as the server would. `None`: it hangs up, as a fault ordered.
    pub async fn answer(
        &self,
        request: hyper::Request<Vec<u8>>,
    ) -> Option<hyper::Response<Vec<u8>>> {
        let (head, body) = request.into_parts();
        let answer = self.0.shared.handle(&http::Request::new(head, body.into())).await;
        let answer = http::response(answer).ok()?;
        Some(answer.map(Vec::from))
    }

    /// `http://127.0.0.1:port`: both the API base and the marketplace.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url.clone()
    }

    /// Adds an account, or replaces it; the app is not installed on it.
    pub fn add_account(&self, account: &str, spec: AccountSpec) {
        self.world(|world| world.add_account(account, spec));
    }

    /// Installs the app as a user would; false if the account does not exist in that mode.
    pub fn install(&self, account: &str, mode_live: bool) -> bool {
        self.world(|world| world.install(account, mode_live))
    }

    /// Uninstalls the app as a user would; false if it was not installed.
    pub fn uninstall(&self, account: &str, mode_live: bool, keys: KeepOrExpire) -> bool {
        self.world(|world| world.uninstall(account, mode_live, keys))
    }

    /// Whether the app is installed on an account in a mode.
    #[must_use]
    pub fn is_installed(&self, account: &str, mode_live: bool) -> bool {
        self.world(|world| world.is_installed(account, mode_live))
    }

    /// Opens or closes the activation gate; false if there is no such account.
    pub fn set_activated(&self, account: &str, activated: bool) -> bool {
        self.world(|world| world.set_activated(account, activated))
    }

    /// Grants or takes away the permissions `api_key_write` and `event_read`.
    pub fn set_permissions(&self, api_key_write: bool, event_read: bool) {
        self.world(|world| {
            world.app.has_api_key_write = api_key_write;
            world.app.has_event_read = event_read;
        });
    }

    /// A user expires a key in the Dashboard; false if it is not an active key of the account.
    pub fn expire_in_dashboard(&self, account: &str, key_id: &str) -> bool {
        self.world(|world| world.owns(account, key_id) && world.expire_in_dashboard(key_id))
    }

    /// A user rotates a key in the Dashboard: the app never sees the new secret. Zero `overlap_minutes` end
    /// the old key at once. Answers the new key's id.
    pub fn rotate_in_dashboard(
        &self,
        account: &str,
        key_id: &str,
        overlap_minutes: i64,
    ) -> Option<String> {
        self.world(|world| {
            let owned = world.owns(account, key_id);
            owned.then(|| world.rotate_in_dashboard(key_id, overlap_minutes)).flatten()
        })
    }

    /// Records and notifies `v2.iam.api_key.<what>` about a key, for what nothing else here brings about; false if it
    /// is not a key of the account.
    pub fn tell_of_key(&self, account: &str, key_id: &str, what: &str) -> bool {
        self.world(|world| {
            let owned = world.owns(account, key_id);
            if owned {
                let data = serde_json::json!({"api_key": key_id});
                world.emit_key_event(
                    what,
                    key_id,
                    data,
                    serde_json::Value::Null,
                    &Cause::Dashboard,
                );
            }
            owned
        })
    }

    /// A secret key that the user made, which lists show beside the app's. Answers its id.
    pub fn add_users_own_key(&self, account: &str, mode_live: bool, name: &str) -> String {
        self.world(|world| {
            let spec = KeySpec {
                account: account.to_owned(),
                live: mode_live,
                kind: KeyType::Secret,
                name: Some(name.to_owned()),
                note: None,
                permissions: None,
                connect_permissions: None,
                expires_at: None,
                managed: false,
            };
            world.create_key(spec, &Cause::Dashboard)
        })
    }

    /// Makes a claimable sandbox for the app, which is on it from the start; answers its id. `account` becomes
    /// the sandbox account.
    pub fn add_sandbox(&self, account: &str) -> String {
        self.world(|world| world.add_sandbox(account))
    }

    /// Somebody takes a sandbox and will go live as `owner`; false if it is not there to be taken.
    pub fn claim_sandbox(&self, sandbox: &str, owner: &str) -> bool {
        self.world(|world| world.claim_sandbox(sandbox, owner))
    }

    /// The owner of a sandbox goes live; false if nobody has taken it. An owner's account that is not there is
    /// added, activated.
    pub fn take_sandbox_live(&self, sandbox: &str, install: AppInstall) -> bool {
        self.world(|world| world.take_sandbox_live(sandbox, install))
    }

    /// Nobody took a sandbox in time; false if somebody did.
    pub fn expire_sandbox(&self, sandbox: &str) -> bool {
        self.world(|world| world.expire_sandbox(sandbox))
    }

    /// Everything that is due by the clock, signed now. For [`Deliver::Manual`]; in background mode it
    /// competes with the sender.
    #[must_use]
    pub fn take_deliveries(&self) -> Vec<Delivery> {
        self.world(World::take_deliveries)
    }

    /// Changes the switches.
    pub fn set_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        self.world(|world| {
            let seed = world.behaviour.seed;
            change(&mut world.behaviour);
            if let Some(new) = world.behaviour.seed.filter(|new| Some(*new) != seed) {
                world.random = Random::from_seed(new);
            }
        });
    }

    /// The switches as they are.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.world(|world| world.behaviour.clone())
    }

    /// Orders a fault.
    pub fn inject(&self, fault: Fault) {
        self.world(|world| world.faults.inject(fault));
    }

    /// Cancels the faults that have not struck.
    pub fn clear_faults(&self) {
        self.world(|world| world.faults.clear());
    }

    /// Every API call so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.world(|world| world.calls.clone())
    }

    /// All keys of an account in both modes, oldest first, hidden and expired ones included.
    #[must_use]
    pub fn keys(&self, account: &str) -> Vec<KeyView> {
        self.world(|world| {
            let now = world.now();
            let mut keys: Vec<_> =
                world.keys.values().filter(|key| key.account == account).collect();
            keys.sort_unstable_by_key(|key| key.sequence);
            keys.into_iter()
                .map(|key| KeyView {
                    id: key.id.clone(),
                    live: key.live,
                    kind: key.kind.name(),
                    restricted: key.permissions.is_some(),
                    status: key.status(now),
                    created_ms: key.created_ms,
                    dies_at: key.expires_at,
                    name: key.name.clone(),
                    note: key.note.clone(),
                    managed: key.managed,
                    rotated: key.rotated,
                })
                .collect()
        })
    }

    /// Whether a token is accepted at this moment of the clock, the expire lag included.
    #[must_use]
    pub fn token_works(&self, token: &str) -> bool {
        self.world(|world| world.tokens.get(token).is_some_and(|id| world.key_authenticates(id)))
    }

    /// The token of a key: the truth that only a test may ask for.
    #[must_use]
    pub fn token_of(&self, key_id: &str) -> Option<String> {
        self.world(|world| world.keys.get(key_id).map(|key| key.token.0.clone()))
    }

    /// Lets happen what the clock has made due. Every request does this too.
    pub fn tick(&self) {
        self.world(|_| ());
    }

    fn world<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.shared.lock();
        world.tick();
        ask(&mut world)
    }
}

impl World {
    fn owns(&self, account: &str, key_id: &str) -> bool {
        self.keys.get(key_id).is_some_and(|key| key.account == account)
    }
}

fn check(app: &AppSpec, destinations: &[Destination]) -> io::Result<()> {
    for key in [&app.api_key_live, &app.api_key_test] {
        if !key.contains("fake") {
            return Err(refused("the app's keys must contain \"fake\": use no key of Stripe here"));
        }
    }
    destinations.iter().try_for_each(check_destination)
}

fn check_destination(destination: &Destination) -> io::Result<()> {
    let url = Url::parse(&destination.url).ok();
    if url.is_some_and(|url| url.scheme() == "http" && is_loopback(&url)) {
        return Ok(());
    }
    Err(refused("a destination must be an http:// URL on this computer"))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
