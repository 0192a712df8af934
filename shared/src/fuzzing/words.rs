//! Ids, names and instants: what is taken is kept as it was written, and is bounded.

use super::fields;
use crate::domain::id::{AccountId, EventId, KeyId, Kid};
use crate::domain::secret::SecretToken;
use crate::domain::slot::{Kind, Mode, SlotName};
use crate::domain::time::Timestamp;

/// One word as every kind of id and name. Inside one there is nothing that separates parts of a row's
/// key, a path, a query or a header.
pub(super) fn words(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let taken = [
        AccountId::parse(text).ok().map(String::from),
        EventId::parse(text).ok().map(String::from),
        KeyId::parse(text).ok().map(String::from),
        Kid::parse(text).ok().map(String::from),
        SlotName::parse(text).ok().map(String::from),
        Mode::parse(text).map(|mode| mode.to_string()),
        Kind::parse(text).map(|kind| kind.to_string()),
    ];
    for word in taken.into_iter().flatten() {
        assert_eq!(word, text);
        assert!(word.len() <= 5 + 128);
        assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
    }
    let token = SecretToken::new(text.to_owned());
    if let Some((kind, mode)) = token.claims() {
        let mark = format!("_{mode}_");
        assert!(text.get(2..).is_some_and(|rest| rest.starts_with(&mark)));
        assert_eq!(kind == Kind::Publishable, text.starts_with("pk_"));
    }
    crate::store::fuzzing::keys_of_rows(text);
}

/// Two instants: each is written as it is read back, and their texts sort as they do.
pub(super) fn timestamp(data: &[u8]) {
    let [one, other] = fields(data);
    let read = |text: &str| {
        let at = Timestamp::parse(text)
            .ok()
            .or_else(|| Timestamp::from_millis(text.parse().ok()?).ok())?;
        assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
        assert_eq!(Timestamp::from_millis(at.millis()), Ok(at));
        assert_eq!(at.to_string().len(), "2026-11-24T12:00:00.000Z".len());
        Some(at)
    };
    let (Some(one), Some(other)) = (read(&one), read(&other)) else { return };
    assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    assert_eq!(other.plus(one.since(other)), one.max(other));
}
