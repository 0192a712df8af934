//! Everything that is read from the environment, parsed or refused by name at start.

use std::time::Duration;

use crate::domain::intent::RequestShape;
use crate::domain::policy::{
    Choice, OnDrift, OnUninstall, OnUserExpire, Policy, Refused, Strategy,
};
use crate::vault::pair::Bits;

/// Why a function does not start. Names the variable, never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A variable that this function needs is not set or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable's value is not one of those it can have.
    #[error("{0} is not {1}")]
    Invalid(&'static str, &'static str),
    /// The policy could lose a key.
    #[error("the policy is refused")]
    Policy(#[from] Refused),
}

/// Reads variables through a look-up, so that tests and the local bundle need no environment.
pub struct Settings<'a>(&'a dyn Fn(&str) -> Option<String>);

impl std::fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// Reads one variable of the process.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl<'a> Settings<'a> {
    /// Reads from `lookup`; [`environment`] in a Lambda.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(lookup)
    }

    /// A variable that has to be there.
    pub fn required(&self, name: &'static str) -> Result<String, SettingsError> {
        self.optional(name).ok_or(SettingsError::Missing(name))
    }

    /// A variable that may be absent; an empty one counts as absent.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &'static str, default: u32) -> Result<u32, SettingsError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| SettingsError::Invalid(name, "a whole number")),
        }
    }

    /// The policy, refused by name when it could lose a key.
    pub fn policy(&self) -> Result<Policy, SettingsError> {
        let default = Choice::default();
        let strategy = match self.optional("KEYSTEWARD_ROTATION_STRATEGY").as_deref() {
            None => default.strategy,
            Some("rotate") => Strategy::Rotate,
            Some("create_then_expire") => Strategy::CreateThenExpire,
            Some(_) => {
                let allowed = "`rotate` or `create_then_expire`";
                return Err(SettingsError::Invalid("KEYSTEWARD_ROTATION_STRATEGY", allowed));
            }
        };
        let on_user_expire = match self.optional("KEYSTEWARD_ON_USER_EXPIRE").as_deref() {
            None => default.on_user_expire,
            Some("hold") => OnUserExpire::Hold,
            Some("reissue") => OnUserExpire::Reissue,
            Some(_) => {
                return Err(SettingsError::Invalid(
                    "KEYSTEWARD_ON_USER_EXPIRE",
                    "`hold` or `reissue`",
                ));
            }
        };
        let on_uninstall = match self.optional("KEYSTEWARD_ON_UNINSTALL").as_deref() {
            None => default.on_uninstall,
            Some("keep") => OnUninstall::Keep,
            Some("expire") => OnUninstall::Expire,
            Some(_) => {
                return Err(SettingsError::Invalid(
                    "KEYSTEWARD_ON_UNINSTALL",
                    "`keep` or `expire`",
                ));
            }
        };
        let on_drift = match self.optional("KEYSTEWARD_ON_DRIFT").as_deref() {
            None => default.on_drift,
            Some("report") => OnDrift::Report,
            Some("apply") => OnDrift::Apply,
            Some(_) => {
                return Err(SettingsError::Invalid("KEYSTEWARD_ON_DRIFT", "`report` or `apply`"));
            }
        };
        Ok(Policy::new(Choice {
            rotate_every_days: self
                .number("KEYSTEWARD_ROTATE_EVERY_DAYS", default.rotate_every_days)?,
            overlap_minutes: self.number("KEYSTEWARD_OVERLAP_MINUTES", default.overlap_minutes)?,
            strategy,
            on_user_expire,
            on_uninstall,
            on_drift,
        })?)
    }

    /// How requests to Stripe are written. `KEYSTEWARD_KEY_PERMISSIONS` (a list, separated by commas)
    /// asks for restricted keys; the default preview of April 2026 knows none and refuses it.
    pub fn request_shape(&self) -> Result<RequestShape, SettingsError> {
        let stripe_version = self
            .optional("KEYSTEWARD_STRIPE_VERSION")
            .unwrap_or_else(|| DEFAULT_STRIPE_VERSION.to_owned());
        let permissions: Vec<String> = self
            .optional("KEYSTEWARD_KEY_PERMISSIONS")
            .map(|list| {
                let names = list.split(',').map(|name| name.trim().to_owned());
                names.filter(|name| !name.is_empty()).collect()
            })
            .unwrap_or_default();
        if !permissions.is_empty() && stripe_version == DEFAULT_STRIPE_VERSION {
            let allowed =
                "usable with the default KEYSTEWARD_STRIPE_VERSION, which mints unrestricted keys";
            return Err(SettingsError::Invalid("KEYSTEWARD_KEY_PERMISSIONS", allowed));
        }
        Ok(RequestShape { stripe_version, permissions })
    }

    /// `KEYSTEWARD_MAX_STRIPE_RPS`, by default 20: below the 25 a second that Stripe gives a sandbox.
    pub fn max_stripe_rps(&self) -> Result<u32, SettingsError> {
        match self.number("KEYSTEWARD_MAX_STRIPE_RPS", 20)? {
            0 => Err(SettingsError::Invalid("KEYSTEWARD_MAX_STRIPE_RPS", "at least 1")),
            rps => Ok(rps),
        }
    }

    /// `KEYSTEWARD_PRIVATE_KEY_CACHE_SECONDS`, 0 to 3600, by default 300.
    pub fn private_key_cache(&self) -> Result<Duration, SettingsError> {
        match self.number("KEYSTEWARD_PRIVATE_KEY_CACHE_SECONDS", 300)? {
            seconds @ 0..=3600 => Ok(Duration::from_secs(u64::from(seconds))),
            _ => {
                let allowed = "between 0 and 3600";
                Err(SettingsError::Invalid("KEYSTEWARD_PRIVATE_KEY_CACHE_SECONDS", allowed))
            }
        }
    }

    /// `KEYSTEWARD_RSA_BITS`: 2048 (the default), 3072 or 4096.
    pub fn rsa_bits(&self) -> Result<Bits, SettingsError> {
        let Some(text) = self.optional("KEYSTEWARD_RSA_BITS") else { return Ok(Bits::Rsa2048) };
        Bits::parse(&text)
            .map_err(|_| SettingsError::Invalid("KEYSTEWARD_RSA_BITS", "2048, 3072 or 4096"))
    }

    /// `KEYSTEWARD_STRIPE_API_BASE`, by default Stripe's own.
    pub fn stripe_api_base(&self) -> String {
        self.optional("KEYSTEWARD_STRIPE_API_BASE")
            .unwrap_or_else(|| "https://api.stripe.com".into())
    }
}

/// The preview that the seed page documents.
const DEFAULT_STRIPE_VERSION: &str = "2026-04-22.preview";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let lookup = of(&[]);
        let settings = Settings::new(&lookup);
        assert_eq!(settings.policy().unwrap(), Policy::new(Choice::default()).unwrap());
        assert_eq!(settings.request_shape().unwrap().stripe_version, "2026-04-22.preview");
        assert_eq!(settings.stripe_api_base(), "https://api.stripe.com");
        assert_eq!(
            settings.required("KEYSTEWARD_TABLE"),
            Err(SettingsError::Missing("KEYSTEWARD_TABLE"))
        );
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_the_variables_name() {
        let lookup = of(&[
            ("KEYSTEWARD_ROTATION_STRATEGY", "hope"),
            ("KEYSTEWARD_MAX_STRIPE_RPS", "0"),
            ("KEYSTEWARD_PRIVATE_KEY_CACHE_SECONDS", "3601"),
            ("KEYSTEWARD_RSA_BITS", "1024"),
            ("KEYSTEWARD_KEY_PERMISSIONS", "charge_write"),
        ]);
        let settings = Settings::new(&lookup);
        for refusal in [
            settings.policy().unwrap_err(),
            settings.max_stripe_rps().unwrap_err(),
            settings.private_key_cache().unwrap_err(),
            settings.rsa_bits().unwrap_err(),
            settings.request_shape().unwrap_err(),
        ] {
            let text = refusal.to_string();
            assert!(text.starts_with("KEYSTEWARD_"), "{text}");
            assert!(!text.contains("hope"), "a value from outside is never repeated");
        }
        let lookup = of(&[("KEYSTEWARD_OVERLAP_MINUTES", "3")]);
        let refused = Settings::new(&lookup).policy().unwrap_err();
        assert_eq!(refused, SettingsError::Policy(Refused::OverlapShorterThanRecovery));
    }
}
