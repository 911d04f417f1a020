//! Pagination: at most 25 items a page, and the URL of the next page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::wire::query_parameter;
use super::{AzureError, RequestContext, names};

const MAX_ITEMS: usize = 25;

/// Returns `{"value":[…],"nextLink":…}` for the list at `path` in the vault.
pub(super) fn page<T>(
    ctx: &RequestContext<'_>,
    path: &str,
    all: &[T],
    item: impl Fn(&T) -> Value,
) -> Result<Value, AzureError> {
    let most = match query_parameter(ctx.query, "maxresults") {
        None => MAX_ITEMS,
        Some(text) => {
            let most = text
                .parse()
                .ok()
                .filter(|most| (1..=MAX_ITEMS).contains(most));
            most.ok_or_else(|| {
                AzureError::bad_parameter(format!("maxresults must be from 1 to {MAX_ITEMS}"))
            })?
        }
    };
    let start = match query_parameter(ctx.query, "$skiptoken") {
        None => 0,
        Some(token) => {
            let decoded = URL_SAFE_NO_PAD
                .decode(&token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let start = decoded.and_then(|text| {
                text.strip_prefix("from:")
                    .and_then(|n| n.parse::<usize>().ok())
            });
            start.ok_or_else(|| AzureError::bad_parameter("Invalid continuation token"))?
        }
    };
    let listed: Vec<Value> = all.iter().skip(start).take(most).map(item).collect();
    let end = start.saturating_add(most);
    let next = (end < all.len()).then(|| {
        let token = URL_SAFE_NO_PAD.encode(format!("from:{end}"));
        let version = query_parameter(ctx.query, "api-version").unwrap_or_default();
        let base = names::vault_url(&ctx.vault.name);
        format!("{base}/{path}?api-version={version}&$skiptoken={token}&maxresults={most}")
    });
    Ok(json!({ "value": listed, "nextLink": next }))
}
