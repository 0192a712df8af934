//! The bodies over the seeds, as they are and in a few thousand variations: bounded, in any `cargo test`.

use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::*;

/// What `fuzz/seeds` holds for a target: real forms, and every input that once broke a property.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What turns a well-formed input into one that is nearly so.
const WORDS: &[&str] = &[
    "",
    "null",
    "true",
    "[]",
    "{}",
    "\"",
    "\\",
    "\n",
    ",",
    ".",
    "#",
    "=",
    "-1",
    "0",
    "1e400",
    "\u{0}",
    "é",
    "💥",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "9999-12-31T23:59:59.999Z",
    "//evil.example",
    "\\\\evil.example",
    "@evil.example",
    "https://api.stripe.com.evil.example/",
    "?",
    "/../",
    "acct_2",
    "evt_2",
    "mk_2",
    "kid_2",
    "sk_live_1",
    "pk_test_1",
    "v1=",
    "t=1",
    "live",
    "test",
];

#[derive(Debug, Clone)]
struct Edit {
    from: Index,
    removed: usize,
    put: Vec<u8>,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let put = prop_oneof![
        2 => Just(Vec::new()),
        4 => select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
        1 => (select(WORDS), 2..200usize).prop_map(|(word, times)| word.repeat(times).into_bytes()),
    ];
    let removed = prop_oneof![4 => 0..3usize, 2 => 0..24usize, 1 => 0..4096usize];
    let edit = (any::<Index>(), removed, put);
    vec(edit.prop_map(|(from, removed, put)| Edit { from, removed, put }), 0..4)
}

fn edited(seed: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for Edit { from, removed, put } in edits {
        let from = from.index(bytes.len() + 1);
        let to = bytes.len().min(from + removed);
        bytes.splice(from..to, put);
    }
    bytes
}

/// Chosen so that all of them together take a few seconds unoptimised. `PROPTEST_CASES`, 256 unless it is set,
/// makes them more in proportion.
fn cases(target: &str) -> u32 {
    let usual = match target {
        "jwe" | "key_pair" => 60,
        "stored_account" => 300,
        _ => 1_000,
    };
    ProptestConfig::default().cases.saturating_mul(usual) / 256
}

#[test]
fn whatever_arrives_nothing_panics_and_every_property_holds() {
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        for seed in &seeds {
            body(seed);
        }
        let mut runner = TestRunner::new(ProptestConfig {
            cases: cases(target),
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let variations = (select(seeds), edits()).prop_map(|(seed, edits)| edited(&seed, edits));
        let outcome = runner.run(&variations, |bytes| {
            body(&bytes);
            Ok(())
        });
        if let Err(broken) = outcome {
            panic!("{target}: {broken}");
        }
        let mut runner = TestRunner::new(ProptestConfig {
            cases: cases(target) / 4,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&vec(any::<u8>(), 0..300), |bytes| {
            body(&bytes);
            Ok(())
        });
        if let Err(broken) = outcome {
            panic!("{target}, from nothing: {broken}");
        }
    }
}

#[test]
fn every_target_has_a_program_and_every_program_a_target() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let programs: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""))
        .collect();
    let targets: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(programs, targets);
}
