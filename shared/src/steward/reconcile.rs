//! Reconciling: Stripe's list held against the account, suspects asked one by one, and set right on request.

use super::{Advanced, Error, Steward};
use crate::domain::account::{Account, Change, Reconciled};
use crate::domain::attention::out_of_reach;
use crate::domain::audit::{Action, Actor, Phase};
use crate::domain::drift::{Compared, Drift, Finding, Listed, compare};
use crate::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use crate::domain::orders::Orders;
use crate::domain::plan::Because;
use crate::domain::policy::{OnDrift, Policy};
use crate::domain::slot::{AccountRef, Generation, Slot};
use crate::domain::time::Timestamp;
use crate::runtime::log::chain;
use crate::runtime::metrics::Metric;
use crate::stripe::{self, ApiKey, KeyStatus, Refusal};

/// What reconciling an account came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The differences that Stripe confirmed.
    pub findings: Vec<Finding>,
    /// How many active keys of the account are not ours.
    pub foreign: u32,
    /// Whether they were set right.
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
        let Some(account) = self.store.load(at).await? else {
            return Ok((None, Advanced::Unknown));
        };
        if account.is_leased(now) {
            let until = account.head.lease_until.unwrap_or(now);
            return Ok((None, Advanced::Busy(until)));
        }
        let mut change = Change::of(account, now, actor);
        change.claim();
        let Some(account) = self.record(change).await? else {
            return Ok((None, Advanced::Overtaken));
        };
        let mut change = Change::of(account, now, actor);
        change.extend_lease();
        let compared = self.compared(change.account()).await.map_err(Error::List)?;
        let applies = orders.report_only.is_none();
        let report = self.take_findings(&mut change, &orders, compared, applies).await?;
        let held = self.settle(&mut change, &orders)?;
        let advanced = match self.record(change).await? {
            Some(account) => self.drive_held(account, held, actor, deadline).await?,
            None => Advanced::Overtaken,
        };
        Ok((Some(report), advanced))
    }

    /// The daily reconciliation of one account. A list that could not be had is asked for again in an hour.
    pub(super) async fn reconcile(
        &self,
        change: &mut Change,
        orders: &Orders,
    ) -> Result<(), Error> {
        match self.compared(change.account()).await {
            Ok(compared) => {
                let is_released = change.account().head.epoch < orders.epoch;
                let is_wanted = is_released || self.policy.on_drift() == OnDrift::Apply;
                let applies = orders.report_only.is_none() && is_wanted;
                self.take_findings(change, orders, compared, applies).await?;
            }
            Err(error) => {
                self.tally.count(Metric::StripeFailures);
                tracing::warn!(
                    account.id = %change.account().at.id,
                    class = error.class().as_str(),
                    request.id = error.request_id().unwrap_or_default(),
                    error = chain(&error),
                    "the list of keys could not be had"
                );
                change.put_off_reconciling(Policy::LOOK_AGAIN);
                if matches!(error.refusal(), Some(Refusal::Forbidden | Refusal::NotFound)) {
                    self.note_refusal(change);
                }
            }
        }
        Ok(())
    }

    /// A refusal may be an uninstall that nobody told of, or a permission that the app lost. It says not which,
    /// so it ends nothing (I1): once it has lasted a day, a person is asked.
    fn note_refusal(&self, change: &mut Change) {
        change.refused();
        let head = &change.account().head;
        if out_of_reach(head).is_some_and(|since| since <= change.now()) {
            tracing::error!(
                account.id = %change.account().at.id,
                account.mode = change.account().at.mode.as_str(),
                refused = head.refused.map_or(0, |refused| refused.times),
                "an account is out of reach: stripe has refused to list its keys for a day"
            );
        }
    }

    async fn compared(&self, account: &Account) -> Result<Compared, stripe::Error> {
        let listed = self.stripe.list(&account.at, true).await?;
        let listed: Vec<Listed> = listed.into_iter().map(listed_of).collect();
        Ok(compare(account, &listed, &self.app, &self.policy, self.clock.now()))
    }

    async fn take_findings(
        &self,
        change: &mut Change,
        orders: &Orders,
        compared: Compared,
        applies: bool,
    ) -> Result<Report, Error> {
        let now = change.now();
        for (slot, generation) in &compared.standing {
            let looked = Happened::LookedAt { look_at: now.plus(Policy::LOOK_EVERY) };
            change.apply(slot, *generation, looked, None)?;
        }
        let is_restored = change.account().head.epoch < orders.epoch;
        let foreign = compared.foreign;
        let mut confirmed = Vec::new();
        for mut finding in compared.findings {
            if is_restored && finding.drift == Drift::Lost {
                // Whom the copy lacks may be in use.
                finding.drift = Drift::Orphan;
            }
            match self.confirmed(&change.account().at, &finding).await {
                Ok(Some(key)) => confirmed.push((finding, key)),
                Ok(None) => {}
                Err(error) => {
                    let generation = finding.generation.unwrap_or(Generation::FIRST);
                    self.report(&error, &finding.slot, generation);
                    change.put_off_reconciling(Policy::LOOK_AGAIN);
                    let findings: Vec<Finding> = confirmed.into_iter().map(|(it, _)| it).collect();
                    let left = u32::try_from(findings.len()).unwrap_or(u32::MAX);
                    return Ok(Report { findings, foreign, applied: false, left });
                }
            }
        }
        // A key that the user made by rotating ours has our note as well: only one that we made ourselves shows that
        // we replaced what is gone.
        let replaced: Vec<Slot> = confirmed
            .iter()
            .filter(|(it, key)| matches!(it.drift, Drift::Orphan | Drift::Lost) && key.is_ours)
            .map(|(it, _)| it.slot.clone())
            .collect();
        let (mut findings, mut drift) = (Vec::new(), 0);
        for (finding, key) in confirmed {
            let by_ourselves = is_restored || replaced.contains(&finding.slot);
            // Who lost a key of ours was nobody else: no policy has to allow that it is ended.
            let is_wanted = applies || finding.drift == Drift::Lost && orders.report_only.is_none();
            if !is_wanted || !self.mend(change, &finding, key, by_ourselves).await? {
                drift += 1;
            }
            findings.push(finding);
        }
        self.tell(change, &findings, applies);
        if is_restored && applies {
            change.enter_epoch(orders.epoch);
        }
        // That nothing was found is worth saying too.
        self.tally.add(Metric::DriftFound, drift.into());
        change.reconciled(Reconciled { at: now, drift });
        Ok(Report { findings, foreign, applied: applies, left: drift })
    }

    /// Asks Stripe for the key itself. `None`: the list was wrong or is out of date.
    async fn confirmed(
        &self,
        at: &AccountRef,
        finding: &Finding,
    ) -> Result<Option<Confirmed>, stripe::Error> {
        let key = match self.stripe.retrieve(at, &finding.key).await {
            Ok(key) => key,
            Err(error) if error.refusal() == Some(&Refusal::NotFound) => {
                let is_gone = matches!(finding.drift, Drift::Missing | Drift::Ended | Drift::Dying);
                let gone = Confirmed { ends_at: None, is_active: false, is_ours: true };
                return Ok(is_gone.then_some(gone));
            }
            Err(error) => return Err(error),
        };
        let is_active = key.status != KeyStatus::Expired;
        let confirmed = match finding.drift {
            Drift::Missing | Drift::Ended | Drift::Dying => !is_active || key.expires_at.is_some(),
            Drift::Alive | Drift::Orphan | Drift::Lost => is_active && key.expires_at.is_none(),
            Drift::Overdue | Drift::BeyondPolicy => is_active,
        };
        // A rotation in the Dashboard copies our note: what the user made that way is the user's.
        let made_by_us = match finding.drift {
            Drift::Orphan | Drift::Lost if confirmed => {
                self.stripe.is_made_by_us(at, &finding.key, key.created).await?
            }
            _ => Some(true),
        };
        if made_by_us == Some(false) {
            return Ok(None);
        }
        let is_ours = made_by_us.is_some();
        Ok(confirmed.then_some(Confirmed { ends_at: key.expires_at, is_active, is_ours }))
    }

    /// Turns one finding into a state that the plan deals with. `false` when nothing could be done about it.
    async fn mend(
        &self,
        change: &mut Change,
        finding: &Finding,
        key: Confirmed,
        by_ourselves: bool,
    ) -> Result<bool, Error> {
        let (slot, now) = (&finding.slot, change.now());
        match (finding.drift, finding.generation) {
            (Drift::Missing | Drift::Ended | Drift::Dying, Some(generation)) if by_ourselves => {
                // We replaced it ourselves and the table forgot, so nobody has to be asked about another.
                let by = DoomedBy::LostAnswer;
                let happened = match key.ends_at.filter(|at| key.is_active && *at > now) {
                    Some(at) => Happened::Doomed(Doom { at, by }),
                    // I1: only the key's own word ends it before another one is there. When it will die,
                    // nobody says: not after the overlap that it was given.
                    None => match self.is_dead(change, slot, generation).await {
                        Some(true) => Happened::Ended { at: now, why: Ending::Superseded },
                        Some(false) | None => {
                            Happened::Doomed(Doom { at: now.plus(self.policy.overlap()), by })
                        }
                    },
                };
                change.apply(slot, generation, happened, Some(Because::KeyHasDied))?;
                Ok(true)
            }
            (Drift::Missing | Drift::Ended | Drift::Dying, Some(generation)) => {
                self.look_at(change, slot, generation, &finding.key).await
            }
            // Nobody says any more who made it: it is told, and left to a person.
            (Drift::Orphan | Drift::Lost, _) if !key.is_ours => Ok(false),
            (Drift::Lost, _) => Ok(change.adopt(slot, finding.key.clone(), now, Ending::Lost)),
            (Drift::Alive | Drift::Orphan, _) => {
                // Somebody may be using it: it goes when a successor has had the whole overlap.
                let dies_at = now.plus(self.policy.overlap());
                Ok(change.adopt(slot, finding.key.clone(), dies_at, Ending::Superseded))
            }
            (Drift::BeyondPolicy, Some(generation)) => {
                self.bring_forward(change, slot, generation)?;
                Ok(true)
            }
            // The plan rotates it by itself, or says why not.
            (
                Drift::Overdue | Drift::BeyondPolicy | Drift::Missing | Drift::Ended | Drift::Dying,
                _,
            ) => Ok(false),
        }
    }

    /// The policy was shortened since the key's rotation was set: it is drawn anew, once, and stored.
    fn bring_forward(
        &self,
        change: &mut Change,
        slot: &Slot,
        generation: Generation,
    ) -> Result<(), Error> {
        let Some((_, State::Current { issued_at, .. })) = change.account().current(slot) else {
            return Ok(());
        };
        let at = self.policy.brought_forward(*issued_at, change.now(), (self.draw)());
        let happened = Happened::BroughtForward { at };
        Ok(change.apply(slot, generation, happened, Some(Because::RotationIsDue))?)
    }

    fn tell(&self, change: &mut Change, findings: &[Finding], applied: bool) {
        let before = change.account().head.reconciled.map_or(0, |last| last.drift);
        for finding in findings {
            tracing::warn!(
                account.id = %change.account().at.id,
                account.mode = change.account().at.mode.as_str(),
                slot = %finding.slot,
                key.id = %finding.key,
                drift = finding.drift.as_str(),
                applied,
                "stripe and the table differ"
            );
        }
        if !findings.is_empty() && (applied || before as usize != findings.len()) {
            let outcome = if applied { "drift_set_right" } else { "drift_found" };
            change.note(Action::Reconcile, Phase::Note, None, Some(outcome));
        }
    }
}

/// What Stripe says of one key when asked for it.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    ends_at: Option<Timestamp>,
    is_active: bool,
    /// Whether it is known that we made it.
    is_ours: bool,
}

fn listed_of(key: ApiKey) -> Listed {
    Listed {
        key: key.id,
        kind: key.kind,
        is_active: key.status != KeyStatus::Expired,
        created: key.created,
        expires_at: key.expires_at,
        note: key.note,
        app: key.managed_by,
    }
}
