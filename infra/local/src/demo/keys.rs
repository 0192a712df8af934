//! The steps about keys: read, rotated, dead, rotated again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use http::{StatusCode, header};
use keysteward::domain::slot::{AccountRef, Kind};
use keysteward::steward::Advanced;
use tokio::time::sleep;

use super::readers::Readers;
use super::{Demo, PAUSE, ROUNDS, secret_slot};

impl Demo<'_> {
    pub(super) async fn read_keys(&mut self) -> Result<()> {
        self.chapter("Your services read the keys, and Stripe takes them")?;
        let mut tokens = BTreeSet::new();
        let mut all_work = true;
        let mut all_304 = true;
        for at in self.both() {
            for kind in [Kind::Secret, Kind::Publishable] {
                let url = self.key_url(&at, kind);
                let first = self.browser.get(&url).await?;
                let tag = first.header(&header::ETAG).unwrap_or_default().to_owned();
                let again = self.browser.get_with(&url, &[("if-none-match", &tag)]).await?;
                all_304 &= !tag.is_empty() && again.status == StatusCode::NOT_MODIFIED;
                let key = first.json()?;
                let Some(token) = key["token"].as_str().filter(|_| first.status == StatusCode::OK)
                else {
                    self.see(false, &format!("{}: no {kind} key, {}", at.id, first.status))?;
                    continue;
                };
                // Stripe takes a publishable key for almost nothing, so there is nothing to try it with.
                let works = kind == Kind::Publishable || self.status_at_stripe(token).await? == 200;
                all_work &= works;
                tokens.insert(token.to_owned());
                let shown = redacted(token);
                self.see(
                    works,
                    &format!("{}: {kind} key {shown}, generation {}", at.id, key["generation"]),
                )?;
            }
        }
        self.proof.keys_served = u32::try_from(tokens.len())?;
        self.proof.keys_work = all_work && !tokens.is_empty();
        self.proof.unchanged_is_304 = self.see(all_304, "who has a key already is answered 304")?;
        Ok(())
    }

    pub(super) async fn rotate_under_reads(&mut self) -> Result<()> {
        self.chapter("Both secret keys are rotated now, while eight services read without pause")?;
        let mut old = Vec::new();
        for at in self.both() {
            old.push(self.token(&at).await?);
        }
        let readers = Readers::start(self.bundle, &self.both(), READERS);
        for at in self.both() {
            self.rotate_now(&at).await?;
        }
        let (reads, failed) = readers.stop().await;
        self.proof.reads_during_rotation += reads;
        self.proof.failed_reads += failed;

        let mut old_work = true;
        for (at, (generation, token)) in self.both().into_iter().zip(&old) {
            let (now, new_token) = self.token(&at).await?;
            let new_works = self.status_at_stripe(&new_token).await? == 200;
            let is_new = now == generation + 1 && new_token != *token;
            let text = format!("{}: generation {now} is served, {}", at.id, redacted(&new_token));
            if self.see(is_new && new_works, &text)? {
                self.proof.rotated += 1;
            }
            old_work &= self.status_at_stripe(token).await? == 200;
        }
        self.see(
            failed == 0,
            &format!("{reads} reads meanwhile, {failed} of them without a working key"),
        )?;
        self.proof.old_key_works_in_overlap =
            self.see(old_work, "the old keys still work: the overlap is one day")?;
        self.old = old.into_iter().map(|(_, token)| token).collect();
        Ok(())
    }

    pub(super) async fn end_the_overlap(&mut self) -> Result<()> {
        self.chapter("The clock jumps past the overlap, and the schedule sweeps")?;
        self.quiet().await?;
        self.bundle.pass(self.policy.overlap() + Duration::from_secs(60));
        let mut ended = false;
        for _ in 0..ROUNDS {
            self.bundle.sweep().await?;
            let mut retiring = 0;
            for at in self.both() {
                let account = self.account(&at).await?;
                let states = account.generations_of(&secret_slot());
                retiring += states.filter(|(_, state)| state.name() == "retiring").count();
            }
            ended = retiring == 0;
            if ended {
                break;
            }
            self.bundle.pass(Duration::from_secs(60));
            sleep(PAUSE).await;
        }
        self.see(ended, "the old keys are recorded as ended")?;
        let mut dead = 0;
        for token in self.old.clone() {
            dead += u32::from(self.status_at_stripe(&token).await? == 401);
        }
        self.proof.old_key_dead =
            self.see(ended && dead == 2, "Stripe answers both of them 401")?;
        Ok(())
    }

    pub(super) async fn rotate_by_schedule(&mut self) -> Result<()> {
        self.chapter("A month passes, again under constant reads: the schedule finds what is due")?;
        let mut before = Vec::new();
        for at in self.both() {
            before.push(self.token(&at).await?.0);
        }
        let readers = Readers::start(self.bundle, &self.both(), READERS);
        self.bundle.pass(31 * DAY);
        let mut rotated = 0;
        for _ in 0..ROUNDS {
            self.bundle.sweep().await?;
            rotated = 0;
            for (at, before) in self.both().iter().zip(&before) {
                rotated += u32::from(self.token(at).await?.0 == before + 1);
            }
            if rotated == 2 {
                break;
            }
            sleep(PAUSE).await;
        }
        let (reads, failed) = readers.stop().await;
        self.proof.reads_during_rotation += reads;
        self.proof.failed_reads += failed;
        self.proof.rotated_by_schedule = rotated;
        self.see(
            rotated == 2,
            &format!("{rotated} of 2 keys have a new generation, and nobody asked"),
        )?;
        self.see(
            failed == 0,
            &format!("{reads} reads meanwhile, {failed} of them without a working key"),
        )?;
        Ok(())
    }

    async fn rotate_now(&mut self, at: &AccountRef) -> Result<()> {
        for _ in 0..ROUNDS {
            match self.bundle.rotate(at, &secret_slot()).await? {
                Advanced::Settled(_) => return Ok(()),
                // An event of the installation is being applied right now.
                Advanced::Busy(_) | Advanced::Overtaken => sleep(PAUSE).await,
                Advanced::Unknown | Advanced::OutOfTime => break,
            }
        }
        bail!("the key of {} could not be rotated", at.id)
    }

    /// What fake Stripe answers to a call made with the token.
    async fn status_at_stripe(&mut self, token: &str) -> Result<u16> {
        let url = format!("{}/v1/customers", self.bundle.stripe().url());
        let bearer = format!("Bearer {token}");
        Ok(self.browser.get_with(&url, &[("authorization", &bearer)]).await?.status.as_u16())
    }
}

/// What may be shown of a token: its prefix and its last four characters.
fn redacted(token: &str) -> String {
    crate::page::redacted(token)
}

const DAY: Duration = Duration::from_secs(86_400);
/// For each account.
const READERS: u32 = 4;
