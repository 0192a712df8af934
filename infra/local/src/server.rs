//! One port for what API Gateway keeps apart: each path goes to its function, the rest is the page.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode, header};
use keysteward::http::problem::Problem;
use keysteward::http::{Caller, Reply, Request, RequestId, health, redirect, single};
use keysteward::runtime::clock::draw;
use tokio::net::TcpListener;

use crate::bundle::Running;
use crate::guard::own_host;
use crate::page;

/// Serves until the task ends.
pub(crate) async fn run(listener: TcpListener, running: Arc<Running>) {
    let router = Router::new().fallback(answer).with_state(running);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the server stopped");
    }
}

async fn answer(State(running): State<Arc<Running>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let reply = match axum::body::to_bytes(body, GATEWAY_LIMIT).await {
        Ok(body) => dispatch(&running, Request::from_parts(parts, body.to_vec())).await,
        Err(_) => Problem::TooLarge.reply(""),
    };
    reply.map(Body::from)
}

async fn dispatch(running: &Running, mut request: Request) -> Reply {
    if own_host(request.headers()).is_none() {
        return plain(
            StatusCode::FORBIDDEN,
            "This answers under the names of this machine only.\n",
        );
    }
    let path = request.uri().path().to_owned();
    let is_for_people = matches!(path.as_str(), "/" | "/install");
    if is_for_people && let Some(elsewhere) = under_one_name(running, &request) {
        return elsewhere;
    }
    let id = format!("local-{:016x}", draw());
    request.extensions_mut().insert(RequestId(id.clone()));
    match path.as_str() {
        "/health" => health(),
        "/install" if wants_oauth(&request) => {
            keysteward_install::respond(&running.install_oauth, request).await
        }
        // Either form comes back to the same place; the two share what the state is signed with.
        "/install" | "/install/callback" => {
            keysteward_install::respond(&running.install_link, request).await
        }
        "/webhooks/stripe" => keysteward_webhook::respond(&running.webhook, request).await,
        _ if path.starts_with("/v1/") => {
            request.extensions_mut().insert(Caller(CALLER.to_owned()));
            keysteward_keys::respond(&running.keys, request).await
        }
        _ => {
            page::respond(running, &request).await.unwrap_or_else(|| Problem::NoSuchPath.reply(&id))
        }
    }
}

/// Cookies belong to a name: who starts under `localhost` would come back to 127.0.0.1 without theirs.
fn under_one_name(running: &Running, request: &Request) -> Option<Reply> {
    let host = single(request.headers(), header::HOST.as_str())?;
    let is_ours = running.url.strip_prefix("http://") == Some(host);
    if is_ours || request.method() != Method::GET {
        return None;
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    redirect(StatusCode::TEMPORARY_REDIRECT, &format!("{}{path}", running.url))
}

fn wants_oauth(request: &Request) -> bool {
    keysteward::http::query(request, "form").as_deref() == Some("oauth")
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Reply {
    let mut reply = Reply::new(text.as_bytes().to_vec());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    reply
}

/// API Gateway takes 10 MB; what is larger than 256 KiB is `webhook`'s to refuse.
const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;
/// Who reads keys here, as the IAM authorizer would say.
const CALLER: &str = "arn:aws:iam::000000000000:user/local";
