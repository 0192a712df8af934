//! Logging: one JSON line per thing worth saying, never a value from outside.

use std::error::Error;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::runtime::settings::environment;

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
pub fn to<W>(writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter(environment("RUST_LOG").as_deref())).with(lines)
}

/// What is logged: levels by target, as `RUST_LOG` names them. Without expressions over fields and spans, for
/// which every start would set up a regular-expression engine.
///
/// The libraries below never log finer than [`WIRE`] has it, whatever is asked for: at `trace` they write what
/// goes over the wire, and that is where secrets are.
fn filter(asked: Option<&str>) -> Targets {
    let chosen: Targets = asked
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let default = chosen.default_level().unwrap_or(LevelFilter::ERROR);
    let coarsest = WIRE.map(|(library, finest)| (library.to_owned(), finest.min(default)));
    let asked = chosen.into_iter().map(|(target, level)| {
        let library = WIRE.iter().find(|(library, _)| target.starts_with(library));
        let level = library.map_or(level, |(_, finest)| level.min(*finest));
        (target, level)
    });
    Targets::new().with_default(default).with_targets(coarsest).with_targets(asked)
}

/// `lambda_runtime` opens a span at `info` for each invocation, which no line names and which would be rendered
/// all the same.
const WIRE: [(&str, LevelFilter); 9] = [
    ("aws_runtime", LevelFilter::INFO),
    ("aws_smithy_http_client", LevelFilter::INFO),
    ("aws_smithy_runtime", LevelFilter::INFO),
    ("aws_smithy_runtime_api", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("lambda_runtime", LevelFilter::WARN),
    ("reqwest", LevelFilter::INFO),
];

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn without_a_wish_info_is_logged_and_no_span_of_the_runtime() {
        for asked in [None, Some("info"), Some("keysteward=loud")] {
            let filter = filter(asked);
            assert!(filter.would_enable("keysteward::sweep", &Level::INFO), "{asked:?}");
            assert!(!filter.would_enable("keysteward::sweep", &Level::DEBUG), "{asked:?}");
            assert!(filter.would_enable("lambda_runtime::layers", &Level::ERROR), "{asked:?}");
            assert!(!filter.would_enable("lambda_runtime::layers", &Level::INFO), "{asked:?}");
        }
    }

    #[test]
    fn no_wish_makes_a_library_tell_what_goes_over_the_wire() {
        for asked in [
            "trace",
            "aws_smithy_runtime=trace",
            "aws_smithy_runtime::client=trace",
            "hyper_util::client::legacy=debug,info",
        ] {
            for target in ["aws_smithy_runtime::client::orchestrator", "hyper_util::client::legacy"]
            {
                assert!(!filter(Some(asked)).would_enable(target, &Level::DEBUG), "{asked}");
            }
        }
    }

    #[test]
    fn ones_own_modules_are_as_loud_or_as_quiet_as_asked() {
        let filter = filter(Some("error,keysteward::steward=debug"));
        assert!(filter.would_enable("keysteward::steward::mint", &Level::DEBUG));
        assert!(!filter.would_enable("keysteward::store", &Level::WARN));
        assert!(!filter.would_enable("reqwest::connect", &Level::WARN));
    }
}
