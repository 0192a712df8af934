//! The pages that a person sees after installing: plain, accessible, no script.

use http::{HeaderValue, Response, StatusCode, header};

use super::Reply;

/// A page with one heading and a few sentences. `sentences` are escaped here.
pub fn page(status: StatusCode, heading: &str, sentences: &[&str]) -> Reply {
    let paragraphs: String =
        sentences.iter().map(|sentence| format!("<p>{}</p>\n", escape(sentence))).collect();
    let heading = escape(heading);
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{heading}</h1>\n{paragraphs}</main>\n</body>\n</html>\n"
    );
    let mut reply = Response::new(body.into_bytes());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "body{font:1.05rem/1.6 system-ui,sans-serif;margin:0;color:#1a1f36;background:#f6f8fa}\
main{max-width:38rem;margin:12vh auto;padding:2rem;background:#fff;border:1px solid #d8dee4;border-radius:8px}\
h1{font-size:1.5rem;line-height:1.3;margin:0 0 1rem}p{margin:.6rem 0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_shows_is_escaped() {
        let reply = page(StatusCode::OK, "<b>", &["a & \"b\" <script>"]);
        let text = String::from_utf8(reply.into_body()).unwrap();
        assert!(text.contains("<h1>&lt;b&gt;</h1>"));
        assert!(text.contains("a &amp; &quot;b&quot; &lt;script&gt;"));
    }
}
