//! The person who installs the app: a click on Stripe's page.

use anyhow::{Context as _, ensure};
use axum::body::Body;
use http::{StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keysteward::domain::slot::AccountRef;

/// Decides on the page behind an install link, and answers where Stripe sends the browser: path and query.
pub async fn click(link: &str, at: &AccountRef, decision: &str) -> anyhow::Result<String> {
    let parsed = url::Url::parse(link)?;
    let mut form: Vec<(String, String)> =
        parsed.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    form.push(("account".into(), at.id.to_string()));
    form.push(("decision".into(), decision.into()));
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request = http::Request::post(link)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))?;
    let answer = client.request(request).await?;
    ensure!(answer.status() == StatusCode::SEE_OTHER, "the marketplace sends the browser back");
    let back = answer.headers().get(header::LOCATION).context("back to where")?.to_str()?;
    let back = url::Url::parse(back)?;
    Ok(format!("{}?{}", back.path(), back.query().unwrap_or_default()))
}
