//! The two lists on the page: what Stripe said, and what was done about it.

use keysteward::domain::audit::{Entry, Phase};
use keysteward::domain::time::Timestamp;
use keysteward::http::page::escape;
use keysteward::store::StoredEvent;
use serde::Serialize;

use super::time::day_and_second;
use super::view::{AccountView, View};

impl View {
    pub(super) fn events(&self) -> String {
        let mut rows: Vec<(&AccountView, &StoredEvent)> = self
            .accounts
            .iter()
            .flat_map(|account| account.events.iter().map(move |event| (account, event)))
            .collect();
        rows.sort_by_key(|(_, event)| std::cmp::Reverse(event.notification.created));
        let rows: String = rows
            .into_iter()
            .take(12)
            .map(|(account, event)| {
                let (class, word) = if event.open { ("wait", "open") } else { ("on", "done") };
                format!(
                    "<tr><td>{}</td><td>{}</td><td><code>{}</code></td>\
                     <td><span class=\"tag {class}\">{word}</span></td></tr>",
                    when(event.notification.created),
                    escape(&event.notification.topic.name().replace('_', " ")),
                    escape(account.at.id.as_str()),
                )
            })
            .collect();
        list(
            "events",
            "Events from Stripe",
            "",
            &["When", "What", "Account", "Applied"],
            &rows,
            "No event has come yet.",
        )
    }

    pub(super) fn trail(&self) -> String {
        self.accounts
            .iter()
            .filter(|account| account.status.is_some())
            .map(|account| {
                let rows: String = account.trail.iter().map(entry).collect();
                let id = escape(account.at.id.as_str());
                let verdict = if account.trail_holds {
                    format!(
                        "<span class=\"tag on\">✓ verified</span> {} entries, hash-chained",
                        account.trail_length
                    )
                } else {
                    "<span class=\"tag bad\">✗ does not hold</span>".to_owned()
                };
                list(
                    &format!("trail-{id}"),
                    &format!("Audit trail of <code>{id}</code>"),
                    &format!("<p>{verdict}</p>"),
                    &["#", "When", "Who", "What", "Slot", "Why and how it ended"],
                    &rows,
                    "Nothing is written yet.",
                )
            })
            .collect()
    }
}

fn entry(entry: &Entry) -> String {
    let phase = match entry.phase {
        Phase::Begin => "begin ",
        Phase::Complete => "complete ",
        Phase::Note => "",
    };
    let slot = match (&entry.slot, entry.generation) {
        (Some(slot), Some(generation)) => format!("{slot} {generation}"),
        (Some(slot), None) => slot.to_string(),
        (None, _) => "–".to_owned(),
    };
    let because = entry.because.map(|because| word(&because));
    let outcome = entry.outcome.as_ref().map(|outcome| format!("→ {}", outcome.replace('_', " ")));
    let why: Vec<String> = because.into_iter().chain(outcome).collect();
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{phase}{}</td><td>{}</td><td>{}</td></tr>",
        entry.sequence,
        when(entry.at),
        word(&entry.actor),
        word(&entry.action),
        escape(&slot),
        escape(&why.join(" ")),
    )
}

/// `heading` is HTML already.
fn list(id: &str, heading: &str, before: &str, columns: &[&str], rows: &str, none: &str) -> String {
    let head: String =
        columns.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let table = if rows.is_empty() {
        format!("<p>{none}</p>")
    } else {
        format!("<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    };
    format!(
        "<section class=\"wide\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{heading}</h2>\
         <div class=\"scroll\" id=\"{id}\" data-live tabindex=\"0\" role=\"region\" aria-labelledby=\"{id}-h\">\
         {before}{table}</div></section>"
    )
}

/// A variant's name as it is stored, with spaces.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    escape(&value.as_str().unwrap_or_default().replace('_', " "))
}

fn when(at: Timestamp) -> String {
    format!("<time datetime=\"{at}\">{}</time>", day_and_second(at))
}
