//! Unwrapped private keys for a while, so that a read of a key costs the vault nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::jwe::Opener;
use crate::domain::sealed::Context;
use crate::domain::time::Timestamp;

/// Private keys by their whole context: bounded in number and in age, wiped when they leave.
///
/// Holds keys and never a token. A key that was shredded in the table lives on here until it is too
/// old, and nothing is left in the table that it could open.
pub(super) struct Cache {
    keep: Duration,
    /// Oldest first.
    entries: VecDeque<Entry>,
}

struct Entry {
    context: Context,
    opener: Arc<Opener>,
    until: Timestamp,
}

impl Cache {
    /// A cache that keeps a key for `keep` after it was put; zero keeps nothing.
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, entries: VecDeque::new() }
    }

    /// The key of a context. Drops what is too old, whoever asks.
    pub(super) fn get(&mut self, context: &Context, now: Timestamp) -> Option<Arc<Opener>> {
        self.entries.retain(|entry| entry.until > now);
        // A search of 256 entries at most is nothing beside the RSA operation that follows.
        let entry = self.entries.iter().find(|entry| entry.context == *context)?;
        Some(Arc::clone(&entry.opener))
    }

    /// Keeps a key from `now` on, in place of the oldest when full.
    pub(super) fn put(&mut self, context: Context, opener: Arc<Opener>, now: Timestamp) {
        self.entries.retain(|entry| entry.until > now && entry.context != context);
        if self.keep.is_zero() {
            return;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { context, opener, until: now.plus(self.keep) });
    }
}

const MAX_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::domain::id::{AccountId, Kid};
    use crate::domain::slot::Mode;
    use crate::vault::pair::{Bits, generate};

    static OPENER: LazyLock<Arc<Opener>> = LazyLock::new(|| {
        let (private, _) = generate(Bits::Rsa2048).unwrap();
        Arc::new(Opener::new(&private).unwrap())
    });

    fn context(number: usize) -> Context {
        Context {
            app: "ca_1".to_owned(),
            account: AccountId::parse("acct_1").unwrap(),
            mode: Mode::Test,
            kid: Kid::parse(&format!("kid_{number}")).unwrap(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_key_is_kept_for_its_time_and_not_longer() {
        let mut cache = Cache::new(Duration::from_secs(60));
        cache.put(context(1), Arc::clone(&OPENER), at(100));
        assert!(cache.get(&context(1), at(159)).is_some());
        assert!(cache.get(&context(2), at(159)).is_none());
        assert!(cache.get(&context(1), at(160)).is_none());
        assert!(cache.entries.is_empty(), "what is too old is dropped, not only hidden");
    }

    #[test]
    fn being_read_does_not_make_a_key_younger_and_being_put_does() {
        let mut cache = Cache::new(Duration::from_secs(60));
        cache.put(context(1), Arc::clone(&OPENER), at(0));
        assert!(cache.get(&context(1), at(59)).is_some());
        assert!(cache.get(&context(1), at(60)).is_none());
        cache.put(context(1), Arc::clone(&OPENER), at(60));
        cache.put(context(1), Arc::clone(&OPENER), at(90));
        assert_eq!(cache.entries.len(), 1);
        assert!(cache.get(&context(1), at(149)).is_some());
    }

    #[test]
    fn a_key_is_found_under_its_whole_context_only() {
        let mut cache = Cache::new(Duration::from_secs(60));
        cache.put(context(1), Arc::clone(&OPENER), at(0));
        for other in [
            Context { app: "ca_2".to_owned(), ..context(1) },
            Context { account: AccountId::parse("acct_2").unwrap(), ..context(1) },
            Context { mode: Mode::Live, ..context(1) },
        ] {
            assert!(cache.get(&other, at(0)).is_none());
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = Cache::new(Duration::from_secs(60));
        for number in 0..=MAX_ENTRIES {
            cache.put(context(number), Arc::clone(&OPENER), at(0));
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert!(cache.get(&context(0), at(1)).is_none());
        assert!(cache.get(&context(1), at(1)).is_some());
        assert!(cache.get(&context(MAX_ENTRIES), at(1)).is_some());
    }

    #[test]
    fn zero_keeps_nothing() {
        let mut cache = Cache::new(Duration::ZERO);
        cache.put(context(1), Arc::clone(&OPENER), at(0));
        assert!(cache.entries.is_empty());
    }
}
