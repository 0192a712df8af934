//! What happens in a world: people, Stripe, the schedule and the app's services call the functions.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{Method, StatusCode, header};
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward::http::{Reply, Request};
use keysteward::runtime::lambda::Put;
use keysteward::store::{Due, EventRef, SHARDS};
use keysteward::sweep::Swept;
use keysteward::webhook::payload::{self, Parsed};

use super::{Delivered, WEBHOOK_SECRET, World, get, json_of, text_of};

impl World {
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
}
