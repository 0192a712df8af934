//! What the page's buttons do: POST, redirect, GET.

use std::time::Duration;

use http::StatusCode;
use keysteward::Class;
use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Kind, Mode, Slot, SlotName};
use keysteward::http::problem::Problem;
use keysteward::http::{Reply, Request, redirect, request_id};
use keysteward::runtime::log::chain;
use keysteward::steward::{Advanced, Error};

use crate::bundle::Running;
use crate::guard::is_from_own_page;
use crate::pump;
use crate::server::plain;

/// What was done, as the page says it. A closed list: nothing from an address is ever shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The app came back from fake Stripe.
    Installed,
    /// A key was rotated.
    Rotated,
    /// The account is being changed right now.
    Busy,
    /// There is no key to rotate.
    NoKey,
    /// Time has passed.
    Jumped,
    /// Back from the Dashboard.
    Returned,
}

const ALL: [Done; 6] =
    [Done::Installed, Done::Rotated, Done::Busy, Done::NoKey, Done::Jumped, Done::Returned];

impl Done {
    pub(super) fn parse(word: &str) -> Option<Self> {
        ALL.into_iter().find(|done| done.word() == word)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Rotated => "rotated",
            Self::Busy => "busy",
            Self::NoKey => "no_key",
            Self::Jumped => "jumped",
            Self::Returned => "returned",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Installed => {
                "The app is installed. Keysteward made its keys while you were on your way back."
            }
            Self::Rotated => {
                "The key is rotated. The new one is served now; the old one still works until its overlap is over."
            }
            Self::Busy => {
                "Somebody else is changing this account right now. Try again in a moment."
            }
            Self::NoKey => "There is no current key in this slot, so there is nothing to rotate.",
            Self::Jumped => {
                "Time has passed, for Keysteward and for Stripe, and the schedule has swept."
            }
            Self::Returned => {
                "Welcome back from the Dashboard. What you did there arrives here as an event."
            }
        }
    }
}

/// Carries out an action; `None` when there is none of this name.
pub(super) async fn respond(running: &Running, action: &str, request: &Request) -> Option<Reply> {
    if !matches!(action, "rotate" | "jump") {
        return None;
    }
    if !super::is_post(request) {
        return Some(Problem::Method("POST").reply(request_id(request)));
    }
    if !is_from_own_page(request.headers()) {
        return Some(plain(
            StatusCode::FORBIDDEN,
            "This form was not sent from the page itself.\n",
        ));
    }
    let done = match action {
        "rotate" => rotate(running, request).await,
        _ => jump(running, request).await,
    };
    Some(match done {
        Ok(done) => redirect(StatusCode::SEE_OTHER, &format!("/?done={}", done.word()))
            .unwrap_or_else(|| Problem::Failed(Class::Fault).reply(request_id(request))),
        Err(problem) => problem.reply(request_id(request)),
    })
}

async fn rotate(running: &Running, request: &Request) -> Result<Done, Problem> {
    let account = AccountId::parse(&field(request, "account")).ok();
    let account = account.ok_or(Problem::Parameter("account"))?;
    let at = AccountRef::new(Mode::Test, account);
    match running.rotate(&at, &Slot::new(Kind::Secret, SlotName::default())).await {
        Ok(Advanced::Settled(_) | Advanced::OutOfTime) => Ok(Done::Rotated),
        Ok(Advanced::Busy(_) | Advanced::Overtaken) => Ok(Done::Busy),
        Ok(Advanced::Unknown) | Err(Error::NoCurrentKey) => Ok(Done::NoKey),
        Err(error) => {
            tracing::error!(error = chain(&error), "a key could not be rotated");
            Err(Problem::Failed(error.class()))
        }
    }
}

async fn jump(running: &Running, request: &Request) -> Result<Done, Problem> {
    let by = match field(request, "by").as_str() {
        "hour" => HOUR,
        "day" => 24 * HOUR,
        "month" => 31 * 24 * HOUR,
        _ => return Err(Problem::Parameter("by")),
    };
    running.pass(by);
    // At once, rather than with the next run, so that the page that follows shows what it came to.
    if let Err(error) = pump::sweep(&running.steward).await {
        tracing::error!(error = chain(&error), "the sweep failed");
    }
    Ok(Done::Jumped)
}

fn field(request: &Request, name: &str) -> String {
    url::form_urlencoded::parse(request.body())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

const HOUR: Duration = Duration::from_secs(3600);
