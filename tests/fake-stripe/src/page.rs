//! Cursor pages of v2 lists: `next_page_url` and `previous_page_url`, or null.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::http::Request;
use crate::world::World;

const DEFAULT_LIMIT: usize = 20;
/// As measured (README, "Sources"): more is a 400.
const MAX_LIMIT: usize = 100;

impl World {
    /// What page URLs begin with, before the path.
    pub(crate) fn page_base(&self) -> &str {
        if self.behaviour.absolute_page_urls { &self.url } else { "" }
    }
}

/// Cuts one page out of `items`, which are newest first, each with its place in creation order. The
/// cursor is a place and not an offset, so items that appear meanwhile shift nothing.
pub(crate) fn page(
    items: &[(u64, Value)],
    request: &Request,
    base: &str,
) -> Result<Value, ApiError> {
    let limit = match request.param("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > MAX_LIMIT => {
                return Err(ApiError::invalid("limit: The maximum page limit is 100"));
            }
            Ok(limit) if limit > 0 => limit,
            _ => return Err(ApiError::invalid("limit: Expected a positive integer")),
        },
    };
    let start = match request.param("page").map(parse_cursor) {
        None => 0,
        Some(None) => return Err(ApiError::invalid("page: Invalid page token")),
        Some(Some(Cursor::After(place))) => {
            items.iter().position(|(at, _)| *at < place).unwrap_or(items.len())
        }
        Some(Some(Cursor::Before(place))) => {
            let end = items.iter().position(|(at, _)| *at <= place).unwrap_or(items.len());
            end.saturating_sub(limit)
        }
    };
    let end = items.len().min(start + limit);
    let shown = &items[start..end];
    let link = |cursor: String| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in request.query.iter().filter(|(name, _)| name != "page") {
            query.append_pair(name, value);
        }
        query.append_pair("page", &cursor);
        format!("{base}{}?{}", request.path, query.finish())
    };
    let next =
        shown.last().filter(|_| end < items.len()).map(|(at, _)| link(format!("page_a{at}")));
    let previous = shown.first().filter(|_| start > 0).map(|(at, _)| link(format!("page_b{at}")));
    Ok(json!({
        "data": shown.iter().map(|(_, item)| item).collect::<Vec<_>>(),
        "next_page_url": next,
        "previous_page_url": previous,
    }))
}

enum Cursor {
    After(u64),
    Before(u64),
}

fn parse_cursor(token: &str) -> Option<Cursor> {
    if let Some(place) = token.strip_prefix("page_a") {
        return place.parse().ok().map(Cursor::After);
    }
    token.strip_prefix("page_b")?.parse().ok().map(Cursor::Before)
}
