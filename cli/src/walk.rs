//! All accounts, shard by shard.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use keysteward::domain::account::Account;
use keysteward::domain::slot::AccountRef;
use keysteward::store::{self, SHARDS, Store};

/// The accounts that have a deadline in one shard: every installed one. They are listed before any is
/// looked at, since a sweep moves deadlines while we look.
pub(crate) async fn shard(store: &Store, shard: u8) -> Result<Vec<AccountRef>, store::Error> {
    let mut accounts = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.listed(shard, after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        accounts.extend(page.iter().map(|listed| listed.account.clone()));
        match page.into_iter().next_back() {
            Some(last) if !is_last => after = Some(last),
            Some(_) | None => return Ok(accounts.into_iter().collect()),
        }
    }
}

/// Loads every account and hands it on. Answers how many could not be loaded: one bad row hides no other.
pub(crate) async fn accounts(
    store: &Store,
    mut see: impl FnMut(&Account),
) -> Result<u64, store::Error> {
    let mut unreadable = 0;
    for number in 0..SHARDS {
        let mut loaded = stream::iter(shard(store, number).await?)
            .map(|at| async move { store.load(&at).await })
            .buffer_unordered(AT_ONCE);
        while let Some(account) = loaded.next().await {
            match account {
                Ok(Some(account)) => see(&account),
                Ok(None) => {}
                // The table itself: going on would count what is not known as nothing.
                Err(error) if error.class().is_retryable() => return Err(error),
                Err(_) => unreadable += 1,
            }
        }
    }
    Ok(unreadable)
}

const PAGE: u32 = 1000;
/// Reads are cheap, and nobody waits for them but the person who asked.
const AT_ONCE: usize = 16;
