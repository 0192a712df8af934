//! Events as AWS hands them to a function: the samples of `infra/events`, filled in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keysteward::store::EventRef;
use serde_json::{Value, json};

/// HTTP API, payload 2.0: `GET /install…` with the cookie that the browser kept.
pub fn http_install(path_and_query: &str, cookie: Option<&str>) -> anyhow::Result<Value> {
    let mut event = sample(include_str!("../../infra/events/http-install.json"))?;
    aim(&mut event, path_and_query);
    if let Some(cookie) = cookie {
        event["cookies"] = json!([cookie]);
    }
    Ok(event)
}

/// HTTP API, payload 2.0, with an IAM authorizer: a read of a key.
pub fn http_key(path_and_query: &str) -> anyhow::Result<Value> {
    let mut event = sample(include_str!("../../infra/events/http-key.json"))?;
    aim(&mut event, path_and_query);
    Ok(event)
}

/// HTTP API, payload 2.0: a webhook whose body came as text.
pub fn http_webhook(body: &[u8], signature: &str) -> anyhow::Result<Value> {
    let mut event = sample(include_str!("../../infra/events/http-webhook.json"))?;
    event["headers"]["stripe-signature"] = signature.into();
    event["body"] = std::str::from_utf8(body)?.into();
    Ok(event)
}

/// HTTP API, payload 2.0: a webhook whose body came in base64.
pub fn http_webhook_base64(body: &[u8], signature: &str) -> anyhow::Result<Value> {
    let mut event = sample(include_str!("../../infra/events/http-webhook-base64.json"))?;
    event["headers"]["stripe-signature"] = signature.into();
    event["body"] = STANDARD.encode(body).into();
    Ok(event)
}

/// EventBridge Scheduler, with the input that `template.yaml` gives it.
pub fn schedule() -> anyhow::Result<Value> {
    sample(include_str!("../../infra/events/schedule.json"))
}

/// EventBridge partner bus: Stripe's event in its envelope.
pub fn partner(detail: &Value) -> anyhow::Result<Value> {
    let mut event = sample(include_str!("../../infra/events/partner.json"))?;
    event["detail-type"] = detail["type"].clone();
    event["detail"] = detail.clone();
    Ok(event)
}

/// A DynamoDB stream batch: for each row its key as stored and its sequence number.
pub fn stream(rows: &[(&str, &str, &str)]) -> anyhow::Result<Value> {
    let mut batch = sample(include_str!("../../infra/events/stream.json"))?;
    let pattern = batch["Records"][0].clone();
    let records = rows.iter().map(|(pk, sk, sequence)| {
        let mut record = pattern.clone();
        let change = &mut record["dynamodb"];
        for image in ["Keys", "NewImage"] {
            change[image]["pk"]["S"] = (*pk).into();
            change[image]["sk"]["S"] = (*sk).into();
        }
        change["SequenceNumber"] = (*sequence).into();
        record
    });
    batch["Records"] = records.collect();
    Ok(batch)
}

/// The key of the row of an event that is in the table.
pub fn row_of(event: &EventRef) -> (String, String) {
    let at = &event.account;
    (format!("ACCOUNT#{}#{}", at.mode, at.id), format!("EVENT#{}#{}", event.created, event.id))
}

fn aim(event: &mut Value, path_and_query: &str) {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["rawQueryString"] = query.into();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    event["queryStringParameters"] = pairs.map(|(name, value)| (name, json!(value))).collect();
}

fn sample(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(text)?)
}
