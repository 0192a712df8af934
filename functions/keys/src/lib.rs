//! `keys`: serves a slot's current key to the app's own services. It writes nothing.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use keysteward::Class;
use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::http::problem::Problem;
use keysteward::http::{Caller, Reply, Request, health, is_read, json, query, request_id, single};
use keysteward::runtime::log::chain;
use keysteward::runtime::metrics::{Line, Metric};
use keysteward::serve::{Answer, Freshness, Refusal, Served, Service};
use serde::Serialize;

/// Answers one request; what is counted about it is the reply's extension [`Line`].
pub async fn respond(service: &Service, request: Request) -> Reply {
    let path = request.uri().path();
    if path == "/health" {
        return health();
    }
    let id = request_id(&request);
    let Some((account, slot)) = asked_for(path) else { return Problem::NoSuchPath.reply(id) };
    let mut line = Line::default();
    let mut reply = if is_read(request.method()) {
        let read = read(service, &request, account, slot, &mut line).await;
        read.unwrap_or_else(|problem| problem.reply(id))
    } else {
        Problem::Method("GET, HEAD").reply(id)
    };
    if line == Line::default() {
        line.add(Metric::KeysBadRequests, 1);
    }
    reply.extensions_mut().insert(line);
    reply
}

async fn read(
    service: &Service,
    request: &Request,
    account: &str,
    slot: &str,
    line: &mut Line,
) -> Result<Reply, Problem> {
    let account = AccountId::parse(account).map_err(|_| Problem::Parameter("account"))?;
    let name = SlotName::parse(slot).map_err(|_| Problem::Parameter("slot"))?;
    let mode = match query(request, "mode") {
        None => Mode::Live,
        Some(text) => Mode::parse(&text).ok_or(Problem::Parameter("mode"))?,
    };
    let kind = match query(request, "kind") {
        None => Kind::Secret,
        Some(text) => Kind::parse(&text).ok_or(Problem::Parameter("kind"))?,
    };
    let at = AccountRef::new(mode, account);
    let slot = Slot::new(kind, name);
    let known: Vec<&str> = single(request.headers(), header::IF_NONE_MATCH.as_str())
        .map(|list| list.split(',').map(|tag| tag.trim().trim_start_matches("W/")).collect())
        .unwrap_or_default();
    let answer = service.key(&at, &slot, &known).await;
    log_access(request, &at, &slot, &answer);
    *line = counts(slot.kind, &answer);
    match answer {
        Ok(Answer::Key(served)) => Ok(key(&at, &slot, &served)),
        Ok(Answer::NotModified(_, freshness)) => {
            let mut reply = Reply::new(Vec::new());
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            Ok(fresh(reply, &freshness))
        }
        Err(Refusal::NoSuchKey) => Err(Problem::NoSuchKey),
        Err(Refusal::NoUsableKey(reason)) => Err(Problem::NoUsableKey(reason)),
        Err(refusal @ (Refusal::Store(_) | Refusal::Open(_))) => {
            tracing::error!(
                account.id = %at.id,
                class = refusal.class().as_str(),
                error = chain(&refusal),
                "a key could not be served"
            );
            // Nothing that the caller sent is at fault once the parameters are read.
            Err(Problem::Failed(match refusal.class() {
                Class::Conflict | Class::Transient => Class::Transient,
                Class::Caller | Class::Fault => Class::Fault,
            }))
        }
    }
}

/// `/v1/accounts/{account}/keys/{slot}`
fn asked_for(path: &str) -> Option<(&str, &str)> {
    let (account, slot) = path.strip_prefix("/v1/accounts/")?.split_once("/keys/")?;
    (!account.contains('/') && !slot.contains('/')).then_some((account, slot))
}

fn counts(kind: Kind, answer: &Result<Answer, Refusal>) -> Line {
    let mut line = Line::default();
    line.add(
        match answer {
            Ok(Answer::Key(_)) => Metric::KeysServed,
            Ok(Answer::NotModified(..)) => Metric::KeysNotModified,
            Err(Refusal::NoSuchKey) => Metric::KeysUnknown,
            Err(Refusal::NoUsableKey(_)) => Metric::KeysUnusable,
            Err(Refusal::Store(_) | Refusal::Open(_)) => Metric::KeysNotServed,
        },
        1,
    );
    match answer {
        Ok(Answer::Key(_)) if kind == Kind::Secret => line.add(Metric::KeysOpened, 1),
        Ok(Answer::Key(_) | Answer::NotModified(..)) => {}
        Err(refusal) => line.fault(refusal.fault()),
    }
    line
}

/// One record a read: who read which key. Never the key.
fn log_access(request: &Request, at: &AccountRef, slot: &Slot, answer: &Result<Answer, Refusal>) {
    let (outcome, generation) = match answer {
        Ok(Answer::Key(served)) => ("served", served.generation.number()),
        Ok(Answer::NotModified(generation, _)) => ("not_modified", generation.number()),
        Err(Refusal::NoSuchKey) => ("no_such_key", 0),
        Err(Refusal::NoUsableKey(reason)) => (*reason, 0),
        Err(Refusal::Store(_) | Refusal::Open(_)) => ("failed", 0),
    };
    tracing::info!(
        caller = request.extensions().get::<Caller>().map_or("", |caller| caller.0.as_str()),
        account.id = %at.id,
        // In one field, `live/secret/default#3`: there is a line for each read, and it is to stay short.
        slot = %format_args!("{}/{slot}#{generation}", at.mode),
        request.id = request_id(request),
        outcome,
        "key read"
    );
}

fn key(at: &AccountRef, slot: &Slot, served: &Served) -> Reply {
    let body = Body {
        account: at.id.as_str(),
        mode: at.mode.as_str(),
        slot: slot.name.as_str(),
        kind: slot.kind.as_str(),
        generation: served.generation.number(),
        key_id: served.key_id.as_str(),
        token: served.token.expose(),
        issued_at: served.issued_at.to_string(),
        rotates_at: served.rotates_at.map(|at| at.to_string()),
        previous_valid_until: served.previous_valid_until.map(|at| at.to_string()),
    };
    fresh(json(StatusCode::OK, "application/json", &body), &served.freshness)
}

fn fresh(mut reply: Reply, freshness: &Freshness) -> Reply {
    let Freshness { etag, max_age } = freshness;
    let headers = reply.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    if let Ok(control) = HeaderValue::from_str(&cache_control(*max_age)) {
        headers.insert(header::CACHE_CONTROL, control);
    }
    reply
}

fn cache_control(max_age: Duration) -> String {
    format!("private, max-age={}", max_age.as_secs())
}

#[derive(Serialize)]
struct Body<'a> {
    account: &'a str,
    mode: &'a str,
    slot: &'a str,
    kind: &'a str,
    generation: u32,
    key_id: &'a str,
    token: &'a str,
    issued_at: String,
    rotates_at: Option<String>,
    previous_valid_until: Option<String>,
}
