//! The switches: one for each thing about Stripe that nobody has seen or that differs between answers
//! (ADR 16 and 19), plus the troubles of a network.

/// How the double behaves; changed with [`set_behaviour`](crate::FakeStripe::set_behaviour) at any time.
/// The default is the likeliest reading of what is known (README, "Sources").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// `alg` of the JWE of a live secret (ADR 16).
    pub jwe_alg: JweAlg,
    /// Whether the ciphertext of a live secret is damaged on its way, so that it does not open.
    pub garble_ciphertext: bool,
    /// Milliseconds until a new key or event shows up in a list and an expired key leaves it.
    pub list_lag_ms: i64,
    /// The same until a new event shows up in the list of events, where that is later.
    pub events_lag_ms: i64,
    /// Whether `object_id` finds the events of a key; Stripe's own `related_object` of them is empty.
    pub object_id_finds_keys: bool,
    /// Whether `next_page_url` and `previous_page_url` name the host. Default: a path that begins with `/`,
    /// as the official SDKs demand (stripe-python 16.1.0a4 `_util.py` `validate_path` refuses a URL with a
    /// host; stripe-node and stripe-php test with paths), though the documentation says absolute.
    pub absolute_page_urls: bool,
    /// Milliseconds an expired key still authenticates (Stripe was measured at about 9000: README, "Sources").
    pub expire_lag_ms: i64,
    /// Whether a publishable key that lives is answered 401 when it makes a call that is not for it (else 403).
    pub publishable_answers_401: bool,
    /// Active keys an account may have in one mode before `api_key_limit_reached`.
    pub key_limit: usize,
    /// From version 2026-08 on, refuse secret keys without `permissions`.
    pub restricted_only: bool,
    /// After a rotate with overlap, whether the old id can still be read and expired (else 404).
    pub old_id_retrievable: bool,
    /// Whether `v2.iam.api_key.expired` follows when the overlap of a rotate ends.
    pub expired_event_after_rotate: bool,
    /// Whether an idempotent replay brings the ciphertext of a live secret again.
    pub replay_returns_ciphertext: bool,
    /// Whether an idempotent replay brings the plaintext of a sandbox secret again.
    pub replay_returns_token: bool,
    /// Whether `managed_by` names the application (else it is null, as in every published example).
    pub managed_by_application: bool,
    /// What `related_object` is in `v2.iam.api_key.*` events.
    pub related_object: RelatedObject,
    /// Whether install and uninstall also send thin `v1.account.application.*` events.
    pub thin_account_events: bool,
    /// What `context` is in `v2.core.claimable_sandbox.*` events; nowhere documented.
    pub sandbox_context: SandboxContext,
    /// Whether events are listed oldest first; the order is nowhere documented.
    pub events_oldest_first: bool,
    /// Whether an app that was uninstalled may still read the events of the account (ADR 19).
    pub events_readable_after_uninstall: bool,
    /// Calls a second and mode over all endpoints, with the app's keys and with those of each account; `None` is
    /// unlimited (Stripe: live 100, sandbox 25).
    pub rate_limit_per_second: Option<u32>,
    /// The same for each endpoint; `None` is unlimited (Stripe: 25).
    pub endpoint_rate_limit_per_second: Option<u32>,
    /// Real milliseconds that an API call takes to arrive, the shortest and the longest.
    pub arrives_after_ms: (u64, u64),
    /// The same from its effect to its answer.
    pub answers_after_ms: (u64, u64),
    /// Every delivery arrives twice.
    pub duplicate_deliveries: bool,
    /// Milliseconds by the clock between an event and its delivery.
    pub delivery_delay_ms: i64,
    /// Deliveries that are ready together go out in a random order.
    pub shuffle_deliveries: bool,
    /// Events happen but are never delivered.
    pub drop_deliveries: bool,
    /// Attempts for a delivery in background mode: a sandbox makes three.
    pub delivery_attempts: u32,
    /// Real milliseconds before the second attempt; doubled for each further one.
    pub delivery_backoff_ms: u64,
    /// Set: ids, tokens and the shuffle follow from this number. Unset: they differ from run to run.
    pub seed: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            jwe_alg: JweAlg::RsaOaep256,
            garble_ciphertext: false,
            list_lag_ms: 0,
            events_lag_ms: 0,
            object_id_finds_keys: true,
            absolute_page_urls: false,
            expire_lag_ms: 0,
            publishable_answers_401: false,
            key_limit: 100,
            restricted_only: false,
            old_id_retrievable: true,
            expired_event_after_rotate: true,
            replay_returns_ciphertext: true,
            replay_returns_token: true,
            managed_by_application: false,
            related_object: RelatedObject::Empty,
            thin_account_events: false,
            sandbox_context: SandboxContext::Null,
            events_oldest_first: false,
            events_readable_after_uninstall: false,
            rate_limit_per_second: None,
            endpoint_rate_limit_per_second: None,
            arrives_after_ms: (0, 0),
            answers_after_ms: (0, 0),
            duplicate_deliveries: false,
            delivery_delay_ms: 0,
            shuffle_deliveries: false,
            drop_deliveries: false,
            delivery_attempts: 3,
            delivery_backoff_ms: 200,
            seed: None,
        }
    }
}

/// Key management algorithm of the JWE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JweAlg {
    /// `RSA-OAEP`: SHA-1, the name used by Stripe's prose.
    RsaOaep,
    /// `RSA-OAEP-256`: SHA-256, the name in the spec's examples.
    RsaOaep256,
}

/// Shapes of `related_object` that receivers must all accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelatedObject {
    /// `{}`, as in Stripe's samples.
    Empty,
    /// `null`.
    Null,
    /// No such field.
    Absent,
}

/// Whose an event about a claimable sandbox may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxContext {
    /// The app's own: `null`.
    Null,
    /// The app's own, named.
    Platform,
    /// The sandbox account's.
    Sandbox,
}
