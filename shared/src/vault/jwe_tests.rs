use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use base64::engine::general_purpose::STANDARD;
use josekit::jwe::alg::direct::DirectJweAlgorithm;
use josekit::jwk::Jwk;
use josekit::jwk::alg::rsa::RsaKeyPair;
use proptest::prelude::*;

use super::*;
use crate::vault::pair::{Bits, generate};

const TOKEN: &str = "sk_test_51AbCdEfGhIjKlMnOp";

static PAIR: LazyLock<(PrivateKey, String)> = LazyLock::new(|| generate(Bits::Rsa2048).unwrap());
static OPENER: LazyLock<Opener> = LazyLock::new(|| Opener::new(&PAIR.0).unwrap());

fn token() -> SecretToken {
    SecretToken::new(TOKEN.to_owned())
}

/// A JWE that is right in every cryptographic respect, made without josekit, under any header.
fn forge(oaep: &'static OaepAlgorithm, header: &str, pem: &str, content: &[u8]) -> String {
    let spki: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let public = PublicEncryptingKey::from_der(&STANDARD.decode(spki).unwrap()).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut cek = [0; 32];
    aws_lc_rs::rand::fill(&mut cek).unwrap();
    let mut encrypted_key = vec![0; public.ciphertext_size()];
    public.encrypt(oaep, &cek, &mut encrypted_key, None).unwrap();
    let header = URL_SAFE_NO_PAD.encode(header);
    let mut content = content.to_vec();
    let (nonce, tag) = RandomizedNonceKey::new(&AES_256_GCM, &cek)
        .unwrap()
        .seal_in_place_separate_tag(Aad::from(header.as_bytes()), &mut content)
        .unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    [
        header.clone(),
        encode(&encrypted_key),
        encode(nonce.as_ref()),
        encode(&content),
        encode(tag.as_ref()),
    ]
    .join(".")
}

fn forge_256(header: &str) -> String {
    forge(&OAEP_SHA256_MGF1SHA256, header, &PAIR.1, TOKEN.as_bytes())
}

/// A JWE of josekit's own, with whatever its default context can do.
fn josekit_default(algorithm: RsaesJweAlgorithm, enc: &str, zip: Option<&str>) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption(enc);
    if let Some(zip) = zip {
        header.set_compression(zip);
    }
    let encrypter = algorithm.encrypter_from_pem(&PAIR.1).unwrap();
    JweContext::new().serialize_compact(TOKEN.as_bytes(), &header, &encrypter).unwrap()
}

fn refused(compact: &str) -> bool {
    OPENER.open(compact).is_err()
}

#[test]
fn the_example_of_rfc_7516_appendix_a_1_opens() {
    let jwk = Jwk::from_bytes(include_bytes!("rfc7516_a1.jwk.json")).unwrap();
    let der = RsaKeyPair::from_jwk(&jwk).unwrap().to_der_private_key();
    let private = PrivateKey::from_pkcs8(Zeroizing::new(der));
    let compact = include_str!("rfc7516_a1.jwe").replace('\n', "");
    let opener = Opener::new(&private).unwrap();
    assert_eq!(
        opener.open_bytes(&compact).unwrap().as_slice(),
        b"The true sign of intelligence is not knowledge but imagination."
    );
    // It opens, and it is not a token: there are spaces in it.
    assert!(opener.open(&compact).is_err());
}

#[test]
fn what_others_seal_opens_with_either_algorithm_at_every_size() {
    for bits in [Bits::Rsa2048, Bits::Rsa3072, Bits::Rsa4096] {
        let (private, pem) = generate(bits).unwrap();
        for (oaep, header) in [
            (&OAEP_SHA1_MGF1SHA1, r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#),
            (&OAEP_SHA256_MGF1SHA256, r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#),
            (&OAEP_SHA256_MGF1SHA256, r#"{"enc":"A256GCM","kid":"x","alg":"RSA-OAEP-256"}"#),
        ] {
            let compact = forge(oaep, header, &pem, TOKEN.as_bytes());
            assert_eq!(open(&compact, &private).unwrap().expose(), TOKEN, "{bits:?} {header}");
        }
        let sealed = seal(&pem, &token()).unwrap();
        assert_eq!(open(&sealed, &private).unwrap().expose(), TOKEN, "{bits:?}");
    }
}

#[test]
fn what_we_seal_looks_like_what_stripe_sends() {
    let sealed = seal(&PAIR.1, &token()).unwrap();
    let parts: Vec<_> =
        sealed.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let header: serde_json::Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header, serde_json::json!({"alg": "RSA-OAEP-256", "enc": "A256GCM"}));
    let lengths: Vec<_> = parts[1..].iter().map(Vec::len).collect();
    assert_eq!(lengths, [256, 12, TOKEN.len(), 16]);
    assert_ne!(sealed, seal(&PAIR.1, &token()).unwrap());
}

#[test]
fn a_change_of_any_character_keeps_it_shut() {
    let sealed = seal(&PAIR.1, &token()).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(refused(std::str::from_utf8(&changed).unwrap()), "at {at}");
    }
}

#[test]
fn a_part_that_is_missing_empty_or_too_many_keeps_it_shut() {
    let sealed = seal(&PAIR.1, &token()).unwrap();
    let parts: Vec<_> = sealed.split('.').collect();
    for missing in 0..5 {
        let mut fewer = parts.clone();
        fewer.remove(missing);
        assert!(refused(&fewer.join(".")));
        let mut emptied = parts.clone();
        emptied[missing] = "";
        assert!(refused(&emptied.join(".")));
    }
    assert!(refused(&format!("{sealed}.")));
    assert!(refused(&format!("{sealed}.e30")));
    assert!(refused(&format!(" {sealed}")));
    assert!(refused(&format!("{sealed}\n")));
    for length in 0..sealed.len() {
        assert!(refused(&sealed[..length]), "{length} characters");
    }
}

#[test]
fn a_shortened_tag_keeps_it_shut() {
    let sealed = seal(&PAIR.1, &token()).unwrap();
    let (rest, tag) = sealed.rsplit_once('.').unwrap();
    let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
    for length in 1..TAG_LEN {
        let shortened = format!("{rest}.{}", URL_SAFE_NO_PAD.encode(&tag[..length]));
        assert!(refused(&shortened), "{length} bytes");
        // Why the length is checked here: josekit alone would open it.
        assert!(
            CONTEXT.deserialize_compact(&shortened, &OPENER.oaep_256).is_ok(),
            "{length} bytes"
        );
    }
}

#[test]
fn what_is_not_on_the_list_keeps_it_shut() {
    #[expect(deprecated, reason = "it has to be refused")]
    let pkcs1 = RsaesJweAlgorithm::Rsa1_5;
    for (algorithm, enc, zip) in [
        (RsaesJweAlgorithm::RsaOaep256, "A256GCM", Some("DEF")),
        (RsaesJweAlgorithm::RsaOaep256, "A128CBC-HS256", None),
        (RsaesJweAlgorithm::RsaOaep256, "A256CBC-HS512", None),
        (RsaesJweAlgorithm::RsaOaep256, "A128GCM", None),
        (RsaesJweAlgorithm::RsaOaep512, "A256GCM", None),
        (pkcs1, "A256GCM", None),
    ] {
        assert!(refused(&josekit_default(algorithm, enc, zip)), "{algorithm} {enc} {zip:?}");
    }
    assert!(!refused(&josekit_default(RsaesJweAlgorithm::RsaOaep256, "A256GCM", None)));
    assert!(!refused(&josekit_default(RsaesJweAlgorithm::RsaOaep, "A256GCM", None)));
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    let direct = DirectJweAlgorithm::Dir.encrypter_from_bytes([7; 32]).unwrap();
    let direct = JweContext::new().serialize_compact(TOKEN.as_bytes(), &header, &direct).unwrap();
    assert!(refused(&direct));
}

#[test]
fn a_header_that_asks_for_more_keeps_it_shut() {
    assert!(!refused(&forge_256(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#)));
    for header in [
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","zip":"DEF"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","zip":null}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","crit":["exp"],"exp":0}"#,
        r#"{"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256","enc":"A256GCM"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"a256gcm"}"#,
        r#"{"alg":"RSA-OAEP-256"}"#,
        r#"{"enc":"A256GCM"}"#,
        r#"{"alg":["RSA-OAEP-256"],"enc":"A256GCM"}"#,
        // RSA-OAEP-256 under the name of RSA-OAEP.
        r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#,
        "[]",
        "",
    ] {
        assert!(refused(&forge_256(header)), "{header}");
    }
}

#[test]
fn another_key_does_not_open_it() {
    let (other, _) = generate(Bits::Rsa2048).unwrap();
    let sealed = seal(&PAIR.1, &token()).unwrap();
    assert!(open(&sealed, &other).is_err());
    assert!(open(&sealed, &PrivateKey::from_pkcs8(Zeroizing::new(vec![]))).is_err());
    assert!(open(&sealed, &PrivateKey::from_pkcs8(Zeroizing::new(vec![0x30; 64]))).is_err());
}

#[test]
fn what_is_not_a_token_inside_keeps_it_shut() {
    let header = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#;
    for content in [&b""[..], b"sk test", b"sk_\xff", &[b'a'; 513]] {
        assert!(refused(&forge(&OAEP_SHA256_MGF1SHA256, header, &PAIR.1, content)));
    }
}

#[test]
fn input_is_bounded() {
    let header = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#;
    let large = forge(&OAEP_SHA256_MGF1SHA256, header, &PAIR.1, &vec![b'a'; MAX_LEN]);
    assert!(OPENER.open_bytes(&large).is_err());
}

#[test]
fn there_is_one_error_and_it_says_nothing() {
    assert_eq!(DoesNotOpen.to_string(), "the ciphertext does not open");
    assert!(std::error::Error::source(&DoesNotOpen).is_none());
}

#[test]
fn a_public_key_that_is_none_seals_nothing() {
    let small = RsaKeyPair::generate(1024).unwrap().to_pem_public_key();
    let small = String::from_utf8(small).unwrap();
    for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &small] {
        assert!(matches!(seal(pem, &token()), Err(Error::NotAPublicKey)), "{pem}");
    }
}

#[test]
fn a_key_whose_lengths_lie_is_refused_before_memory_is_reserved_for_it() {
    // SEQUENCE, SEQUENCE, an object identifier of 2^60 bytes.
    let lies = [0x30, 0x20, 0x30, 0x1e, 0x06, 0x88, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
    let body = STANDARD.encode(lies);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    assert!(matches!(seal(&pem, &token()), Err(Error::NotAPublicKey)));
    let version = [0x30, 0x20, 0x02, 0x01, 0x00];
    let lies = [&version[..], &lies[2..]].concat();
    assert!(Opener::new(&PrivateKey::from_pkcs8(Zeroizing::new(lies))).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text in "\\PC{0,200}") {
        prop_assert!(refused(&text));
    }

    #[test]
    fn arbitrary_parts_are_refused_and_never_panic(
        key in "[A-Za-z0-9_-]{0,400}",
        iv in "[A-Za-z0-9_-]{14,18}",
        content in "[A-Za-z0-9_-]{0,40}",
        tag in "[A-Za-z0-9_-]{20,24}",
        oaep in any::<bool>(),
    ) {
        let alg = if oaep { "RSA-OAEP" } else { "RSA-OAEP-256" };
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","enc":"A256GCM"}}"#));
        let compact = format!("{header}.{key}.{iv}.{content}.{tag}");
        prop_assert!(refused(&compact));
    }

    #[test]
    fn what_is_sealed_opens_to_itself(text in "[!-~]{1,512}") {
        let sealed = seal(&PAIR.1, &SecretToken::new(text.clone())).unwrap();
        let opened = OPENER.open(&sealed).unwrap();
        prop_assert_eq!(opened.expose(), text);
    }
}
