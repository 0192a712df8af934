//! The doors to the table, KMS and Stripe: every call goes through, is counted, and can be failed or held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::race;

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The table.
    Table,
    /// KMS.
    Kms,
    /// Stripe.
    Stripe,
}

/// How a call is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The peer never sees it.
    BeforeEffect,
    /// The peer carries it out and the answer is lost.
    AfterEffect,
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Calls to this peer alone; `None` counts and strikes all calls alike.
    pub peer: Option<Peer>,
    /// How many calls go through before it strikes.
    pub skip: u32,
    /// How it strikes.
    pub when: When,
    /// How many calls it strikes, one after the other.
    pub times: u32,
}

/// A call that is being held: reached when it came, let go when the test says so.
#[derive(Debug, Default)]
pub struct Pause {
    reached: Notify,
    go_on: Notify,
}

impl Pause {
    /// Waits until the call is held.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the call go on.
    pub fn let_go(&self) {
        self.go_on.notify_one();
    }
}

/// The doors of one world. Clones are the same doors.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<(Peer, String), u32>,
    fault: Option<Fault>,
    struck: u32,
    hold: Option<(Peer, u32, Arc<Pause>)>,
}

impl Doors {
    /// Fails calls to come, in place of any fault that was ordered before.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some(fault);
        state.struck = 0;
    }

    /// Holds the call to `peer` after `skip` more before it is carried out.
    pub fn hold(&self, peer: Peer, skip: u32) -> Arc<Pause> {
        let pause = Arc::new(Pause::default());
        self.lock().hold = Some((peer, skip, pause.clone()));
        pause
    }

    /// Ends a fault. Answers how many calls it struck.
    pub fn heal(&self) -> u32 {
        let mut state = self.lock();
        state.fault = None;
        std::mem::take(&mut state.struck)
    }

    /// How often each operation of a peer was called since the last reset.
    pub fn counts(&self, peer: Peer) -> BTreeMap<String, u32> {
        let state = self.lock();
        let of_peer = state.counts.iter().filter(|((to, _), _)| *to == peer);
        of_peer.map(|((_, operation), count)| (operation.clone(), *count)).collect()
    }

    /// Forgets the counts of a peer.
    pub fn forget(&self, peer: Peer) {
        self.lock().counts.retain(|(to, _), _| *to != peer);
    }

    /// Takes a call through: `call` is the effect, and what is answered is its outcome, or `None` where the
    /// call fails.
    pub async fn pass<T>(
        &self,
        peer: Peer,
        operation: &str,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        let held = self.enter(peer, operation);
        if let Some(pause) = held {
            pause.reached.notify_one();
            pause.go_on.notified().await;
        }
        // As with a socket, whoever else is ready gets on meanwhile.
        tokio::task::yield_now().await;
        race::step().await;
        let fault = self.strike(peer);
        if fault == Some(When::BeforeEffect) {
            return None;
        }
        let outcome = call.await;
        race::step().await;
        if fault.is_some() { None } else { Some(outcome) }
    }

    fn enter(&self, peer: Peer, operation: &str) -> Option<Arc<Pause>> {
        let mut state = self.lock();
        *state.counts.entry((peer, operation.to_owned())).or_default() += 1;
        match &mut state.hold {
            Some((to, 0, _)) if *to == peer => state.hold.take().map(|(_, _, pause)| pause),
            Some((to, skip, _)) if *to == peer => {
                *skip -= 1;
                None
            }
            Some(_) | None => None,
        }
    }

    fn strike(&self, peer: Peer) -> Option<When> {
        let mut state = self.lock();
        let fault = state.fault.as_mut().filter(|fault| fault.peer.is_none_or(|to| to == peer))?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        if fault.times == 0 {
            return None;
        }
        fault.times -= 1;
        let when = fault.when;
        state.struck += 1;
        Some(when)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
