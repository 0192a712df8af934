//! Installing the app (README, "Sources"). Two flows, as at Stripe:
//!
//! - install link: `/apps/install/link/{id}?redirect_uri&state`; back with `user_id`, `account_id`, `state`
//!   and `install_signature`;
//! - OAuth: `/oauth/v2/authorize?client_id&redirect_uri&state`, also `/oauth/v2/{channel}/authorize`; back
//!   with `code` and `state`.
//!
//! At Stripe each mode has a link of its own. Here a link is for test mode if its `{id}` or `{channel}` ends
//! with `_test` or if it carries `mode=test`; any other is for live mode.

use url::Url;

use super::{document, escape, field, hidden, loopback_url, message, mode_name};
use crate::deliver::sign;
use crate::http::{Answer, Request, first};
use crate::world::World;

const REFUSED: &str = "The user denied your request";

struct Link {
    oauth: bool,
    live: bool,
    redirect_uri: Url,
    state: Option<String>,
}

pub(super) fn answer(world: &mut World, request: &Request, path: &[&str]) -> Answer {
    // A POST may leave out what the address already says; what the form says wins.
    let form = if request.method == "POST" { request.form() } else { request.query.clone() };
    let link = match read_link(world, path, &form) {
        Ok(link) => link,
        Err(why) => return message(400, "This link does not work", why),
    };
    if request.method == "GET" {
        return choose(world, &link, &form);
    }
    match field(&form, "decision") {
        "cancel" => {
            let mut url = link.redirect_uri;
            url.query_pairs_mut()
                .append_pair("error", "access_denied")
                .append_pair("error_description", REFUSED)
                .extend_pairs(link.state.iter().map(|state| ("state", state)));
            Answer::redirect(url.as_str())
        }
        "install" => install(world, link, field(&form, "account")),
        _ => message(400, "Nothing was chosen", "Choose Install or Cancel."),
    }
}

fn read_link(
    world: &World,
    path: &[&str],
    form: &[(String, String)],
) -> Result<Link, &'static str> {
    let oauth = path.first() == Some(&"oauth");
    // `{id}` of a link, `{channel}` of an OAuth link.
    let name = if oauth { path.get(2) } else { path.get(3) };
    let test = field(form, "mode") == "test" || name.is_some_and(|name| name.ends_with("_test"));
    if oauth && field(form, "client_id") != world.app.id {
        return Err("The provided OAuth link is invalid: client_id is not the id of the app.");
    }
    let allowed = &world.app.allowed_redirect_uris;
    let redirect_uri = match first(form, "redirect_uri") {
        Some(uri) => uri,
        // The first one of the manifest is the default.
        None => allowed.first().ok_or("The link has no redirect_uri.")?,
    };
    if !allowed.is_empty() && !allowed.iter().any(|uri| uri == redirect_uri) {
        return Err("The redirect_uri is not one of the app's allowed_redirect_uris.");
    }
    Ok(Link {
        oauth,
        live: !test,
        redirect_uri: loopback_url(redirect_uri).ok_or(
            "The redirect_uri is not on this computer; fake-stripe redirects nowhere else.",
        )?,
        state: first(form, "state").map(str::to_owned),
    })
}

fn choose(world: &World, link: &Link, form: &[(String, String)]) -> Answer {
    let mode = mode_name(link.live);
    let app = escape(&world.app.name);
    let mut choices = String::new();
    for (id, account) in world.accounts.iter().filter(|(_, found)| found.exists_in(link.live)) {
        let mut remarks = String::new();
        if account.installed_in(link.live) {
            remarks.push_str(" (already installed)");
        }
        if link.live && !account.spec.activated {
            remarks.push_str(" (not activated: no live keys yet)");
        }
        let checked = if choices.is_empty() { " checked" } else { "" };
        let id = escape(id);
        choices.push_str(&format!(
            "<label><input type=\"radio\" name=\"account\" value=\"{id}\" required{checked}> {id}{remarks}</label>"
        ));
    }
    if choices.is_empty() {
        choices.push_str("<p>There is no account in this mode.</p>");
    }
    let kept: String = ["redirect_uri", "state", "client_id", "mode"]
        .iter()
        .filter_map(|name| first(form, name).map(|value| hidden(name, value)))
        .collect();
    let main = format!(
        "<p class=\"note\">{app} asks to be installed in <strong>{mode} mode</strong>. It will be able to \
         create and manage API keys of your account (<code>api_key_write</code>) and to read its events.</p>\
         <form method=\"post\">{kept}<fieldset><legend>Account</legend>{choices}</fieldset>\
         <button class=\"main\" name=\"decision\" value=\"install\">Install</button>\
         <button name=\"decision\" value=\"cancel\" formnovalidate>Cancel</button></form>"
    );
    document(200, &format!("Install {}", world.app.name), &main)
}

fn install(world: &mut World, link: Link, account: &str) -> Answer {
    if !world.install(account, link.live) {
        return message(400, "Not installed", "There is no such account in this mode.");
    }
    let mut url = link.redirect_uri;
    if link.oauth {
        let code = world.issue_code(account, link.live);
        url.query_pairs_mut()
            .append_pair("code", &code)
            .extend_pairs(link.state.iter().map(|state| ("state", state)));
        return Answer::redirect(url.as_str());
    }
    let user = format!("usr_{}", account.trim_start_matches("acct_"));
    let signature = install_signature(world, link.state.as_deref(), &user, account);
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("user_id", &user).append_pair("account_id", account);
        if let Some(state) = &link.state {
            query.append_pair("state", state);
        }
        query.append_pair("install_signature", &signature);
        if !link.live {
            query.append_pair("livemode", "false");
        }
    }
    Answer::redirect(url.as_str())
}

/// Signs `{"state":…,"user_id":…,"account_id":…}` in this order, compact; without a state the field is
/// left out (<https://docs.stripe.com/stripe-apps/install-links>).
fn install_signature(world: &World, state: Option<&str>, user: &str, account: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let state = state.map_or(String::new(), |state| format!("\"state\":{},", quoted(state)));
    let body =
        format!("{{{state}\"user_id\":{},\"account_id\":{}}}", quoted(user), quoted(account));
    sign(&[&world.app.signing_secret], world.now().div_euclid(1000), body.as_bytes())
}
