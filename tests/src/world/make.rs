//! How a world is put together.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_stripe::{Deliver, Destination, FakeStripe, Payload};
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
