//! RSA key pairs: how they are made, and the one type that holds a private key.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use tokio::task;
use zeroize::Zeroizing;

use super::error::Error;
use crate::domain::id::Kid;

/// An RSA private key in the clear: PKCS#8 DER (RFC 5958), 1.2 to 2.4 KB.
///
/// Has no `Debug`, `Clone`, `Serialize` or `PartialEq` and is wiped when dropped; `expose` is the
/// only way to its bytes.
#[expect(missing_debug_implementations, reason = "a secret is never printed")]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes PKCS#8 DER into custody. Whether it is a key shows when it is first used.
    pub fn from_pkcs8(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
    }

    /// The key itself, PKCS#8 DER. Every call of this is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// How long the modulus of a new key pair is. Stripe takes 2048 bits and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 2048 bits.
    Rsa2048,
    /// 3072 bits.
    Rsa3072,
    /// 4096 bits.
    Rsa4096,
}

/// The text names no size that a key pair can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 2048, 3072 or 4096")]
pub struct InvalidBits;

impl Bits {
    /// Parses a setting: `2048`, `3072` or `4096`, nothing else.
    pub fn parse(text: &str) -> Result<Self, InvalidBits> {
        match text {
            "2048" => Ok(Self::Rsa2048),
            "3072" => Ok(Self::Rsa3072),
            "4096" => Ok(Self::Rsa4096),
            _ => Err(InvalidBits),
        }
    }
}

/// Makes a key pair: the private key, and the public key as SPKI PEM (RFC 7468 section 13).
///
/// CPU only, and it varies with luck: about 65 ms at 2048 bits and up to some seconds at 4096.
pub fn generate(bits: Bits) -> Result<(PrivateKey, String), Error> {
    let size = match bits {
        Bits::Rsa2048 => KeySize::Rsa2048,
        Bits::Rsa3072 => KeySize::Rsa3072,
        Bits::Rsa4096 => KeySize::Rsa4096,
    };
    let pair = PrivateDecryptingKey::generate(size).map_err(|_| Error::Generate)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Generate)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| Error::Generate)?;
    let private = PrivateKey::from_pkcs8(Zeroizing::new(private.as_ref().to_vec()));
    Ok((private, public_pem(public.as_ref())))
}

/// As [`generate`], off the runtime's only thread: a sweep has many accounts in flight, and the search
/// for primes would hold up their timers and leases.
pub(super) fn made_aside(bits: Bits) -> BoxFuture<'static, Result<(PrivateKey, String), Error>> {
    let made = task::spawn_blocking(move || generate(bits));
    Box::pin(async move { made.await.map_err(|_| Error::Generate)? })
}

/// A new name for a key pair: `kid_` and 26 characters, 130 random bits.
///
/// Random and not derived from the account: Stripe and the user's account get to see it.
pub fn new_kid() -> Result<Kid, Error> {
    let mut random = [0; KID_LEN];
    rand::fill(&mut random).map_err(|_| Error::Generate)?;
    // 256 is a multiple of 32, so five bits of a byte are as evenly spread as the byte.
    let name: String =
        random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    Kid::parse(&format!("kid_{name}")).map_err(|_| Error::Generate)
}

/// Lines of 64 characters, and line breaks around the body: Stripe insists on the latter.
fn public_pem(spki: &[u8]) -> String {
    let mut pem = String::from(BEGIN_PUBLIC);
    pem.push('\n');
    for (at, character) in STANDARD.encode(spki).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push('\n');
    pem.push_str(END_PUBLIC);
    pem.push('\n');
    pem
}

/// The SPKI of a stored public key, written anew by aws-lc; `None` when it is not an RSA public key of 2048
/// bits or more in the form that [`generate`] gives it.
///
/// josekit reserves as much memory as a length in DER says, and the process ends there when that is more
/// than there is: it only gets what was parsed and written by somebody else.
pub(super) fn checked_spki(pem: &str) -> Option<Vec<u8>> {
    let body = pem.strip_prefix(BEGIN_PUBLIC)?.trim_end().strip_suffix(END_PUBLIC)?;
    let spki = STANDARD.decode(body.replace('\n', "")).ok()?;
    let written: PublicKeyX509Der<'_> = PublicEncryptingKey::from_der(&spki).ok()?.as_der().ok()?;
    Some(written.as_ref().to_vec())
}

/// Whether it is PKCS#8 of an RSA private key of 2048 bits or more: asked for the same reason, since what a
/// vault gives back is what somebody once had wrapped.
pub(super) fn is_rsa_private_key(private: &PrivateKey) -> bool {
    PrivateDecryptingKey::from_pkcs8(private.expose()).is_ok()
}

/// RFC 4648 section 6 in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

const KID_LEN: usize = 26;

const BEGIN_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----";
const END_PUBLIC: &str = "-----END PUBLIC KEY-----";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_setting_names_one_of_three_sizes() {
        assert_eq!(Bits::parse("2048"), Ok(Bits::Rsa2048));
        assert_eq!(Bits::parse("3072"), Ok(Bits::Rsa3072));
        assert_eq!(Bits::parse("4096"), Ok(Bits::Rsa4096));
        for text in ["", "1024", "2048 ", "8192", "rsa"] {
            assert_eq!(Bits::parse(text), Err(InvalidBits), "{text}");
        }
    }

    #[test]
    fn a_public_key_is_spki_pem_in_lines_of_64() {
        let (_, pem) = generate(Bits::Rsa2048).unwrap();
        let lines: Vec<_> = pem.lines().collect();
        let (last, body) = lines[1..lines.len() - 1].split_last().unwrap();
        assert_eq!(lines[0], "-----BEGIN PUBLIC KEY-----");
        assert_eq!(lines[lines.len() - 1], "-----END PUBLIC KEY-----");
        assert!(body.iter().all(|line| line.len() == 64));
        assert!((1..=64).contains(&last.len()));
        assert!(pem.ends_with("-----\n"));
    }

    #[test]
    fn both_halves_belong_together_and_have_the_size_asked_for() {
        for (bits, bytes) in [(Bits::Rsa2048, 256), (Bits::Rsa3072, 384), (Bits::Rsa4096, 512)] {
            let (private, pem) = generate(bits).unwrap();
            let key = PrivateDecryptingKey::from_pkcs8(private.expose()).unwrap();
            assert_eq!(key.key_size_bytes(), bytes);
            assert_eq!(public_pem(key.public_key().as_der().unwrap().as_ref()), pem);
            assert!(private.expose().len() <= 4096, "KMS encrypts no more than 4096 bytes");
        }
    }

    #[test]
    fn names_of_pairs_are_random() {
        let names: HashSet<_> = (0..64).map(|_| new_kid().unwrap()).collect();
        assert_eq!(names.len(), 64);
        for name in names {
            let suffix = &name.as_str()["kid_".len()..];
            assert_eq!(suffix.len(), KID_LEN);
            assert!(suffix.bytes().all(|byte| ALPHABET.contains(&byte)));
        }
    }
}
