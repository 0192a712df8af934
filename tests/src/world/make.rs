//! How a world is put together.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_stripe::{Deliver, Destination, FakeStripe, Payload};
use keysteward::domain::intent::RequestShape;
use keysteward::domain::policy::Policy;
use keysteward::domain::secret::SecretToken;
use keysteward::domain::time::Timestamp;
use keysteward::http::InProcess;
use keysteward::install::link::InstallLink;
use keysteward::install::{Install, Links};
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::aws::Aws;
use keysteward::runtime::clock::Clock;
use keysteward::runtime::metrics::Tally;
use keysteward::runtime::secrets::SigningSecrets;
use keysteward::serve::Service;
use keysteward::steward::{OrderBook, Steward};
use keysteward::store::Store;
use keysteward::stripe::{AppKeys, Options, Stripe};
use keysteward::vault::Keyring;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::Bits;

use super::{Setting, WEBHOOK_SECRET, World};
use crate::door::{Doors, Peer};
use crate::kms_double::KmsDouble;
use crate::pairs::from_the_pool;
use crate::table::{NAME, Table};
use crate::witness::Witness;

impl World {
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
        let policy = Policy::new(setting.choice)?;
        let app = fake_stripe::AppSpec::default();
        let double = double(&stripe, &doors, &witness, &millis);
        let origin = Origin {
            to_table,
            to_kms,
            clock: clock.clone(),
            stripe_url: stripe.url(),
            double: (!setting.sockets).then_some(double),
            cache: setting.cache,
        };
        let steward = origin.steward(policy.clone(), setting.shape, setting.draw)?;
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
        let webhook = WebhookParts { store: origin.store(), secrets, clock: clock.clone() };
        let (store, keyring) = (origin.store(), origin.keyring());
        let service = Service { store, keyring, policy, clock };
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
            origin,
            refused,
            lines,
        })
    }
}

/// What every process of a world starts from: nothing in it outlives one but where things are.
pub(super) struct Origin {
    pub(super) to_table: Aws,
    to_kms: Aws,
    clock: Clock,
    stripe_url: String,
    double: Option<InProcess>,
    cache: Duration,
}

impl Origin {
    pub(super) fn store(&self) -> Store {
        Store::new(&self.to_table, NAME)
    }

    pub(super) fn keyring(&self) -> Keyring {
        let vault = KmsVault::new(&self.to_kms, KmsDouble::KEY_ID.to_owned());
        let app = fake_stripe::AppSpec::default().id;
        let keyring = Keyring::new(Box::new(vault), app, Bits::Rsa2048, self.cache);
        if self.double.is_some() { keyring.with_pairs_from(from_the_pool) } else { keyring }
    }

    /// A process that remembers nothing.
    pub(super) fn steward(
        &self,
        policy: Policy,
        shape: RequestShape,
        draw: fn() -> u64,
    ) -> anyhow::Result<Steward> {
        let app = fake_stripe::AppSpec::default();
        let client = Stripe::new(Options {
            api_base: self.stripe_url.clone(),
            stripe_version: shape.stripe_version.clone(),
            keys: AppKeys {
                live: Some(SecretToken::new(app.api_key_live)),
                test: Some(SecretToken::new(app.api_key_test)),
            },
            // Over sockets nobody waits either, but after a 429; in process nobody does at all.
            max_rps: 1_000_000_000,
            timeout: Duration::from_secs(5),
        })?;
        let stripe = match &self.double {
            Some(double) => client.within(double.clone()),
            None => client,
        };
        Ok(Steward {
            store: self.store(),
            keyring: self.keyring(),
            stripe,
            policy,
            shape,
            app: app.id,
            breaker: Mutex::default(),
            clock: self.clock.clone(),
            draw,
            orders: OrderBook::default(),
            tally: Tally::default(),
        })
    }
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
