//! HTTP API events, payload 2.0, and their answers.
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::http::{Caller, Reply, Request, RequestId};

/// `None` when the event is something else. The path stays as it was sent, `..` and all: IAM has decided on
/// that path, and what another reading of it would name is nobody's to ask for.
pub(super) fn request(event: &str) -> Option<Request> {
    let event: HttpEvent = serde_json::from_str(event).ok()?;
    let method = Method::from_bytes(event.context.http.method.as_bytes()).ok()?;
    let body = match event.body {
        None => Vec::new(),
        Some(text) if event.is_base64 => STANDARD.decode(text).ok()?,
        Some(text) => text.into_bytes(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri(&event.path, &event.query)?;
    *request.headers_mut() = headers(&event.headers, &event.cookies);
    let caller = event.context.authorizer.and_then(|authorizer| authorizer.iam?.user_arn);
    if let Some(caller) = caller {
        request.extensions_mut().insert(Caller(caller));
    }
    request.extensions_mut().insert(RequestId(event.context.request_id));
    Some(request)
}

/// What no URI may hold is percent-encoded: API Gateway decodes the path, and nobody says that a query is
/// well-formed. A parameter reads the same either way, and such a path is none of ours.
fn uri(path: &str, query: &str) -> Option<Uri> {
    let mut text = utf8_percent_encode(path, NOT_IN_A_PATH).to_string();
    if !text.starts_with('/') {
        text.insert(0, '/');
    }
    if !query.is_empty() {
        text.push('?');
        text.extend(utf8_percent_encode(query, NOT_IN_A_QUERY));
    }
    text.parse().ok()
}

/// A header that no HTTP message could hold is left out, as if it had not been sent.
fn headers(sent: &BTreeMap<String, String>, cookies: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = sent
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value)));
    // Each cookie by itself: another application's may hold what no header may.
    let cookies = cookies.iter().map(|cookie| (header::COOKIE, cookie));
    for (name, value) in named.chain(cookies) {
        if let Ok(value) = HeaderValue::from_str(value) {
            // Full at 32,768: API Gateway sends no more than some hundred.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

/// The answer as API Gateway takes it.
pub(super) fn answer(reply: Reply) -> HttpAnswer {
    let (parts, body) = reply.into_parts();
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let cookies = parts.headers.get_all(header::SET_COOKIE).iter().filter_map(text).collect();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::SET_COOKIE) {
        let Some(value) = text(value) else { continue };
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    let (body, is_base64) = match String::from_utf8(body) {
        Ok(text) => (text, false),
        Err(bytes) => (STANDARD.encode(bytes.into_bytes()), true),
    };
    HttpAnswer { status: parts.status.as_u16(), headers, cookies, body, is_base64 }
}

#[derive(Deserialize)]
struct HttpEvent {
    #[serde(rename = "rawPath")]
    path: String,
    #[serde(rename = "rawQueryString", default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    body: Option<String>,
    #[serde(rename = "isBase64Encoded", default)]
    is_base64: bool,
    #[serde(rename = "requestContext")]
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    #[serde(rename = "requestId", default)]
    request_id: String,
    http: Http,
    authorizer: Option<Authorizer>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

#[derive(Deserialize)]
struct Authorizer {
    iam: Option<Iam>,
}

#[derive(Deserialize)]
struct Iam {
    #[serde(rename = "userArn")]
    user_arn: Option<String>,
}

#[derive(Serialize)]
pub(super) struct HttpAnswer {
    #[serde(rename = "statusCode")]
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    body: String,
    #[serde(rename = "isBase64Encoded")]
    is_base64: bool,
}

const NOT_IN_A_QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}');
const NOT_IN_A_PATH: &AsciiSet = &NOT_IN_A_QUERY.add(b'?').add(b'\\').add(b'^').add(b'|');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(path: &str, query: &str, body: &str, is_base64: bool) -> String {
        serde_json::json!({
            "version": "2.0", "routeKey": "ANY /v1/{proxy+}",
            "rawPath": path, "rawQueryString": query, "cookies": ["a=1", "b=2"],
            "headers": {"content-type": "application/json", "stripe-signature": "t=1,v1=00"},
            "requestContext": {
                "requestId": "request-1", "stage": "$default",
                "http": {"method": "POST", "path": path, "sourceIp": "192.0.2.1"},
                "authorizer": {"iam": {"userArn": "arn:aws:iam::1:role/shop"}}
            },
            "body": body, "isBase64Encoded": is_base64
        })
        .to_string()
    }

    #[test]
    fn an_http_event_is_decoded_to_the_bytes_that_were_sent() {
        // Bytes that no text survives: a decoder that goes through text would change them.
        for (body, is_base64, bytes) in
            [("{\"a\": 1}", false, &b"{\"a\": 1}"[..]), ("/wD+Cg==", true, &[0xff, 0, 0xfe, b'\n'])]
        {
            let request = request(&event("/webhooks/stripe", "", body, is_base64)).unwrap();
            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.body(), bytes);
            assert_eq!(request.uri(), "/webhooks/stripe");
            assert_eq!(
                crate::http::single(request.headers(), "stripe-signature"),
                Some("t=1,v1=00")
            );
            let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
            assert_eq!(cookies, ["a=1", "b=2"]);
            assert_eq!(crate::http::request_id(&request), "request-1");
            let caller = request.extensions().get::<Caller>().unwrap();
            assert_eq!(caller.0, "arn:aws:iam::1:role/shop");
        }
    }

    #[test]
    fn a_path_is_the_one_that_iam_saw() {
        for path in [
            "/v1/accounts/acct_A/keys/../../acct_B/keys/default",
            "/v1/accounts/acct_A/keys/%2e%2e/%2e%2e/acct_B/keys/default",
            "/v1/accounts/acct_A/keys/..%2F..%2Facct_B/keys/default",
            "/v1//accounts/./acct_A/keys/default",
        ] {
            let request = request(&event(path, "", "", false)).unwrap();
            assert_eq!(request.uri().path(), path);
        }
        let request = request(&event("/v1/..\\..\\a b", "", "", false)).unwrap();
        assert_eq!(request.uri().path(), "/v1/..%5C..%5Ca%20b");
    }

    #[test]
    fn a_parameter_reads_the_same_however_it_was_sent() {
        for query in ["mode=live&x=\"<\u{e9} ", "mode=live&x=%22%3C%C3%A9%20"] {
            let request = request(&event("/install", query, "", false)).unwrap();
            assert_eq!(crate::http::query(&request, "x").as_deref(), Some("\"<\u{e9} "));
            assert_eq!(crate::http::query(&request, "mode").as_deref(), Some("live"));
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_costs_no_other_one() {
        let mut event: serde_json::Value =
            serde_json::from_str(&event("/install/callback", "", "", false)).unwrap();
        event["cookies"] = serde_json::json!(["who=J\u{fc}rgen", "bell=\u{7}", "ours=1"]);
        let request = request(&event.to_string()).unwrap();
        let cookies = request.headers().get_all("cookie").iter();
        let read: Vec<_> = cookies.filter_map(|cookie| cookie.to_str().ok()).collect();
        assert_eq!(read, ["ours=1"]);
        assert_eq!(crate::http::single(request.headers(), "stripe-signature"), Some("t=1,v1=00"));
    }

    #[test]
    fn more_headers_than_a_request_holds_are_left_out() {
        let sent = (0..40_000).map(|number| (format!("x-{number}"), String::new())).collect();
        assert!(headers(&sent, &[]).len() > 20_000);
    }

    #[test]
    fn what_is_no_http_event_is_for_somebody_else() {
        for text in ["{}", "[]", "1", r#"{"source": "aws.partner/stripe.com/1", "detail": {}}"#] {
            assert!(request(text).is_none(), "{text}");
        }
        assert!(request(&event("/", "", "no base64!", true)).is_none());
    }

    #[test]
    fn an_answer_keeps_its_cookies_apart_and_its_bytes_whole() {
        let mut reply = Reply::new(b"{}".to_vec());
        for cookie in ["a=1; Path=/", "b=2"] {
            reply.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        for value in ["no-store", "private"] {
            reply.headers_mut().append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        assert_eq!(
            serde_json::to_value(answer(reply)).unwrap(),
            serde_json::json!({
                "statusCode": 200, "headers": {"cache-control": "no-store, private"},
                "cookies": ["a=1; Path=/", "b=2"], "body": "{}", "isBase64Encoded": false,
            })
        );
        let answer = answer(Reply::new(vec![0xff, 0]));
        assert!(answer.is_base64);
        assert_eq!(answer.body, "/wA=");
    }

    proptest! {
        #[test]
        fn whatever_path_and_query_come_there_is_a_request_for_them(path in ".*", query in ".*") {
            prop_assert!(request(&event(&path, &query, "", false)).is_some());
        }
    }
}
