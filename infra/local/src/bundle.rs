//! The bundle: its parts put together as [`keysteward::runtime::assemble`] does from an environment, but from
//! an embedded table, a local vault and fake Stripe.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dynoxide::Database;
use fake_stripe::{AccountSpec, Destination, FakeStripe, Payload};
use keysteward::domain::audit::Actor;
use keysteward::domain::id::AccountId;
use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::Policy;
use keysteward::domain::slot::{AccountRef, Mode, Slot};
use keysteward::install::Install;
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::aws::Aws;
use keysteward::runtime::lambda::Failed;
use keysteward::serve::Service;
use keysteward::steward::{Advanced, Steward};
use keysteward::store::Store;
use keysteward::sweep::Swept;
use keysteward::vault::local::LocalVault;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::PlayClock;
use crate::guard::{self, LiveKey, NotLoopback};
use crate::parts::Parts;
use crate::{folder, pump, server};

/// How the bundle is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the functions listen: loopback, port 0 for any free one.
    pub listen: SocketAddr,
    /// The port of fake Stripe, always on 127.0.0.1; 0 for any free one.
    pub stripe_port: u16,
    /// Where the table is.
    pub table: Table,
    /// The accounts that exist at fake Stripe, in test mode. The app is installed on none.
    pub accounts: Vec<AccountId>,
    /// The rules.
    pub policy: Policy,
    /// How often the schedule sweeps; `None`: only when [`Bundle::sweep`] is called.
    pub sweep_every: Option<Duration>,
    /// Whether a person is sent to the page at `/` after installing, rather than shown the install
    /// function's own.
    pub back_to_page: bool,
}

/// Where the table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// In memory, with a vault that is gone with it.
    Memory,
    /// In a folder, with the vault's key file.
    Folder {
        /// The folder; made where it is not there.
        path: PathBuf,
        /// Whether a table that is there is kept rather than removed.
        keep: bool,
    },
}

/// Why the bundle does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can be reached from outside.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// A live key of Stripe's is in sight.
    #[error(transparent)]
    LiveKey(#[from] LiveKey),
    /// The port is taken.
    #[error("port {0} of this machine is taken: stop what listens there, or choose another port")]
    PortTaken(u16),
    /// The address cannot be listened on.
    #[error("could not listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Fake Stripe does not start.
    #[error("could not start fake Stripe")]
    Stripe(#[source] io::Error),
    /// The folder cannot be used.
    #[error("could not use the folder {0}")]
    Folder(PathBuf, #[source] io::Error),
    /// A part cannot be made.
    #[error("could not {0}")]
    Part(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    pub(crate) fn part<E>(what: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |error| Self::Part(what, error.into())
    }
}

/// A running bundle. Stops when it is dropped.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Bundle {
    pub(crate) running: Arc<Running>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the server and the page work with.
pub(crate) struct Running {
    /// Of the functions, without a slash at its end.
    pub(crate) url: String,
    pub(crate) stripe: FakeStripe,
    pub(crate) clock: PlayClock,
    pub(crate) accounts: Vec<AccountRef>,
    pub(crate) database: Database,
    pub(crate) folder: Option<PathBuf>,
    /// Of `install`, once for each form of link.
    pub(crate) install_link: Install,
    pub(crate) install_oauth: Install,
    pub(crate) webhook: WebhookParts,
    pub(crate) keys: Service,
    /// Of `lifecycle` and `rotate`.
    pub(crate) steward: Arc<Steward>,
}

impl Bundle {
    /// Starts everything on the current tokio runtime, which has to have more than one thread: the
    /// embedded engine blocks the one that it runs on.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        guard::require_loopback(options.listen.ip())?;
        guard::refuse_live_keys_in_environment()?;

        // The ports first: whoever finds them taken must not touch the table of who has them.
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().map_err(|e| StartError::Listen(options.listen, e))?;
        let url = format!("http://{address}");
        let (database, vault, ahead, folder) = open(&options.table)?;
        let clock = PlayClock::ahead_of_system(ahead);
        let stripe = start_stripe(&options, &clock, &url).await?;
        let accounts: Vec<AccountRef> =
            options.accounts.iter().cloned().map(|id| AccountRef::new(Mode::Test, id)).collect();

        let engine = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let engine_url = engine.local_addr().map_err(|e| StartError::Listen(options.listen, e))?;
        let engine = tokio::spawn(serve_table(engine, database.clone()));
        let aws = Aws::local(&format!("http://{engine_url}"))
            .map_err(StartError::part("reach the embedded table"))?;
        let store = Store::new(&aws, TABLE);
        store.create_table().await.map_err(StartError::part("create the table"))?;

        let parts = Parts {
            store,
            vault: Arc::new(vault),
            stripe_url: stripe.url(),
            app: app(),
            policy: options.policy,
            shape: RequestShape {
                stripe_version: STRIPE_VERSION.to_owned(),
                permissions: Vec::new(),
            },
            clock: clock.for_keysteward(),
            url: url.clone(),
            after_install_url: options.back_to_page.then(|| format!("{url}/?done=installed")),
        };
        let steward = Arc::new(parts.steward()?);
        let running = Arc::new(Running {
            install_link: parts.install(&format!("/apps/install/link/{LINK}"))?,
            install_oauth: parts
                .install(&format!("/oauth/v2/{LINK}/authorize?client_id={}", app().id))?,
            webhook: parts.webhook(),
            keys: parts.keys(),
            steward: steward.clone(),
            url,
            stripe,
            clock,
            accounts,
            database: database.clone(),
            folder,
        });
        let mut tasks = vec![
            engine,
            tokio::spawn(server::run(listener, running.clone())),
            tokio::spawn(pump::stream(database, steward.clone())),
        ];
        if let Some(every) = options.sweep_every {
            tasks.push(tokio::spawn(pump::schedule(steward, every)));
        }
        Ok(Self { running, tasks })
    }

    /// Where the functions listen, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// Fake Stripe.
    pub fn stripe(&self) -> &FakeStripe {
        &self.running.stripe
    }

    /// The clock of everything here.
    pub fn clock(&self) -> &PlayClock {
        &self.running.clock
    }

    /// The table, through the code that is deployed.
    pub fn store(&self) -> &Store {
        &self.running.steward.store
    }

    /// The engine under the table.
    pub fn database(&self) -> &Database {
        &self.running.database
    }

    /// The accounts that exist at fake Stripe.
    pub fn accounts(&self) -> &[AccountRef] {
        &self.running.accounts
    }

    /// Runs the schedule's function once, now.
    pub async fn sweep(&self) -> Result<Swept, Failed> {
        pump::sweep(&self.running.steward).await
    }

    /// Asks for a slot's key to be replaced now.
    pub async fn rotate(
        &self,
        at: &AccountRef,
        slot: &Slot,
    ) -> Result<Advanced, keysteward::steward::Error> {
        self.running.rotate(at, slot).await
    }

    /// Lets time pass, for Keysteward and for Stripe.
    pub fn pass(&self, time: Duration) {
        self.running.pass(time);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Running {
    pub(crate) async fn rotate(
        &self,
        at: &AccountRef,
        slot: &Slot,
    ) -> Result<Advanced, keysteward::steward::Error> {
        let deadline = pump::deadline(&self.steward);
        self.steward.rotate(at, slot, Actor::Operator, deadline).await
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.stripe.tick();
        if let Some(folder) = &self.folder
            && let Err(error) = folder::write_ahead(folder, self.clock.ahead())
        {
            tracing::warn!(%error, "the clock's lead could not be written down");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(address.port()),
        _ => StartError::Listen(address, error),
    })
}

async fn start_stripe(
    options: &Options,
    clock: &PlayClock,
    url: &str,
) -> Result<FakeStripe, StartError> {
    let destination = |payload| Destination {
        url: format!("{url}/webhooks/stripe"),
        signing_secrets: vec![WEBHOOK_SECRET.to_owned()],
        payload,
    };
    let started = FakeStripe::start(fake_stripe::Options {
        port: options.stripe_port,
        clock: clock.for_stripe(),
        app: app(),
        destinations: vec![destination(Payload::Thin), destination(Payload::Snapshot)],
        deliver: fake_stripe::Deliver::Background,
    })
    .await;
    let stripe = started.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(options.stripe_port),
        _ => StartError::Stripe(error),
    })?;
    for account in &options.accounts {
        let spec = AccountSpec { activated: true, live: false, test: true };
        stripe.add_account(account.as_str(), spec);
    }
    Ok(stripe)
}

fn open(table: &Table) -> Result<(Database, LocalVault, Duration, Option<PathBuf>), StartError> {
    match table {
        Table::Memory => Ok((
            Database::memory().map_err(StartError::part("open the embedded table"))?,
            LocalVault::ephemeral().map_err(StartError::part("make the vault"))?,
            Duration::ZERO,
            None,
        )),
        Table::Folder { path, keep } => {
            let refused = |error| StartError::Folder(path.clone(), error);
            folder::prepare(path, *keep).map_err(refused)?;
            let file = path.join(folder::TABLE_FILE);
            let file =
                file.to_str().ok_or_else(|| refused(io::ErrorKind::InvalidFilename.into()))?;
            Ok((
                Database::new(file).map_err(StartError::part("open the embedded table"))?,
                LocalVault::open_or_create(&path.join(folder::VAULT_FILE))
                    .map_err(StartError::part("open the vault"))?,
                folder::read_ahead(Path::new(path)),
                Some(path.clone()),
            ))
        }
    }
}

async fn serve_table(listener: TcpListener, database: Database) {
    let served =
        dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await;
    if let Err(error) = served {
        tracing::error!(error, "the embedded table stopped");
    }
}

fn app() -> fake_stripe::AppSpec {
    fake_stripe::AppSpec {
        name: "Keysteward (local)".to_owned(),
        ..fake_stripe::AppSpec::default()
    }
}

/// The table's name.
pub(crate) const TABLE: &str = "keysteward-local";
/// Fake Stripe takes a link whose name ends so for one of test mode.
const LINK: &str = "keysteward_test";
/// What fake Stripe signs its deliveries with. Opens nothing but this bundle.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_fake_local";
/// The preview that the seed page documents.
const STRIPE_VERSION: &str = "2026-04-22.preview";
