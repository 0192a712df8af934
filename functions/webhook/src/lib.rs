//! `webhook`: verifies what Stripe sends and puts it down. It reads nothing and opens nothing.

use http::{Method, StatusCode, header};
use keysteward::Class;
use keysteward::http::problem::Problem;
use keysteward::http::{Reply, Request, health, json, request_id, single};
use keysteward::runtime::assemble::WebhookParts;
use keysteward::runtime::lambda::Failed;
use keysteward::runtime::log::chain;
use keysteward::store::{Error as StoreError, Recorded};
use keysteward::webhook::payload::{self, Parsed};
use keysteward::webhook::signature;

/// Answers one request.
pub async fn respond(webhook: &WebhookParts, request: Request) -> Reply {
    match request.uri().path() {
        "/health" => health(),
        "/webhooks/stripe" => match receive(webhook, &request).await {
            Ok(()) => {
                json(StatusCode::OK, "application/json", &serde_json::json!({ "received": true }))
            }
            Err(problem) => problem.reply(request_id(&request)),
        },
        _ => Problem::NoSuchPath.reply(request_id(&request)),
    }
}

/// Takes an event from an EventBridge partner bus. It carries no signature: the bus is the proof.
pub async fn take_from_bus(webhook: &WebhookParts, envelope: Vec<u8>) -> Result<(), Failed> {
    let event =
        payload::unwrap_envelope(&envelope).map_err(|error| Failed::new(Class::Caller, &error))?;
    let parsed = payload::parse(event).map_err(|error| Failed::new(Class::Caller, &error))?;
    put(webhook, parsed).await.map_err(|error| Failed::new(error.class(), &error))
}

async fn receive(webhook: &WebhookParts, request: &Request) -> Result<(), Problem> {
    if request.method() != Method::POST {
        return Err(Problem::Method("POST"));
    }
    if request.body().len() > MAX_BODY {
        return Err(Problem::TooLarge);
    }
    if !is_json(single(request.headers(), header::CONTENT_TYPE.as_str())) {
        return Err(Problem::NotJson);
    }
    let header = single(request.headers(), "stripe-signature").ok_or(Problem::Signature)?;
    let now = webhook.clock.now();
    let secrets = webhook.secrets.current(now).await.map_err(|error| {
        tracing::error!(error = chain(&error), "the signing secrets could not be read");
        Problem::Failed(error.class())
    })?;
    signature::verify(header, request.body(), &secrets, now).map_err(|rejected| {
        tracing::warn!(reason = %rejected, "a webhook was refused");
        Problem::Signature
    })?;
    let parsed = payload::parse(request.body()).map_err(|error| {
        tracing::warn!(reason = %error, "a signed body is not an event");
        Problem::BadEvent
    })?;
    put(webhook, parsed).await.map_err(|error| {
        tracing::error!(
            class = error.class().as_str(),
            error = chain(&error),
            "an event could not be stored"
        );
        // Whatever is wrong with the table, Stripe should send it again.
        Problem::Failed(Class::Transient)
    })
}

async fn put(webhook: &WebhookParts, parsed: Parsed) -> Result<(), StoreError> {
    match parsed {
        Parsed::Ignored(_) => Ok(()),
        Parsed::Event(event) => {
            let recorded = webhook.store.put_event(&event, webhook.clock.now()).await?;
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
