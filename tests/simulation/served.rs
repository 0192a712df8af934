//! What the app's services are served: a key that works, unless somebody gave a reason.

use anyhow::{Context as _, ensure};
use http::StatusCode;
use keysteward::domain::lifecycle::State;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::http::Reply;
use keysteward_tests::world::{default_slot, json_of};

use crate::life::Life;

impl Life {
    pub(crate) async fn check_reads(&mut self, whose: &[usize]) -> anyhow::Result<()> {
        for n in whose {
            let at = self.accounts[*n].clone();
            for kind in KINDS {
                let reply = self.world.read(&at, kind).await;
                let is_excused = self.is_excused(*n, kind)
                    || reply.status() == StatusCode::CONFLICT
                        && self.waits_for_a_person(&at, kind).await;
                let checked = self.check_reply(*n, kind, is_excused, &reply);
                if checked.is_err() {
                    let stored = self.world.account(&at).await;
                    return checked.with_context(|| format!("{at} {kind}: a read of {stored:#?}"));
                }
            }
        }
        Ok(())
    }

    fn check_reply(
        &mut self,
        n: usize,
        kind: Kind,
        is_excused: bool,
        reply: &Reply,
    ) -> anyhow::Result<()> {
        let (status, body) = (reply.status(), json_of(reply)?);
        match status {
            StatusCode::OK => {
                self.happened.note("reads", "served");
                let token = body["token"].as_str().unwrap_or_default();
                let works = self.world.stripe.token_works(token);
                ensure!(works || self.unnoticed.contains(&(n, kind)), "a dead key is served");
                if !is_excused {
                    let is_owed = !self.may_be_held.contains(&(n, kind));
                    self.happened.add("reads", "owed and served", u64::from(is_owed));
                    // Whatever somebody did to it before would be known by now.
                    if self.trouble.is_over() {
                        self.may_be_held.remove(&(n, kind));
                    }
                }
            }
            StatusCode::CONFLICT => {
                self.happened.note("reads", "refused");
                // Whatever else is wrong, nothing is put down to a user who did nothing.
                let is_legitimate = match body["code"].as_str() {
                    Some("revoked_by_user") => self.may_be_held.contains(&(n, kind)),
                    _ => is_excused,
                };
                ensure!(is_legitimate, "refused, and nobody gave a reason: {}", body["code"]);
            }
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => {
                self.happened.note("reads", "failed");
                let is_out = self.trouble.table || self.trouble.vault && kind == Kind::Secret;
                ensure!(is_out, "failed, and what it takes is there: {body}");
            }
            other => anyhow::bail!("answered {other}: {body}"),
        }
        Ok(())
    }

    /// Whether somebody gave a reason why there may be no key to serve, other than a hold.
    fn is_excused(&self, n: usize, kind: Kind) -> bool {
        let at = &self.accounts[n];
        !self.world.stripe.is_installed(at.id.as_str(), at.mode == Mode::Live)
            // The installation failed, and counts from the next click on.
            || self.turned_away.contains(&n)
            || self.unnoticed.contains(&(n, kind))
            || self.unsettled.contains(&(n, kind))
            || self.trouble.may_cost_a_key(self.world.now())
    }

    /// Whether the key that was to be next does not open: where it took the place of the last one at Stripe, that one
    /// dies, and when the second does not open either, nothing comes before a person does.
    async fn waits_for_a_person(&self, at: &AccountRef, kind: Kind) -> bool {
        let Ok(stored) = self.world.account(at).await else {
            // It may wait, and the table that says so is out of reach for this check, too.
            return self.ever_garbled && self.trouble.table;
        };
        let slot = default_slot(kind);
        let current = stored.current(&slot).map(|(current, _)| current);
        let mut later = stored.generations_of(&slot).filter(|(it, _)| Some(*it) > current);
        self.ever_garbled && later.any(|(_, state)| matches!(state, State::Undecryptable { .. }))
    }

    /// Notes that somebody else touches keys of an account.
    pub(crate) fn touched(&mut self, n: usize, kinds: &[Kind]) {
        self.by_hand.insert(n);
        for kind in kinds {
            self.unnoticed.insert((n, *kind));
            if self.holds() {
                self.may_be_held.insert((n, *kind));
            }
        }
    }

    /// Notes that an account may be without keys until a quiet day has passed.
    pub(crate) fn unsettle(&mut self, n: usize) {
        self.unsettled.extend(KINDS.map(|kind| (n, kind)));
    }

    /// A whole day has passed in which nothing was in the way: everybody knows what there is to know.
    pub(crate) fn settle(&mut self) {
        self.unnoticed.clear();
        self.unsettled.clear();
    }
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Secret, Kind::Publishable];
