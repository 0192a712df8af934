//! What can go wrong around the vault, by what somebody has to do about it.

use crate::{Class, Fault};

/// A failure of the vault, or of making and using what it keeps.
///
/// Sources say more and belong in a log; none of them holds a raw answer of the vault, since the
/// answer to a decryption is a private key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The random generator or RSA key generation failed. No source: aws-lc gives no reason.
    #[error("could not make a key pair")]
    Generate,
    /// The public key of the pair, as stored, is not an RSA key that a token can be sealed to.
    #[error("the pair's public key is not one that a token can be sealed to")]
    NotAPublicKey,
    /// The token could not be sealed.
    #[error("could not seal a token to the pair's public key")]
    Seal(#[source] Cause),
    /// The vault opened the wrapping, and what was inside is no RSA private key.
    #[error("what the vault gave back is not a private key")]
    NotAPrivateKey,
    /// Wrapped for another context, by another key, or changed since.
    #[error("the wrapped private key was changed, or belongs to another context or key")]
    WrongContextOrTampered(#[source] Option<Cause>),
    /// The vault's key is disabled, pending deletion, or otherwise not in a state to be used.
    #[error("the vault's key is disabled")]
    Disabled(#[source] Cause),
    /// This process may not use the vault's key, under this context or at all.
    #[error("not allowed to use the vault's key")]
    NotAllowed(#[source] Cause),
    /// There is no such key.
    #[error("the vault's key does not exist")]
    NotFound(#[source] Cause),
    /// The vault refused for a reason that has no variant here.
    #[error("the vault refused the request")]
    Refused(#[source] Cause),
    /// Too many requests.
    #[error("the vault is throttling")]
    Throttled(#[source] Cause),
    /// No answer, or one that says to try again.
    #[error("the vault could not be reached")]
    Unavailable(#[source] Cause),
    /// A local vault was asked to keep a live key.
    #[error("a local vault keeps no live keys")]
    RefusesLive,
    /// The local vault's key file could not be created or read.
    #[error("could not create or read the local vault's key file")]
    KeyFile(#[source] std::io::Error),
    /// The local vault's key file is not 32 bytes long.
    #[error("the local vault's key file is not 32 bytes long")]
    KeyFileMalformed,
    /// Others than its owner may use the local vault's key file.
    #[error("the local vault's key file must be accessible to its owner only (mode 0600)")]
    KeyFileExposed,
    /// AES-256-GCM could not seal. No source: aws-lc gives no reason.
    #[error("could not wrap the private key")]
    Wrap,
}

/// Why, for the log: an error of a library below, whose type stays there.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Who has to act.
    pub fn class(&self) -> Class {
        match self {
            Self::Throttled(_) | Self::Unavailable(_) => Class::Transient,
            Self::Generate
            | Self::NotAPublicKey
            | Self::Seal(_)
            | Self::NotAPrivateKey
            | Self::WrongContextOrTampered(_)
            | Self::Disabled(_)
            | Self::NotAllowed(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::RefusesLive
            | Self::KeyFile(_)
            | Self::KeyFileMalformed
            | Self::KeyFileExposed
            | Self::Wrap => Class::Fault,
        }
    }

    /// Under which name it is counted.
    pub fn fault(&self) -> Fault {
        match self {
            Self::WrongContextOrTampered(_) => Fault::WrongContext,
            Self::Disabled(_) => Fault::VaultKeyDisabled,
            Self::NotFound(_) => Fault::VaultKeyMissing,
            Self::NotAllowed(_) => Fault::VaultNotAllowed,
            Self::Throttled(_) | Self::Unavailable(_) => Fault::VaultUnavailable,
            Self::Generate
            | Self::NotAPublicKey
            | Self::Seal(_)
            | Self::NotAPrivateKey
            | Self::Refused(_)
            | Self::RefusesLive
            | Self::KeyFile(_)
            | Self::KeyFileMalformed
            | Self::KeyFileExposed
            | Self::Wrap => Fault::VaultFailed,
        }
    }
}

/// The ciphertext does not open, for whatever reason.
///
/// Tampered, truncated, made for another key, of an algorithm that is not allowed, or not a token
/// inside: one value and one message for all, so that nobody learns from it how far opening got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not open")]
pub struct DoesNotOpen;

impl DoesNotOpen {
    /// Always a fault: repeating it changes nothing.
    pub fn class(self) -> Class {
        Class::Fault
    }
}

/// Why a sealed token was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ciphertext itself; it will not open later either.
    #[error("could not open the sealed token")]
    DoesNotOpen(#[source] DoesNotOpen),
    /// The private key could not be had; the ciphertext was not tried.
    #[error("could not unwrap the private key")]
    Vault(#[source] Error),
}

impl OpenError {
    /// Who has to act.
    pub fn class(&self) -> Class {
        match self {
            Self::DoesNotOpen(error) => error.class(),
            Self::Vault(error) => error.class(),
        }
    }

    /// Under which name it is counted.
    pub fn fault(&self) -> Fault {
        match self {
            Self::DoesNotOpen(_) => Fault::TokenDoesNotOpen,
            Self::Vault(error) => error.fault(),
        }
    }
}
