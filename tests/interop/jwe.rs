//! JWEs of jwcrypto and jose open here, ours open there, and nothing opens that should not.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keysteward::vault::jwe::{Opener, open, seal};
use keysteward::vault::pair::{Bits, PrivateKey, generate};
use serde_json::{Value, json};

use crate::script::{JWE, Package, secret, text};

const TOKEN: &str = "sk_live_51AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";

const SIZES: [Bits; 3] = [Bits::Rsa2048, Bits::Rsa3072, Bits::Rsa4096];

/// What a package seals the token to a public key as, once under each header.
async fn sealed(package: Package, pem: &str, headers: &[Value]) -> anyhow::Result<Vec<String>> {
    let job = json!({"command": "seal", "public_pem": pem, "token": TOKEN, "headers": headers});
    let answer = package.run(job).await?;
    let sealed = answer.as_array().context("a list")?;
    sealed.iter().map(|compact| Ok(text(compact)?.to_owned())).collect()
}

fn header(alg: &str, enc: &str) -> Value {
    json!({"alg": alg, "enc": enc})
}

fn private_pem(private: &PrivateKey) -> String {
    let body = STANDARD.encode(private.expose());
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

#[tokio::test]
async fn tokens_sealed_by_others_open_whatever_the_hash_and_the_length_of_the_key()
-> anyhow::Result<()> {
    for bits in SIZES {
        let (private, pem) = generate(bits)?;
        for package in JWE {
            // A header may name the key and the content, and in any order.
            let headers = [
                header("RSA-OAEP", "A256GCM"),
                header("RSA-OAEP-256", "A256GCM"),
                json!({"enc": "A256GCM", "kid": "kid_1", "cty": "text/plain", "alg": "RSA-OAEP-256"}),
            ];
            let all = sealed(package, &pem, &headers).await?;
            assert_eq!(all.len(), headers.len());
            for (compact, header) in all.iter().zip(&headers) {
                let opened = open(compact, &private)
                    .with_context(|| format!("{package} {bits:?} {header}"))?;
                assert_eq!(opened.expose(), TOKEN, "{package} {bits:?} {header}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn tokens_that_we_sealed_open_elsewhere_under_the_header_that_stripe_writes()
-> anyhow::Result<()> {
    for bits in SIZES {
        let (private, pem) = generate(bits)?;
        let ours = seal(&pem, &secret(TOKEN))?;
        for package in JWE {
            let job = json!({
                "command": "open", "private_pem": private_pem(&private), "sealed": [ours],
            });
            let opened = package.run(job).await?;
            let expected = json!([{"token": TOKEN, "header": header("RSA-OAEP-256", "A256GCM")}]);
            assert_eq!(opened, expected, "{package} {bits:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_sealed_in_any_other_way_is_refused_with_the_one_error() -> anyhow::Result<()> {
    let (private, pem) = generate(Bits::Rsa2048)?;
    let opener = Opener::new(&private)?;
    let zipped = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"});
    let by_jwcrypto = [
        zipped,
        header("RSA1_5", "A256GCM"),
        header("RSA1_5", "A128CBC-HS256"),
        header("RSA-OAEP-256", "A128CBC-HS256"),
        header("RSA-OAEP-256", "A256CBC-HS512"),
        header("RSA-OAEP", "A128GCM"),
        header("dir", "A256GCM"),
    ];
    let by_jose = [
        header("RSA-OAEP-256", "A128CBC-HS256"),
        header("RSA-OAEP", "A192GCM"),
        header("RSA-OAEP-512", "A256GCM"),
        header("dir", "A256GCM"),
    ];
    let mut bad = Vec::new();
    for (package, headers) in [(Package::Jwcrypto, &by_jwcrypto[..]), (Package::Jose, &by_jose)] {
        for (compact, header) in sealed(package, &pem, headers).await?.into_iter().zip(headers) {
            bad.push((format!("{package}: {header}"), compact));
        }
    }
    assert_eq!(bad.len(), by_jwcrypto.len() + by_jose.len());
    for package in JWE {
        let good = sealed(package, &pem, &[header("RSA-OAEP-256", "A256GCM")]).await?.remove(0);
        assert!(opener.open(&good).is_ok(), "{package}: what is changed below is good before");
        for (what, changed) in damaged(&good)? {
            bad.push((format!("{package}: {what}"), changed));
        }
        let (_, of_another) = generate(Bits::Rsa2048)?;
        let headers = [header("RSA-OAEP-256", "A256GCM")];
        bad.push((
            format!("{package}: for another key"),
            sealed(package, &of_another, &headers).await?.remove(0),
        ));
    }
    let mut errors = Vec::new();
    for (what, compact) in bad {
        let error = opener.open(&compact).err().with_context(|| format!("{what} was opened"))?;
        assert!(std::error::Error::source(&error).is_none(), "{what}: says how far it got");
        errors.push(format!("{error} {error:?}"));
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "one error for all: {errors:?}");
    Ok(())
}

/// A good JWE, damaged in each of its parts and cut at each of its ends.
fn damaged(good: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let parts: Vec<&str> = good.split('.').collect();
    assert_eq!(parts.len(), 5);
    for (index, part) in parts.iter().enumerate() {
        let mut bytes = URL_SAFE_NO_PAD.decode(part)?;
        let with = |bytes: &[u8]| {
            let mut parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
            parts[index] = URL_SAFE_NO_PAD.encode(bytes);
            parts.join(".")
        };
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        all.push((format!("part {index} tampered"), with(&bytes)));
        bytes[middle] ^= 1;
        assert_eq!(with(&bytes), good);
        all.push((format!("part {index} truncated"), with(&bytes[..bytes.len() - 1])));
        all.push((format!("part {index} empty"), with(&[])));
        all.push((format!("only {index} parts"), parts[..index].join(".")));
    }
    for length in [good.len() - 1, good.len() - 4, good.len() / 2, 1] {
        all.push((format!("cut at {length}"), good[..length].to_owned()));
    }
    all.push(("six parts".to_owned(), format!("{good}.")));
    all.push(("a line break".to_owned(), format!("{good}\n")));
    Ok(all)
}
