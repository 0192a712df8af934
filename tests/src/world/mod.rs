//! Everything that one test needs, driven through the functions' own handlers.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{AccountSpec, Deliver, Destination, FakeStripe, Payload};
use http::{Method, StatusCode, header};
use keysteward::domain::account::Account;
use keysteward::domain::audit::Actor;
use keysteward::domain::id::AccountId;
use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::{Choice, Policy};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::domain::time::Timestamp;
use keysteward::http::{Caller, InProcess, Reply, Request, RequestId};
use keysteward::install::link::InstallLink;
use keysteward::install::{Install, Links};
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::aws::Aws;
use keysteward::runtime::clock::Clock;
use keysteward::runtime::lambda::Put;
use keysteward::runtime::metrics::{Line, Metered, Origin, Tally};
use keysteward::runtime::secrets::SigningSecrets;
use keysteward::serve::Service;
use keysteward::steward::{OrderBook, Steward};
use keysteward::store::{Due, EventRef, SHARDS, Store};
use keysteward::stripe::{AppKeys, Options, Stripe};
use keysteward::sweep::Swept;
use keysteward::vault::Keyring;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::Bits;
use keysteward::webhook::payload::{self, Parsed};

use crate::door::{Doors, Peer};
use crate::emf::Emf;
use crate::kms_double::KmsDouble;
use crate::pairs::from_the_pool;
use crate::table::{NAME, Table};
use crate::witness::Witness;

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

    /// A world with these settings.
    pub async fn with(setting: Setting) -> anyhow::Result<Self> {
        let millis = Arc::new(AtomicI64::new(setting.starts_at.millis()));
        let read = millis.clone();
        let clock = Clock::from_fn(move || {
            Timestamp::from_millis(read.load(Ordering::SeqCst)).unwrap_or(Timestamp::EPOCH)
        });
        let read = millis.clone();
        let options = fake_stripe::Options {
            clock: fake_stripe::Clock::from_fn(move || read.load(Ordering::SeqCst)),
            destinations: vec![destination(Payload::Thin), destination(Payload::Snapshot)],
            deliver: Deliver::Manual,
            ..fake_stripe::Options::default()
        };
        let stripe = if setting.sockets {
            FakeStripe::start(options).await?
        } else {
            FakeStripe::in_process(options)?
        };
        let doors = Doors::default();
        let table = Table::behind(doors.clone()).await?.without_stream()?;
        let kms = KmsDouble::new(doors.clone())?;
        let witness = Witness::of(table.database());
        let (to_table, to_kms) = if setting.sockets {
            (Aws::local(&table.listen().await?)?, Aws::local(&kms.listen().await?)?)
        } else {
            (table.aws(), kms.aws())
        };
        let store = || Store::new(&to_table, NAME);
        let policy = Policy::new(setting.choice)?;
        let app = fake_stripe::AppSpec::default();
        let keyring = || {
            let vault = KmsVault::new(&to_kms, KmsDouble::KEY_ID.to_owned());
            let keyring =
                Keyring::new(Box::new(vault), app.id.clone(), Bits::Rsa2048, setting.cache);
            if setting.sockets { keyring } else { keyring.with_pairs_from(from_the_pool) }
        };
        let client = Stripe::new(Options {
            api_base: stripe.url(),
            stripe_version: setting.shape.stripe_version.clone(),
            keys: AppKeys {
                live: Some(SecretToken::new(app.api_key_live.clone())),
                test: Some(SecretToken::new(app.api_key_test.clone())),
            },
            // Over sockets nobody waits either, but after a 429; in process nobody does at all.
            max_rps: 1_000_000_000,
            timeout: Duration::from_secs(5),
        })?;
        let client = if setting.sockets {
            client
        } else {
            client.within(double(&stripe, &doors, &witness, &millis))
        };
        let steward = Steward {
            store: store(),
            keyring: keyring(),
            stripe: client,
            policy: policy.clone(),
            shape: setting.shape,
            app: app.id.clone(),
            breaker: Mutex::default(),
            clock: clock.clone(),
            draw: setting.draw,
            orders: OrderBook::default(),
            tally: Tally::default(),
        };
        let link = |suffix: &str| {
            let form = if setting.oauth {
                format!("/oauth/v2/chnlink{suffix}/authorize?client_id={}", app.id)
            } else {
                format!("/apps/install/link/keysteward{suffix}")
            };
            InstallLink::parse(&format!("{}{form}", stripe.url()))
        };
        let install = Install {
            steward,
            links: Links { live: Some(link("")?), test: Some(link("_test")?) },
            callback_url: "http://127.0.0.1:9/install/callback".to_owned(),
            after_install_url: None,
            signing_secrets: vec![SecretToken::new(app.signing_secret.clone())],
            state_key: SecretToken::new("the state key of the tests, 32 bytes".to_owned()),
        };
        let secrets = SigningSecrets::fixed(vec![
            SecretToken::new("whsec_being_rolled_out".to_owned()),
            SecretToken::new(WEBHOOK_SECRET.to_owned()),
        ]);
        let webhook = WebhookParts { store: store(), secrets, clock: clock.clone() };
        let service = Service { store: store(), keyring: keyring(), policy, clock };
        // A bundle that has run before: its own row is there, and this process has read it.
        install.steward.standing().await?;
        table.reset();
        let refused = tokio::sync::Mutex::default();
        let lines = Mutex::default();
        Ok(Self {
            clock: millis,
            doors,
            witness,
            stripe,
            table,
            kms,
            install,
            webhook,
            service,
            refused,
            lines,
        })
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
        let origin = Origin::of_function(Some(&format!("world-{function}")));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(line.render(&origin, self.now()));
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

    /// Installs the app as a person with a browser would, and answers the callback's reply.
    pub async fn install_app(&self, at: &AccountRef) -> anyhow::Result<Reply> {
        let (cookie, callback) = self.click_install(at, "install").await?;
        Ok(self.call_install(&callback, Some(&cookie)).await)
    }

    /// Starts an installation and clicks in the marketplace: the cookie, and where Stripe sends the
    /// browser.
    pub async fn click_install(
        &self,
        at: &AccountRef,
        decision: &str,
    ) -> anyhow::Result<(String, String)> {
        let start = self.call_install(&format!("/install?mode={}", at.mode), None).await;
        ensure!(start.status() == StatusCode::FOUND, "install starts with a redirect");
        let link = text_of(&start, header::LOCATION).context("a redirect says where to")?;
        let cookie = text_of(&start, header::SET_COOKIE).context("the browser is remembered")?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let parsed = url::Url::parse(&link)?;
        let mut form: Vec<(String, String)> = parsed
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        form.push(("account".into(), at.id.to_string()));
        form.push(("decision".into(), decision.into()));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = http::Request::post(&link)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())?;
        let answer = self.stripe.answer(request).await.context("the marketplace answers")?;
        ensure!(answer.status() == StatusCode::SEE_OTHER, "the marketplace sends the browser back");
        let back = answer.headers().get(header::LOCATION).context("back to where")?.to_str()?;
        let back = url::Url::parse(back)?;
        Ok((cookie, format!("{}?{}", back.path(), back.query().unwrap_or_default())))
    }

    /// One GET to the `install` function.
    pub async fn call_install(&self, path: &str, cookie: Option<&str>) -> Reply {
        let mut request = get(path);
        if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        self.replied("install", keysteward_install::respond(&self.install, request).await)
    }

    /// One sweep of the `rotate` function.
    pub async fn sweep(&self) -> anyhow::Result<Swept> {
        let deadline = self.now().plus(Duration::from_secs(600));
        let swept = keysteward_rotate::run(self.steward(), deadline).await;
        Ok(self.answered("rotate", swept)?)
    }

    /// The shards of the due index that hold anything now, whenever it is due.
    pub async fn shards(&self) -> anyhow::Result<Vec<u8>> {
        let (store, mut held) = (&self.steward().store, Vec::new());
        let at_last = self.now().plus(Duration::from_secs(3650 * 86_400));
        for shard in 0..SHARDS {
            if !store.due(shard, at_last, 1).await?.is_empty() {
                held.push(shard);
            }
        }
        Ok(held)
    }

    /// As [`World::sweep`], but of these shards, and one thing after the other. What fails is a log line to
    /// the schedule, so it is none here. Answers how much was taken.
    pub async fn sweep_shards(&self, shards: &[u8]) -> usize {
        let deadline = self.now().plus(Duration::from_secs(600));
        let (steward, mut taken) = (self.steward(), 0);
        for shard in shards {
            let Ok(due) = steward.store.due(*shard, self.now(), 100).await else { continue };
            taken += due.len();
            for due in due {
                match due {
                    Due::Account(at) => drop(steward.advance(&at, Actor::Sweep, deadline).await),
                    Due::Event(event) => drop(steward.ingest(&event, deadline).await),
                }
            }
        }
        taken
    }

    /// Sweeps every minute until there is nothing to do.
    pub async fn sweep_to_rest(&self) -> anyhow::Result<()> {
        for _ in 0..60 {
            if self.sweep().await?.is_empty() {
                return Ok(());
            }
            self.pass(Duration::from_secs(60));
        }
        anyhow::bail!("the sweep does not come to rest")
    }

    /// Posts a body to the `webhook` function.
    pub async fn post(&self, body: &[u8], signature: &str) -> Reply {
        let mut request = Request::new(body.to_vec());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/webhooks/stripe");
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if let Ok(signature) = signature.parse() {
            headers.insert("stripe-signature", signature);
        }
        self.replied("webhook", keysteward_webhook::respond(&self.webhook, request).await)
    }

    /// Delivers what Stripe has to say and lets the stream apply it; answers how many were delivered.
    /// An error when anything was refused or not applied.
    pub async fn deliver(&self) -> anyhow::Result<usize> {
        let delivered = self.try_deliver().await?;
        ensure!(delivered.refused == 0, "{} deliveries were refused", delivered.refused);
        ensure!(delivered.not_applied == 0, "the stream would repeat {}", delivered.not_applied);
        Ok(delivered.count)
    }

    /// As [`World::deliver`] when things fail: Stripe keeps what was refused and signs it anew for the
    /// next time, and what the stream could not apply is left to the sweep.
    pub async fn try_deliver(&self) -> anyhow::Result<Delivered> {
        let mut bodies = std::mem::take(&mut *self.refused.lock().await);
        bodies.extend(self.stripe.take_deliveries().into_iter().map(|delivery| delivery.body));
        self.deliver_bodies(bodies).await
    }

    /// Delivers these bodies, signed now, as [`World::try_deliver`] does.
    pub async fn deliver_bodies(&self, bodies: Vec<Vec<u8>>) -> anyhow::Result<Delivered> {
        let mut delivered = Delivered { count: bodies.len(), ..Delivered::default() };
        for body in bodies {
            let signature = fake_stripe::sign(&[WEBHOOK_SECRET], self.now().seconds(), &body);
            if self.post(&body, &signature).await.status() != StatusCode::OK {
                delivered.refused += 1;
                self.refused.lock().await.push(body);
                continue;
            }
            if let Parsed::Event(event) = payload::parse(&body)? {
                let put = Put { sequence: "1".to_owned(), event: EventRef::from(&event) };
                let deadline = self.now().plus(Duration::from_secs(60));
                let applied =
                    keysteward_lifecycle::apply(self.steward(), vec![put], deadline).await;
                let again = self.answered("lifecycle", applied);
                delivered.not_applied += again.len();
            }
        }
        Ok(delivered)
    }

    /// Loses every delivery that is waiting and holds this text; the others come later.
    pub async fn lose_deliveries(&self, about: &str) {
        let waiting = self.stripe.take_deliveries().into_iter().map(|delivery| delivery.body);
        let kept = waiting.filter(|body| !String::from_utf8_lossy(body).contains(about));
        self.refused.lock().await.extend(kept);
    }

    /// Reads a key as one of the app's services would.
    pub async fn read(&self, at: &AccountRef, kind: Kind) -> Reply {
        self.read_if(at, kind, None).await
    }

    /// As [`World::read`], with an `If-None-Match`.
    pub async fn read_if(&self, at: &AccountRef, kind: Kind, known: Option<&str>) -> Reply {
        let path = format!("/v1/accounts/{}/keys/default?mode={}&kind={kind}", at.id, at.mode);
        let mut request = get(&path);
        if let Some(known) = known.and_then(|tag| tag.parse().ok()) {
            request.headers_mut().insert(header::IF_NONE_MATCH, known);
        }
        self.replied("keys", keysteward_keys::respond(&self.service, request).await)
    }

    /// The token that a read gives; an error when it gives none.
    pub async fn token(&self, at: &AccountRef, kind: Kind) -> anyhow::Result<String> {
        let reply = self.read(at, kind).await;
        ensure!(reply.status() == StatusCode::OK, "a read was answered {}", reply.status());
        let token = json_of(&reply)?["token"].as_str().context("a key has a token")?.to_owned();
        Ok(token)
    }

    /// The account as it is stored.
    pub async fn account(&self, at: &AccountRef) -> anyhow::Result<Account> {
        self.steward().store.load(at).await?.context("the account is stored")
    }

    /// Carries on from a copy of the table's rows, in a table of its own, as after a point-in-time restore:
    /// Stripe, KMS and the clock are where they were, and every process is new.
    pub async fn restore(&mut self, rows: Vec<serde_json::Value>) -> anyhow::Result<()> {
        let table = Table::behind(self.doors.clone()).await?.without_stream()?;
        for row in rows {
            let put = serde_json::json!({ "TableName": NAME, "Item": row });
            table.database().put_item(serde_json::from_value(put)?)?;
        }
        self.install.steward.store = table.store()?;
        self.install.steward.orders = OrderBook::default();
        self.webhook.store = table.store()?;
        self.service.store = table.store()?;
        self.witness.watch(table.database());
        self.table = table;
        Ok(())
    }

    /// Changes one row behind everybody's back.
    pub fn tamper(
        &self,
        sort_key: &str,
        change: impl Fn(&mut serde_json::Value),
    ) -> anyhow::Result<()> {
        let row = self.rows()?.into_iter().find(|row| row["sk"]["S"] == sort_key);
        let mut row = row.context("the row is there")?;
        change(&mut row);
        let put = serde_json::json!({ "TableName": NAME, "Item": row });
        self.table.database().put_item(serde_json::from_value(put)?)?;
        Ok(())
    }

    /// Every row about an account, as the engine stores it.
    pub fn rows(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut rows = self.copy()?;
        rows.retain(|row| row["pk"]["S"] != "BUNDLE");
        Ok(rows)
    }

    /// Every row of the table, the bundle's own with them.
    pub fn copy(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let scan = serde_json::json!({ "TableName": NAME });
        let answer = self.table.database().scan(serde_json::from_value(scan)?)?;
        let answer = serde_json::to_value(answer)?;
        Ok(answer["Items"].as_array().cloned().unwrap_or_default())
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

/// Stripe behind its door, with a witness before it.
fn double(
    stripe: &FakeStripe,
    doors: &Doors,
    witness: &Witness,
    clock: &Arc<AtomicI64>,
) -> InProcess {
    let (stripe, doors) = (stripe.clone(), doors.clone());
    let (witness, clock) = (witness.clone(), clock.clone());
    Arc::new(move |request| {
        let (stripe, doors) = (stripe.clone(), doors.clone());
        witness.see(&request, clock.load(Ordering::SeqCst));
        Box::pin(async move {
            let method = request.method().to_string();
            doors.pass(Peer::Stripe, &method, stripe.answer(request)).await.flatten()
        })
    })
}

fn destination(payload: Payload) -> Destination {
    Destination {
        url: "http://127.0.0.1:9/webhooks/stripe".to_owned(),
        signing_secrets: vec![WEBHOOK_SECRET.to_owned()],
        payload,
    }
}

/// What Stripe signs webhooks with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests";
/// 2026-11-24T12:00:00Z
const START: i64 = 1_795_521_600_000;
