//! The function at work, and what its work came to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{Call, KeyUsed};
use keysteward_tests::function::Usage;
use keysteward_tests::runtime_api::Outcome;
use keysteward_tests::{Crowd, Function, Name, events};
use serde_json::Value;

/// The `rotate` function, warm: its connections are open and its secret is read.
pub(crate) struct Rotate(Function);

impl Rotate {
    pub(crate) async fn start(crowd: &Crowd, max_rps: u32) -> anyhow::Result<Self> {
        let limit = max_rps.to_string();
        let environment = crowd.deployment.environment_with("KEYSTEWARD_MAX_STRIPE_RPS", &limit);
        let time_limit = Name::Rotate.time_limit();
        let mut function = Function::spawn(&binary()?, &environment, time_limit).await?;
        function.ready().await?;
        let mut rotate = Self(function);
        rotate.invoke().await?;
        Ok(rotate)
    }

    /// Sweeps so often with nothing due.
    pub(crate) async fn sweep_in_vain(
        &mut self,
        crowd: &Crowd,
        times: u32,
    ) -> anyhow::Result<Idle> {
        let table = &crowd.deployment.table;
        let (read, calls, cpu) = (table.items_read(), table.calls(), self.0.usage()?.cpu);
        for _ in 0..times {
            let swept = self.invoke().await?;
            ensure!(swept["settled"] == 0 && swept["failed"] == 0, "{swept}");
        }
        let after = table.items_read();
        Ok(Idle {
            sweeps: times,
            items: after.0 - read.0 + after.1 - read.1,
            calls: u64::from(table.calls() - calls),
            cpu: self.0.usage()?.cpu.saturating_sub(cpu),
        })
    }

    /// Sweeps once, what is due.
    pub(crate) async fn sweep(&mut self, crowd: &Crowd) -> anyhow::Result<Rotations> {
        let (table, stripe) = (&crowd.deployment.table, &crowd.deployment.stripe);
        let (read, calls, cpu) = (table.items_read(), stripe.log().len(), self.0.usage()?.cpu);
        let swept = self.invoke().await?;
        ensure!(swept["failed"] == 0 && swept["deferred"] == 0, "{swept}");
        let after = table.items_read();
        Ok(Rotations {
            due: swept["settled"].as_u64().context("a sweep counts")?,
            index_items: after.0 - read.0,
            rows: after.1 - read.1,
            cpu: self.0.usage()?.cpu.saturating_sub(cpu),
            sweeps: vec![stripe.log().split_off(calls)],
        })
    }

    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let Usage { peak_rss_kib, .. } = self.0.usage()?;
        Ok(peak_rss_kib as f64 / 1024.0)
    }

    async fn invoke(&mut self) -> anyhow::Result<Value> {
        let asked = self.0.api.nexts();
        let answered = self.0.api.invoke(serde_json::to_vec(&events::schedule()?)?).await;
        // What it does until it asks for more counts as well.
        self.0.api.asked(asked + 1).await;
        match answered.context("the function answers")? {
            Outcome::Response(body) => Ok(serde_json::from_slice(&body)?),
            Outcome::Error(report) => anyhow::bail!("{report:?}"),
        }
    }
}

/// What sweeps with nothing due came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idle {
    pub(crate) sweeps: u32,
    pub(crate) items: u64,
    pub(crate) calls: u64,
    cpu: Duration,
}

impl Idle {
    pub(crate) fn add(&mut self, more: Self) {
        self.sweeps += more.sweeps;
        self.items += more.items;
        self.calls += more.calls;
        self.cpu += more.cpu;
    }

    pub(crate) fn cpu_millis(self) -> f64 {
        self.cpu.as_secs_f64() * 1_000.0 / f64::from(self.sweeps)
    }
}

/// What sweeps with something due came to.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    due: u64,
    index_items: u64,
    rows: u64,
    cpu: Duration,
    /// The calls that Stripe saw, by sweep.
    sweeps: Vec<Vec<Call>>,
}

impl Rotations {
    pub(crate) fn add(&mut self, more: Self) {
        self.due += more.due;
        self.index_items += more.index_items;
        self.rows += more.rows;
        self.cpu += more.cpu;
        self.sweeps.extend(more.sweeps);
    }

    /// Forgets the calls of the first so many seconds.
    pub(crate) fn leave_out(&mut self, beginning: Duration) {
        for calls in &mut self.sweeps {
            let from = calls.first().map_or(0, |call| call.at_ms) + beginning.as_millis() as i64;
            calls.retain(|call| call.at_ms >= from);
        }
    }

    pub(crate) fn index_items_per_due(&self) -> f64 {
        self.index_items as f64 / self.due as f64
    }

    pub(crate) fn rows_per_due(&self) -> f64 {
        self.rows as f64 / self.due as f64
    }

    pub(crate) fn cpu_millis(&self) -> f64 {
        self.cpu.as_secs_f64() * 1_000.0 / self.due as f64
    }

    pub(crate) fn paced_calls(&self) -> usize {
        self.sweeps.iter().map(|calls| accepted(calls).len()).sum()
    }

    /// Of the calls a second that Stripe allows to the endpoint, what part was made and accepted, from the first
    /// one to the last.
    pub(crate) fn share_used(&self, allowed: u32) -> f64 {
        let (mut calls, mut seconds) = (0, 0.0);
        for sweep in &self.sweeps {
            let at = accepted(sweep);
            let (Some(first), Some(last)) = (at.first(), at.last()) else { continue };
            // The last one's second is another's.
            calls += at.len() - 1;
            seconds += (last - first) as f64 / 1_000.0;
        }
        calls as f64 / seconds / f64::from(allowed)
    }

    /// Of all calls, those with the users' keys too, what part was answered with 429.
    pub(crate) fn share_refused(&self) -> f64 {
        let calls = || self.sweeps.iter().flatten();
        calls().filter(|call| call.status == Some(429)).count() as f64 / calls().count() as f64
    }
}

/// When Stripe carried out each call to the endpoint that rotates.
fn accepted(calls: &[Call]) -> Vec<i64> {
    let is_one = |call: &&Call| {
        call.key_used == KeyUsed::AppLive
            && call.path.ends_with("/rotate")
            && call.status != Some(429)
    };
    calls.iter().filter(is_one).map(|call| call.at_ms).collect()
}

/// The function as it was built beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let beside = |folder: &Path| folder.join(Name::Rotate.binary());
    let built = program.ancestors().skip(1).map(beside).find(|path| path.is_file());
    built.context("there is no keysteward-rotate: `just scale` builds it")
}
