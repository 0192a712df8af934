//! Idempotency of v2 (ADR 5): the same key, API, account and mode within 30 days is a replay.
//! A success is answered again as things stand now and changes nothing; a failure is carried out anew;
//! other parameters are an error.

use std::collections::HashMap;

use crate::error::ApiError;
use crate::keys::EncryptedSecret;

/// How long a key is remembered, milliseconds.
const MEMORY_MS: i64 = 30 * 24 * 3600 * 1000;

/// What a successful call left behind, enough to answer it again.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// Key the answer is about.
    pub(crate) key_id: String,
    /// What the first answer carried. It can only be opened by the caller, so it may be kept.
    pub(crate) encrypted: Option<EncryptedSecret>,
}

#[derive(Debug)]
struct Entry {
    at_ms: i64,
    fingerprint: String,
    done: Option<Done>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Idempotency {
    entries: HashMap<String, Entry>,
    cleaned_ms: i64,
}

impl Idempotency {
    /// What the call with these parameters did before, if it succeeded.
    ///
    /// # Errors
    /// `idempotency_error` (409) if the parameters differ.
    pub(crate) fn recall(
        &self,
        slot: &str,
        fingerprint: &str,
        now_ms: i64,
    ) -> Result<Option<Done>, ApiError> {
        match self.entries.get(slot) {
            Some(entry) if now_ms - entry.at_ms >= MEMORY_MS => Ok(None),
            Some(entry) if entry.fingerprint != fingerprint => Err(ApiError::idempotency_error()),
            Some(entry) => Ok(entry.done.clone()),
            None => Ok(None),
        }
    }

    pub(crate) fn remember(
        &mut self,
        slot: String,
        fingerprint: String,
        now_ms: i64,
        done: Option<Done>,
    ) {
        self.entries.insert(slot, Entry { at_ms: now_ms, fingerprint, done });
    }

    /// Frees what is past its time; at most once a day, since `recall` looks at the age anyway.
    pub(crate) fn forget_old(&mut self, now_ms: i64) {
        if now_ms - self.cleaned_ms < MEMORY_MS / 30 {
            return;
        }
        self.cleaned_ms = now_ms;
        self.entries.retain(|_, entry| now_ms - entry.at_ms < MEMORY_MS);
    }
}
