//! What must hold of ciphertexts and keys, should somebody else have written them.
#![expect(clippy::expect_used, reason = "only fuzzing and tests have this")]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::jwe::{Opener, seal};
use super::pair::{Bits, PrivateKey, generate};
use crate::domain::secret::SecretToken;

/// A ciphertext of any form opens to a token or to nothing; what we seal opens to itself, and with any one
/// character of it changed to nothing.
pub(crate) fn jwe(data: &[u8]) {
    let keys = &*KEYS;
    let text = &*String::from_utf8_lossy(data);
    if let Ok(token) = keys.opener.open(text) {
        let token = token.expose();
        assert!((1..=512).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic()));
    }
    let (Some(token), Some((at, rest))) =
        (SecretToken::from_bytes(Zeroizing::new(data.to_vec())), data.split_first_chunk::<2>())
    else {
        return;
    };
    let sealed = seal(&keys.public_pem, &token).expect("a good key seals");
    let opened = keys.opener.open(&sealed).ok();
    assert_eq!(opened.map(|token| token.expose().to_owned()).as_deref(), Some(token.expose()));
    let mut touched = sealed.clone().into_bytes();
    let at = usize::from(u16::from_be_bytes(*at)) % touched.len();
    touched[at] = rest.first().copied().unwrap_or(b'A');
    let touched = String::from_utf8_lossy(&touched).into_owned();
    assert!(touched == sealed || keys.opener.open(&touched).is_err(), "{touched}");
}

/// PKCS#8 and SPKI: taken whole, and laid over a real one from some place on. What is taken for a key
/// either works or is refused when it is used.
pub(crate) fn key_pair(data: &[u8]) {
    let keys = &*KEYS;
    let Some((at, patch)) = data.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_be_bytes(*at));
    let token = SecretToken::new("sk_test_1".to_owned());
    let sealed = seal(&keys.public_pem, &token).expect("a good key seals");
    for der in [data.to_vec(), laid_over(keys.private.expose(), at, patch)] {
        if let Ok(opener) = Opener::new(&PrivateKey::from_pkcs8(Zeroizing::new(der)))
            && let Ok(opened) = opener.open(&sealed)
        {
            assert_eq!(opened.expose(), token.expose());
        }
    }
    let spki: String = keys.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = laid_over(&STANDARD.decode(spki).unwrap_or_default(), at, patch);
    let pem = String::from_utf8_lossy(data).into_owned();
    let patched = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    );
    let touched = laid_over(keys.public_pem.as_bytes(), at, patch);
    for pem in [pem, patched, String::from_utf8_lossy(&touched).into_owned()] {
        if let Ok(sealed) = seal(&pem, &token) {
            assert_eq!(sealed.matches('.').count(), 4);
            assert!(!sealed.contains(token.expose()));
        }
    }
}

fn laid_over(bytes: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut patched = bytes.to_vec();
    let at = at % bytes.len().max(1);
    let end = bytes.len().min(at + patch.len());
    patched.splice(at..end, patch.iter().copied());
    patched
}

struct Keys {
    private: PrivateKey,
    public_pem: String,
    opener: Opener,
}

/// Made anew in each process: a private key in a corpus would look like one that matters.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let (private, public_pem) = generate(Bits::Rsa2048).expect("a key pair");
    let opener = Opener::new(&private).expect("a key that was just made");
    Keys { private, public_pem, opener }
});
