//! Services that read keys without pause, and try each at fake Stripe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use fake_stripe::FakeStripe;
use http::StatusCode;
use keysteward::domain::slot::{AccountRef, Kind};
use tokio::task::JoinSet;

use crate::browser::Browser;
use crate::bundle::Bundle;

/// Readers at work.
pub(super) struct Readers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    stripe: FakeStripe,
    stop: AtomicBool,
    reads: AtomicU64,
    failed: AtomicU64,
}

impl Readers {
    /// Sends out `each` readers for every account.
    pub(super) fn start(bundle: &Bundle, accounts: &[AccountRef], each: u32) -> Self {
        let shared = Arc::new(Shared {
            stripe: bundle.stripe().clone(),
            stop: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for at in accounts {
            let url = super::key_url(bundle, at, Kind::Secret);
            for _ in 0..each {
                tasks.spawn(read_on(shared.clone(), url.clone()));
            }
        }
        Self { shared, tasks }
    }

    /// Waits until every reader has had a few answers since now, then calls them back: how many reads there
    /// were, and how many failed.
    pub(super) async fn stop(mut self) -> (u64, u64) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
        (self.shared.reads.load(Ordering::SeqCst), self.shared.failed.load(Ordering::SeqCst))
    }
}

async fn read_on(shared: Arc<Shared>, url: String) {
    let mut browser = Browser::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let is_good =
            matches!(gives_working_key(&shared.stripe, &mut browser, &url).await, Ok(true));
        shared.reads.fetch_add(1, Ordering::SeqCst);
        if !is_good {
            shared.failed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn gives_working_key(stripe: &FakeStripe, browser: &mut Browser, url: &str) -> Result<bool> {
    let answer = browser.get(url).await?;
    if answer.status != StatusCode::OK {
        return Ok(false);
    }
    let key = answer.json()?;
    Ok(key["token"].as_str().is_some_and(|token| stripe.token_works(token)))
}
