//! The program itself, driven over Lambda's Runtime API: what it writes on standard output.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// A program with nothing in its environment but this.
fn program(settings: &[(&str, &str)]) -> tokio::process::Command {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_keysteward-keys"));
    program.env_clear().envs(settings.iter().copied());
    program.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    program
}

/// The metric lines among those that were written.
fn metrics(stdout: &[u8]) -> Vec<Value> {
    let lines = stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

#[tokio::test]
async fn a_program_that_does_not_start_says_under_which_name() -> anyhow::Result<()> {
    let settings = [("AWS_LAMBDA_FUNCTION_NAME", "prod-keys")];
    let output = program(&settings).output().await?;
    ensure!(!output.status.success());
    let [line] = &metrics(&output.stdout)[..] else { anyhow::bail!("one line: {output:?}") };
    ensure!(line["FaultSetting"] == 1 && line["Faults"] == 1, "{line}");
    ensure!(line["Stack"] == "prod" && line["Function"] == "keys", "{line}");
    Ok(())
}

/// Plays the Runtime API, with one event to hand out, and a DynamoDB that has no table.
async fn serve(answered: mpsc::Sender<Value>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let first = Arc::new(Notify::new());
    first.notify_one();
    let next = move || {
        let first = first.clone();
        async move {
            first.notified().await;
            event()
        }
    };
    let answer = move |body: String| async move {
        let _ = answered.send(serde_json::from_str(&body).unwrap_or_default()).await;
        StatusCode::ACCEPTED
    };
    let no_table = || async {
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
            "message": "Requested resource not found",
        });
        (
            StatusCode::BAD_REQUEST,
            [("content-type", "application/x-amz-json-1.0")],
            body.to_string(),
        )
    };
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
        .route("/", post(no_table));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn event() -> Response {
    let path = "/v1/accounts/acct_1/keys/default";
    let event = json!({
        "version": "2.0", "routeKey": "ANY /v1/{proxy+}", "rawPath": path, "rawQueryString": "",
        "headers": {}, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "p",
            "requestId": "request-1", "routeKey": "ANY /v1/{proxy+}", "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000", "timeEpoch": 1,
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1",
                     "sourceIp": "192.0.2.1", "userAgent": "shop"},
        },
    });
    let headers = [
        ("lambda-runtime-aws-request-id", "invocation-1"),
        ("lambda-runtime-deadline-ms", "4102444800000"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:prod-keys"),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000"),
    ];
    (headers, event.to_string()).into_response()
}

#[tokio::test]
async fn an_invocation_that_finds_no_table_writes_one_line_that_says_so() -> anyhow::Result<()> {
    let (answered, mut answers) = mpsc::channel(1);
    let address = serve(answered).await?;
    let endpoint = format!("http://{address}");
    let mut child = program(&[
        ("AWS_LAMBDA_RUNTIME_API", &address),
        ("AWS_LAMBDA_FUNCTION_NAME", "prod-keys"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/prod-keys"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "double"),
        ("AWS_SECRET_ACCESS_KEY", "double"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("KEYSTEWARD_TABLE", "gone"),
        ("KEYSTEWARD_APP_ID", "ca_1"),
        ("KEYSTEWARD_KMS_KEY_ID", "alias/keysteward"),
    ])
    .spawn()?;
    let answer = answers.recv().await.context("the invocation was answered")?;
    ensure!(answer["statusCode"] == 500, "{answer}");
    child.start_kill()?;
    let output = child.wait_with_output().await?;
    let [line] = &metrics(&output.stdout)[..] else { anyhow::bail!("one line: {output:?}") };
    ensure!(line["FaultTableMissing"] == 1 && line["KeysNotServed"] == 1, "{line}");
    ensure!(line["Stack"] == "prod" && line["Function"] == "keys", "{line}");
    Ok(())
}
