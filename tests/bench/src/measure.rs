//! How it is measured. CPU time is the process's own clock (`CLOCK_PROCESS_CPUTIME_ID` of its pid), which a
//! busy machine disturbs far less than wall time; figures are medians.

use std::time::{Duration, Instant};

use anyhow::ensure;
use keysteward_tests::Function;

use crate::subject::{Scene, Subject, is_good};

/// Medians over some starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    /// CPU until it asks for the first invocation.
    pub(crate) ready_cpu: Duration,
    /// The same in wall time.
    pub(crate) ready_wall: Duration,
    /// CPU until the first event is answered, the start included.
    pub(crate) first_cpu: Duration,
    /// Wall time of the first event alone.
    pub(crate) first_wall: Duration,
    /// Peak memory after it.
    pub(crate) peak_rss_kib: u64,
}

/// One process, after its first events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warm {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// A median too.
    pub(crate) cpu: Duration,
    /// Means: log, and calls to table, KMS, Secrets Manager, Stripe.
    pub(crate) log_bytes: f64,
    pub(crate) calls: [f64; 4],
    pub(crate) peak_rss_kib: u64,
}

/// Starts every subject in turn, `starts` times, so that what disturbs one disturbs all.
pub(crate) async fn starts(
    scene: &mut Scene,
    subjects: &[(Subject, Vec<(String, String)>)],
    starts: usize,
) -> anyhow::Result<Vec<Start>> {
    let mut seen: Vec<Vec<Start>> = vec![Vec::new(); subjects.len()];
    for _ in 0..starts {
        for ((subject, environment), seen) in subjects.iter().zip(&mut seen) {
            let event = scene.event(*subject).await?;
            let begun = Instant::now();
            let mut function = subject.spawn(environment).await?;
            let ready_wall = begun.elapsed();
            let ready = function.usage()?;
            let begun = Instant::now();
            let answer = function.answer(&event).await?;
            let first_wall = begun.elapsed();
            ensure!(is_good(*subject, &answer), "{}: {answer}", subject.label());
            // The function answered before it asks for more; what it does in between counts.
            function.api.asked(2).await;
            let first = function.usage()?;
            seen.push(Start {
                ready_cpu: ready.cpu,
                ready_wall,
                first_cpu: first.cpu,
                first_wall,
                peak_rss_kib: first.peak_rss_kib,
            });
        }
    }
    Ok(seen.into_iter().map(|starts| median_start(&starts)).collect())
}

/// Gives every subject in turn `at_once` events, until each had `count` after its first turn: what disturbs one
/// disturbs all, and each finds the caches as it left them. One process each.
pub(crate) async fn warm(
    scene: &mut Scene,
    subjects: &[Subject],
    at_once: usize,
    count: usize,
) -> anyhow::Result<Vec<Warm>> {
    let environment = scene.deployment.environment();
    let mut running = Vec::with_capacity(subjects.len());
    for subject in subjects {
        running.push(Running::new(*subject, subject.spawn(&environment).await?));
    }
    for turn in 0..=count.div_ceil(at_once) {
        for running in &mut running {
            for _ in 0..at_once {
                running.round(scene, turn > 0).await?;
            }
        }
    }
    running.into_iter().map(Running::seen).collect()
}

/// A process among the others that are given events in turn, and what was seen of it.
struct Running {
    subject: Subject,
    function: Function,
    times: Vec<Duration>,
    cpu: Vec<Duration>,
    calls: [u64; 4],
    log_bytes: usize,
}

impl Running {
    fn new(subject: Subject, function: Function) -> Self {
        let (times, cpu) = (Vec::new(), Vec::new());
        Self { subject, function, times, cpu, calls: [0; 4], log_bytes: 0 }
    }

    async fn round(&mut self, scene: &mut Scene, is_counted: bool) -> anyhow::Result<()> {
        let event = scene.event(self.subject).await?;
        let (cpu, calls) = (self.function.usage()?.cpu, scene.calls());
        let (asked, log_bytes) = (self.function.api.nexts(), self.function.stdout()?.len());
        let begun = Instant::now();
        let answer = self.function.answer(&event).await?;
        let time = begun.elapsed();
        ensure!(is_good(self.subject, &answer), "{}: {answer}", self.subject.label());
        // The function answered before it asks for more; what it does in between counts.
        self.function.api.asked(asked + 1).await;
        if is_counted {
            self.times.push(time);
            self.cpu.push(self.function.usage()?.cpu.saturating_sub(cpu));
            for (sum, (now, then)) in self.calls.iter_mut().zip(scene.calls().iter().zip(calls)) {
                *sum += now - then;
            }
            self.log_bytes += self.function.stdout()?.len() - log_bytes;
        }
        Ok(())
    }

    fn seen(mut self) -> anyhow::Result<Warm> {
        self.times.sort_unstable();
        self.cpu.sort_unstable();
        let per = |sum: u64| sum as f64 / self.times.len() as f64;
        Ok(Warm {
            p50: at(&self.times, 0.50),
            p99: at(&self.times, 0.99),
            cpu: at(&self.cpu, 0.50),
            log_bytes: per(self.log_bytes as u64),
            calls: self.calls.map(per),
            peak_rss_kib: self.function.usage()?.peak_rss_kib,
        })
    }
}

fn median_start(starts: &[Start]) -> Start {
    let of = |field: fn(&Start) -> Duration| {
        let mut times: Vec<Duration> = starts.iter().map(field).collect();
        times.sort_unstable();
        at(&times, 0.50)
    };
    let mut peaks: Vec<u64> = starts.iter().map(|start| start.peak_rss_kib).collect();
    peaks.sort_unstable();
    Start {
        ready_cpu: of(|start| start.ready_cpu),
        ready_wall: of(|start| start.ready_wall),
        first_cpu: of(|start| start.first_cpu),
        first_wall: of(|start| start.first_wall),
        peak_rss_kib: peaks.get(peaks.len() / 2).copied().unwrap_or_default(),
    }
}

/// The value below which a share of a sorted list lies.
fn at(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
