//! What must hold for whatever arrives, as bodies that take bytes: one body, two drivers.
//!
//! `fuzz/` (cargo-fuzz) and the tests beside this file hand the same bodies their bytes. A body panics
//! where its property does not hold. Those that need a module's inside are beside it, in its own
//! `fuzzing`, so that nothing becomes public for their sake but [`TARGETS`].

mod cursor;
mod inbound;
#[cfg(test)]
mod tests;
mod words;

use crate::{store, stripe, vault};

/// The name of a fuzz target and of its folder of seeds, `fuzz/seeds/<name>`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("signature_header", inbound::signature_header),
    ("event_body", inbound::event_body),
    ("event_envelope", inbound::event_envelope),
    ("install_callback", inbound::install_callback),
    ("install_link", inbound::install_link),
    ("words", words::words),
    ("timestamp", words::timestamp),
    ("cursor", cursor::cursor),
    ("page_url", stripe::fuzzing::page_url),
    ("stripe_answer", stripe::fuzzing::stripe_answer),
    ("stored_account", store::fuzzing::stored_account),
    ("stored_row", store::fuzzing::stored_row),
    ("jwe", vault::fuzzing::jwe),
    ("key_pair", vault::fuzzing::key_pair),
];

/// Runs one target's body; the fuzz crate's only call.
pub fn run(target: &str, data: &[u8]) {
    for (name, body) in TARGETS {
        if *name == target {
            return body(data);
        }
    }
    assert!(TARGETS.is_empty(), "there is no target {target}");
}

/// The fields of an input: lines of text, what is no UTF-8 replaced; a field that is missing is empty.
pub(crate) fn fields<const N: usize>(data: &[u8]) -> [String; N] {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(N, '\n');
    std::array::from_fn(|_| lines.next().unwrap_or_default().to_owned())
}
