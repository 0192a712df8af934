//! As much of a browser as the demo and the tests need: cookies, forms, and redirects that are followed one
//! at a time, so that each can be looked at.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::{Url, form_urlencoded};

/// A browser. Clones share connections and go on with cookies of their own.
#[derive(Clone, Debug)]
pub struct Browser {
    client: Client<HttpConnector, Full<axum::body::Bytes>>,
    /// By host and port, then by name: value and path.
    cookies: BTreeMap<String, BTreeMap<String, (String, String)>>,
}

/// What a server answered.
#[derive(Clone)]
pub struct Page {
    /// What was asked for.
    pub url: Url,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

impl Page {
    /// One header as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).context("the answer is not JSON")
    }
}

impl std::fmt::Debug for Page {
    /// Neither the body nor the query: both may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page")
            .field("path", &self.url.path())
            .field("status", &self.status)
            .finish()
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            cookies: BTreeMap::new(),
        }
    }
}

impl Browser {
    /// A browser without cookies.
    pub fn new() -> Self {
        Self::default()
    }

    /// One GET.
    pub async fn get(&mut self, url: &str) -> Result<Page> {
        self.send(Method::GET, url, &[], Vec::new()).await
    }

    /// One GET with further headers.
    pub async fn get_with(&mut self, url: &str, headers: &[(&str, &str)]) -> Result<Page> {
        self.send(Method::GET, url, headers, Vec::new()).await
    }

    /// Sends a form, as a page of the same server would.
    pub async fn submit(&mut self, url: &str, form: &[(&str, &str)]) -> Result<Page> {
        let origin = Url::parse(url)?.origin().ascii_serialization();
        self.submit_from(&origin, url, form).await
    }

    /// Sends a form, as a page of `origin` would.
    pub async fn submit_from(
        &mut self,
        origin: &str,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Page> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin)];
        self.send(Method::POST, url, &headers, body.into_bytes()).await
    }

    /// One POST of any content.
    pub async fn post(&mut self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Page> {
        self.send(Method::POST, url, headers, body.to_vec()).await
    }

    /// Where a redirect leads; an error when the page is none.
    pub fn redirect_of(page: &Page) -> Result<String> {
        ensure!(page.status.is_redirection(), "{page:?} is no redirect");
        let location = page.header(&header::LOCATION).context("a redirect leads nowhere")?;
        Ok(page.url.join(location)?.into())
    }

    /// Follows one redirect.
    pub async fn follow(&mut self, page: &Page) -> Result<Page> {
        let to = Self::redirect_of(page)?;
        self.get(&to).await
    }

    async fn send(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Page> {
        let url = Url::parse(url)?;
        let mut request = http::Request::builder().method(method).uri(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookies) = self.cookies_for(&url) {
            request = request.header(header::COOKIE, cookies);
        }
        let answer = self.client.request(request.body(Full::from(body))?).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        self.take_cookies(&url, &parts.headers);
        Ok(Page { url, status: parts.status, headers: parts.headers, body })
    }

    fn cookies_for(&self, url: &Url) -> Option<String> {
        let sent: Vec<String> = self
            .cookies
            .get(url.authority())?
            .iter()
            .filter(|(_, (_, path))| url.path().starts_with(path.as_str()))
            .map(|(name, (value, _))| format!("{name}={value}"))
            .collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    fn take_cookies(&mut self, url: &Url, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let Ok(cookie) = cookie.to_str() else { continue };
            let mut parts = cookie.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let mut path = "/";
            let mut is_gone = false;
            for attribute in parts {
                match attribute.split_once('=') {
                    Some(("Path", given)) => path = given,
                    Some(("Max-Age", age)) => is_gone = age == "0",
                    Some(_) | None => {}
                }
            }
            let jar = self.cookies.entry(url.authority().to_owned()).or_default();
            if is_gone {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), (value.to_owned(), path.to_owned()));
            }
        }
    }
}
