//! `install`: sends a person to Stripe and takes them back.

use http::{HeaderValue, Method, StatusCode, header};
use keysteward::Class;
use keysteward::domain::id::AccountId;
use keysteward::domain::slot::Mode;
use keysteward::http::page::page;
use keysteward::http::problem::Problem;
use keysteward::http::{Reply, Request, health, query, redirect, request_id};
use keysteward::install::{Error, Install, Installed, Return, state};
use keysteward::runtime::clock;
use keysteward::runtime::log::chain;
use keysteward::runtime::metrics::{Line, Metric};

/// Answers one request; what is counted about it is the reply's extension [`Line`].
pub async fn respond(install: &Install, request: Request) -> Reply {
    let id = request_id(&request);
    match request.uri().path() {
        "/health" => health(),
        "/install" | "/install/callback" if request.method() != Method::GET => {
            Problem::Method("GET").reply(id)
        }
        "/install" => start(install, &request).unwrap_or_else(|problem| problem.reply(id)),
        "/install/callback" => {
            let mut line = Line::default();
            let mut reply = finish(install, &request, &mut line).await;
            line.absorb(install.steward.counts());
            reply.extensions_mut().insert(line);
            reply
        }
        _ => Problem::NoSuchPath.reply(id),
    }
}

fn start(install: &Install, request: &Request) -> Result<Reply, Problem> {
    let mode = match query(request, "mode") {
        Some(text) => Mode::parse(&text).ok_or(Problem::Parameter("mode"))?,
        None if install.links.live.is_some() => Mode::Live,
        None => Mode::Test,
    };
    // Kept when it is there, so that a second tab does not undo the first.
    let nonce =
        cookie(request).unwrap_or_else(|| format!("{:016x}{:016x}", clock::draw(), clock::draw()));
    let link = install.start(mode, &nonce).ok_or(Problem::Parameter("mode"))?;
    let mut reply = redirect(StatusCode::FOUND, &link).ok_or(Problem::Failed(Class::Fault))?;
    let cookie = set_cookie(install, &nonce, state::LIFETIME.as_secs());
    reply.headers_mut().insert(
        header::SET_COOKIE,
        HeaderValue::from_str(&cookie).map_err(|_| Problem::Failed(Class::Fault))?,
    );
    Ok(reply)
}

async fn finish(install: &Install, request: &Request, line: &mut Line) -> Reply {
    if query(request, "error").is_some() {
        line.add(Metric::InstallationsRefused, 1);
        return page(
            StatusCode::OK,
            "The app was not installed",
            &[
                "You chose not to install it, or Stripe did not let you. Nothing was changed and no key was made.",
                "You can close this page, or start again whenever you like.",
            ],
        );
    }
    let (state, returned) = match returned(request) {
        Ok(returned) => returned,
        Err(problem) => {
            line.add(Metric::InstallationsRefused, 1);
            return refused(problem);
        }
    };
    let nonce = cookie(request).unwrap_or_default();
    match install.finish(&state, &nonce, returned).await {
        Ok(installed) => {
            line.add(Metric::Installations, 1);
            welcome(install, &installed)
        }
        Err(error) => {
            line.add(counted_as(&error), 1);
            line.fault(error.fault());
            tracing::warn!(
                class = error.class().as_str(),
                error = chain(&error),
                request.id = request_id(request),
                "an installation was not recorded"
            );
            refused(match error {
                Error::State(_) => Problem::State,
                Error::Signature | Error::Mode => Problem::Installation,
                Error::Exchange(cause) if cause.class() == Class::Caller => Problem::Installation,
                Error::Exchange(_) | Error::Record(_) | Error::Store(_) => {
                    Problem::Failed(error.class())
                }
            })
        }
    }
}

fn counted_as(error: &Error) -> Metric {
    match error.class() {
        Class::Caller | Class::Conflict => Metric::InstallationsRefused,
        Class::Transient | Class::Fault => Metric::InstallationsFailed,
    }
}

/// Reads either form of the redirect: <https://docs.stripe.com/stripe-apps/install-links> and
/// <https://docs.stripe.com/stripe-apps/api-authentication/oauth>.
fn returned(request: &Request) -> Result<(String, Return), Problem> {
    let state = query(request, "state").ok_or(Problem::State)?;
    if let Some(code) = query(request, "code") {
        return Ok((state, Return::Code(code)));
    }
    let signature = query(request, "install_signature").ok_or(Problem::Installation)?;
    let user = query(request, "user_id").ok_or(Problem::Installation)?;
    let account = query(request, "account_id").ok_or(Problem::Installation)?;
    let account = AccountId::parse(&account).map_err(|_| Problem::Installation)?;
    let mode = Mode::of_livemode(query(request, "livemode").as_deref() != Some("false"));
    Ok((state, Return::Signed { user, account, signature, mode }))
}

fn welcome(install: &Install, installed: &Installed) -> Reply {
    tracing::info!(
        account.id = %installed.at.id,
        account.mode = installed.at.mode.as_str(),
        is_ready = installed.is_ready,
        "app installed"
    );
    let reply = match &install.after_install_url {
        Some(url) => redirect(StatusCode::SEE_OTHER, url),
        None => None,
    };
    let mut reply = reply.unwrap_or_else(|| {
        let next = if installed.is_ready {
            "Its API keys are made and in safe keeping. You never have to copy one."
        } else {
            "Its API keys are being made. That takes a minute or two and needs nothing from you."
        };
        page(
            StatusCode::OK,
            "The app is installed",
            &[
                &format!("It is installed on the Stripe account {} ({} mode).", installed.at.id, installed.at.mode),
                next,
                "You can see and expire its keys in Stripe's Dashboard at any time. You can close this page.",
            ],
        )
    });
    if let Ok(gone) = HeaderValue::from_str(&set_cookie(install, "", 0)) {
        reply.headers_mut().insert(header::SET_COOKIE, gone);
    }
    reply
}

fn refused(problem: Problem) -> Reply {
    page(
        problem.status(),
        "The app could not be installed",
        &[problem.title(), "Nothing was changed. Please start the installation again."],
    )
}

/// Our cookie's value, where it is one that we set.
fn cookie(request: &Request) -> Option<String> {
    request
        .headers()
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && state::is_nonce(value))
        .map(|(_, value)| value.to_owned())
}

fn set_cookie(install: &Install, value: &str, max_age: u64) -> String {
    let secure = if install.callback_url.starts_with("https:") { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/install; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
}

const COOKIE: &str = "keysteward_install";
