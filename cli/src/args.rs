//! What can be said on the command line.

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use keysteward::domain::id::AccountId;
use keysteward::domain::policy::Policy;
use keysteward::domain::slot::{Kind, Mode, Slot, SlotName};
use keysteward::domain::time::Timestamp;

/// See what Keysteward holds, and give it orders. Reads the variables that the functions read.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 found something wrong (reconcile, audit --verify, doctor,
/// rotate --all --watch).
#[derive(Debug, Parser)]
#[command(name = "keysteward", version)]
pub(crate) struct Args {
    /// How to write the result.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Write what happens below to stderr, too.
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count accounts and keys by state, and say which orders are in force.
    Status,
    /// Show one account: its slots, generations, holds and times. Never a secret.
    Show(OneAccount),
    /// Replace one slot's key now, or order that all keys be replaced.
    Rotate(Rotate),
    /// End a slot's key before its time, because it leaked.
    Expire(Expire),
    /// Begin no rotation by age, of one account or anywhere.
    Pause(Pause),
    /// End a pause, let a stuck slot carry on, or let the bundle act on a restored table.
    Resume(Resume),
    /// Open a slot and mint its key.
    Provision(Provision),
    /// Hold Stripe's list of keys against the table.
    Reconcile(Reconcile),
    /// List what Stripe told us about an account, the newest first.
    Events(Events),
    /// Show an account's audit trail, or check that nobody changed it.
    Audit(Audit),
    /// Check settings, table, vault, secrets and Stripe, and say what to do.
    Doctor,
}

/// One account.
#[derive(Debug, Group)]
pub(crate) struct OneAccount {
    /// The user's Stripe account, acct_…
    #[arg(value_parser = AccountId::parse)]
    pub(crate) account: AccountId,
    /// Which mode of it; needed when it is stored in both.
    #[arg(long, value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Option<Mode>,
}

/// The kind of a slot whose name is given.
#[derive(Clone, Copy, Debug, Group)]
pub(crate) struct OfKind {
    /// What the slot's key is for.
    #[arg(long, value_parser = kind, value_name = "secret|publishable", default_value = "secret")]
    pub(crate) kind: Kind,
}

impl OfKind {
    pub(crate) fn slot(self, name: SlotName) -> Slot {
        Slot::new(self.kind, name)
    }
}

#[derive(Debug, Group)]
pub(crate) struct Rotate {
    /// The user's Stripe account, acct_…
    #[arg(value_parser = AccountId::parse, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) account: Option<AccountId>,
    /// The slot.
    #[arg(value_parser = SlotName::parse, default_value = "default", conflicts_with = "all")]
    pub(crate) slot: SlotName,
    #[command(flatten)]
    pub(crate) kind: OfKind,
    /// Only in this mode; for one account, which mode of it.
    #[arg(long, value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Option<Mode>,
    /// Order that the keys of all accounts be replaced; the deployed sweep carries it out.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) order: Order,
}

/// What belongs to `rotate --all`.
#[derive(Debug, Group)]
pub(crate) struct Order {
    /// Publishable keys too; pages that embed them break when the overlap is over.
    #[arg(long, requires = "all")]
    pub(crate) publishable: bool,
    /// Only keys that were issued before this instant (RFC 3339); now, when not given.
    #[arg(long, requires = "all", value_parser = Timestamp::parse, value_name = "TIME")]
    pub(crate) issued_before: Option<Timestamp>,
    /// How long the replaced keys live on, 10 at least; never longer than the policy says.
    #[arg(long, requires = "all", value_parser = clap::value_parser!(u32).range(i64::from(Policy::LEAST_OVERLAP_MINUTES)..=10_080), value_name = "N")]
    pub(crate) overlap_minutes: Option<u32>,
    /// Count what would be replaced and change nothing.
    #[arg(long, requires = "all", conflicts_with_all = ["watch", "cancel"])]
    pub(crate) dry_run: bool,
    /// Stay, show how many keys are left, and take the order back when none is.
    #[arg(long, requires = "all", conflicts_with = "cancel")]
    pub(crate) watch: bool,
    /// How often to count again while watching.
    #[arg(long, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS", default_value = "10")]
    pub(crate) every: u64,
    /// Take the order back: what was begun is finished, nothing more is begun.
    #[arg(long, requires = "all", conflicts_with_all = ["publishable", "issued_before", "overlap_minutes", "mode"])]
    pub(crate) cancel: bool,
    /// Do not ask.
    #[arg(long, requires = "all")]
    pub(crate) yes: bool,
}

impl Order {
    /// Whether anything was said that belongs to `--all`. Clap does not enforce `requires` once an account is
    /// there, since that conflicts with `--all`.
    pub(crate) fn is_given(&self) -> bool {
        let Self {
            publishable,
            issued_before,
            overlap_minutes,
            dry_run,
            watch,
            every: _,
            cancel,
            yes,
        } = self;
        *publishable
            || issued_before.is_some()
            || overlap_minutes.is_some()
            || [*dry_run, *watch, *cancel, *yes].contains(&true)
    }
}

#[derive(Debug, Group)]
pub(crate) struct Expire {
    #[command(flatten)]
    pub(crate) at: OneAccount,
    /// The slot.
    #[arg(value_parser = SlotName::parse)]
    pub(crate) slot: SlotName,
    #[command(flatten)]
    pub(crate) kind: OfKind,
    /// Do not mint the next key first: the slot has no key until it is minted.
    #[arg(long, conflicts_with = "replaced")]
    pub(crate) now: bool,
    /// Leave the current key alone and end the replaced ones that still work.
    #[arg(long)]
    pub(crate) replaced: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Pause {
    /// Only this account, acct_…; the whole bundle, when not given.
    #[arg(value_parser = AccountId::parse)]
    pub(crate) account: Option<AccountId>,
    /// Which mode of it; needed when it is stored in both.
    #[arg(long, requires = "account", value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Option<Mode>,
}

#[derive(Debug, Group)]
pub(crate) struct Resume {
    /// Only this account, acct_…; the whole bundle, when not given.
    #[arg(value_parser = AccountId::parse)]
    pub(crate) account: Option<AccountId>,
    /// A slot that waits for a person: its hold is lifted, and what needed an operator is given up and ended.
    #[arg(value_parser = SlotName::parse)]
    pub(crate) slot: Option<SlotName>,
    #[command(flatten)]
    pub(crate) kind: OfKind,
    /// Which mode of the account; needed when it is stored in both.
    #[arg(long, requires = "account", value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Option<Mode>,
    /// Let the bundle act on a table that was restored from a copy.
    #[arg(long, conflicts_with = "account")]
    pub(crate) after_restore: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Provision {
    /// The user's Stripe account, acct_…
    #[arg(value_parser = AccountId::parse)]
    pub(crate) account: AccountId,
    /// The slot.
    #[arg(value_parser = SlotName::parse, default_value = "default")]
    pub(crate) slot: SlotName,
    #[command(flatten)]
    pub(crate) kind: OfKind,
    /// In which mode of the account.
    #[arg(long, value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Mode,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Reconcile {
    /// The user's Stripe account, acct_…
    #[arg(value_parser = AccountId::parse, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) account: Option<AccountId>,
    /// Which mode of it; with --all, only accounts in this mode.
    #[arg(long, value_parser = mode, value_name = "live|test")]
    pub(crate) mode: Option<Mode>,
    /// Every account.
    #[arg(long)]
    pub(crate) all: bool,
    /// Set right what differs; keys that the app did not mint are never touched.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Do not ask.
    #[arg(long, requires = "apply")]
    pub(crate) yes: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) at: OneAccount,
    /// How many.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "50")]
    pub(crate) limit: u32,
}

#[derive(Debug, Group)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) at: OneAccount,
    /// How many of the last entries.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "50", conflicts_with = "verify")]
    pub(crate) limit: u32,
    /// Read the whole trail and check that it is what was recorded.
    #[arg(long)]
    pub(crate) verify: bool,
}

fn mode(text: &str) -> Result<Mode, &'static str> {
    Mode::parse(text).ok_or("expected live or test")
}

fn kind(text: &str) -> Result<Kind, &'static str> {
    Kind::parse(text).ok_or("expected secret or publishable")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
