//! `webhook`: verifies what Stripe sends and puts it down. It reads nothing and opens nothing.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use keysteward::Class;
use keysteward::domain::secret::SecretToken;
use keysteward::domain::time::Timestamp;
use keysteward::http::problem::Problem;
use keysteward::http::{Reply, Request, health, json, request_id, single};
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::lambda::Failed;
use keysteward::runtime::log::chain;
use keysteward::runtime::metrics::{Line, Metered, Metric};
use keysteward::store::{Error as StoreError, Recorded};
use keysteward::webhook::payload::{self, Parsed};
use keysteward::webhook::signature::{self, Rejected};

/// Answers one request; what is counted about it is the reply's extension [`Line`].
pub async fn respond(webhook: &WebhookParts, request: Request) -> Reply {
    match request.uri().path() {
        "/health" => health(),
        "/webhooks/stripe" => {
            let mut line = Line::default();
            let mut reply = match receive(webhook, &request, &mut line).await {
                Ok(()) => {
                    let body = serde_json::json!({ "received": true });
                    json(StatusCode::OK, "application/json", &body)
                }
                Err(problem) => problem.reply(request_id(&request)),
            };
            reply.extensions_mut().insert(line);
            reply
        }
        _ => Problem::NoSuchPath.reply(request_id(&request)),
    }
}

/// Takes an event from an EventBridge partner bus. It carries no signature: the bus is the proof.
pub async fn take_from_bus(
    webhook: &WebhookParts,
    envelope: Vec<u8>,
) -> Metered<Result<(), Failed>> {
    let mut line = Line::default();
    let event = payload::unwrap_envelope(&envelope)
        .map_err(|error| Failed::new(Class::Caller, &error))
        .and_then(|event| {
            payload::parse(event).map_err(|error| Failed::new(Class::Caller, &error))
        });
    let answer = match event {
        Ok(parsed) => Box::pin(put(webhook, parsed, &mut line))
            .await
            .map_err(|error| Failed::new(error.class(), &error)),
        Err(failed) => {
            line.add(Metric::BadEvents, 1);
            Err(failed)
        }
    };
    Metered { answer, line }
}

async fn receive(
    webhook: &WebhookParts,
    request: &Request,
    line: &mut Line,
) -> Result<(), Problem> {
    if let Some(problem) = misdirected(request) {
        line.add(Metric::WebhooksMisdirected, 1);
        return Err(problem);
    }
    let Some(header) = single(request.headers(), "stripe-signature") else {
        line.add(Metric::WebhooksUnsigned, 1);
        return Err(Problem::Signature);
    };
    let now = webhook.clock.now();
    let secrets = signing_secrets(webhook, now, line).await?;
    signature::verify(header, request.body(), &secrets, now).map_err(|rejected| {
        line.add(refused_as(rejected), 1);
        line.warn("a webhook was refused", &rejected);
        Problem::Signature
    })?;
    let parsed = payload::parse(request.body()).map_err(|error| {
        line.add(Metric::BadEvents, 1);
        tracing::warn!(reason = %error, "a signed body is not an event");
        Problem::BadEvent
    })?;
    // In a box: a call of the SDK takes kilobytes, which a refused request would otherwise move about.
    Box::pin(put(webhook, parsed, line)).await.map_err(|error| {
        tracing::error!(
            class = error.class().as_str(),
            error = chain(&error),
            "an event could not be stored"
        );
        // Whatever is wrong with the table, Stripe should send it again.
        Problem::Failed(Class::Transient)
    })
}

/// What is not even of the form in which Stripe sends.
fn misdirected(request: &Request) -> Option<Problem> {
    if request.method() != Method::POST {
        return Some(Problem::Method("POST"));
    }
    if request.body().len() > MAX_BODY {
        return Some(Problem::TooLarge);
    }
    let is_json = is_json(single(request.headers(), header::CONTENT_TYPE.as_str()));
    (!is_json).then_some(Problem::NotJson)
}

async fn signing_secrets(
    webhook: &WebhookParts,
    now: Timestamp,
    line: &mut Line,
) -> Result<Arc<[SecretToken]>, Problem> {
    let reading = webhook.secrets.current(now).await;
    let fault = match &reading {
        Ok(reading) => reading.fault,
        Err(error) => Some(error.fault()),
    };
    if fault.is_some() {
        line.add(Metric::SigningSecretsUnread, 1);
        line.fault(fault);
    }
    match reading {
        Ok(reading) => Ok(reading.secrets),
        Err(error) => {
            tracing::error!(error = chain(&error), "the signing secrets could not be read");
            Err(Problem::Failed(error.class()))
        }
    }
}

fn refused_as(rejected: Rejected) -> Metric {
    match rejected {
        Rejected::Header => Metric::WebhooksUnsigned,
        Rejected::NoMatch => Metric::WebhooksForged,
        Rejected::Stale => Metric::WebhooksStale,
    }
}

async fn put(webhook: &WebhookParts, parsed: Parsed, line: &mut Line) -> Result<(), StoreError> {
    match parsed {
        Parsed::Ignored(_) => {
            line.add(Metric::WebhooksIgnored, 1);
            Ok(())
        }
        Parsed::Event(event) => {
            let recorded = webhook.store.put_event(&event, webhook.clock.now()).await;
            let recorded = recorded.inspect_err(|error| {
                line.add(Metric::EventsNotStored, 1);
                line.fault(error.fault());
            })?;
            line.add(
                match recorded {
                    Recorded::New => Metric::WebhooksAccepted,
                    Recorded::Duplicate => Metric::WebhooksDuplicate,
                },
                1,
            );
            tracing::info!(
                event.id = %event.id,
                account.id = %event.account.id,
                topic = event.topic.name(),
                is_new = recorded == Recorded::New,
                "event received"
            );
            Ok(())
        }
    }
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type
        .and_then(|text| text.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Stripe's own events are far smaller; API Gateway would let 10 MB through.
const MAX_BODY: usize = 256 * 1024;
