//! The page as HTML. Every text that is not written here goes through `escape`.

use std::time::Duration;

use keysteward::domain::account::Status;
use keysteward::domain::time::Timestamp;
use keysteward::http::page::escape;

use super::time::{day_and_second, minute, span};
use super::view::{AccountView, KeyView, View};

impl View {
    pub(super) fn html(&self) -> String {
        let done = self.done.map_or(String::new(), |done| {
            format!("<p class=\"done\" role=\"status\">{}</p>", escape(done.sentence()))
        });
        let sections = [
            self.install(),
            self.keys(),
            self.rotate(),
            self.expire(),
            self.uninstall(),
            self.time(),
        ]
        .concat();
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>Keysteward on this machine</title><link rel=\"icon\" href=\"data:,\">\
             <link rel=\"stylesheet\" href=\"/page.css\"><script src=\"/page.js\" defer></script></head><body>\
             <a class=\"skip\" href=\"#steps\">Skip to the steps</a>\
             <header><div><h1>Keysteward <span>on this machine</span></h1>\
             <p>The whole bundle, beside a Stripe that is not real. Nothing here leaves 127.0.0.1.</p></div>\
             <div class=\"clock\"><p id=\"clock\" data-live>{clock}</p>\
             <p><a href=\"/\">Refresh</a> <label hidden><input type=\"checkbox\" id=\"follow\" checked> \
             by itself</label></p></div></header>\
             <main id=\"steps\">{done}<p class=\"next\" id=\"next\" data-live><strong>Next:</strong> {next}</p>\
             <div class=\"steps\">{sections}</div>{events}{trail}</main>\
             <footer><p>Everything here is test mode. A restart begins anew. \
             <a href=\"{stripe}/dashboard\">Fake Stripe's Dashboard</a></p></footer></body></html>",
            clock = self.clock(),
            next = self.next(),
            events = self.events(),
            trail = self.trail(),
            stripe = escape(&self.stripe_url),
        )
    }

    fn clock(&self) -> String {
        let ahead = match self.ahead.as_secs() {
            0 => "the machine's own time".to_owned(),
            _ => format!("{} ahead", span(self.ahead)),
        };
        format!(
            "<time datetime=\"{}\">{}</time> UTC <small>{ahead}</small>",
            self.now,
            minute(&day_and_second(self.now))
        )
    }

    /// What a person who came here first would want to try now.
    fn next(&self) -> &'static str {
        let installed = || self.accounts.iter().filter(|account| account.is_installed());
        if installed().any(AccountView::is_held) {
            "a key was ended by its user, so Keysteward holds the slot and serves nothing. Install again (step 1) to \
             ask for a new one."
        } else if installed().any(AccountView::is_overlapping) {
            "two keys work at once, for a day. Let that day pass (step 6) and see the old one die."
        } else if installed().filter_map(AccountView::current).any(|key| key.generation > 1) {
            "be the user: expire a key in Stripe's Dashboard (step 4), or uninstall the app (step 5)."
        } else if installed().next().is_some() {
            "read the key as your service would (step 2), then rotate it (step 3)."
        } else {
            "install the app on an account (step 1)."
        }
    }

    fn install(&self) -> String {
        let accounts: String = self
            .accounts
            .iter()
            .map(|account| {
                let (class, word) = match account.status {
                    None => ("off", "not installed"),
                    Some(Status::Installed { .. }) => ("on", "installed"),
                    Some(Status::Uninstalled { .. }) => ("bad", "uninstalled"),
                };
                format!(
                    "<li><code>{}</code> <span class=\"tag {class}\">{word}</span></li>",
                    escape(account.at.id.as_str())
                )
            })
            .collect();
        section(
            "install",
            "1",
            "Install the app",
            &format!(
                "<p>You are the user now: choose an account at Stripe and let the app in. Both forms of link that \
                 Stripe has end in the same place.</p><p class=\"buttons\">\
                 <a class=\"button main\" href=\"/install?mode=test&amp;form=oauth\">Install by OAuth</a> \
                 <a class=\"button\" href=\"/install?mode=test&amp;form=link\">Install by install link</a></p>\
                 <ul class=\"plain\" id=\"accounts\" data-live>{accounts}</ul>"
            ),
        )
    }

    fn keys(&self) -> String {
        let tables: String = self
            .accounts
            .iter()
            .filter(|account| account.status.is_some())
            .map(|account| self.keys_of(account))
            .collect();
        let tables = or(tables, "No account has installed the app yet, so there are no keys.");
        format!(
            "<section class=\"wide\" aria-labelledby=\"keys-h\"><h2 id=\"keys-h\"><span>2</span> See the keys</h2>\
             <div id=\"keys\" data-live>{tables}</div></section>"
        )
    }

    fn keys_of(&self, account: &AccountView) -> String {
        let id = escape(account.at.id.as_str());
        let rows: String = account.keys.iter().map(|key| self.key(key)).collect();
        let holds: String = account
            .holds
            .iter()
            .map(|(slot, why)| {
                let slot = escape(&slot.to_string());
                format!(
                    "<p class=\"hold\"><strong>{slot}</strong> is held: <code>{}</code></p>",
                    escape(why)
                )
            })
            .collect();
        let url =
            escape(&format!("{}/v1/accounts/{}/keys/default?mode=test", self.url, account.at.id));
        format!(
            "<h3><code>{id}</code></h3>{holds}<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"Keys of {id}\"><table><thead><tr><th scope=\"col\">Slot</th>\
             <th scope=\"col\">Generation</th><th scope=\"col\">State</th><th scope=\"col\">Key</th>\
             <th scope=\"col\">Age</th><th scope=\"col\">What comes</th></tr></thead><tbody>{rows}</tbody></table></div>\
             <details id=\"read-{id}\"><summary>Reveal what your service gets</summary>\
             <p>Your services ask the <code>keys</code> function; on AWS they sign the request with IAM. Here:</p>\
             <pre><code>curl '{url}'</code></pre><p><a href=\"{url}\">Open it</a> (this shows the token)</p></details>"
        )
    }

    fn key(&self, key: &KeyView) -> String {
        let class = match key.state {
            "current" => "on",
            "retiring" | "requested" | "issued" | "proven" => "wait",
            "ended" => "off",
            _ => "bad",
        };
        let token = key
            .redacted
            .as_deref()
            .map_or(String::new(), |text| format!("<code>{}</code><br>", escape(text)));
        let age = key.issued_at.map_or("–".to_owned(), |at| span(self.now.since(at)));
        let coming = match (key.state, key.ends_at, key.rotates_at) {
            ("ended", Some(at), _) => format!("ended {}", self.ago(at)),
            (_, Some(at), _) => format!("dies {}", self.until(at)),
            (_, None, Some(at)) => format!("rotates {}", self.until(at)),
            ("current", None, None) => "is not rotated by age".to_owned(),
            (_, None, None) => String::new(),
        };
        format!(
            "<tr><th scope=\"row\">{}/{}</th><td>{}</td><td><span class=\"tag {class}\">{}</span></td>\
             <td>{token}<small>{}</small></td><td>{age}</td><td>{coming}</td></tr>",
            key.kind,
            escape(&key.slot),
            key.generation,
            escape(&key.state.replace('_', " ")),
            escape(&key.key_id),
        )
    }

    fn rotate(&self) -> String {
        let forms: String = self
            .accounts
            .iter()
            .filter(|account| account.current().is_some())
            .map(|account| {
                let id = escape(account.at.id.as_str());
                format!(
                    "<form method=\"post\" action=\"/actions/rotate\">\
                     <input type=\"hidden\" name=\"account\" value=\"{id}\">\
                     <button>Rotate the secret key of <code>{id}</code></button></form>"
                )
            })
            .collect();
        let forms = or(forms, "There is no current key to rotate.");
        section(
            "rotate",
            "3",
            "Rotate now",
            &format!(
                "<p>Happens by itself every month. The old key works on for a day, so nothing breaks.</p>\
                 <div id=\"rotate\" data-live>{forms}</div>"
            ),
        )
    }

    fn expire(&self) -> String {
        section(
            "expire",
            "4",
            "Expire a key, as the user",
            &format!(
                "<p>In “Stripe's Dashboard” the user can end any key of theirs. Keysteward hears of it, serves the key \
                 to nobody and waits.</p><div id=\"expire\" data-live>{}</div>",
                self.dashboards(
                    "Open the Dashboard of",
                    |account| account.current().is_some(),
                    "There is no key to expire."
                )
            ),
        )
    }

    fn uninstall(&self) -> String {
        section(
            "uninstall",
            "5",
            "Uninstall, as the user",
            &format!(
                "<p>Also in the Dashboard. From then on nothing is served of the account, and after a week the private \
                 keys are destroyed.</p><div id=\"uninstall\" data-live>{}</div>",
                self.dashboards(
                    "Uninstall from",
                    AccountView::is_installed,
                    "The app is not installed anywhere."
                )
            ),
        )
    }

    fn dashboards(&self, label: &str, wanted: fn(&AccountView) -> bool, none: &str) -> String {
        let back = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("return_to", &format!("{}/?done=returned", self.url))
            .finish();
        let links = self
            .accounts
            .iter()
            .filter(|account| wanted(account))
            .map(|account| {
                let id = escape(account.at.id.as_str());
                let url =
                    escape(&format!("{}/dashboard/{}?{back}", self.stripe_url, account.at.id));
                format!("<p><a class=\"button\" href=\"{url}\">{label} <code>{id}</code></a></p>")
            })
            .collect();
        or(links, none)
    }

    fn time(&self) -> String {
        let buttons: String = [("hour", "1 hour"), ("day", "1 day"), ("month", "31 days")]
            .iter()
            .map(|(by, label)| format!("<button name=\"by\" value=\"{by}\">{label}</button> "))
            .collect();
        section(
            "time",
            "6",
            "Let time pass",
            &format!(
                "<p>For Keysteward and for Stripe alike. A day ends an overlap; a month makes every key due.</p>\
                 <form method=\"post\" action=\"/actions/jump\"><fieldset><legend>Jump ahead by</legend>\
                 <p class=\"buttons\">{buttons}</p></fieldset></form>"
            ),
        )
    }

    fn ago(&self, at: Timestamp) -> String {
        match self.now.since(at) {
            past if past < Duration::from_secs(60) => "just now".to_owned(),
            past => format!("{} ago", span(past)),
        }
    }

    fn until(&self, at: Timestamp) -> String {
        let left = at.since(self.now);
        if left.is_zero() { "now".to_owned() } else { format!("in {}", span(left)) }
    }
}

fn section(id: &str, number: &str, heading: &str, content: &str) -> String {
    format!(
        "<section aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\"><span>{number}</span> {heading}</h2>{content}</section>"
    )
}

fn or(html: String, none: &str) -> String {
    if html.is_empty() { format!("<p class=\"none\">{none}</p>") } else { html }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::actions::Done;
    use keysteward::domain::id::AccountId;
    use keysteward::domain::slot::{AccountRef, Kind, Mode};

    fn view() -> View {
        let at = AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap());
        let account = AccountView {
            at,
            status: Some(Status::Installed { since: Timestamp::EPOCH }),
            keys: vec![KeyView {
                kind: Kind::Secret,
                slot: "<b>slot</b>".to_owned(),
                generation: 1,
                state: "current",
                key_id: "\"><script>alert(1)</script>".to_owned(),
                redacted: Some("<i>rk_test_…</i>".to_owned()),
                issued_at: Some(Timestamp::EPOCH),
                rotates_at: None,
                ends_at: None,
            }],
            holds: Vec::new(),
            events: Vec::new(),
            trail: Vec::new(),
            trail_length: 0,
            trail_holds: true,
        };
        View {
            now: Timestamp::EPOCH.plus(Duration::from_secs(90)),
            ahead: Duration::from_secs(31 * 86_400),
            url: "http://127.0.0.1:1".to_owned(),
            stripe_url: "http://127.0.0.1:2/?a=1&b=\"2\"".to_owned(),
            done: Some(Done::Rotated),
            accounts: vec![account],
        }
    }

    #[test]
    fn what_the_page_shows_is_escaped() {
        let html = view().html();
        for raw in ["<b>slot", "<script>alert", "<i>rk_test", "&b=\"2\""] {
            assert!(!html.contains(raw), "{raw}");
        }
        assert!(html.contains("&lt;b&gt;slot&lt;/b&gt;") && html.contains("31 days ahead"));
    }

    #[test]
    fn the_page_can_be_found_ones_way_in_without_seeing_it() {
        let html = view().html();
        for landmark in [
            "<html lang=\"en\">",
            "<header>",
            "<main id=\"steps\">",
            "<footer>",
            "<h1>",
            "class=\"skip\"",
        ] {
            assert_eq!(html.matches(landmark).count(), 1, "{landmark}");
        }
        let opened = html.matches("<section").count();
        assert_eq!(
            html.matches("<section class=\"wide\" aria-labelledby=").count()
                + html.matches("<section aria-labelledby=").count(),
            opened
        );
        assert!(
            !html.contains(" style=") && !html.contains("onclick"),
            "the policy would refuse it"
        );
    }
}
