//! Asking a key itself whether it works.

use super::client::{Call, Stripe, bearer};
use super::error::{Error, Refusal};
use crate::domain::secret::SecretToken;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Stripe knows it, even if it may not do what was asked.
    Alive,
    /// Stripe does not accept it.
    Dead,
}

impl Stripe {
    /// Makes the smallest call with a user's key: 200 and 403 say that it works, 401 that it does not
    /// (unless that is because it is publishable).
    ///
    /// Without `Stripe-Version`, so that the account's own applies, and outside the pace, since it counts
    /// against the limits of the account and not of the app. What the answer lists is dropped unread.
    ///
    /// # Errors
    ///
    /// [`Error`] when nothing was learnt about the key.
    pub async fn probe(&self, token: &SecretToken) -> Result<Liveness, Error> {
        let url = self.url("/v1/customers?limit=1")?;
        let call = Call { paced: false, ..Call::get(url, bearer(token)?) };
        match self.call(&call).await {
            Ok(_) => Ok(Liveness::Alive),
            Err(error) => match error.refusal() {
                Some(Refusal::Forbidden) => Ok(Liveness::Alive),
                Some(Refusal::Unauthorized) => Ok(Liveness::Dead),
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::testing::{Reply, Server, client};

    #[tokio::test]
    async fn a_key_is_alive_dead_or_unknown() {
        use Liveness::{Alive, Dead};
        let expired = json!({"error": {"code": "api_key_expired", "message": "m"}});
        for (status, body, learnt) in [
            (200, json!({"object": "list", "data": [{"email": "a@b.example"}]}), Some(Alive)),
            (
                403,
                json!({"error": {"code": "more_permissions_required", "message": "m"}}),
                Some(Alive),
            ),
            (401, json!({"error": {"message": "m"}}), Some(Dead)),
            (401, expired, Some(Dead)),
            (401, json!({"error": {"code": "secret_key_required", "message": "m"}}), Some(Alive)),
            (404, json!({}), None),
            (429, json!({}), None),
            (500, json!({}), None),
            (302, json!({}), None),
        ] {
            let server = Server::start([Reply::json(status, body)]).await;
            let token = SecretToken::new("rk_live_user".to_owned());
            let liveness = client(&server).probe(&token).await;
            assert_eq!(liveness.ok(), learnt, "{status}");
            let seen = &server.seen()[0];
            assert_eq!(seen.line(), "GET /v1/customers?limit=1");
            assert_eq!(seen.header("authorization"), Some("Bearer rk_live_user"));
            assert_eq!(seen.header("stripe-context"), None);
            assert_eq!(seen.header("stripe-version"), None);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_a_key_is_not_sent() {
        let server = Server::start([Reply::json(200, json!({}))]).await;
        let token = SecretToken::new("rk_live_\n".to_owned());
        assert!(matches!(client(&server).probe(&token).await, Err(Error::Unsendable)));
        assert!(server.seen().is_empty());
    }
}
