//! How it is measured. CPU time is the process's own clock (`CLOCK_PROCESS_CPUTIME_ID` of its pid), which a
//! busy machine disturbs far less than wall time; figures are medians.

use std::time::{Duration, Instant};

use anyhow::ensure;

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
    /// A mean.
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

/// Gives a running subject `count` events after `before` others.
pub(crate) async fn warm(
    scene: &mut Scene,
    subject: Subject,
    before: usize,
    count: usize,
) -> anyhow::Result<Warm> {
    let environment = scene.deployment.environment();
    let mut function = subject.spawn(&environment).await?;
    for _ in 0..before {
        let event = scene.event(subject).await?;
        function.answer(&event).await?;
    }
    let mut times = Vec::with_capacity(count);
    let mut cpu = Duration::ZERO;
    let mut calls = [0; 4];
    let log_before = function.stdout()?.len();
    for _ in 0..count {
        let event = scene.event(subject).await?;
        let (cpu_before, calls_before) = (function.usage()?.cpu, scene.calls());
        let asked = function.api.nexts();
        let begun = Instant::now();
        let answer = function.answer(&event).await?;
        times.push(begun.elapsed());
        ensure!(is_good(subject, &answer), "{}: {answer}", subject.label());
        function.api.asked(asked + 1).await;
        cpu += function.usage()?.cpu.saturating_sub(cpu_before);
        for (sum, (now, then)) in calls.iter_mut().zip(scene.calls().iter().zip(calls_before)) {
            *sum += now - then;
        }
    }
    times.sort_unstable();
    let per = |sum: u64| sum as f64 / count as f64;
    Ok(Warm {
        p50: at(&times, 0.50),
        p99: at(&times, 0.99),
        cpu: cpu / u32::try_from(count)?,
        log_bytes: per((function.stdout()?.len() - log_before) as u64),
        calls: calls.map(per),
        peak_rss_kib: function.usage()?.peak_rss_kib,
    })
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
