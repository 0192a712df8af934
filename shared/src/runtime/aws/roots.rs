//! Whom AWS's endpoints are believed from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Amazon's roots as the SDK takes them: PEM. They travel in the binary, as those of the Stripe client
/// do, so that what is trusted does not depend on the image that the code happens to run on.
///
/// Every AWS endpoint's certificate comes from them; for China, where that is not documented, Mozilla's
/// other roots are added. Each root costs a start the time to parse it.
/// Source: <https://docs.aws.amazon.com/acm/latest/userguide/acm-concepts.html#concept-amazontrust>
pub(super) fn compiled_in(region: &str) -> String {
    let everybody = region.starts_with("cn-");
    let mut pem = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        if everybody || is_of_amazon(root) {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            STANDARD.encode_string(root, &mut pem);
            pem.push_str("\n-----END CERTIFICATE-----\n");
        }
    }
    pem
}

/// A root names its issuer, itself, and that name ends with the common name. Goes there at once: to search all
/// roots for the names took a start of `webhook` longer than anything else that it does.
fn is_of_amazon(root: &[u8]) -> bool {
    issuer(root).is_some_and(|issuer| AMAZON.iter().any(|name| issuer.ends_with(name)))
}

/// The field `issuer` of a certificate: after version, serial number and algorithm.
/// Source: RFC 5280, section 4.1.
fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (signed, _) = element(element(certificate)?.0)?;
    let (_version, rest) = element(signed)?;
    let (_serial_number, rest) = element(rest)?;
    let (_algorithm, rest) = element(rest)?;
    Some(element(rest)?.0)
}

/// The content of the DER element that `der` begins with, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(&byte, rest)| (usize::from(byte), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(&two, rest)| (usize::from(u16::from_be_bytes(two)), rest))?,
        _ => return None,
    };
    rest.split_at_checked(length)
}

const AMAZON: [&[u8]; 5] = [
    b"Amazon Root CA 1",
    b"Amazon Root CA 2",
    b"Amazon Root CA 3",
    b"Amazon Root CA 4",
    b"Starfield Services Root Certificate Authority - G2",
];

#[cfg(test)]
mod tests {
    use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

    use super::*;

    #[test]
    fn the_compiled_in_roots_are_amazons_five_and_everybodys_in_china() {
        for (region, count) in [("eu-central-1", 5), ("cn-north-1", TLS_SERVER_ROOT_CERTS.len())] {
            let pem = compiled_in(region);
            assert!(super::super::settings::check_bundle(pem.as_bytes()).is_ok(), "{region}");
            assert_eq!(pem.matches("BEGIN").count(), count, "{region}");
        }
    }

    #[test]
    fn the_issuer_is_found_in_every_root_and_in_no_part_of_one() {
        for root in TLS_SERVER_ROOT_CERTS {
            let found = issuer(root).unwrap();
            let at = root.windows(found.len()).position(|part| part == found).unwrap();
            assert!(issuer(&root[..root.len() - 1]).is_none());
            assert!((0..at).all(|end| issuer(&root[..end]).is_none()));
        }
    }
}
