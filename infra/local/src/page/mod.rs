//! The page at `/`: leads a person through what the bundle does. Forms and links; the script only refreshes.

mod actions;
mod html;
mod lists;
mod time;
mod view;

use http::{HeaderValue, Method, StatusCode, header};
use keysteward::http::problem::Problem;
use keysteward::http::{Reply, Request, is_read, query, request_id};
use keysteward::runtime::log::chain;

use crate::bundle::Running;
pub(crate) use view::redacted;

/// Answers what no function answers; `None` for a path that is not the page's either.
pub(crate) async fn respond(running: &Running, request: &Request) -> Option<Reply> {
    let id = request_id(request);
    let path = request.uri().path();
    if let Some(action) = path.strip_prefix("/actions/") {
        return actions::respond(running, action, request).await;
    }
    let content = match path {
        "/" => None,
        "/page.css" => Some(("text/css; charset=utf-8", include_str!("page.css"))),
        "/page.js" => Some(("text/javascript; charset=utf-8", include_str!("page.js"))),
        _ => return None,
    };
    if !is_read(request.method()) {
        return Some(Problem::Method("GET, HEAD").reply(id));
    }
    if let Some((kind, text)) = content {
        return Some(reply(StatusCode::OK, kind, text.to_owned()));
    }
    let done = query(request, "done").and_then(|word| actions::Done::parse(&word));
    Some(match view::View::of(running, done).await {
        Ok(view) => reply(StatusCode::OK, HTML, view.html()),
        Err(error) => {
            tracing::error!(error = chain(&error), "the page could not be made");
            Problem::Failed(error.class()).reply(id)
        }
    })
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut reply = Reply::new(body.into_bytes());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers then say `Origin: null` of our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

fn is_post(request: &Request) -> bool {
    request.method() == Method::POST
}

const HTML: &str = "text/html; charset=utf-8";
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
