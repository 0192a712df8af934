//! Comparing one account with Stripe's list on request, and setting right what differs.

use super::{Advanced, Error, Steward, lease};
use crate::domain::account::{Account, Change};
use crate::domain::audit::Actor;
use crate::domain::drift::Finding;
use crate::domain::orders::Orders;
use crate::domain::slot::AccountRef;
use crate::domain::time::Timestamp;
use crate::stripe::{self, TimeLeft};

/// What reconciling an account came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The differences that Stripe confirmed.
    pub findings: Vec<Finding>,
    /// How many active keys of the account are not ours.
    pub foreign: u32,
    /// Whether they were set right, and the whole account was compared.
    pub applied: bool,
    /// How many of them stand: all when nothing was set right, else those that nothing could be done about.
    pub left: u32,
}

impl Steward {
    /// Holds Stripe's list against one account, reading only. `None` when nothing is stored of it.
    pub async fn inspect(&self, at: &AccountRef) -> Result<Option<Report>, Error> {
        let Some(account) = self.store.load(at).await? else { return Ok(None) };
        let compared = self.compared(&account).await.map_err(Error::List)?;
        let mut findings = Vec::new();
        for finding in compared.findings {
            if self.confirmed(at, &finding).await.map_err(Error::List)?.is_some() {
                findings.push(finding);
            }
        }
        let left = u32::try_from(findings.len()).unwrap_or(u32::MAX);
        Ok(Some(Report { findings, foreign: compared.foreign, applied: false, left }))
    }

    /// As [`Steward::inspect`], and sets right what was found, whatever the policy says of drift.
    ///
    /// While the bundle only reports, nothing is set right.
    pub async fn set_right(
        &self,
        at: &AccountRef,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<(Option<Report>, Advanced), Error> {
        let now = self.clock.now();
        let orders = self.orders().await?;
        let Some(mut account) = self.store.load(at).await? else {
            return Ok((None, Advanced::Unknown));
        };
        if let Some(until) = account.leased_until(now) {
            return Ok((None, Advanced::Busy(until)));
        }
        let mut told: Option<Report> = None;
        loop {
            match self.take_a_part(account, &orders, actor, deadline).await? {
                Part::Last(report, account, held) => {
                    let advanced = self.drive_held(account, held, actor, deadline).await?;
                    return Ok((Some(report.after(told)), advanced));
                }
                Part::OneOfSeveral(report, recorded) => {
                    told = Some(report.after(told));
                    account = recorded;
                }
                Part::None(advanced) => {
                    let told = told.map(|told| Report { applied: false, ..told });
                    return Ok((told, advanced));
                }
            }
        }
    }

    /// Compares the account and sets right as much as one change holds.
    async fn take_a_part(
        &self,
        account: Account,
        orders: &Orders,
        actor: Actor,
        deadline: Timestamp,
    ) -> Result<Part, Error> {
        // I8: the token is durable, and its lease young, before anything outside is touched.
        let mut change = Change::of(account, self.clock.now(), actor);
        change.claim();
        let Some(claimed) = self.record(change).await? else {
            return Ok(Part::None(Advanced::Overtaken));
        };
        let now = self.clock.now();
        let mut change = Change::of(claimed.clone(), now, actor);
        change.extend_lease();
        let applies = orders.report_only.is_none();
        let work = async {
            let compared = self.compared(change.account()).await.map_err(Error::List)?;
            self.take_findings(&mut change, orders, compared, applies).await
        };
        let left = lease::time_for_step(now, deadline);
        let (report, is_whole) = match stripe::within(left, Box::pin(work)).await {
            (_, TimeLeft::RanOut) => {
                let mut change = Change::of(claimed, now, actor);
                change.release(Some(now));
                self.record(change).await?;
                return Ok(Part::None(Advanced::OutOfTime));
            }
            (taken, TimeLeft::Enough) => taken?,
        };
        let held = self.settle(&mut change, orders)?;
        Ok(match self.record(change).await? {
            Some(account) if is_whole => Part::Last(report, account, held),
            Some(account) => Part::OneOfSeveral(report, account),
            None => Part::None(Advanced::Overtaken),
        })
    }
}

/// What came of one change.
enum Part {
    /// There is no other. Whether the lease is kept.
    Last(Report, Account, bool),
    /// Another one follows.
    OneOfSeveral(Report, Account),
    /// It was not recorded.
    None(Advanced),
}

impl Report {
    /// This one and what was set right before it.
    fn after(mut self, before: Option<Self>) -> Self {
        if let Some(mut before) = before {
            // What was left then was found again.
            before.findings.retain(|finding| !self.findings.contains(finding));
            before.findings.append(&mut self.findings);
            self.findings = before.findings;
        }
        self
    }
}
