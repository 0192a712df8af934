//! What a user can do about an app and its keys: see them (never their tokens), expire or rotate one,
//! uninstall the app with or without its keys, activate the account.
//!
//! `POST /dashboard/{account}/keys/{id}/expire|rotate` (`overlap_minutes`), `…/uninstall` (`mode`,
//! `keys=keep|expire`), `…/activate`, `…/deactivate`. Each goes back to the Dashboard, or to the form's
//! `return_to` if that is a URL on loopback.

use super::{document, escape, field, hidden, loopback_url, message, mode_name};
use crate::clock::iso;
use crate::events::Cause;
use crate::http::{Answer, Request, first};
use crate::keys::{ApiKey, KeyType};
use crate::options::KeepOrExpire;
use crate::world::World;

pub(super) fn index(world: &World) -> Answer {
    let links: String = world
        .accounts
        .keys()
        .map(|id| escape(id))
        .map(|id| format!("<li><a href=\"/dashboard/{id}\">{id}</a></li>"))
        .collect();
    document(200, "Accounts", &format!("<ul>{links}</ul>"))
}

pub(super) fn show(world: &World, request: &Request, account: &str) -> Answer {
    let Some(found) = world.accounts.get(account) else {
        return message(404, "Not found", "There is no such account.");
    };
    let back = request.param("return_to").map_or(String::new(), |to| hidden("return_to", to));
    let base = format!("/dashboard/{}", escape(account));
    let mut rows: Vec<&ApiKey> = world.keys.values().filter(|key| key.account == account).collect();
    rows.sort_unstable_by_key(|key| std::cmp::Reverse(key.sequence));
    let rows: String = rows.iter().map(|key| row(world, key, &base, &back)).collect();
    let mut installations = String::new();
    for live in [true, false].into_iter().filter(|live| found.installed_in(*live)) {
        let mode = mode_name(live);
        installations.push_str(&format!(
            "<form method=\"post\" action=\"{base}/uninstall\">{back}{}\
             <fieldset><legend>{}, installed in {mode} mode</legend>\
             <label><input type=\"radio\" name=\"keys\" value=\"keep\" checked> Keep its keys</label>\
             <label><input type=\"radio\" name=\"keys\" value=\"expire\"> Expire its keys</label>\
             <button>Uninstall</button></fieldset></form>",
            hidden("mode", mode),
            escape(&world.app.name),
        ));
    }
    if installations.is_empty() {
        installations.push_str("<p>The app is not installed.</p>");
    }
    let (state, action, label) = if found.spec.activated {
        ("activated", "deactivate", "Deactivate")
    } else {
        ("not activated", "activate", "Activate")
    };
    let main = format!(
        "<p>The account is <strong>{state}</strong>.</p>\
         <form method=\"post\" action=\"{base}/{action}\">{back}<button>{label}</button></form>\
         {installations}\
         <table><caption>API keys</caption><thead><tr><th scope=\"col\">Key</th><th scope=\"col\">Mode</th>\
         <th scope=\"col\">Status</th><th scope=\"col\">Created</th><th scope=\"col\">Actions</th></tr></thead>\
         <tbody>{rows}</tbody></table>"
    );
    document(200, account, &main)
}

fn row(world: &World, key: &ApiKey, base: &str, back: &str) -> String {
    let now = world.now();
    let name = escape(key.name.as_deref().unwrap_or("(no name)"));
    let manager = if key.managed { escape(&world.app.name) } else { "you".to_owned() };
    let mut status = key.status(now).to_owned();
    if let Some(at) = key.expires_at {
        let word = if key.is_active(now) { "until" } else { "since" };
        status.push_str(&format!(", {word} {}", iso(at)));
    }
    let action = format!("{base}/keys/{}", escape(&key.id));
    let mut actions = String::new();
    if key.is_active(now) {
        // "You can't expire a publishable key" in the Dashboard (https://docs.stripe.com/keys).
        if key.kind == KeyType::Secret {
            actions.push_str(&format!(
                "<form class=\"inline\" method=\"post\" action=\"{action}/expire\">{back}\
                 <button aria-label=\"Expire key {name}\">Expire key</button></form>"
            ));
        }
        if !key.rotated {
            actions.push_str(&format!(
                "<form class=\"inline\" method=\"post\" action=\"{action}/rotate\">{back}\
                 <label>Overlap in minutes <input name=\"overlap_minutes\" type=\"number\" min=\"0\" \
                 max=\"10080\" value=\"0\"></label>\
                 <button aria-label=\"Rotate key {name}\">Rotate</button></form>"
            ));
        }
    }
    format!(
        "<tr><th scope=\"row\">{name}<br><code>{}</code><br><code>{}</code><br>managed by {manager}</th>\
         <td>{}</td><td>{status}</td><td>{}</td><td>{actions}</td></tr>",
        escape(&key.redacted()),
        escape(&key.id),
        mode_name(key.live),
        iso(key.created_ms),
    )
}

pub(super) fn act(world: &mut World, request: &Request, account: &str, path: &[&str]) -> Answer {
    let form = request.form();
    let owns =
        |world: &World, id: &str| world.keys.get(id).is_some_and(|key| key.account == account);
    let done = match path {
        ["keys", id, "expire"] => {
            let secret = world.keys.get(*id).is_some_and(|key| key.kind == KeyType::Secret);
            if !secret && owns(world, id) {
                return message(400, "Not expired", "You can't expire a publishable key.");
            }
            owns(world, id) && world.expire_in_dashboard(id)
        }
        ["keys", id, "rotate"] => {
            // Zero ends the old key at once, so nothing but a number may stand for it.
            let Ok(minutes) = first(&form, "overlap_minutes").unwrap_or("0").parse() else {
                return message(400, "Not rotated", "The overlap is a number of minutes.");
            };
            owns(world, id) && world.rotate_in_dashboard(id, minutes).is_some()
        }
        ["uninstall"] => {
            let keys = match field(&form, "keys") {
                "expire" => KeepOrExpire::Expire,
                _ => KeepOrExpire::Keep,
            };
            world.uninstall(account, field(&form, "mode") != "test", keys)
        }
        ["activate"] => world.set_activated(account, true),
        ["deactivate"] => world.set_activated(account, false),
        _ => false,
    };
    if !done {
        return message(404, "Nothing was done", "There is no such account, key or installation.");
    }
    match first(&form, "return_to").map(loopback_url) {
        Some(Some(url)) => Answer::redirect(url.as_str()),
        Some(None) => message(400, "Done", "But return_to is not on this computer."),
        None => Answer::redirect(&format!("/dashboard/{account}")),
    }
}

impl World {
    /// A user expires a key; false if it is not active.
    pub(crate) fn expire_in_dashboard(&mut self, id: &str) -> bool {
        let active = self.keys.get(id).is_some_and(|key| key.is_active(self.now()));
        if active {
            self.expire_now(id, &Cause::Dashboard);
        }
        active
    }

    /// A user rotates a key; the new one's secret is shown to the user and never to the app. Zero minutes
    /// end the old key at once. `None` if it is not active or already rotated.
    pub(crate) fn rotate_in_dashboard(&mut self, id: &str, overlap_minutes: i64) -> Option<String> {
        self.keys.get(id).filter(|key| key.is_active(self.now()) && !key.rotated)?;
        let overlap = Some(overlap_minutes.clamp(0, 10_080)).filter(|minutes| *minutes > 0);
        self.rotate_key(id, overlap, &Cause::Dashboard)
    }
}
