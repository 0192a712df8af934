//! Custody of the private keys that open the users' API keys.
//!
//! A [`Vault`] wraps a private key so that it opens only for the app, account, mode and pair that it
//! was wrapped for. There are two: [`kms::KmsVault`], and [`local::LocalVault`], which refuses live
//! keys. The [`Keyring`] makes pairs, seals and opens tokens, and remembers unwrapped private keys
//! for a bounded time. It never remembers a token.

mod cache;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod jwe;
pub mod kms;
pub mod local;
pub mod pair;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use self::cache::Cache;
pub use self::error::{DoesNotOpen, Error, OpenError};
use self::jwe::Opener;
use self::pair::{Bits, PrivateKey};
use crate::domain::id::Kid;
use crate::domain::sealed::{Context, KeyPair, Sealed, Wrapped};
use crate::domain::secret::SecretToken;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;

/// Keeps private keys locked, each to its context.
pub trait Vault: Send + Sync + fmt::Debug {
    /// Locks a private key to a context. One call of the vault.
    fn wrap<'a>(
        &'a self,
        context: &'a Context,
        private: &'a PrivateKey,
    ) -> BoxFuture<'a, Result<Wrapped, Error>>;

    /// Unlocks a private key. One call of the vault.
    ///
    /// With any other context than the one it was locked to it is
    /// [`Error::WrongContextOrTampered`]; there is no second try with less.
    fn unwrap_key<'a>(
        &'a self,
        context: &'a Context,
        wrapped: &'a Wrapped,
    ) -> BoxFuture<'a, Result<PrivateKey, Error>>;
}

/// Makes key pairs, seals tokens to them and opens what is sealed.
pub struct Keyring {
    vault: Box<dyn Vault>,
    app: String,
    bits: Bits,
    make: MakePair,
    cache: Mutex<Cache>,
}

/// Makes the halves of a key pair: the private key, and the public key as SPKI PEM.
pub type MakePair = fn(Bits) -> BoxFuture<'static, Result<(PrivateKey, String), Error>>;

impl Keyring {
    /// A keyring over a vault, for one Stripe App.
    ///
    /// New pairs have `bits`; an unwrapped private key is kept in memory for `cache_for`, zero for
    /// not at all.
    pub fn new(vault: Box<dyn Vault>, app: String, bits: Bits, cache_for: Duration) -> Self {
        Self { vault, app, bits, make: pair::made_aside, cache: Mutex::new(Cache::new(cache_for)) }
    }

    /// Takes new pairs from elsewhere: tests that need hundreds have a few that they use again, since the
    /// search for primes is most of what such a test would do.
    pub fn with_pairs_from(mut self, make: MakePair) -> Self {
        self.make = make;
        self
    }

    /// Makes a key pair for an account. One call of the vault.
    ///
    /// The private key goes straight into the cache, so that opening the first token that is sealed
    /// to the new pair needs no call.
    pub async fn make_pair(&self, at: &AccountRef, now: Timestamp) -> Result<KeyPair, Error> {
        let (private, public_pem) = (self.make)(self.bits).await?;
        let kid = pair::new_kid()?;
        let context = self.context(at, &kid);
        let wrapped = self.vault.wrap(&context, &private).await?;
        let opener = Opener::new(&private).map_err(|_| Error::NotAPrivateKey)?;
        self.cache().put(context, Arc::new(opener), now);
        Ok(KeyPair { kid, public_pem, wrapped, made_at: now })
    }

    /// Opens a sealed token. No call of the vault when the private key is cached, else one.
    ///
    /// Errors: [`OpenError::DoesNotOpen`] also when it was sealed to another pair than the one given.
    pub async fn open(
        &self,
        at: &AccountRef,
        pair: &KeyPair,
        sealed: &Sealed,
        now: Timestamp,
    ) -> Result<SecretToken, OpenError> {
        if sealed.kid != pair.kid {
            return Err(OpenError::DoesNotOpen(DoesNotOpen));
        }
        let opener = self.opener(at, pair, now).await.map_err(OpenError::Vault)?;
        // On the runtime's thread: at about a millisecond, another thread costs more than it gives.
        opener.open(&sealed.compact).map_err(OpenError::DoesNotOpen)
    }

    /// Seals a token that arrived in the clear, before it is written anywhere. No call of the vault.
    pub fn seal(&self, pair: &KeyPair, token: &SecretToken) -> Result<Sealed, Error> {
        let compact = jwe::seal(&pair.public_pem, token)?;
        Ok(Sealed { kid: pair.kid.clone(), compact })
    }

    /// Locks a random value to a context of its own, and unlocks it. Answers whether the vault gives it back
    /// for that context and for no other: a vault that looks at no context protects nobody from anybody.
    /// Three calls of the vault.
    ///
    /// # Errors
    ///
    /// [`Error`], by who has to act.
    pub async fn try_vault(&self, at: &AccountRef) -> Result<bool, Error> {
        let context = self.context(at, &pair::new_kid()?);
        let elsewhere = self.context(at, &pair::new_kid()?);
        let mut value = Zeroizing::new(vec![0; 32]);
        aws_lc_rs::rand::fill(&mut value).map_err(|_| Error::Generate)?;
        let value = PrivateKey::from_pkcs8(value);
        let wrapped = self.vault.wrap(&context, &value).await?;
        let unwrapped = self.vault.unwrap_key(&context, &wrapped).await?;
        let is_bound = match self.vault.unwrap_key(&elsewhere, &wrapped).await {
            Ok(_) => false,
            Err(Error::WrongContextOrTampered(_)) => true,
            Err(error) => return Err(error),
        };
        Ok(is_bound && unwrapped.expose() == value.expose())
    }

    async fn opener(
        &self,
        at: &AccountRef,
        pair: &KeyPair,
        now: Timestamp,
    ) -> Result<Arc<Opener>, Error> {
        let context = self.context(at, &pair.kid);
        let cached = self.cache().get(&context, now);
        if let Some(opener) = cached {
            return Ok(opener);
        }
        let private = self.vault.unwrap_key(&context, &pair.wrapped).await?;
        let opener = Arc::new(Opener::new(&private).map_err(|_| Error::NotAPrivateKey)?);
        self.cache().put(context, Arc::clone(&opener), now);
        Ok(opener)
    }

    fn context(&self, at: &AccountRef, kid: &Kid) -> Context {
        Context { app: self.app.clone(), account: at.id.clone(), mode: at.mode, kid: kid.clone() }
    }

    /// Never held across an await. A panic while it was held leaves a cache that is still a cache.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("vault", &self.vault)
            .field("app", &self.app)
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}
