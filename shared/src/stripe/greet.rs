//! Asking Stripe whether it knows the app's own key, and what time it is there.

use reqwest::header::DATE;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::client::{Call, Stripe, bearer};
use super::error::Error;
use crate::domain::slot::Mode;
use crate::domain::time::Timestamp;

/// Stripe's answer to the app's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Whether Stripe takes the key.
    pub is_known: bool,
    /// The `Date` of the answer, to the second; `None` when it carries none.
    pub date: Option<Timestamp>,
}

impl Stripe {
    /// Makes one cheap call with the app's own key of a mode. What the answer holds is dropped unread.
    ///
    /// # Errors
    ///
    /// [`Error::MissingAppKey`]; [`Error::Connect`] and its like when nothing was learnt.
    pub async fn greet(&self, mode: Mode) -> Result<Greeting, Error> {
        let url = self.url("/v1/account")?;
        let call = Call::get(url, bearer(self.app_key(mode)?)?);
        let (status, headers) = self.head_of(&call).await?;
        let date = headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(parse_date);
        match status {
            200..=299 | 403 => Ok(Greeting { is_known: true, date }),
            401 => Ok(Greeting { is_known: false, date }),
            status => Err(Error::Unavailable { status, request_id: None }),
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 section 5.6.7.
fn parse_date(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Timestamp::from_seconds(at.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::testing::{Reply, Server, client};

    #[test]
    fn the_date_of_an_answer_is_read() {
        let at = parse_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at.to_string(), "1994-11-06T08:49:37.000Z");
        assert_eq!(parse_date("yesterday"), None);
    }

    #[tokio::test]
    async fn an_app_key_is_known_refused_or_not_learnt_about() {
        for (status, is_known) in
            [(200, Some(true)), (403, Some(true)), (401, Some(false)), (500, None), (404, None)]
        {
            let server = Server::start([Reply::json(status, json!({}))]).await;
            let greeting = client(&server).greet(Mode::Test).await;
            assert_eq!(greeting.ok().map(|greeting| greeting.is_known), is_known, "{status}");
            assert_eq!(server.seen()[0].line(), "GET /v1/account");
        }
    }
}
