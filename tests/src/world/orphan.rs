//! Keys that are alive at Stripe and that the table does not know.

use anyhow::{Context as _, ensure};
use http::StatusCode;
use keysteward::domain::intent::{Asking, Intent, PublicKey};
use keysteward::domain::slot::{AccountRef, Generation, Kind, Mode};

use super::{World, default_slot};

impl World {
    /// A key under the note of an installation's secret slot, with a number that is not used for any other.
    pub async fn mint_an_orphan(&self, at: &AccountRef) -> anyhow::Result<String> {
        let (_, intent) = self.intent(at, 40).await?;
        self.send_unseen(at, intent).await
    }

    /// The call that makes such a key, so many generations after the next one.
    pub async fn intent(
        &self,
        at: &AccountRef,
        ahead: u32,
    ) -> anyhow::Result<(Generation, Intent)> {
        let slot = default_slot(Kind::Secret);
        let stored = self.account(at).await?;
        let state = stored.slots.get(&slot).context("the slot is open")?;
        let pair = stored.pairs.values().next().context("a pair")?;
        let generation = state.next.skip(ahead);
        let asking = Asking {
            app: &self.steward().app,
            account: at,
            slot: &slot,
            opened_at: state.opened_at,
            generation,
            public_key: Some(PublicKey { kid: &pair.kid, pem: &pair.public_pem }),
            now: self.now(),
        };
        Ok((generation, Intent::create(&asking, &self.steward().shape)))
    }

    /// Makes a call past the witness: it is not the bundle that makes it. Answers the id of the key.
    pub async fn send_unseen(&self, at: &AccountRef, intent: Intent) -> anyhow::Result<String> {
        let app = fake_stripe::AppSpec::default();
        let key = match at.mode {
            Mode::Live => app.api_key_live,
            Mode::Test => app.api_key_test,
        };
        let request = http::Request::post(format!("{}{}", self.stripe.url(), intent.path))
            .header("authorization", format!("Bearer {key}"))
            .header("stripe-version", &intent.stripe_version)
            .header("stripe-context", at.id.as_str())
            .header("idempotency-key", &intent.idempotency_key)
            .header("content-type", "application/json")
            .body(intent.body.into_bytes())?;
        let answer = self.stripe.answer(request).await.context("Stripe answers")?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        let made: serde_json::Value = serde_json::from_slice(answer.body())?;
        Ok(made["id"].as_str().context("a key has an id")?.to_owned())
    }
}
