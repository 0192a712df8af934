//! The Lambda runtime: events in, plain requests and batches out. No type of it leaves this folder.

mod batch;
mod payload;

use std::future::Future;
use std::io::Write as _;
use std::sync::LazyLock;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use lambda_runtime_api_client::PooledClient;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::class::Class;
use crate::domain::time::Timestamp;
use crate::http::{Reply, Request};
use crate::runtime::assemble::StartError;
use crate::runtime::clock::Clock;
use crate::runtime::log::chain;
use crate::runtime::metrics::{Line, Metered, Origin};
use crate::runtime::settings::environment;

pub use batch::Put;

/// An invocation that failed, as the runtime reports it: the class is its type, so that whoever searches
/// the log can tell "again" from "page somebody". Carries no text from outside.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    class: Class,
    message: String,
}

impl Failed {
    /// Takes the chain of an error, which names only what we were doing.
    pub fn new(class: Class, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { class, message: chain(error) }
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self { error_type: failed.class.as_str().to_owned(), error_message: failed.message }
    }
}

/// Waits for a function's parts. A start that fails is reported to Lambda, so that the caller of the
/// invocation and the metrics see which kind of failure it was instead of a process that exited.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-initerror>
pub async fn started<T>(
    parts: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let parts = parts.await;
    if let Err(error) = &parts {
        tracing::error!(
            class = error.class().as_str(),
            error = chain(error),
            "the function does not start"
        );
        write(&error.line());
        report_init_error(error).await;
    }
    parts
}

/// Lambda learns of the failure in any case, from the exit: whatever goes wrong here changes nothing.
async fn report_init_error(error: &StartError) {
    let body = serde_json::json!({
        "errorType": error.name(),
        "errorMessage": chain(error),
        "stackTrace": [],
    });
    let request = http::Request::post("/2018-06-01/runtime/init/error")
        .header(http::header::CONTENT_TYPE, "application/json")
        .header("lambda-runtime-function-error-type", format!("Runtime.{}", error.name()))
        .body(lambda_runtime_api_client::body::Body::from(body.to_string()));
    if let (Some(client), Ok(request)) = (runtime_api(), request) {
        let _ = client.call(request).await;
    }
}

fn runtime_api() -> Option<PooledClient> {
    let address = environment("AWS_LAMBDA_RUNTIME_API")?;
    let endpoint = format!("http://{address}").parse().ok()?;
    Some(PooledClient::builder().with_endpoint(endpoint).build())
}

/// The runtime itself ended.
#[derive(Debug, thiserror::Error)]
#[error("the Lambda runtime ended")]
pub struct Ended(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Writes the metrics of one invocation, if there are any, as one line that no other comes into.
fn write(line: &Line) {
    static ORIGIN: LazyLock<Origin> =
        LazyLock::new(|| Origin::of_function(environment("AWS_LAMBDA_FUNCTION_NAME").as_deref()));
    if let Some(mut text) = line.render(&ORIGIN, Clock::system().now()) {
        text.push('\n');
        // With standard output gone there is nobody left to tell.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// Answers HTTP API events (payload 2.0) until the runtime ends; a reply's extension [`Line`] is written.
pub async fn run_http<F, A>(respond: F) -> Result<(), Ended>
where
    F: Fn(Request) -> A,
    A: Future<Output = Reply> + Send,
{
    let unexpected = |_: Vec<u8>| async {
        Metered { answer: Err(unexpected("HTTP events")), line: Line::default() }
    };
    run_http_or_partner(respond, unexpected).await
}

/// As [`run_http`], and hands every event of another form to `partner` as JSON: EventBridge.
pub async fn run_http_or_partner<F, A, G, B>(respond: F, partner: G) -> Result<(), Ended>
where
    F: Fn(Request) -> A,
    A: Future<Output = Reply> + Send,
    G: Fn(Vec<u8>) -> B,
    B: Future<Output = Metered<Result<(), Failed>>> + Send,
{
    // Parsed here, as the stream's batches are, and not by `lambda_http`: it resolves `..` in a path before
    // anybody can compare it with the path that IAM allowed, and panics on a query that is no URI.
    let handler = service_fn(|event: LambdaEvent<Box<RawValue>>| {
        let (answer, handled) = match payload::request(event.payload.get()) {
            Some(request) => (Some(respond(request)), None),
            None => (None, Some(partner(event.payload.get().into()))),
        };
        // In a box, or the future of each `main` is nested deeper than the compiler looks.
        Box::pin(async move {
            if let Some(answer) = answer {
                let mut reply = answer.await;
                write(&reply.extensions_mut().remove().unwrap_or_default());
                return Ok(Some(payload::answer(reply)));
            }
            if let Some(handled) = handled {
                let handled = handled.await;
                write(&handled.line);
                handled.answer?;
            }
            Ok::<_, Failed>(None)
        })
    });
    lambda_runtime::run(handler).await.map_err(Ended)
}

/// Takes DynamoDB stream batches; `apply` answers the sequence numbers that have to come again.
pub async fn run_stream<F, A>(apply: F) -> Result<(), Ended>
where
    F: Fn(Vec<Put>, Timestamp) -> A,
    A: Future<Output = Metered<Vec<String>>> + Send,
{
    // Parsed here and not by the runtime, which reports and logs the value that it stumbles on.
    let handler = service_fn(|event: LambdaEvent<Box<RawValue>>| {
        let deadline = deadline(event.context.deadline);
        let applied = batch::puts(event.payload.get()).map(|puts| apply(puts, deadline));
        async move {
            let applied = applied.ok_or_else(|| unexpected("batches of a DynamoDB stream"))?.await;
            write(&applied.line);
            Ok::<_, Failed>(batch::answer(applied.answer))
        }
    });
    lambda_runtime::run(handler).await.map_err(Ended)
}

/// Runs on a schedule; what the event says does not matter.
pub async fn run_schedule<F, A, T>(run: F) -> Result<(), Ended>
where
    F: Fn(Timestamp) -> A,
    A: Future<Output = Metered<Result<T, Failed>>> + Send,
    T: Serialize,
{
    let handler = service_fn(|event: LambdaEvent<serde::de::IgnoredAny>| {
        let swept = run(deadline(event.context.deadline));
        async move {
            let swept = swept.await;
            write(&swept.line);
            swept.answer
        }
    });
    lambda_runtime::run(handler).await.map_err(Ended)
}

fn unexpected(events: &str) -> Failed {
    Failed { class: Class::Caller, message: format!("this function takes {events} only") }
}

/// Steps start until this long before Lambda ends the invocation: a call to Stripe that times out and the
/// write after it fit in. A step that takes longer is cut off like a crash, and repaired like one.
fn deadline(ends_at_millis: u64) -> Timestamp {
    let margin = 25_000;
    let millis = i64::try_from(ends_at_millis).unwrap_or(i64::MAX).saturating_sub(margin);
    Timestamp::from_millis(millis.max(0)).unwrap_or(Timestamp::EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_leaves_time_for_one_more_call() {
        assert_eq!(deadline(100_000).millis(), 75_000);
        assert_eq!(deadline(0), Timestamp::EPOCH);
        assert_eq!(deadline(u64::MAX), Timestamp::EPOCH);
    }
}
