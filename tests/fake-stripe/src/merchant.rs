//! What a minted key can be tried on: `GET /v1/customers` and `GET /v1/account`. 401 is a dead key, 403 a
//! living one that may not, as measured (README, "Sources").

use serde_json::{Value, json};

use crate::calls::{Call, KeyUsed};
use crate::error::ApiError;
use crate::keys::KeyType;
use crate::world::World;

impl World {
    /// Whether a key's token is accepted now, the expire lag included.
    pub(crate) fn key_authenticates(&self, id: &str) -> bool {
        self.keys.get(id).is_some_and(|key| key.authenticates(self.now()))
    }

    pub(crate) fn customers(&mut self, call: &Call) -> Result<Value, ApiError> {
        self.merchant(call, "customer")?;
        Ok(json!({"object": "list", "data": [], "has_more": false, "url": "/v1/customers"}))
    }

    pub(crate) fn own_account(&mut self, call: &Call) -> Result<Value, ApiError> {
        let account = self.merchant(call, "account")?;
        Ok(self.account_object(&account))
    }

    /// The account that the key of the call belongs to, if the key may read `resource`.
    fn merchant(&mut self, call: &Call, resource: &str) -> Result<String, ApiError> {
        let now = self.now();
        let id = match &call.key_used {
            KeyUsed::AppLive | KeyUsed::AppTest => return Ok(self.app.account.clone()),
            KeyUsed::None => {
                return Err(ApiError::unauthorized("You did not provide an API key."));
            }
            KeyUsed::Unknown => {
                return Err(ApiError::unauthorized("Invalid API Key provided."));
            }
            KeyUsed::Minted(id) => id,
        };
        let Some(key) = self.keys.get_mut(id).filter(|key| key.authenticates(now)) else {
            return Err(ApiError::unauthorized("Expired API Key provided."));
        };
        if key.kind == KeyType::Publishable {
            let why = "This API call cannot be made with a publishable API key.";
            return Err(match self.behaviour.publishable_answers_401 {
                true => ApiError::unauthorized(why),
                false => ApiError::forbidden("secret_key_required", why),
            });
        }
        key.last_used_ms = Some(now);
        if let Some(permissions) = &key.permissions {
            let allowed = |name: &String| {
                *name == format!("{resource}_read") || *name == format!("{resource}_write")
            };
            if !permissions.iter().any(allowed) {
                return Err(ApiError::forbidden(
                    "permission_missing",
                    format!("The key does not have the permission {resource}_read."),
                ));
            }
        }
        Ok(key.account.clone())
    }
}
