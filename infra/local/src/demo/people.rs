//! The steps about people and what is said of them: installing, webhooks good and bad, expiring,
//! uninstalling, the audit trail.

use anyhow::{Context as _, Result, ensure};
use fake_stripe::sign;
use http::StatusCode;
use keysteward::domain::audit;
use keysteward::domain::event::Topic;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{AccountRef, Kind};
use tokio::time::sleep;

use super::{Demo, PAUSE, ROUNDS, secret_slot};
use crate::browser::{Browser, Page};
use crate::bundle::WEBHOOK_SECRET;
use crate::rows;

impl Demo<'_> {
    pub(super) async fn install(&mut self) -> Result<()> {
        self.chapter("Two people install the app, as a browser would")?;
        let mut is_bound = true;
        for (at, form, words) in [
            (self.bakery.clone(), "oauth", "by OAuth"),
            (self.bookshop.clone(), "link", "by install link"),
        ] {
            let start = format!("{}/install?mode=test&form={form}", self.bundle.url());
            let away = self.browser.get(&start).await?;
            let marketplace = self.browser.follow(&away).await?;
            ensure!(
                marketplace.status == StatusCode::OK,
                "the marketplace answered {marketplace:?}"
            );
            ensure!(
                marketplace.body.contains(at.id.as_str()),
                "the marketplace offers the account"
            );
            let choice = [("account", at.id.as_str()), ("decision", "install")];
            let back = self.browser.submit(marketplace.url.as_str(), &choice).await?;
            // Somebody who got hold of the address, in a browser that started nothing.
            let stolen = Browser::new().follow(&back).await?;
            is_bound &= stolen.status == StatusCode::BAD_REQUEST;
            let done = self.browser.follow(&back).await?;
            let installed =
                done.status == StatusCode::OK && done.body.contains("The app is installed");
            let is_ready = done.body.contains("Its API keys are made");
            let text = format!("{} installed the app {words}; its keys are made", at.id);
            if self.see(installed && is_ready, &text)? {
                self.proof.installed += 1;
            }
        }
        self.proof.callback_bound_to_browser =
            self.see(is_bound, "the callback was refused to a browser that had not started it")?;
        Ok(())
    }

    pub(super) async fn send_bad_webhooks(&mut self) -> Result<()> {
        self.chapter("Webhooks that should change nothing")?;
        self.quiet().await?;
        let before = rows::all(self.bundle.database())?;
        let events = self.bundle.store().events(&self.bakery, 100).await?;
        let known = events.into_iter().map(|event| event.notification);
        let known = known.into_iter().find(|event| event.topic == Topic::KeyRotated);
        let known = known.context("Stripe told us of the rotation")?;
        let body = |id: &str, created: String| {
            serde_json::json!({
                "id": id, "object": "v2.core.event", "type": "v2.iam.api_key.rotated",
                "livemode": false, "created": created, "context": self.bakery.id.as_str(),
                "related_object": {}, "reason": null,
            })
            .to_string()
        };
        let again = body(known.id.as_str(), known.created.to_string());
        let now = self.bundle.clock().now();
        let invented = body("evt_invented", now.to_string());
        let now = now.seconds();

        let forged = self
            .webhook(&invented, &sign(&["whsec_of_somebody_else"], now, invented.as_bytes()))
            .await?;
        let unchanged = rows::all(self.bundle.database())? == before;
        self.proof.forged_webhook_refused = self.see(
            forged.status == StatusCode::BAD_REQUEST && unchanged,
            "signed by somebody else: 400, nothing written",
        )?;

        let old = sign(&[WEBHOOK_SECRET], now - 600, invented.as_bytes());
        let stale = self.webhook(&invented, &old).await?;
        let unchanged = rows::all(self.bundle.database())? == before;
        self.proof.stale_webhook_refused = self.see(
            stale.status == StatusCode::BAD_REQUEST && unchanged,
            "signed ten minutes ago: 400, nothing written",
        )?;

        let twice = self.webhook(&again, &sign(&[WEBHOOK_SECRET], now, again.as_bytes())).await?;
        self.quiet().await?;
        let unchanged = rows::all(self.bundle.database())? == before;
        self.proof.webhook_duplicate_ignored = self.see(
            twice.status == StatusCode::OK && unchanged,
            "one that came before, well signed: 200, nothing written",
        )?;
        Ok(())
    }

    pub(super) async fn expire_as_user(&mut self) -> Result<()> {
        self.chapter("A user expires the key in Stripe's Dashboard")?;
        let at = self.bakery.clone();
        let account = self.account(&at).await?;
        let Some((_, State::Current { key, .. })) = account.current(&secret_slot()) else {
            anyhow::bail!("{} has no current key", at.id)
        };
        let url = format!("{}/dashboard/{}/keys/{key}/expire", self.bundle.stripe().url(), at.id);
        let done = self.browser.submit(&url, &[]).await?;
        ensure!(done.status == StatusCode::SEE_OTHER, "the Dashboard answered {done:?}");
        let held = self.wait_for_refusal(&at, Kind::Secret, "revoked_by_user").await?;
        self.proof.user_expired_key_held =
            self.see(held, "Stripe says so, and the key is served to nobody: 409 revoked_by_user")?;
        Ok(())
    }

    pub(super) async fn uninstall(&mut self) -> Result<()> {
        self.chapter("Another user uninstalls the app")?;
        let at = self.bookshop.clone();
        let url = format!("{}/dashboard/{}/uninstall", self.bundle.stripe().url(), at.id);
        let done = self.browser.submit(&url, &[("mode", "test"), ("keys", "keep")]).await?;
        ensure!(done.status == StatusCode::SEE_OTHER, "the Dashboard answered {done:?}");
        let secret = self.wait_for_refusal(&at, Kind::Secret, "uninstalled").await?;
        let publishable = self.wait_for_refusal(&at, Kind::Publishable, "uninstalled").await?;
        self.proof.uninstalled_serves_nothing = self.see(
            secret && publishable,
            "nothing is served of the account any more: 409 uninstalled",
        )?;
        Ok(())
    }

    pub(super) async fn check_trail(&mut self) -> Result<()> {
        self.chapter("The audit trail")?;
        self.quiet().await?;
        let mut all_hold = true;
        let mut all_found = true;
        let mut total = 0;
        for at in self.both() {
            let head = self.account(&at).await?.head.audit;
            let mut trail = self.bundle.store().trail(&at, 0, 10_000).await?;
            all_hold &= !trail.is_empty() && audit::verify(&trail, &head).is_ok();
            total += u64::try_from(trail.len())?;
            let middle = trail.len() / 2;
            if let Some(entry) = trail.get_mut(middle) {
                entry.outcome = Some("edited".to_owned());
            }
            all_found &= audit::verify(&trail, &head).is_err();
        }
        self.proof.audit_entries = total;
        let text = format!(
            "{total} entries, each chained to the one before it, end where the accounts say"
        );
        self.proof.audit_verified = self.see(all_hold, &text)?;
        self.proof.audit_tampering_found =
            self.see(all_found, "a copy with one word changed is found out")?;
        Ok(())
    }

    pub(super) async fn look_for_plaintext(&mut self) -> Result<()> {
        self.chapter("Secrets in the clear")?;
        let stripe = self.bundle.stripe();
        let (mut tokens, mut public) = (Vec::new(), Vec::new());
        for key in self.both().iter().flat_map(|at| stripe.keys(at.id.as_str())) {
            let token = stripe.token_of(&key.id).context("a key has a token")?;
            if key.kind == "secret_key" { tokens.push(token) } else { public.push(token) }
        }
        let mut stored = rows::all(self.bundle.database())?;
        let row_count = stored.len();
        stored.extend(rows::history(self.bundle.database())?);
        let holds = |token: &String| stored.iter().any(|row| row.contains(token.as_str()));
        // Publishable keys are stored as they are: a search that misses them would miss anything.
        ensure!(!public.is_empty() && public.iter().all(holds), "the search finds what is there");
        let found = tokens.iter().any(holds);
        self.proof.tokens_looked_for = u32::try_from(tokens.len())?;
        self.proof.plaintext_in_table = found;
        let text = format!(
            "none of {} secret keys is in one of {row_count} rows, nor in {} records of the stream",
            tokens.len(),
            stored.len() - row_count
        );
        self.see(!found, &text)?;
        Ok(())
    }

    async fn webhook(&mut self, body: &str, signature: &str) -> Result<Page> {
        let url = format!("{}/webhooks/stripe", self.bundle.url());
        let headers = [("content-type", "application/json"), ("stripe-signature", signature)];
        self.browser.post(&url, &headers, body.as_bytes()).await
    }

    /// Reads until the key is refused with `code`, or it is taken not to happen.
    async fn wait_for_refusal(&mut self, at: &AccountRef, kind: Kind, code: &str) -> Result<bool> {
        let url = self.key_url(at, kind);
        for round in 1..=ROUNDS {
            let answer = self.browser.get(&url).await?;
            if answer.status == StatusCode::CONFLICT && answer.json()?["code"] == code {
                return Ok(true);
            }
            if round % 20 == 0 {
                self.quiet().await?;
            }
            sleep(PAUSE).await;
        }
        Ok(false)
    }
}
