//! Properties of the pure core: whatever Stripe answers and whatever happens, following the plan never
//! ends the last key that works, and comes to rest with one key per slot and a closed audit trail.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the whole file is a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use keysteward::domain::account::{Account, Change, Hold, HoldReason, Reconciled, Status};
use keysteward::domain::audit::{self, Action, Actor, Entry, Phase};
use keysteward::domain::id::{AccountId, KeyId, Kid};
use keysteward::domain::intent::{Asking, How, Intent, PublicKey, RequestShape};
use keysteward::domain::lifecycle::{Doom, DoomedBy, Ending, Happened, State};
use keysteward::domain::orders::Orders;
use keysteward::domain::plan::{Because, Plan, Step, plan};
use keysteward::domain::policy::{
    Choice, OnDrift, OnUninstall, OnUserExpire, Policy, Strategy as Rotation,
};
use keysteward::domain::recovery::may_be_rotated_by_us;
use keysteward::domain::sealed::{KeyPair, Material, Sealed, Wrapped};
use keysteward::domain::slot::{AccountRef, Generation, Kind, Mode, Slot, SlotName};
use keysteward::domain::time::Timestamp;
use proptest::prelude::*;

/// What the world does with the next step that touches it.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Good,
    Vain,
    Lost,
    DoesNotOpen,
}

/// What else happens between two sweeps.
#[derive(Clone, Copy, Debug)]
enum Outside {
    Nothing,
    RevokedByUser,
    RotatedBySomebody,
    RotationAsked,
    Uninstalled,
    Reinstalled,
    Provisioned,
    WentLive,
}

struct Model {
    policy: Policy,
    orders: Orders,
    account: Account,
    now: Timestamp,
    trail: Vec<Entry>,
    minted: u32,
}

impl Model {
    fn new(policy: Policy) -> Self {
        let now = Timestamp::from_seconds(1_700_000_000).unwrap();
        let at = AccountRef::new(Mode::Test, AccountId::parse("acct_1").unwrap());
        let mut model = Self {
            policy,
            orders: Orders::default(),
            account: Account::new(at, now),
            now,
            trail: vec![],
            minted: 0,
        };
        model.change(|change| {
            change.set_status(Status::Installed { since: now }, Action::Install);
            for kind in [Kind::Secret, Kind::Publishable] {
                change.open_slot(&Slot::new(kind, SlotName::default()));
            }
        });
        model
    }

    fn change(&mut self, write: impl FnOnce(&mut Change)) {
        let mut change = Change::of(self.account.clone(), self.now, Actor::Sweep);
        write(&mut change);
        self.trail.extend(change.entries().to_vec());
        self.account = change.into_account();
    }

    fn plan(&self) -> Plan {
        plan(self.now, &self.policy, &self.orders, &self.account)
    }

    /// Carries out what is due until nothing is, with `answers` as the world's answers, then good ones.
    fn sweep(&mut self, answers: &mut impl Iterator<Item = Answer>) {
        for _ in 0..200 {
            let Some(planned) = self.plan().steps.into_iter().next() else { return };
            self.carry_out(planned.step, planned.because, answers);
        }
        panic!("a sweep does not come to rest: {:?}", self.plan());
    }

    fn carry_out(
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
                    Answer::Good | Answer::Vain | Answer::Lost => Happened::Proved,
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
            Step::Withdraw(slot, generation) => self.change(|change| {
                let ended = Happened::Ended { at: now, why: Ending::Uninstalled };
                change.apply(&slot, generation, ended, because).unwrap();
            }),
            Step::Spare(slot, generation) => self.change(|change| {
                let spared = Happened::EndingTried { try_at: now.plus(Duration::from_secs(900)) };
                change.apply(&slot, generation, spared, because).unwrap();
            }),
            Step::Close(slot, generation, why) => self.change(|change| {
                change.apply(&slot, generation, Happened::Ended { at: now, why }, because).unwrap();
                if why == Ending::RevokedByUser {
                    let why = HoldReason::RevokedByUser;
                    change.hold(&slot, Some(Hold { why, since: now, until: None }));
                }
            }),
            Step::Forget(slot, generation) => {
                self.change(|change| change.forget(&slot, generation))
            }
            Step::Shred(kid) => self.change(|change| change.shred_pair(&kid)),
        }
    }

    fn request(&mut self, slot: &Slot, from: Option<Generation>) {
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

    fn ask_in_vain(&mut self, slot: &Slot, generation: Generation) {
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
    fn recover(&mut self, slot: &Slot, generation: Generation) {
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

    fn next_key(&mut self) -> KeyId {
        self.minted += 1;
        KeyId::parse(&format!("mk_{}", self.minted)).unwrap()
    }

    fn answer(&mut self, slot: &Slot, generation: Generation) {
        let (key, at) = (self.next_key(), self.now);
        let sealed = Sealed { kid: Kid::parse("kid_1").unwrap(), compact: "a.b.c.d.e".into() };
        let material = Material::Sealed(sealed);
        let answered = Happened::Answered { key, material, at, predecessor_dies_at: None };
        self.change(|change| change.apply(slot, generation, answered, None).unwrap());
    }

    fn lose(&mut self, slot: &Slot, generation: Generation) {
        let (key, at) = (self.next_key(), self.now);
        let State::Requested { intent } = &self.account.generations[&(slot.clone(), generation)]
        else {
            panic!("asked for what was not requested");
        };
        let from = match intent.how {
            How::Create => None,
            How::Rotate { from, .. } => Some(from),
        };
        let doom = Doom { at: at.plus(self.policy.overlap()), by: DoomedBy::LostAnswer };
        self.change(|change| {
            let lost = Happened::AnsweredWithoutSecret { key, at };
            change.apply(slot, generation, lost, None).unwrap();
            let current = change.account().current(slot).map(|(generation, _)| generation);
            if let Some(from) = from.filter(|from| current == Some(*from)) {
                change.apply(slot, from, Happened::Doomed(doom), None).unwrap();
            }
        });
    }

    fn retire(&mut self, slot: &Slot, generation: Generation) {
        let State::Retiring { ending, .. } = self.account.generations[&(slot.clone(), generation)]
        else {
            panic!("a key is ended that is not retiring");
        };
        // I1, the property this file is about.
        assert!(
            ending != Ending::Superseded
                || self.account.current(slot).is_some()
                || self.account.slots[slot].hold.is_some_and(|hold| {
                    matches!(hold.why, HoldReason::RevokedByUser | HoldReason::MovedToLive)
                }),
            "the last key known to work would be ended"
        );
        let at = self.now;
        self.change(|change| {
            let ended = Happened::Ended { at, why: ending };
            change.apply(slot, generation, ended, None).unwrap();
        });
    }

    fn outside(&mut self, what: Outside) {
        let now = self.now;
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let current = self.account.current(&slot).map(|(generation, _)| generation);
        let policy = self.policy.on_user_expire();
        match (what, current) {
            (Outside::Nothing, _) => {}
            (Outside::RevokedByUser, Some(current)) => self.change(|change| {
                let ended = Happened::Ended { at: now, why: Ending::RevokedByUser };
                change.apply(&slot, current, ended, None).unwrap();
                if policy == OnUserExpire::Hold && change.account().pending(&slot).is_none() {
                    let why = HoldReason::RevokedByUser;
                    change.hold(&slot, Some(Hold { why, since: now, until: None }));
                }
            }),
            (Outside::RotatedBySomebody, Some(current)) => self.change(|change| {
                let at = now.plus(Duration::from_secs(3600));
                let doom = Doom { at, by: DoomedBy::SomebodyElse };
                change.apply(&slot, current, Happened::Doomed(doom), None).unwrap();
            }),
            (Outside::RotationAsked, Some(current)) => self.change(|change| {
                let asked = Happened::RotationAsked { at: now };
                change.apply(&slot, current, asked, None).unwrap();
            }),
            (Outside::Uninstalled, _) => self.change(|change| {
                change.set_status(Status::Uninstalled { at: now }, Action::Uninstall);
            }),
            (Outside::Reinstalled, _) => self.change(|change| {
                change.set_status(Status::Installed { since: now }, Action::Install);
                for kind in [Kind::Secret, Kind::Publishable] {
                    change.open_slot(&Slot::new(kind, SlotName::default()));
                }
            }),
            (Outside::Provisioned, _) => {
                self.change(|change| change.start_afresh(&slot).unwrap());
                assert!(self.is_cared_for(&slot), "a fresh start leads to a key");
            }
            (Outside::WentLive, _) => self.change(|change| {
                let overlap = Duration::from_secs(86_400);
                change.vacate(now.plus(overlap)).unwrap();
            }),
            (
                Outside::RevokedByUser | Outside::RotatedBySomebody | Outside::RotationAsked,
                None,
            ) => {}
        }
    }

    /// Whether the slot has a key, or the plan gets it one.
    fn is_cared_for(&self, slot: &Slot) -> bool {
        let gets_one = |step: &Step| match step {
            Step::Request { slot: of, .. }
            | Step::Ask(of, _)
            | Step::Recover(of, _)
            | Step::Prove(of, _)
            | Step::Promote(of, _) => of == slot,
            _ => false,
        };
        matches!(self.account.head.status, Status::Uninstalled { .. })
            || self.account.current(slot).is_some()
            || self.plan().steps.iter().any(|planned| gets_one(&planned.step))
    }

    fn assert_sound(&self) {
        let mut currents: BTreeMap<&Slot, u32> = BTreeMap::new();
        let mut pendings: BTreeMap<&Slot, u32> = BTreeMap::new();
        for ((slot, generation), state) in &self.account.generations {
            if matches!(state, State::Current { .. }) {
                *currents.entry(slot).or_default() += 1;
            }
            if state.is_pending() {
                *pendings.entry(slot).or_default() += 1;
            }
            assert!(
                *generation < self.account.slots[slot].next,
                "a generation is ahead of its slot"
            );
        }
        assert!(currents.values().all(|count| *count == 1), "one current key a slot");
        assert!(pendings.values().all(|count| *count == 1), "one pending key a slot");
        audit::verify(&self.trail, &self.account.head.audit).unwrap();
        let plan = self.plan();
        assert!(plan.wake_at.is_none_or(|at| at > self.now), "a wake-up lies in the past");
    }

    /// A rotation by age begins while no other slot's key is being replaced or outlives its replacement.
    fn assert_no_other_window_is_open(&self, slot: &Slot) {
        match self.account.current(slot) {
            Some((_, State::Current { asked: true, .. })) => return,
            // What goes on then is a rotation that was begun before.
            Some((current, _)) if may_be_rotated_by_us(&self.account, slot, current) => return,
            Some(_) | None => {}
        }
        for ((other, generation), state) in &self.account.generations {
            let is_open = match state {
                State::Retiring { ending, dies_at, .. } => {
                    *ending == Ending::Superseded && *dies_at > self.now
                }
                state => state.is_pending() && self.account.current(other).is_some(),
            };
            let waits_for_somebody =
                self.account.slots[other].hold.is_some_and(|hold| hold.until.is_none());
            assert!(
                other == slot || !is_open || waits_for_somebody,
                "{slot} is rotated in the window of {other} {}",
                generation.number()
            );
        }
    }

    /// I7: nothing waits without a deadline, except for a person.
    fn assert_nothing_is_forgotten(&self) {
        let waits = self.account.generations.values().any(|state| match state {
            State::Retiring { .. } | State::Ended { .. } | State::Current { .. } => true,
            state => state.is_pending(),
        });
        let waits_for_somebody = self
            .account
            .slots
            .values()
            .any(|state| state.hold.is_some_and(|hold| hold.until.is_none()));
        if waits && !waits_for_somebody {
            assert!(self.plan().wake_at.is_some(), "something waits and nothing will wake it");
        }
    }

    /// Every action that was opened is closed, once nothing is pending or retiring.
    fn assert_audit_is_closed(&self) {
        let mut open: BTreeMap<_, i32> = BTreeMap::new();
        for entry in &self.trail {
            let about = (entry.slot.clone(), entry.generation, entry.action as u8);
            match entry.phase {
                Phase::Begin => *open.entry(about).or_default() += 1,
                Phase::Complete => *open.entry(about).or_default() -= 1,
                Phase::Note => {}
            }
        }
        for ((slot, generation, action), count) in open {
            let (Some(slot), Some(generation)) = (slot, generation) else { continue };
            let state = self.account.generations.get(&(slot, generation));
            let is_open = state.is_some_and(|state| {
                let issuing = action == Action::Issue as u8 && state.is_pending();
                let retiring =
                    action == Action::Retire as u8 && matches!(state, State::Retiring { .. });
                issuing || retiring
            });
            assert_eq!(count, i32::from(is_open), "an audit entry is left open or closed twice");
        }
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let choice = (
        1..=90u32,
        10..=700u32,
        prop_oneof![Just(Rotation::Rotate), Just(Rotation::CreateThenExpire)],
        prop_oneof![Just(OnUserExpire::Hold), Just(OnUserExpire::Reissue)],
        prop_oneof![Just(OnUninstall::Keep), Just(OnUninstall::Expire)],
    );
    choice.prop_map(
        |(rotate_every_days, overlap_minutes, strategy, on_user_expire, on_uninstall)| {
            Policy::new(Choice {
                rotate_every_days,
                overlap_minutes,
                strategy,
                on_user_expire,
                on_uninstall,
                on_drift: OnDrift::Report,
            })
            .unwrap()
        },
    )
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        6 => Just(Answer::Good),
        3 => Just(Answer::Vain),
        2 => Just(Answer::Lost),
        1 => Just(Answer::DoesNotOpen),
    ];
    proptest::collection::vec(answer, 0..30)
}

fn happenings() -> impl Strategy<Value = Vec<(Outside, u32)>> {
    let outside = prop_oneof![
        6 => Just(Outside::Nothing),
        1 => Just(Outside::RevokedByUser),
        1 => Just(Outside::RotatedBySomebody),
        2 => Just(Outside::RotationAsked),
        1 => Just(Outside::Uninstalled),
        2 => Just(Outside::Reinstalled),
        2 => Just(Outside::Provisioned),
        1 => Just(Outside::WentLive),
    ];
    proptest::collection::vec((outside, 1..=2_000_000u32), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_plan_keeps_the_last_working_key(
        policy in policies(),
        answers in answers(),
        happenings in happenings(),
    ) {
        let mut model = Model::new(policy);
        let mut answers = answers.into_iter();
        for (outside, seconds) in happenings {
            model.outside(outside);
            model.sweep(&mut answers);
            model.assert_sound();
            model.assert_nothing_is_forgotten();
            model.assert_audit_is_closed();
            model.now = model.now.plus(Duration::from_secs(u64::from(seconds)));
        }
    }

    #[test]
    fn when_the_world_behaves_every_slot_comes_to_one_current_key(
        policy in policies(),
        answers in proptest::collection::vec(
            prop_oneof![Just(Answer::Good), Just(Answer::Vain), Just(Answer::Lost)], 0..12),
    ) {
        let mut model = Model::new(policy);
        let mut answers = answers.into_iter();
        for _ in 0..20 {
            model.sweep(&mut answers);
            model.now = model.now.plus(Duration::from_secs(900));
        }
        for slot in model.account.slots.keys() {
            prop_assert!(model.account.current(slot).is_some(), "{slot} has no key");
        }
        prop_assert!(model.plan().steps.is_empty());
    }

    /// Followed by its own wake-ups alone: none is lost, and no key is older than its period and the windows
    /// of the account's other keys.
    #[test]
    fn keys_that_come_due_together_are_all_replaced_one_window_after_the_other(
        policy in policies(),
        answers in proptest::collection::vec(prop_oneof![6 => Just(Answer::Good), 1 => Just(Answer::Vain)], 0..40),
        days in 1..60u64,
        names in 0..4usize,
    ) {
        let mut model = Model::new(policy);
        model.change(|change| {
            for name in ["billing", "reports", "search"].into_iter().take(names) {
                change.open_slot(&Slot::new(Kind::Secret, SlotName::parse(name).unwrap()));
            }
        });
        let mut answers = answers.into_iter();
        let until = model.now.plus(Duration::from_secs(days * 86_400));
        let slots = u32::try_from(model.account.slots.len()).unwrap();
        let slack = Duration::from_secs(3600);
        let longest = model.policy.rotates_at(Timestamp::EPOCH, 0).since(Timestamp::EPOCH)
            + model.policy.overlap() * slots + slack;
        while model.now < until {
            model.sweep(&mut answers);
            for slot in model.account.slots.keys() {
                let Some((_, State::Current { issued_at, .. })) = model.account.current(slot) else {
                    continue;
                };
                prop_assert!(model.now.since(*issued_at) <= longest, "{slot} is not replaced in time");
            }
            model.now = model.plan().wake_at.expect("an account with keys always wakes");
        }
        model.assert_sound();
    }

    /// Followed by its own wake-ups alone, while nobody answers a rotation: what may have been rotated away has
    /// its successor asked for by another call while half of its overlap is left.
    #[test]
    fn a_rotation_that_nobody_answers_is_given_up_before_half_of_the_overlap_is_gone(
        policy in policies().prop_filter("rotates", |it| it.strategy() == Rotation::Rotate),
        unanswered in 0..8usize,
    ) {
        let mut model = Model::new(policy);
        model.account.slots.retain(|slot, _| slot.kind == Kind::Secret);
        model.sweep(&mut std::iter::empty());
        let slot = Slot::new(Kind::Secret, SlotName::default());
        let (first, _) = model.account.current(&slot).unwrap();
        model.now = due_of(&model, &slot);
        let (asked_at, half) = (model.now, model.policy.overlap() / 2);
        loop {
            let steps: Vec<Step> = model.plan().steps.into_iter().map(|it| it.step).collect();
            let is_over = model.now >= asked_at.plus(half);
            prop_assert!(!is_over || !steps.iter().any(|step| matches!(step, Step::Ask(..))));
            let given_up = (slot.clone(), first.next());
            if matches!(model.account.generations.get(&given_up), Some(State::Ended { .. })) {
                break;
            }
            prop_assert!(!is_over, "half of the overlap is gone: {steps:?}");
            model.sweep(&mut std::iter::repeat_n(Answer::Vain, 1));
            model.now = model.plan().wake_at.expect("it waits for an answer").max(model.now);
        }
        model.sweep(&mut std::iter::repeat_n(Answer::Vain, unanswered));
        let successor = &model.account.generations[&(slot.clone(), first.next().next())];
        let is_a_create = match successor {
            State::Requested { intent } => intent.how == How::Create,
            other => matches!(other, State::Current { .. }),
        };
        prop_assert!(is_a_create, "{successor:?}");
    }

    #[test]
    fn the_same_arguments_give_the_same_plan(policy in policies(), seconds in 0..10_000_000u64) {
        let mut model = Model::new(policy);
        model.sweep(&mut std::iter::empty());
        model.now = model.now.plus(Duration::from_secs(seconds));
        prop_assert_eq!(model.plan(), model.plan());
    }
}

/// A slot whose key was replaced, whose new key was then revoked, and whose overlap is over.
fn revoked_in_the_overlap(on_user_expire: OnUserExpire) -> Vec<Step> {
    let choice = Choice { on_user_expire, ..Choice::default() };
    let mut model = Model::new(Policy::new(choice).unwrap());
    model.sweep(&mut std::iter::empty());
    model.outside(Outside::RotationAsked);
    model.sweep(&mut std::iter::empty());
    model.outside(Outside::RevokedByUser);
    model.sweep(&mut std::iter::repeat(Answer::Vain));
    model.now = model.now.plus(Duration::from_secs(2 * 86_400));
    let slot = Slot::new(Kind::Secret, SlotName::default());
    let concerns = |step: &Step| match step {
        Step::Retire(of, _) | Step::Spare(of, _) => *of == slot,
        _ => false,
    };
    model.plan().steps.into_iter().map(|planned| planned.step).filter(concerns).collect()
}

#[test]
fn the_last_key_is_spared_at_its_deadline_while_its_successor_is_on_its_way() {
    let steps = revoked_in_the_overlap(OnUserExpire::Reissue);
    assert!(matches!(steps[..], [Step::Spare(..)]), "{steps:?}");
}

#[test]
fn when_the_user_revoked_the_successor_the_old_key_still_dies_by_its_deadline() {
    let steps = revoked_in_the_overlap(OnUserExpire::Hold);
    assert!(matches!(steps[..], [Step::Retire(..)]), "{steps:?}");
}

fn secret(name: &str) -> Slot {
    Slot::new(Kind::Secret, SlotName::parse(name).unwrap())
}

/// Two secret slots, `a` and `b`, whose keys come due at the instant that the model then stands at.
fn due_at_once() -> Model {
    // Shorter than the day after which Stripe is asked about a key, which would wake the account as well.
    let choice = Choice { overlap_minutes: 600, ..Choice::default() };
    let mut model = Model::new(Policy::new(choice).unwrap());
    model.change(|change| {
        for name in ["a", "b"] {
            change.open_slot(&secret(name));
        }
    });
    drop_default_slots(&mut model);
    model.sweep(&mut std::iter::empty());
    model.now = model.now.plus(Duration::from_secs(31 * 86_400));
    model
}

fn due_rotations(model: &Model) -> Vec<Slot> {
    let steps = model.plan().steps.into_iter();
    let rotates = |planned: keysteward::domain::plan::Planned| match planned.step {
        Step::Request { slot, .. } => Some(slot),
        _ => None,
    };
    steps.filter_map(rotates).collect()
}

#[test]
fn of_two_slots_due_at_once_the_one_due_earlier_goes_first_and_the_other_after_its_overlap() {
    let mut model = due_at_once();
    let dues: Vec<_> = ["a", "b"].map(|name| due_of(&model, &secret(name))).into();
    let first = if dues[0] <= dues[1] { secret("a") } else { secret("b") };
    let second = if dues[0] <= dues[1] { secret("b") } else { secret("a") };
    assert_eq!(due_rotations(&model), std::slice::from_ref(&first));
    model.sweep(&mut std::iter::empty());
    assert!(due_of(&model, &first) > model.now, "it was replaced");
    assert!(due_of(&model, &second) <= model.now, "it waits");
    let over = model.now.plus(model.policy.overlap());
    let (overlap, secs) = (model.policy.overlap(), Duration::from_secs(1));
    model.now = model.now.plus(overlap - secs);
    assert_eq!(due_rotations(&model), []);
    assert!(model.plan().wake_at.is_some_and(|at| at <= over), "the end of the overlap wakes it");
    model.now = over;
    assert_eq!(due_rotations(&model), [second]);
}

#[test]
fn equal_dues_are_ordered_by_slot() {
    let mut model = due_at_once();
    set_due(&mut model, &secret("a"), 5);
    set_due(&mut model, &secret("b"), 5);
    assert_eq!(due_rotations(&model), [secret("a")]);
    set_due(&mut model, &secret("b"), 4);
    assert_eq!(due_rotations(&model), [secret("b")]);
}

#[test]
fn a_rotation_that_was_asked_for_and_a_doomed_key_do_not_wait_for_a_window() {
    let mut model = due_at_once();
    model.sweep(&mut std::iter::empty());
    let waiting =
        ["a", "b"].map(secret).into_iter().find(|slot| due_of(&model, slot) <= model.now).unwrap();
    let (generation, _) = model.account.current(&waiting).unwrap();
    let (now, before) = (model.now, model.account.clone());
    assert_eq!(due_rotations(&model), []);
    model.change(|change| {
        change.apply(&waiting, generation, Happened::RotationAsked { at: now }, None).unwrap();
    });
    assert_eq!(due_rotations(&model), std::slice::from_ref(&waiting));
    model.account = before;
    let doom = Doom { at: now.plus(Duration::from_secs(3600)), by: DoomedBy::LostAnswer };
    model.change(|change| {
        change.apply(&waiting, generation, Happened::Doomed(doom), None).unwrap();
    });
    assert_eq!(due_rotations(&model), [waiting]);
}

#[test]
fn a_key_that_a_rotation_of_ours_may_be_ending_waits_for_nothing_and_is_not_rotated_again() {
    let mut model = due_at_once();
    model.orders.holds_rotations = true;
    assert_eq!(due_rotations(&model), []);
    let slot = secret("a");
    let (current, _) = model.account.current(&slot).unwrap();
    model.request(&slot, Some(current));
    model.recover(&slot, current.next());
    let steps = model.plan().steps.into_iter().map(|planned| planned.step);
    let requests: Vec<Step> = steps.filter(|step| matches!(step, Step::Request { .. })).collect();
    assert_eq!(requests, [Step::Request { slot, from: None }]);
}

#[test]
fn what_waits_for_somebody_is_in_nobodys_way() {
    let mut model = due_at_once();
    let now = model.now;
    let hold = Hold { why: HoldReason::RevokedByUser, since: now, until: None };
    model.request(&secret("a"), None);
    assert_eq!(due_rotations(&model), [], "the key that is on its way goes first");
    model.change(|change| change.hold(&secret("a"), Some(hold)));
    assert_eq!(due_rotations(&model), [secret("b")]);
}

fn due_of(model: &Model, slot: &Slot) -> Timestamp {
    match model.account.current(slot) {
        Some((_, State::Current { rotates_at: Some(at), .. })) => *at,
        other => panic!("no key that is rotated by age: {other:?}"),
    }
}

fn set_due(model: &mut Model, slot: &Slot, seconds: i64) {
    let (generation, _) = model.account.current(slot).unwrap();
    let at = (slot.clone(), generation);
    let Some(State::Current { rotates_at, .. }) = model.account.generations.get_mut(&at) else {
        panic!("no current key");
    };
    *rotates_at = Some(Timestamp::from_seconds(seconds).unwrap());
}

fn drop_default_slots(model: &mut Model) {
    for kind in [Kind::Secret, Kind::Publishable] {
        let slot = Slot::new(kind, SlotName::default());
        model.account.slots.remove(&slot);
        model.account.generations.retain(|(of, _), _| *of != slot);
    }
}

#[test]
fn an_ended_generation_takes_no_further_event() {
    let ended = State::Ended { key: None, at: Timestamp::EPOCH, why: Ending::Lost };
    for happened in [
        Happened::Proved,
        Happened::AskedInVain,
        Happened::Promoted { rotates_at: None, look_at: Timestamp::EPOCH },
        Happened::Ended { at: Timestamp::EPOCH, why: Ending::Expired },
        Happened::RotationAsked { at: Timestamp::EPOCH },
    ] {
        assert!(ended.clone().apply(happened).is_err());
    }
}
