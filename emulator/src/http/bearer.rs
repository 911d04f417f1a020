//! Bearer tokens.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The bearer token in the headers of a request or the metadata of a call.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
