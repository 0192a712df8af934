//! `reconcile`: Stripe's list of keys held against the table.

use futures_util::{StreamExt as _, stream};
use keysteward::domain::audit::Actor;
use keysteward::domain::drift::Finding;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::runtime::log::chain;
use keysteward::steward::{Advanced, Error, Report, Steward};
use keysteward::store::SHARDS;
use serde::Serialize;

use crate::args::Reconcile;
use crate::one::patience;
use crate::output::{columns, count, or_dash};
use crate::session::{Found, Session};
use crate::walk;

pub(crate) async fn run(asked: Reconcile, session: &mut Session) -> anyhow::Result<Found> {
    let mut summary = Summary::default();
    let steward = session.parts.steward().await?;
    match &asked.account {
        Some(account) => {
            let at = session.find_in(account, asked.mode).await?;
            let compared = compare(&steward, &at, asked.apply).await;
            summary.add(&at, compared);
        }
        None => {
            if asked.apply {
                session.confirm(asked.yes, &question(asked.mode), "apply")?;
            }
            let bar = session.terminal.progress("accounts compared", None);
            for number in 0..SHARDS {
                let mut accounts = walk::shard(&steward.store, number).await?;
                accounts.retain(|at| asked.mode.is_none_or(|mode| mode == at.mode));
                let mut compared = stream::iter(accounts)
                    .map(|at| async {
                        let compared = compare(&steward, &at, asked.apply).await;
                        (at, compared)
                    })
                    .buffer_unordered(AT_ONCE);
                while let Some((at, compared)) = compared.next().await {
                    bar.inc(1);
                    summary.add(&at, compared);
                }
            }
            bar.finish_and_clear();
        }
    }
    session.show(&summary, Summary::as_text)?;
    anyhow::ensure!(
        summary.failed.is_empty(),
        "{} could not be reconciled",
        count(summary.failed.len() as u64, "account", "accounts")
    );
    Ok(if summary.left > 0 { Found::SomethingWrong } else { Found::NothingWrong })
}

/// What came of one account; the words of a failure otherwise.
async fn compare(steward: &Steward, at: &AccountRef, apply: bool) -> Result<Report, String> {
    let words = |error: Error| chain(&error);
    if !apply {
        let report = steward.inspect(at).await.map_err(words)?;
        return report.ok_or_else(|| "nothing is stored of it".to_owned());
    }
    let deadline = patience(steward.clock.now());
    let (report, advanced) =
        steward.set_right(at, Actor::Operator, deadline).await.map_err(words)?;
    match (report, advanced) {
        (Some(report), Advanced::Settled(_)) if report.applied => Ok(report),
        (Some(report), Advanced::OutOfTime) if report.applied => Ok(report),
        (_, Advanced::Unknown) => Err("nothing is stored of it".to_owned()),
        (_, Advanced::Busy(_) | Advanced::Overtaken) => {
            Err("somebody else is working on it: give the command again".to_owned())
        }
        (_, Advanced::Settled(_) | Advanced::OutOfTime) => {
            Err("not all is set right: the bundle only reports, Stripe could not be asked, or there was not the \
                 time: give the command again"
                .to_owned())
        }
    }
}

/// All accounts together.
#[derive(Default, Serialize)]
struct Summary {
    accounts: u64,
    findings: Vec<Differs>,
    /// Differences that stand.
    left: u64,
    /// Active keys that are not ours. Never touched.
    foreign: u64,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Differs {
    account: String,
    mode: Mode,
    #[serde(flatten)]
    finding: Finding,
    set_right: bool,
}

#[derive(Serialize)]
struct Failed {
    account: String,
    mode: Mode,
    why: String,
}

impl Summary {
    fn add(&mut self, at: &AccountRef, compared: Result<Report, String>) {
        let (account, mode) = (at.id.to_string(), at.mode);
        self.accounts += 1;
        match compared {
            Err(why) => self.failed.push(Failed { account, mode, why }),
            Ok(report) => {
                self.foreign += u64::from(report.foreign);
                self.left += u64::from(report.left);
                let set_right = report.applied && report.left == 0;
                self.findings.extend(report.findings.into_iter().map(|finding| Differs {
                    account: account.clone(),
                    mode,
                    finding,
                    set_right,
                }));
            }
        }
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        if !self.findings.is_empty() {
            let heading = ["account", "mode", "slot", "gen", "key", "differs", "set right"];
            let rows = self.findings.iter().map(|Differs { account, mode, finding, set_right }| {
                [
                    account.clone(),
                    mode.to_string(),
                    finding.slot.to_string(),
                    or_dash(finding.generation),
                    finding.key.to_string(),
                    finding.drift.as_str().to_owned(),
                    if *set_right { "yes" } else { "no" }.to_owned(),
                ]
            });
            text.push_str(&columns(heading, rows));
            text.push('\n');
        }
        for Failed { account, mode, why } in &self.failed {
            text.push_str(&format!("{account} ({mode}): {why}\n"));
        }
        text.push_str(&format!(
            "{} compared: {} found, {} left; {} not ours\n",
            count(self.accounts, "account", "accounts"),
            count(self.findings.len() as u64, "difference", "differences"),
            self.left,
            count(self.foreign, "active key is", "active keys are"),
        ));
        text
    }
}

fn question(mode: Option<Mode>) -> String {
    let accounts = mode.map_or_else(|| "account".to_owned(), |mode| format!("{mode} account"));
    format!(
        "This sets right what differs on every {accounts}: keys of ours that the table does not know or that nobody can \
         read are ended, slots whose key was ended at Stripe are held or get another, as the policy says, and rotations \
         that are later than the policy allows are brought forward. Keys that the app did not mint are never touched."
    )
}

/// Stripe's rate is kept by the client's own pace.
const AT_ONCE: usize = 8;
