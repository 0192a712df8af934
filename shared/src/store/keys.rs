//! The keys of rows: written in one place, read back in the same.

use aws_lc_rs::digest;

use super::SHARDS;
use crate::domain::account::RowName;
use crate::domain::event::Notification;
use crate::domain::id::{AccountId, EventId, Kid};
use crate::domain::slot::{AccountRef, Generation, Kind, Mode, Slot, SlotName};
use crate::domain::time::Timestamp;

/// Names one event's row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventRef {
    /// Whose event it is.
    pub account: AccountRef,
    /// When Stripe made it.
    pub created: Timestamp,
    /// Stripe's name of it.
    pub id: EventId,
}

impl From<&Notification> for EventRef {
    fn from(event: &Notification) -> Self {
        Self { account: event.account.clone(), created: event.created, id: event.id.clone() }
    }
}

/// The event whose row has this key; `None` for a row of any other kind.
///
/// For the stream, which delivers every row that changes.
pub fn parse_stream_key(pk: &str, sk: &str) -> Option<EventRef> {
    let account = parse_partition(pk)?;
    let (created, id) = sk.strip_prefix(EVENTS)?.split_once('#')?;
    let created = Timestamp::parse(created).ok().filter(|at| at.to_string() == created)?;
    Some(EventRef { account, created, id: EventId::parse(id).ok()? })
}

/// `ACCOUNT#<mode>#<acct>`
pub(super) fn partition(at: &AccountRef) -> String {
    format!("ACCOUNT#{}#{}", at.mode, at.id)
}

pub(super) fn parse_partition(pk: &str) -> Option<AccountRef> {
    let (mode, id) = pk.strip_prefix("ACCOUNT#")?.split_once('#')?;
    Some(AccountRef::new(Mode::parse(mode)?, AccountId::parse(id).ok()?))
}

/// `STATE#SLOT#…`, `STATE#KEY#…` or `STATE#PAIR#…`
pub(super) fn row(name: &RowName) -> String {
    match name {
        RowName::Slot(Slot { kind, name }) => format!("STATE#SLOT#{kind}#{}", name.as_str()),
        RowName::Key(Slot { kind, name }, generation) => {
            format!("STATE#KEY#{kind}#{}#{:010}", name.as_str(), generation.number())
        }
        RowName::Pair(kid) => format!("STATE#PAIR#{kid}"),
    }
}

pub(super) fn parse_row(sk: &str) -> Option<RowName> {
    let (what, rest) = sk.strip_prefix(STATES)?.split_once('#')?;
    match what {
        "SLOT" => Some(RowName::Slot(parse_slot(rest)?)),
        "KEY" => {
            let (slot, number) = rest.rsplit_once('#')?;
            let number = digits(number, 10)?;
            let generation = Generation::from_number(u32::try_from(number).ok()?)?;
            Some(RowName::Key(parse_slot(slot)?, generation))
        }
        "PAIR" => Some(RowName::Pair(Kid::parse(rest).ok()?)),
        _ => None,
    }
}

/// `EVENT#<created, RFC 3339 with milliseconds>#<evt>`: texts sort like instants.
pub(super) fn event(event: &EventRef) -> String {
    format!("{EVENTS}{}#{}", event.created, event.id)
}

/// `AUDIT#<sequence, 12 digits>`
pub(super) fn audit(sequence: u64) -> String {
    format!("{AUDITS}{sequence:012}")
}

pub(super) fn parse_audit(sk: &str) -> Option<u64> {
    digits(sk.strip_prefix(AUDITS)?, 12)
}

/// The shard of the due index that an account's rows are in, 0 to [`SHARDS`] - 1. Stored, so it must
/// never come out differently: SHA-256 of the account's id, first byte, modulo.
pub(super) fn shard(at: &AccountRef) -> u8 {
    let hash = digest::digest(&digest::SHA256, at.id.as_str().as_bytes());
    hash.as_ref().first().map_or(0, |byte| byte % SHARDS)
}

fn parse_slot(text: &str) -> Option<Slot> {
    let (kind, name) = text.split_once('#')?;
    Some(Slot::new(Kind::parse(kind)?, SlotName::parse(name).ok()?))
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let exact = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if exact { text.parse().ok() } else { None }
}

/// The sort key of the account's own row.
pub(super) const HEAD: &str = "STATE#ACCOUNT";
/// The partition of what belongs to no account.
pub(super) const BUNDLE: &str = "BUNDLE";
/// The sort key of the bundle's own row.
pub(super) const STANDING: &str = "STATE#STANDING";
/// What the sort keys of the working set begin with.
pub(super) const STATES: &str = "STATE#";
/// What the sort keys of events begin with.
pub(super) const EVENTS: &str = "EVENT#";
const AUDITS: &str = "AUDIT#";

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> AccountRef {
        AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap())
    }

    #[test]
    fn a_key_is_read_back_as_what_it_names() {
        let slot = Slot::new(Kind::Secret, SlotName::parse("a-b_c").unwrap());
        for (name, text) in [
            (RowName::Slot(slot.clone()), "STATE#SLOT#secret#a-b_c"),
            (
                RowName::Key(slot, Generation::from_number(7).unwrap()),
                "STATE#KEY#secret#a-b_c#0000000007",
            ),
            (RowName::Pair(Kid::parse("kid_1").unwrap()), "STATE#PAIR#kid_1"),
        ] {
            assert_eq!(row(&name), text);
            assert_eq!(parse_row(text), Some(name));
        }
        assert_eq!(partition(&at()), "ACCOUNT#test#acct_1");
        assert_eq!(parse_partition("ACCOUNT#test#acct_1"), Some(at()));
        assert_eq!(audit(3), "AUDIT#000000000003");
        assert_eq!(parse_audit("AUDIT#000000000003"), Some(3));
    }

    #[test]
    fn a_stream_key_names_an_event_or_nothing() {
        let named = EventRef {
            account: at(),
            created: Timestamp::parse("2026-04-22T10:00:00.123Z").unwrap(),
            id: EventId::parse("evt_1").unwrap(),
        };
        assert_eq!(
            parse_stream_key("ACCOUNT#test#acct_1", &event(&named)),
            Some(named),
            "what is written is read back"
        );
        for (pk, sk) in [
            ("ACCOUNT#test#acct_1", "STATE#ACCOUNT"),
            ("ACCOUNT#test#acct_1", "AUDIT#000000000001"),
            ("ACCOUNT#test#acct_1", "EVENT#2026-04-22T10:00:00.123Z"),
            ("ACCOUNT#test#acct_1", "EVENT#2026-04-22T10:00:00Z#evt_1"),
            ("ACCOUNT#test#acct_1", "EVENT#yesterday#evt_1"),
            ("ACCOUNT#test#acct_1", "EVENT#2026-04-22T10:00:00.123Z#cus_1"),
            ("ACCOUNT#prod#acct_1", "EVENT#2026-04-22T10:00:00.123Z#evt_1"),
            ("ACCOUNT#test#cus_1", "EVENT#2026-04-22T10:00:00.123Z#evt_1"),
            ("", ""),
        ] {
            assert_eq!(parse_stream_key(pk, sk), None, "{pk} {sk}");
        }
    }

    #[test]
    fn a_key_that_this_program_does_not_write_names_no_row() {
        for sk in [
            "STATE#ACCOUNT",
            "STATE#KEY#secret#default#1",
            "STATE#KEY#secret#default#0000000000",
            "STATE#KEY#secret#default#9999999999",
            "STATE#KEY#secret#default#+000000001",
            "STATE#KEY#other#default#0000000001",
            "STATE#SLOT#secret#UPPER",
            "STATE#PAIR#mk_1",
            "STATE#NEW#thing",
        ] {
            assert_eq!(parse_row(sk), None, "{sk}");
        }
        assert_eq!(parse_audit("AUDIT#3"), None);
    }

    #[test]
    fn the_shard_of_an_account_never_changes() {
        let shard_of =
            |id: &str| shard(&AccountRef::new(Mode::Live, AccountId::parse(id).unwrap()));
        assert_eq!([shard_of("acct_1"), shard_of("acct_2"), shard_of("acct_3")], [7, 2, 9]);
        let mut seen = [false; SHARDS as usize];
        for n in 0..400 {
            seen[usize::from(shard_of(&format!("acct_{n}")))] = true;
        }
        assert_eq!(seen, [true; SHARDS as usize], "every shard is used");
    }
}
