//! HTTP as the functions speak it: plain `http` requests and responses, no type of a runtime.

pub mod page;
pub mod problem;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

/// A request with its whole body.
pub type Request = http::Request<Vec<u8>>;
/// A response with its whole body.
pub type Reply = Response<Vec<u8>>;

/// A server within this process, called without a socket; `None` is a connection that breaks before the
/// answer. With it a test owns every wait, so that months pass in no time and a run repeats exactly.
pub type InProcess = Arc<dyn Fn(Request) -> BoxFuture<'static, Option<Reply>> + Send + Sync>;

/// Who calls, as the IAM authorizer says; an extension of the request.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// The request's id at API Gateway; an extension of the request, and repeated in every problem.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub String);

/// The request's id, or an empty text where there is none.
pub fn request_id(request: &Request) -> &str {
    request.extensions().get::<RequestId>().map_or("", |id| &id.0)
}

/// One value of a header as text; `None` when it is absent, repeated or not text.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// One parameter of the query, decoded; the first where it is repeated.
pub fn query(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Whether a GET handler answers this method. API Gateway drops the body of a HEAD's answer itself.
pub fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// JSON with a status. Never cached unless the caller says otherwise.
pub fn json(status: StatusCode, content_type: &'static str, body: &impl serde::Serialize) -> Reply {
    // Serialising our own structs of texts and numbers cannot fail.
    let mut reply = Response::new(serde_json::to_vec(body).unwrap_or_default());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// `GET /health`: the function answers; nothing else is asked.
pub fn health() -> Reply {
    json(StatusCode::OK, "application/json", &serde_json::json!({ "status": "ok" }))
}

/// A redirect that a browser follows with a GET.
pub fn redirect(status: StatusCode, location: &str) -> Option<Reply> {
    let mut reply = Response::new(Vec::new());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(location).ok()?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(reply)
}
