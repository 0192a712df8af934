//! `pause`: no rotation by age is begun. Keys are served, retired and watched all the same.

use keysteward::domain::time::Timestamp;
use keysteward::steward::OrderBook;
use keysteward::steward::operator;
use serde::Serialize;

use crate::args::Pause;
use crate::one::recorded;
use crate::output::{instant, rfc3339_or_null};
use crate::session::{Found, Session};

pub(crate) async fn run(asked: Pause, session: &mut Session) -> anyhow::Result<Found> {
    let now = session.now();
    let store = session.parts.store().await?;
    let paused = match asked.account {
        Some(account) => {
            let at = session.find_in(&account, asked.mode).await?;
            let account = recorded(operator::pause(&store, &at, true, now).await?)?;
            Paused { account: Some(at.to_string()), paused_since: account.head.paused_since }
        }
        None => {
            let pause = |standing: &mut keysteward::domain::orders::Standing| {
                standing.paused_since = standing.paused_since.or(Some(now));
            };
            let standing = OrderBook::default().give(&store, now, pause).await?;
            Paused { account: None, paused_since: standing.paused_since }
        }
    };
    session.show(&paused, Paused::as_text)?;
    Ok(Found::NothingWrong)
}

/// Whether rotations by age are held back.
#[derive(Serialize)]
pub(crate) struct Paused {
    /// `live/acct_…`; null: the whole bundle.
    pub(crate) account: Option<String>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub(crate) paused_since: Option<Timestamp>,
}

impl Paused {
    pub(crate) fn as_text(&self) -> String {
        let whose = self.account.as_deref().unwrap_or("the bundle");
        match self.paused_since {
            Some(since) => format!(
                "{whose} is paused since {}: no rotation by age is begun; emergencies and retirements go on",
                instant(since)
            ),
            None => {
                format!("{whose} is not paused: the next sweeps rotate what came due meanwhile")
            }
        }
    }
}
