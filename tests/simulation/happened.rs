//! What happened in a life, counted: a check that nothing ever put to the test proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::ensure;

/// How often what came to what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happened(BTreeMap<(&'static str, &'static str), u64>);

impl Happened {
    pub(crate) fn note(&mut self, what: &'static str, how: &'static str) {
        self.add(what, how, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, how: &'static str, count: u64) {
        *self.0.entry((what, how)).or_default() += count;
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        for ((what, how), count) in &other.0 {
            self.add(what, how, *count);
        }
    }

    /// Every kind of thing has to have happened in so many lives.
    pub(crate) fn check(&self, lives: u64) -> anyhow::Result<()> {
        let expected = if lives >= MANY { EVERYTHING } else { IN_ANY_LIFE };
        let happened = |it: &&(_, _)| self.0.get(*it).is_some_and(|count| *count > 0);
        let missing: Vec<_> = expected.iter().filter(|it| !happened(it)).collect();
        ensure!(missing.is_empty(), "in {lives} lives this never happened: {missing:?}");
        Ok(())
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for ((what, how), count) in &self.0 {
            let between = match before {
                "" => "",
                before if before == *what => ", ",
                _ => "; ",
            };
            let what_again = if before == *what { "" } else { what };
            let space = if before == *what { "" } else { " " };
            write!(f, "{between}{what_again}{space}{how} {count}")?;
            before = what;
        }
        Ok(())
    }
}

/// In so many lives chance leaves nothing out.
const MANY: u64 = 300;

const IN_ANY_LIFE: &[(&str, &str)] = &[
    ("keys", "minted"),
    ("reads", "served"),
    ("calls", "struck"),
    ("calls", "failed by stripe"),
    ("sweeps", "settled"),
];

const EVERYTHING: &[(&str, &str)] = &[
    ("keys", "minted"),
    ("keys", "undecryptable"),
    ("reads", "served"),
    ("reads", "refused"),
    ("reads", "failed"),
    ("calls", "struck"),
    ("calls", "failed by stripe"),
    ("process", "restarted"),
    ("vault", "off"),
    ("schedule", "struck"),
    ("schedule", "met stripe in trouble"),
    ("schedule", "met garbled secrets"),
    ("sweeps", "settled"),
    ("sweeps", "failed"),
    ("sweeps", "accounts deferred"),
    ("sweeps", "accounts failed"),
    ("sweeps", "overtaken by a sweep"),
    ("sweeps", "overtaken by events"),
    ("install", "done"),
    ("install", "turned away"),
    ("install", "after an uninstall"),
    ("user", "expired a secret key"),
    ("user", "expired a publishable key"),
    ("user", "rotated a secret key"),
    ("user", "rotated a publishable key"),
    ("user", "made a key"),
    ("user", "uninstalled, keys kept"),
    ("user", "uninstalled, keys expired"),
    ("events", "delivered"),
    ("events", "refused"),
    ("events", "not applied"),
    ("events", "lost"),
    ("events", "forged"),
    ("policy", "changed"),
    ("lasting", "account deactivated"),
    ("lasting", "permission lost"),
    ("lasting", "limit of keys"),
    ("rotate", "done"),
    ("rotate", "put off"),
    ("rotate", "nothing to do"),
    ("rotate", "failed"),
    ("expire once replaced", "done"),
    ("expire at once", "done"),
    ("expire replaced", "done"),
    ("expire replaced", "nothing to do"),
    ("reconcile", "done"),
    ("reconcile", "refused"),
    ("pause", "done"),
    ("pause all", "done"),
    ("emergency", "ordered"),
    ("carry on", "done"),
    ("hold", "seen"),
    ("hold", "lifted by an installation"),
];
