//! What keeps the local bundle local: loopback addresses, no live keys, no foreign pages.

use std::net::IpAddr;

use http::{HeaderMap, header};
use keysteward::http::single;

/// Somebody wants to listen where others can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from outside; the local bundle listens on loopback (127.0.0.1, ::1) only"
)]
pub struct NotLoopback(pub IpAddr);

/// A live key of Stripe's is in sight. Says where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} looks like a live key of Stripe's; the local bundle needs none and does not start beside one"
)]
pub struct LiveKey(pub String);

/// Refuses every address but this machine's own.
pub fn require_loopback(ip: IpAddr) -> Result<(), NotLoopback> {
    if ip.is_loopback() { Ok(()) } else { Err(NotLoopback(ip)) }
}

/// Refuses when a value holds what looks like a live key. Each value comes with what to call it.
pub fn refuse_live_keys(values: impl IntoIterator<Item = (String, String)>) -> Result<(), LiveKey> {
    match values.into_iter().find(|(_, value)| holds_live_key(value)) {
        Some((name, _)) => Err(LiveKey(name)),
        None => Ok(()),
    }
}

/// Refuses when a variable of this process holds what looks like a live key.
pub fn refuse_live_keys_in_environment() -> Result<(), LiveKey> {
    refuse_live_keys(std::env::vars_os().map(|(name, value)| {
        let name = format!("the variable {}", name.to_string_lossy());
        (name, value.to_string_lossy().into_owned())
    }))
}

/// The `Host` of a request, if it names this machine: a page elsewhere that has its own name resolve to
/// 127.0.0.1 gets nothing.
pub(crate) fn own_host(headers: &HeaderMap) -> Option<&str> {
    let host = single(headers, header::HOST.as_str())?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]").then_some(host)
}

/// Whether a form was sent from a page of ours. What does not say where it comes from does not count: every
/// browser says it.
pub(crate) fn is_from_own_page(headers: &HeaderMap) -> bool {
    let Some(host) = own_host(headers) else { return false };
    let site = single(headers, "sec-fetch-site").map(|site| site == "same-origin");
    let origin = single(headers, header::ORIGIN.as_str())
        .map(|origin| origin.strip_prefix("http://") == Some(host));
    match (site, origin) {
        (None, None) => false,
        (site, origin) => site != Some(false) && origin != Some(false),
    }
}

/// The word may stand inside another text, as in a JSON document; fake Stripe's own live key has `fake` in it.
fn holds_live_key(value: &str) -> bool {
    value.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| {
        ["sk_live_", "rk_live_"].iter().any(|prefix| {
            word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains("fake"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_live_key_is_named_by_where_it_is_and_not_repeated() {
        for value in ["sk_live_51Habc", "rk_live_51Habc", "{\"api_key_live\":\"sk_live_51Habc\"}"] {
            let refused = refuse_live_keys([("the variable KEY".to_owned(), value.to_owned())]);
            let text = refused.unwrap_err().to_string();
            assert!(text.starts_with("the variable KEY looks like a live key"), "{text}");
            assert!(!text.contains("51Habc"), "{text}");
        }
        for value in
            ["", "sk_live_", "sk_live_fake_app", "sk_test_51Habc", "task_live_51", "pk_live_1"]
        {
            assert_eq!(refuse_live_keys([("x".to_owned(), value.to_owned())]), Ok(()), "{value}");
        }
    }

    #[test]
    fn only_loopback_hosts_are_ours() {
        for host in ["127.0.0.1:8787", "localhost:8787", "[::1]:8787", "localhost"] {
            assert_eq!(own_host(&headers(&[("host", host)])), Some(host));
        }
        for host in ["evil.example:8787", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""] {
            assert_eq!(own_host(&headers(&[("host", host)])), None, "{host}");
        }
    }

    #[test]
    fn a_form_counts_as_ours_when_the_browser_says_so() {
        let host = ("host", "127.0.0.1:8787");
        for (rest, is_ours) in [
            (vec![("origin", "http://127.0.0.1:8787")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8787")], true),
            (vec![("origin", "http://127.0.0.1:8788")], false),
            (vec![("origin", "null")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8787")], false),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")], false),
            (vec![], false),
        ] {
            let sent: Vec<_> = rest.iter().copied().chain([host]).collect();
            assert_eq!(is_from_own_page(&headers(&sent)), is_ours, "{rest:?}");
        }
    }
}
