//! What the functions cost, measured on their release binaries and told as multiples of a hello-world built
//! the same way. Prints the tables of `docs/performance.md`.
//!
//! `just bench` builds the binaries and runs it. `keysteward-bench [starts] [invokes]`

#![expect(clippy::print_stdout, reason = "the output of a program")]

mod measure;
mod subject;
mod tls;

use std::time::Duration;

use measure::{Start, Warm};
use subject::{Scene, Subject};
use tls::Authority;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let starts = arguments.next().map_or(Ok(15), |text| text.parse())?;
    let invokes = arguments.next().map_or(Ok(300), |text| text.parse())?;

    let mut scene = Scene::set().await?;
    let plain = scene.deployment.environment();
    let subjects: Vec<_> = Subject::ALL.map(|subject| (subject, plain.clone())).into();
    let started = measure::starts(&mut scene, &subjects, starts).await?;
    println!("{starts} starts each, in turn; medians. Doubles in plain HTTP.\n");
    print_starts(&subjects.iter().map(|(subject, _)| *subject).collect::<Vec<_>>(), &started)?;

    let authority = Authority::new()?;
    for (delay, what) in [
        (Duration::ZERO, "The same over TLS"),
        (DELAY, "Over TLS, each new connection taking 20 ms more (look at the wall times)"),
    ] {
        let tls = authority.environment(&scene.deployment, delay).await?;
        let mut subjects = vec![(Subject::Hello, plain.clone())];
        let others = [Subject::Accepted, Subject::Read, Subject::Sweep];
        subjects.extend(others.map(|subject| (subject, tls.clone())));
        let started = measure::starts(&mut scene, &subjects, starts).await?;
        println!("\n{what}.\n");
        print_starts(&subjects.iter().map(|(subject, _)| *subject).collect::<Vec<_>>(), &started)?;
    }

    println!(
        "\nOne process each, {invokes} events in turns of {AT_ONCE} after a first turn; medians; plain HTTP.\n"
    );
    let warmed = measure::warm(&mut scene, &Subject::ALL, AT_ONCE, invokes).await?;
    print_warm(&Subject::ALL.into_iter().zip(warmed).collect::<Vec<_>>());
    Ok(())
}

fn print_starts(subjects: &[Subject], starts: &[Start]) -> anyhow::Result<()> {
    println!(
        "| | ready CPU ms | × | ready + first event CPU ms | × | ready wall ms | first event wall ms | peak RSS MiB | × | bytes | × |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let Some((hello, hello_bytes)) = starts.first().zip(subjects.first().map(|s| bytes(*s))) else {
        return Ok(());
    };
    let hello_bytes = hello_bytes?;
    for (subject, start) in subjects.iter().zip(starts) {
        let bytes = bytes(*subject)?;
        println!(
            "| {} | {:.2} | {} | {:.2} | {} | {:.1} | {:.1} | {:.1} | {} | {bytes} | {} |",
            subject.label(),
            millis(start.ready_cpu),
            ratio(millis(start.ready_cpu), millis(hello.ready_cpu)),
            millis(start.first_cpu),
            ratio(millis(start.first_cpu), millis(hello.first_cpu)),
            millis(start.ready_wall),
            millis(start.first_wall),
            start.peak_rss_kib as f64 / 1024.0,
            ratio(start.peak_rss_kib as f64, hello.peak_rss_kib as f64),
            ratio(bytes as f64, hello_bytes as f64),
        );
    }
    Ok(())
}

fn print_warm(warmed: &[(Subject, Warm)]) {
    println!(
        "| | CPU µs | × | p50 µs | p99 µs | log bytes | calls: table | KMS | secrets | Stripe | peak RSS MiB | × |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let Some((_, hello)) = warmed.first() else { return };
    for (subject, warm) in warmed {
        let [table, kms, secrets, stripe] = warm.calls;
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.0} | {:.0} | {table:.2} | {kms:.2} | {secrets:.2} | {stripe:.2} | {:.1} | {} |",
            subject.label(),
            millis(warm.cpu) * 1000.0,
            ratio(millis(warm.cpu), millis(hello.cpu)),
            millis(warm.p50) * 1000.0,
            millis(warm.p99) * 1000.0,
            warm.log_bytes,
            warm.peak_rss_kib as f64 / 1024.0,
            ratio(warm.peak_rss_kib as f64, hello.peak_rss_kib as f64),
        );
    }
}

fn bytes(subject: Subject) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(subject.binary()?)?.len())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn ratio(value: f64, of: f64) -> String {
    format!("{:.2}", value / of)
}

const AT_ONCE: usize = 20;
const DELAY: Duration = Duration::from_millis(20);
