//! A world in which plans are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keysteward::domain::account::{Account, Change, Hold, HoldReason, Reconciled, Status};
use keysteward::domain::audit::{Action, Actor, Entry};
use keysteward::domain::changeover::Vacated;
use keysteward::domain::id::{AccountId, KeyId, Kid};
use keysteward::domain::intent::{Asking, How, Intent, PublicKey, RequestShape};
use keysteward::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use keysteward::domain::orders::Orders;
use keysteward::domain::plan::{Because, Plan, Step, plan};
use keysteward::domain::policy::{OnUserExpire, Policy};
use keysteward::domain::sealed::{KeyPair, Material, Sealed, Wrapped};
use keysteward::domain::slot::{AccountRef, Generation, Kind, Mode, Slot, SlotName};
use keysteward::domain::time::Timestamp;

/// What the world does with the next step that touches it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Good,
    Vain,
    Lost,
    DoesNotOpen,
}

/// What else happens between two sweeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outside {
    Nothing,
    RevokedByUser,
    RotatedBySomebody,
    RotationAsked,
    Uninstalled,
    Reinstalled,
    Provisioned,
    WentLive,
}

pub(crate) struct Model {
    pub(crate) policy: Policy,
    pub(crate) orders: Orders,
    pub(crate) account: Account,
    pub(crate) now: Timestamp,
    pub(crate) trail: Vec<Entry>,
    pub(crate) minted: u32,
    /// Which keys are known to work at Stripe, each with when Stripe ends it by itself.
    living: BTreeMap<(Slot, Generation), Option<Timestamp>>,
    /// Whose key was ended by somebody who wants no other.
    given_up: BTreeSet<Slot>,
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Self {
        let now = Timestamp::from_seconds(1_700_000_000).unwrap();
        let at = AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap());
        let mut model = Self {
            policy,
            orders: Orders::default(),
            account: Account::new(at, now),
            now,
            trail: vec![],
            minted: 0,
            living: BTreeMap::new(),
            given_up: BTreeSet::new(),
        };
        model.change(|change| {
            change.set_status(Status::Installed { since: now }, Action::Install);
            for kind in [Kind::Secret, Kind::Publishable] {
                change.open_slot(&Slot::new(kind, SlotName::default()));
            }
        });
        model
    }

    pub(crate) fn change(&mut self, write: impl FnOnce(&mut Change)) {
        let mut change = Change::of(self.account.clone(), self.now, Actor::Sweep);
        write(&mut change);
        self.trail.extend(change.entries().to_vec());
        self.account = change.into_account();
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(self.now, &self.policy, &self.orders, &self.account)
    }

    /// Carries out what is due until nothing is, with `answers` as the world's answers, then good ones.
    pub(crate) fn sweep(&mut self, answers: &mut impl Iterator<Item = Answer>) {
        for _ in 0..200 {
            let Some(planned) = self.plan().steps.into_iter().next() else { return };
            self.carry_out(planned.step, planned.because, answers);
        }
        panic!("a sweep does not come to rest: {:?}", self.plan());
    }

    pub(crate) fn carry_out(
        &mut self,
        step: Step,
        because: Because,
        answers: &mut impl Iterator<Item = Answer>,
    ) {
        let (now, draw) = (self.now, u64::from(self.minted));
        if let (Step::Request { slot, .. }, Because::RotationIsDue) = (&step, because) {
            self.assert_no_other_window_is_open(slot);
        }
        let because = Some(because);
        match step {
            Step::Reconcile => {
                self.change(|change| change.reconciled(Reconciled { at: now, drift: 0 }))
            }
            Step::Request { slot, from } => self.request(&slot, from),
            Step::Ask(slot, generation) => match answers.next().unwrap_or(Answer::Good) {
                Answer::Good | Answer::DoesNotOpen => self.answer(&slot, generation),
                Answer::Vain => self.ask_in_vain(&slot, generation),
                Answer::Lost => self.lose(&slot, generation),
            },
            Step::Recover(slot, generation) => match answers.next().unwrap_or(Answer::Good) {
                Answer::Good | Answer::DoesNotOpen => self.answer(&slot, generation),
                Answer::Vain => self.recover(&slot, generation),
                Answer::Lost => self.lose(&slot, generation),
            },
            Step::Prove(slot, generation) => {
                let happened = match answers.next().unwrap_or(Answer::Good) {
                    Answer::DoesNotOpen => Happened::DidNotOpen { at: now },
                    Answer::Good | Answer::Vain | Answer::Lost => {
                        self.living.insert((slot.clone(), generation), None);
                        self.given_up.remove(&slot);
                        Happened::Proved
                    }
                };
                self.change(|change| change.apply(&slot, generation, happened, because).unwrap());
            }
            Step::Promote(slot, generation) => {
                let rotates_at = Some(self.policy.rotates_at(now, draw));
                let dies_at = now.plus(self.policy.overlap());
                self.change(|change| {
                    let before = change.account().current(&slot).map(|(generation, _)| generation);
                    if let Some(before) = before {
                        let over = Happened::Superseded { dies_at, try_at: dies_at };
                        change.apply(&slot, before, over, because).unwrap();
                    }
                    change
                        .apply(
                            &slot,
                            generation,
                            Happened::Promoted {
                                rotates_at,
                                look_at: now.plus(Policy::LOOK_EVERY),
                            },
                            because,
                        )
                        .unwrap();
                    change.hold(&slot, None);
                });
            }
            Step::LookAt(slot, generation) => self.change(|change| {
                let looked = Happened::LookedAt { look_at: now.plus(Policy::LOOK_EVERY) };
                change.apply(&slot, generation, looked, because).unwrap();
            }),
            Step::Retire(slot, generation) => self.retire(&slot, generation),
            Step::Withdraw(slot, generation) => {
                self.living.remove(&(slot.clone(), generation));
                self.change(|change| {
                    let ended = Happened::Ended { at: now, why: Ending::Uninstalled };
                    change.apply(&slot, generation, ended, because).unwrap();
                });
            }
            Step::Spare(slot, generation) => self.change(|change| {
                let spared = Happened::EndingTried { try_at: now.plus(Duration::from_secs(900)) };
                change.apply(&slot, generation, spared, because).unwrap();
            }),
            Step::Close(slot, generation, why) => {
                self.living.remove(&(slot.clone(), generation));
                let is_asked = self.account.slots[&slot].asked_at.is_some();
                self.change(|change| {
                    let ended = Happened::Ended { at: now, why };
                    change.apply(&slot, generation, ended, because).unwrap();
                    if why == Ending::RevokedByUser && !is_asked {
                        let why = HoldReason::RevokedByUser;
                        change.hold(&slot, Some(Hold { why, since: now, until: None }));
                    }
                });
            }
            Step::Forget(slot, generation) => {
                self.change(|change| change.forget(&slot, generation))
            }
            Step::Shred(kid) => self.change(|change| change.shred_pair(&kid)),
        }
    }

    pub(crate) fn request(&mut self, slot: &Slot, from: Option<Generation>) {
        let state = self.account.slots[slot].clone();
        let kid = Kid::parse("kid_1").unwrap();
        let account = self.account.at.clone();
        let asking = Asking {
            app: "ca_1",
            account: &account,
            slot,
            opened_at: state.opened_at,
            generation: state.next,
            public_key: Some(PublicKey { kid: &kid, pem: "PEM" }),
            now: self.now,
        };
        let shape = RequestShape { stripe_version: "v".into(), permissions: vec![] };
        let intent = match from {
            None => Intent::create(&asking, &shape),
            Some(from) => {
                let key = self.account.generations[&(slot.clone(), from)].key().unwrap().clone();
                Intent::rotate(&asking, &shape, &key, from, self.policy.overlap_minutes())
            }
        };
        let now = self.now;
        self.change(|change| {
            if change.account().usable_pair(now).is_none() {
                change.add_pair(KeyPair {
                    kid,
                    public_pem: "PEM".into(),
                    wrapped: Wrapped("w".into()),
                    made_at: now,
                });
            }
            change.request(slot, state.next, intent, Because::SlotIsEmpty);
        });
    }

    pub(crate) fn ask_in_vain(&mut self, slot: &Slot, generation: Generation) {
        let now = self.now;
        let State::Requested { intent } = &self.account.generations[&(slot.clone(), generation)]
        else {
            panic!("asked for what was not requested");
        };
        let until = Some(now.plus(Policy::backoff(intent.attempts)));
        self.change(|change| {
            change.apply(slot, generation, Happened::AskedInVain, None).unwrap();
            change.hold(slot, Some(Hold { why: HoldReason::NoAnswer, since: now, until }));
        });
    }

    /// The call is not answered and Stripe shows no key of it: a rotation is given up.
    pub(crate) fn recover(&mut self, slot: &Slot, generation: Generation) {
        self.ask_in_vain(slot, generation);
        let now = self.now;
        let state = &self.account.generations[&(slot.clone(), generation)];
        if !matches!(state, State::Requested { intent } if intent.how != How::Create) {
            return;
        }
        self.change(|change| {
            let lost = Happened::Ended { at: now, why: Ending::Lost };
            change.apply(slot, generation, lost, None).unwrap();
            change.hold(slot, None);
        });
    }

    pub(crate) fn next_key(&mut self) -> KeyId {
        self.minted += 1;
        KeyId::parse(&format!("mk_{}", self.minted)).unwrap()
    }

    pub(crate) fn answer(&mut self, slot: &Slot, generation: Generation) {
        let (key, at) = (self.next_key(), self.now);
        let sealed = Sealed { kid: Kid::parse("kid_1").unwrap(), compact: "a.b.c.d.e".into() };
        let material = Material::Sealed(sealed);
        let answered = Happened::Answered { key, material, at, predecessor_dies_at: None };
        self.change(|change| change.apply(slot, generation, answered, None).unwrap());
    }

    pub(crate) fn lose(&mut self, slot: &Slot, generation: Generation) {
        let (key, at) = (self.next_key(), self.now);
        let State::Requested { intent } = &self.account.generations[&(slot.clone(), generation)]
        else {
            panic!("asked for what was not requested");
        };
        let from = match intent.how {
            How::Create => None,
            How::Rotate { from, .. } => Some(from),
        };
        let current = self.account.current(slot).map(|(generation, _)| generation);
        self.change(|change| {
            let lost = Happened::AnsweredWithoutSecret { key, at };
            change.apply(slot, generation, lost, None).unwrap();
        });
        if let Some(from) = from.filter(|from| current == Some(*from)) {
            let at = at.plus(self.policy.overlap());
            self.doom(slot, from, Doom { at, by: DoomedBy::LostAnswer });
        }
    }

    /// Stripe counts the key as rotated and ends it by itself.
    fn doom(&mut self, slot: &Slot, generation: Generation, doom: Doom) {
        self.living.insert((slot.clone(), generation), Some(doom.at));
        self.change(|change| {
            change.apply(slot, generation, Happened::Doomed(doom), None).unwrap();
        });
    }

    /// Whether the slot has a key that is known to work, this one aside.
    fn has_another(&self, slot: &Slot, generation: Generation) -> bool {
        self.living.iter().any(|((of, other), dies_at)| {
            of == slot && *other != generation && dies_at.is_none_or(|at| at > self.now)
        })
    }

    pub(crate) fn retire(&mut self, slot: &Slot, generation: Generation) {
        let State::Retiring { ending, .. } = self.account.generations[&(slot.clone(), generation)]
        else {
            panic!("a key is ended that is not retiring");
        };
        // I1, the property this file is about, asked of the world and not of the account.
        assert!(
            ending != Ending::Superseded
                || self.has_another(slot, generation)
                || self.given_up.contains(slot),
            "the last key known to work would be ended"
        );
        self.living.remove(&(slot.clone(), generation));
        let at = self.now;
        self.change(|change| {
            let ended = Happened::Ended { at, why: ending };
            change.apply(slot, generation, ended, None).unwrap();
        });
    }

    /// The user ended a key. Where the policy is to hold, that was on purpose.
    fn give_up(&mut self, slot: &Slot) {
        if self.policy.on_user_expire() == OnUserExpire::Hold {
            self.given_up.insert(slot.clone());
        }
    }

    pub(crate) fn outside(&mut self, what: Outside) {
        let now = self.now;
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let current = self.account.current(&slot).map(|(generation, _)| generation);
        let policy = self.policy.on_user_expire();
        match (what, current) {
            (Outside::Nothing, _) => {}
            (Outside::RevokedByUser, Some(current)) => {
                self.living.remove(&(slot.clone(), current));
                self.give_up(&slot);
                self.change(|change| {
                    let ended = Happened::Ended { at: now, why: Ending::RevokedByUser };
                    change.apply(&slot, current, ended, None).unwrap();
                    if policy == OnUserExpire::Hold && change.account().pending(&slot).is_none() {
                        let why = HoldReason::RevokedByUser;
                        change.hold(&slot, Some(Hold { why, since: now, until: None }));
                    }
                });
            }
            (Outside::RotatedBySomebody, Some(current)) => {
                let at = now.plus(Duration::from_secs(3600));
                self.give_up(&slot);
                self.doom(&slot, current, Doom { at, by: DoomedBy::SomebodyElse });
            }
            (Outside::RotationAsked, Some(current)) => self.change(|change| {
                let asked = Happened::RotationAsked { at: now };
                change.apply(&slot, current, asked, None).unwrap();
            }),
            (Outside::Uninstalled, _) => self.change(|change| {
                change.set_status(Status::Uninstalled { at: now }, Action::Uninstall);
            }),
            (Outside::Reinstalled, _) => {
                self.given_up.clear();
                self.change(|change| {
                    change.set_status(Status::Installed { since: now }, Action::Install);
                    for kind in [Kind::Secret, Kind::Publishable] {
                        change.open_slot(&Slot::new(kind, SlotName::default()));
                    }
                });
            }
            (Outside::Provisioned, _) => {
                self.given_up.remove(&slot);
                self.change(|change| change.start_afresh(&slot).unwrap());
                assert!(self.is_cared_for(&slot), "a fresh start leads to a key");
            }
            (Outside::WentLive, _) => {
                let (overlap, mut vacated) = (Duration::from_secs(86_400), Vacated::NotYet);
                self.change(|change| vacated = change.vacate(now.plus(overlap)).unwrap());
                if vacated == Vacated::Wholly {
                    self.given_up.extend(self.account.slots.keys().cloned());
                }
            }
            (
                Outside::RevokedByUser | Outside::RotatedBySomebody | Outside::RotationAsked,
                None,
            ) => {}
        }
    }
}
