//! The Lambda runtime: events in, plain requests and batches out. No type of it leaves this file.

use std::future::Future;
use std::io::Write as _;
use std::sync::LazyLock;

use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use lambda_runtime_api_client::PooledClient;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::class::Class;
use crate::domain::time::Timestamp;
use crate::http::{Caller, Reply, Request, RequestId};
use crate::runtime::assemble::StartError;
use crate::runtime::clock::Clock;
use crate::runtime::log::chain;
use crate::runtime::metrics::{Line, Metered, Origin};
use crate::runtime::settings::environment;
use crate::store::{self, EventRef};

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
    let handler = service_fn(|request: lambda_http::Request| {
        let is_http =
            matches!(request.request_context_ref(), Some(RequestContext::ApiGatewayV2(_)));
        let (answer, handled) = if is_http {
            (Some(respond(plain(request))), None)
        } else {
            (None, Some(partner(request.into_body().to_vec())))
        };
        async move {
            if let Some(answer) = answer {
                let mut reply = answer.await;
                write(&reply.extensions_mut().remove().unwrap_or_default());
                return Ok(reply.map(lambda_http::Body::from));
            }
            if let Some(handled) = handled {
                let handled = handled.await;
                write(&handled.line);
                handled.answer?;
            }
            Ok::<_, Failed>(http::Response::new(lambda_http::Body::Empty))
        }
    });
    lambda_http::run(handler).await.map_err(Ended)
}

/// What a stream batch holds for us: the event rows that were put, each with its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Names the record in the answer.
    pub sequence: String,
    /// The row.
    pub event: EventRef,
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
        let batch = serde_json::from_str::<Batch>(event.payload.get());
        let applied = batch.map(|batch| apply(puts(batch), deadline));
        async move {
            let applied = applied.map_err(|_| unexpected("batches of a DynamoDB stream"))?.await;
            write(&applied.line);
            let failures =
                applied.answer.into_iter().map(|item_identifier| Item { item_identifier });
            Ok::<_, Failed>(Answer { batch_item_failures: failures.collect() })
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

fn plain(request: lambda_http::Request) -> Request {
    let (caller, id) = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => (
            context
                .authorizer
                .as_ref()
                .and_then(|authorizer| authorizer.iam.as_ref()?.user_arn.clone()),
            context.request_id.clone(),
        ),
        _ => (None, None),
    };
    let (mut parts, body) = request.into_parts();
    if let Some(caller) = caller {
        parts.extensions.insert(Caller(caller));
    }
    parts.extensions.insert(RequestId(id.unwrap_or_default()));
    Request::from_parts(parts, body.to_vec())
}

fn puts(batch: Batch) -> Vec<Put> {
    batch
        .records
        .into_iter()
        .filter(|record| record.event_name == "INSERT")
        .filter_map(|record| {
            let Keys { pk, sk } = record.change.keys;
            let event = store::parse_stream_key(&pk.text, &sk.text)?;
            Some(Put { sequence: record.change.sequence, event })
        })
        .collect()
}

/// The part of a DynamoDB stream event that is read: keys alone, whatever the view type.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    #[serde(rename = "dynamodb")]
    change: RowChange,
}

#[derive(Deserialize)]
struct RowChange {
    #[serde(rename = "Keys")]
    keys: Keys,
    #[serde(rename = "SequenceNumber")]
    sequence: String,
}

#[derive(Deserialize)]
struct Keys {
    pk: Text,
    sk: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

#[derive(Serialize)]
struct Answer {
    #[serde(rename = "batchItemFailures")]
    batch_item_failures: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(rename = "itemIdentifier")]
    item_identifier: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_event_rows_of_a_batch_are_taken() {
        let record = |name: &str, sk: &str, sequence: &str| {
            serde_json::json!({"eventName": name, "dynamodb": {
                "Keys": {"pk": {"S": "ACCOUNT#test#acct_1"}, "sk": {"S": sk}},
                "SequenceNumber": sequence, "StreamViewType": "NEW_IMAGE"}})
        };
        let sk = "EVENT#2026-11-24T12:00:00.000Z#evt_1";
        let batch = serde_json::json!({"Records": [
            record("INSERT", sk, "1"),
            record("MODIFY", sk, "2"),
            record("INSERT", "STATE#ACCOUNT", "3"),
        ]});
        let taken = puts(serde_json::from_value(batch).unwrap());
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].sequence, "1");
        assert_eq!(taken[0].event.id.as_str(), "evt_1");
    }

    #[test]
    fn an_http_event_is_decoded_to_the_bytes_that_were_sent() {
        let event = |body: &str, is_base64: bool| {
            let event = serde_json::json!({
                "version": "2.0", "routeKey": "POST /webhooks/stripe",
                "rawPath": "/webhooks/stripe", "rawQueryString": "",
                "headers": {"content-type": "application/json", "stripe-signature": "t=1,v1=00"},
                "requestContext": {
                    "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "p",
                    "requestId": "request-1", "routeKey": "POST /webhooks/stripe",
                    "stage": "$default", "time": "24/Nov/2026:12:00:00 +0000", "timeEpoch": 1,
                    "http": {"method": "POST", "path": "/webhooks/stripe", "protocol": "HTTP/1.1",
                             "sourceIp": "192.0.2.1", "userAgent": "Stripe/1.0"},
                    "authorizer": {"iam": {"userArn": "arn:aws:iam::1:role/shop"}}
                },
                "body": body, "isBase64Encoded": is_base64
            });
            plain(lambda_http::request::from_str(&event.to_string()).unwrap())
        };
        // Bytes that no text survives: a decoder that goes through text would change them.
        for (body, is_base64, bytes) in
            [("{\"a\": 1}", false, &b"{\"a\": 1}"[..]), ("/wD+Cg==", true, &[0xff, 0, 0xfe, b'\n'])]
        {
            let request = event(body, is_base64);
            assert_eq!(request.body(), bytes);
            assert_eq!(request.uri().path(), "/webhooks/stripe");
            assert_eq!(
                crate::http::single(request.headers(), "stripe-signature"),
                Some("t=1,v1=00")
            );
            assert_eq!(crate::http::request_id(&request), "request-1");
            let caller = request.extensions().get::<Caller>().unwrap();
            assert_eq!(caller.0, "arn:aws:iam::1:role/shop");
        }
    }

    #[test]
    fn a_deadline_leaves_time_for_one_more_call() {
        assert_eq!(deadline(100_000).millis(), 75_000);
        assert_eq!(deadline(0), Timestamp::EPOCH);
        assert_eq!(deadline(u64::MAX), Timestamp::EPOCH);
    }
}
