//! Reconciling: Stripe's list held against the account, suspects asked one by one, and set right.

use std::time::Duration;

use super::set_right::Report;
use super::{Error, Steward};
use crate::domain::account::{Account, Change, Reconciled};
use crate::domain::attention::out_of_reach;
use crate::domain::audit::{Action, Phase};
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

impl Steward {
    /// The daily reconciliation of one account. A list that could not be had is asked for again in an hour.
    /// Answers whether it is over for now; otherwise it goes on with the next change.
    pub(super) async fn reconcile(
        &self,
        change: &mut Change,
        orders: &Orders,
    ) -> Result<bool, Error> {
        let is_whole = match self.compared(change.account()).await {
            Ok(compared) => {
                let is_released = change.account().head.epoch < orders.epoch;
                let is_wanted = is_released || self.policy.on_drift() == OnDrift::Apply;
                let applies = orders.report_only.is_none() && is_wanted;
                self.take_findings(change, orders, compared, applies).await?.1
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
                true
            }
        };
        Ok(is_whole)
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

    pub(super) async fn compared(&self, account: &Account) -> Result<Compared, stripe::Error> {
        let listed = self.stripe.list(&account.at, true).await?;
        let listed: Vec<Listed> = listed.into_iter().map(listed_of).collect();
        Ok(compare(account, &listed, &self.app, &self.policy, self.clock.now()))
    }

    /// Takes up what was found, as much of it as one change holds, and answers whether that was all. The rest
    /// is found again when the account is compared anew, at once.
    pub(super) async fn take_findings(
        &self,
        change: &mut Change,
        orders: &Orders,
        compared: Compared,
        applies: bool,
    ) -> Result<(Report, bool), Error> {
        let is_restored = change.account().head.epoch < orders.epoch;
        let mut is_whole = note_standing(change, &compared.standing)?;
        let mut suspects = compared.findings;
        suspects.sort_by(|one, other| one.slot.cmp(&other.slot));
        let mut report =
            Report { findings: vec![], foreign: compared.foreign, applied: applies, left: 0 };
        'slots: for of_slot in suspects.chunk_by(|one, other| one.slot == other.slot) {
            let confirmed = Box::pin(self.all_confirmed(change, of_slot, is_restored)).await;
            let Some(confirmed) = confirmed else {
                change.put_off_reconciling(Policy::LOOK_AGAIN);
                return Ok((Report { applied: false, ..report }, true));
            };
            let by_ourselves = is_restored || confirmed.iter().any(is_of_ours);
            for (finding, key) in confirmed {
                if change.room() == 0 {
                    is_whole = false;
                    break 'slots;
                }
                // Who lost a key of ours was nobody else: no policy has to allow that it is ended.
                let is_lost = finding.drift == Drift::Lost && orders.report_only.is_none();
                let is_wanted = applies || is_lost;
                if !is_wanted || !self.mend(change, &finding, key, by_ourselves).await? {
                    report.left += 1;
                }
                report.findings.push(finding);
            }
        }
        self.tell(change, &report.findings, applies);
        if is_whole && is_restored && applies {
            is_whole = change.enter_epoch(orders.epoch, change.room());
        }
        if is_whole {
            // That nothing was found is worth saying too.
            self.tally.add(Metric::DriftFound, report.left.into());
            change.reconciled(Reconciled { at: change.now(), drift: report.left });
        } else {
            change.go_on_reconciling();
        }
        Ok((report, is_whole))
    }

    /// What is found of one slot, as far as Stripe confirms it: nothing is concluded before all of it is known
    /// (I4). `None` when Stripe could not be asked.
    async fn all_confirmed(
        &self,
        change: &Change,
        suspects: &[Finding],
        is_restored: bool,
    ) -> Option<Vec<(Finding, Confirmed)>> {
        let mut confirmed = vec![];
        for suspect in suspects {
            let mut finding = suspect.clone();
            if is_restored && finding.drift == Drift::Lost {
                // Whom the copy lacks may be in use.
                finding.drift = Drift::Orphan;
            }
            match self.confirmed(&change.account().at, &finding).await {
                Ok(Some(key)) => confirmed.push((finding, key)),
                Ok(None) => {}
                Err(error) => {
                    let generation = finding.generation.unwrap_or(Generation::FIRST);
                    self.report(&change.account().at, &error, &finding.slot, generation);
                    return None;
                }
            }
        }
        Some(confirmed)
    }

    /// Asks Stripe for the key itself. `None`: the list was wrong or is out of date.
    pub(super) async fn confirmed(
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
                if !is_doomed_already(change, slot, &happened) {
                    change.apply(slot, generation, happened, Some(Because::KeyHasDied))?;
                }
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

/// Puts off the look at keys that the list shows as they should be; answers whether one change holds that.
fn note_standing(change: &mut Change, standing: &[(Slot, Generation)]) -> Result<bool, Error> {
    let look_at = change.now().plus(Policy::LOOK_EVERY);
    for (slot, generation) in standing {
        let state = change.account().generations.get(&(slot.clone(), *generation));
        // Noted by the changes just before this one.
        let is_noted = matches!(state, Some(State::Current { look_at: noted, .. })
            if noted.plus(JUST_NOW) > look_at);
        // Whether who asked for a key was met, Stripe's object says and not its list.
        let is_asked_for =
            change.account().slots.get(slot).is_some_and(|state| state.asked_at.is_some());
        if is_noted || is_asked_for {
            continue;
        }
        if change.room() == 0 {
            return Ok(false);
        }
        change.apply(slot, *generation, Happened::LookedAt { look_at }, None)?;
    }
    Ok(true)
}

/// Whether it shows that a request of ours, which the table does not know of, replaced the slot's key.
fn is_of_ours((finding, key): &(Finding, Confirmed)) -> bool {
    key.is_ours && matches!(finding.drift, Drift::Orphan | Drift::Lost)
}

/// Whether the slot's key is doomed by ourselves and nothing more is known of it now.
fn is_doomed_already(change: &Change, slot: &Slot, happened: &Happened) -> bool {
    let Some((_, State::Current { doom: Some(doom), .. })) = change.account().current(slot) else {
        return false;
    };
    matches!(happened, Happened::Doomed(_)) && doom.by == DoomedBy::LostAnswer
}

/// What Stripe says of one key when asked for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
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

/// How long a comparison may take that goes on over several changes.
const JUST_NOW: Duration = Duration::from_secs(600);
