//! Reading a list to its end, or as far as is wanted.

use std::collections::HashSet;

use serde::Deserialize;

use super::client::{Call, Stripe, bearer};
use super::error::Error;
use crate::domain::id::AccountId;
use crate::domain::slot::{AccountRef, Mode};

/// What a page's item turns out to be.
pub(super) enum Item<T> {
    /// To be kept.
    Kept(T),
    /// Of a kind that has no place here.
    Skipped,
    /// Not an item at all.
    Unreadable,
}

/// Whose list is read.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    mode: Mode,
    /// `None`: the app's own.
    context: Option<&'a AccountId>,
}

impl<'a> Whose<'a> {
    pub(super) fn account(at: &'a AccountRef) -> Self {
        Self { mode: at.mode, context: Some(&at.id) }
    }

    pub(super) fn app(mode: Mode) -> Self {
        Self { mode, context: None }
    }
}

impl Stripe {
    /// Follows a v2 list from `path` until it ends or holds `enough` items.
    ///
    /// The app's key is sent with every page, so each has to be on the configured host.
    pub(super) async fn pages<W, T>(
        &self,
        whose: Whose<'_>,
        path: &str,
        enough: usize,
        read: impl Fn(W) -> Item<T>,
    ) -> Result<Vec<T>, Error>
    where
        W: for<'de> Deserialize<'de>,
    {
        let auth = bearer(self.app_key(whose.mode)?)?;
        let mut url = self.url(path)?;
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        loop {
            if seen.len() == MAX_PAGES || !seen.insert(url.clone()) {
                return Err(Error::EndlessList);
            }
            let answer = self
                .call(&Call {
                    stripe_version: Some(&self.stripe_version),
                    context: whose.context,
                    ..Call::get(url, auth.clone())
                })
                .await?;
            let page: Page<W> = answer.read()?;
            for wire in page.data {
                match read(wire) {
                    Item::Kept(item) => items.push(item),
                    Item::Skipped => {}
                    Item::Unreadable => return Err(answer.malformed()),
                }
            }
            if items.len() >= enough {
                items.truncate(enough);
                return Ok(items);
            }
            let Some(next) = page.next_page_url else { return Ok(items) };
            // Documented as absolute; a path is taken as one on the same host.
            url = self.url(&next)?;
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Page<W> {
    pub(super) data: Vec<W>,
    pub(super) next_page_url: Option<String>,
}

/// 10,000 keys or events of one account: more than any has, and the end of a list that would never end.
const MAX_PAGES: usize = 100;

/// Stripe's largest page.
pub(super) const PAGE_SIZE: usize = 100;
