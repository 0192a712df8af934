//! The log of API calls. It holds ids and outcomes, never a token or a body.

/// One API call as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// When, by the clock, in milliseconds since the epoch.
    pub at_ms: i64,
    /// `GET` or `POST`.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// `Stripe-Context` as sent.
    pub context: Option<String>,
    /// `Stripe-Version` as sent.
    pub version: Option<String>,
    /// `Idempotency-Key` as sent.
    pub idempotency_key: Option<String>,
    /// Which key authenticated the call; its mode is the mode of the call.
    pub key_used: KeyUsed,
    /// Mode of the call; `None` if the key is unknown.
    pub live: Option<bool>,
    /// Whether the answer is an idempotent replay: nothing new happened.
    pub replayed: bool,
    /// `request-id` of the answer.
    pub request_id: String,
    /// HTTP status; `None` while in progress and after a hang-up.
    pub status: Option<u16>,
    /// `error.code`, if the answer is an API error.
    pub error_code: Option<String>,
}

/// The kind of key a call came with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyUsed {
    /// No `Authorization` header, or one that is neither Bearer nor Basic.
    #[default]
    None,
    /// A key this server never gave.
    Unknown,
    /// The app's live key.
    AppLive,
    /// The app's test key.
    AppTest,
    /// A key of a user's account, by its `mk_…` id.
    Minted(String),
}
