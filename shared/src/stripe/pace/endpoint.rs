//! What Stripe counts calls by: the method and the path without ids.

/// An endpoint with a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /v2/iam/api_keys`
    CreateKey,
    /// `GET /v2/iam/api_keys`
    ListKeys,
    /// `GET /v2/iam/api_keys/{id}`
    RetrieveKey,
    /// `POST /v2/iam/api_keys/{id}`
    UpdateKey,
    /// `POST /v2/iam/api_keys/{id}/rotate`
    RotateKey,
    /// `POST /v2/iam/api_keys/{id}/expire`
    ExpireKey,
    /// `GET /v2/core/events/{id}`
    RetrieveEvent,
    /// `GET /v2/core/events`
    ListEvents,
    /// `POST /v1/oauth/token`
    ExchangeCode,
    /// Everything else, together.
    Other,
}

impl Endpoint {
    /// The endpoint of a call.
    pub(in crate::stripe) fn of(is_get: bool, path: &str) -> Self {
        let mut parts = path.trim_matches('/').split('/');
        let family = (parts.next(), parts.next(), parts.next());
        let rest = (parts.next(), parts.next(), parts.next());
        match (is_get, family, rest) {
            (false, KEYS, (None, ..)) => Self::CreateKey,
            (true, KEYS, (None, ..)) => Self::ListKeys,
            (true, KEYS, (Some(_), None, _)) => Self::RetrieveKey,
            (false, KEYS, (Some(_), None, _)) => Self::UpdateKey,
            (false, KEYS, (Some(_), Some("rotate"), None)) => Self::RotateKey,
            (false, KEYS, (Some(_), Some("expire"), None)) => Self::ExpireKey,
            (true, EVENTS, (None, ..)) => Self::ListEvents,
            (true, EVENTS, (Some(_), None, _)) => Self::RetrieveEvent,
            (false, TOKEN, (None, ..)) => Self::ExchangeCode,
            _ => Self::Other,
        }
    }

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "create_key",
            Self::ListKeys => "list_keys",
            Self::RetrieveKey => "retrieve_key",
            Self::UpdateKey => "update_key",
            Self::RotateKey => "rotate_key",
            Self::ExpireKey => "expire_key",
            Self::RetrieveEvent => "retrieve_event",
            Self::ListEvents => "list_events",
            Self::ExchangeCode => "exchange_code",
            Self::Other => "other",
        }
    }
}

type Family = (Option<&'static str>, Option<&'static str>, Option<&'static str>);

const KEYS: Family = (Some("v2"), Some("iam"), Some("api_keys"));
const EVENTS: Family = (Some("v2"), Some("core"), Some("events"));
const TOKEN: Family = (Some("v1"), Some("oauth"), Some("token"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_does_not_make_another_endpoint() {
        for (is_get, path, endpoint) in [
            (false, "/v2/iam/api_keys", Endpoint::CreateKey),
            (true, "/v2/iam/api_keys", Endpoint::ListKeys),
            (true, "/v2/iam/api_keys/mk_1", Endpoint::RetrieveKey),
            (true, "/v2/iam/api_keys/mk_2", Endpoint::RetrieveKey),
            (false, "/v2/iam/api_keys/mk_1", Endpoint::UpdateKey),
            (false, "/v2/iam/api_keys/mk_1/rotate", Endpoint::RotateKey),
            (false, "/v2/iam/api_keys/mk_1/expire", Endpoint::ExpireKey),
            (false, "/v2/iam/api_keys/mk_1/expire/x", Endpoint::Other),
            (true, "/v2/core/events", Endpoint::ListEvents),
            (true, "/v2/core/events/evt_1", Endpoint::RetrieveEvent),
            (false, "/v1/oauth/token", Endpoint::ExchangeCode),
            (true, "/v1/customers", Endpoint::Other),
            (true, "", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(is_get, path), endpoint, "{path}");
        }
    }
}
