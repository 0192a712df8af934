//! `audit`: who did what to which key and why, and whether somebody changed that since.

use anyhow::Context as _;
use keysteward::domain::audit::{Broken, Entry, verify};
use keysteward::domain::slot::AccountRef;
use keysteward::runtime::log::chain;
use keysteward::store::{Error, Store};
use serde::Serialize;

use crate::args::Audit;
use crate::output::{columns, count, instant, or_dash, word};
use crate::session::{Found, Session};

pub(crate) async fn run(asked: Audit, session: &mut Session) -> anyhow::Result<Found> {
    let at = session.find(&asked.at).await?;
    let store = session.parts.store().await?;
    if asked.verify {
        return check(&store, &at, session).await;
    }
    let account = store.load(&at).await?.context("nothing is stored of this account")?;
    let after = account.head.audit.sequence.saturating_sub(u64::from(asked.limit));
    let entries = store.trail(&at, after, asked.limit).await?;
    session.show(&entries, |entries| {
        let heading =
            ["no", "at", "who", "what", "phase", "slot", "gen", "key", "because", "outcome"];
        columns(heading, entries.iter().map(row))
    })?;
    Ok(Found::NothingWrong)
}

fn row(entry: &Entry) -> [String; 10] {
    [
        entry.sequence.to_string(),
        instant(entry.at),
        word(&entry.actor),
        word(&entry.action),
        word(&entry.phase),
        or_dash(entry.slot.as_ref()),
        or_dash(entry.generation),
        or_dash(entry.key_id.as_ref()),
        or_dash(entry.because.as_ref().map(word)),
        or_dash(entry.outcome.as_ref()),
    ]
}

async fn check(store: &Store, at: &AccountRef, session: &mut Session) -> anyhow::Result<Found> {
    let mut checked = Checked { account: at.to_string(), entries: 0, holds: true, broken: None };
    let mut looks = 0;
    loop {
        let account = store.load(at).await?.context("nothing is stored of this account")?;
        let head = account.head.audit;
        let entries = match store.trail(at, 0, u32::MAX).await {
            Ok(entries) => entries,
            Err(error @ (Error::Tampered { .. } | Error::UnreadableRow { .. })) => {
                checked.fail(chain(&error));
                break;
            }
            Err(error) => return Err(error.into()),
        };
        checked.entries = entries.len() as u64;
        match verify(&entries, &head) {
            Ok(()) => break,
            // Somebody wrote between the two reads, unless it stays so.
            Err(Broken::Head) if looks < LOOKS => looks += 1,
            Err(broken) => {
                checked.fail(broken.to_string());
                break;
            }
        }
    }
    session.show(&checked, Checked::as_text)?;
    Ok(if checked.holds { Found::NothingWrong } else { Found::SomethingWrong })
}

#[derive(Serialize)]
struct Checked {
    account: String,
    entries: u64,
    holds: bool,
    /// What is wrong, in words.
    broken: Option<String>,
}

impl Checked {
    fn fail(&mut self, why: String) {
        self.holds = false;
        self.broken = Some(why);
    }

    fn as_text(&self) -> String {
        let Self { account, entries, broken, .. } = self;
        match broken {
            None => format!(
                "the trail of {account} holds: {} chain, and end where the account says",
                count(*entries, "entry", "entries")
            ),
            Some(why) => format!("the trail of {account} DOES NOT HOLD: {why}"),
        }
    }
}

const LOOKS: u32 = 3;
