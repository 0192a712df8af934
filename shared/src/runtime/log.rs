//! Logging: one JSON line per thing worth saying, never a value from outside.

use std::error::Error;

use tracing_subscriber::fmt::MakeWriter;

/// An error with everything that caused it, in one line. Every `Display` here names only what we were
/// doing, so the chain holds no secret.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Writes JSON lines to standard output, from `RUST_LOG` or `info`.
pub fn to_stdout() {
    // A second call in one process keeps the first subscriber, which is as good.
    let _ = tracing::subscriber::set_global_default(to(std::io::stdout));
}

/// Writes the same lines somewhere else.
///
/// The libraries below never log finer than `info`, whatever `RUST_LOG` says: at `trace` they write what
/// goes over the wire, and that is where secrets are.
pub fn to<W>(writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let chosen = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let filter = WIRE.iter().filter_map(|target| format!("{target}=info").parse().ok());
    let filter = filter.fold(chosen, tracing_subscriber::EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}

const WIRE: [&str; 9] = [
    "aws_runtime",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
    "hyper_util",
    "lambda_runtime",
    "reqwest",
];
