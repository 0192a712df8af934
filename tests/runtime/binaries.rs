//! What the binaries that ship are made of.

use keysteward_tests::Name;
use keysteward_tests::function::{binary, built};

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The class that Rust's unwinder gives its exceptions. It is in a binary that can unwind and in no other:
/// `panic = "abort"` links a runtime that never raises one.
const UNWINDS: &[u8] = b"MOZ\0RUST";

#[test]
fn every_function_that_ships_unwinds_when_it_panics() -> anyhow::Result<()> {
    for name in Name::ALL {
        let bytes = std::fs::read(binary(name)?)?;
        assert!(contains(&bytes, UNWINDS), "{name:?} was built with panic = \"abort\"");
    }
    Ok(())
}

#[test]
fn josekit_and_its_openssl_are_only_in_functions_that_open_keys() -> anyhow::Result<()> {
    for name in Name::ALL {
        let bytes = std::fs::read(binary(name)?)?;
        for mark in [&b"josekit"[..], b"crypto/evp/", b"RSA-OAEP-256"] {
            let is_in = contains(&bytes, mark);
            let mark = String::from_utf8_lossy(mark);
            assert_eq!(is_in, name != Name::Webhook, "{mark} in {name:?}");
        }
    }
    Ok(())
}

#[test]
fn every_binary_is_stripped() -> anyhow::Result<()> {
    let mut binaries = vec![built("keysteward-panics")?];
    for name in Name::ALL {
        binaries.push(binary(name)?);
    }
    for path in binaries {
        let bytes = std::fs::read(&path)?;
        assert!(!contains(&bytes, b".symtab\0"), "{} has a symbol table", path.display());
    }
    Ok(())
}
