//! What a user sees: the install pages of the marketplace and a small Dashboard. Plain HTML forms that
//! work without JavaScript, with a keyboard and with a screen reader.

mod dashboard;
mod marketplace;

use std::net::IpAddr;

use url::{Host, Url};

use crate::http::{Answer, Request, first};
use crate::world::World;

const STYLE: &str = "\
:root{color-scheme:light;--line:#767c86;--accent:#4b3fd6}\
body{background:#fff;color:#1a1b1f;font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}fieldset,table{border:1px solid var(--line);border-radius:.4rem;margin:1rem 0}\
fieldset{padding:.5rem 1rem}label{display:block;padding:.4rem 0}table{border-collapse:collapse;width:100%}\
caption{text-align:left;font-weight:600;padding:.4rem 0}th,td{border-top:1px solid var(--line);padding:.4rem;\
text-align:left;vertical-align:top;overflow-wrap:anywhere}\
button{font:inherit;padding:.45rem .9rem;border:1px solid var(--accent);border-radius:.4rem;cursor:pointer;\
background:transparent;color:inherit;margin:.2rem .4rem .2rem 0}button.main{background:var(--accent);color:#fff}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}\
.note{border-left:.3rem solid var(--accent);padding-left:.8rem}form.inline{display:inline}";

/// Routes everything outside `/v1` and `/v2`.
pub(crate) fn answer(world: &mut World, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", [""]) => Answer::redirect("/dashboard"),
        (
            "GET" | "POST",
            ["apps", "install", "link", _]
            | ["oauth", "v2", "authorize"]
            | ["oauth", "v2", _, "authorize"],
        ) => marketplace::answer(world, request, &path),
        ("GET", ["dashboard"]) => dashboard::index(world),
        ("GET", ["dashboard", account]) => dashboard::show(world, request, account),
        ("POST", ["dashboard", account, rest @ ..]) => {
            dashboard::act(world, request, account, rest)
        }
        _ => message(404, "Not found", "There is no such page."),
    }
}

/// A whole page.
fn document(status: u16, title: &str, main: &str) -> Answer {
    let title = escape(title);
    Answer::html(
        status,
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title} · fake Stripe</title><style>{STYLE}</style></head>\
             <body><main><h1>{title}</h1>{main}</main>\
             <footer><p><small>This is fake-stripe, a double for tests. Nothing here is real.</small></p>\
             </footer></body></html>"
        ),
    )
}

fn message(status: u16, title: &str, text: &str) -> Answer {
    document(status, title, &format!("<p role=\"alert\">{}</p>", escape(text)))
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
}

/// A URL that stays on this computer. The double sends a browser nowhere else.
fn loopback_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    is_loopback(&url).then_some(url)
}

/// Whether a URL's host is this computer.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    first(form, name).unwrap_or_default()
}

fn mode_name(live: bool) -> &'static str {
    if live { "live" } else { "test" }
}
