//! How faults look at Google's token endpoint and metadata server.

use http::StatusCode;
use kmslab_emulator_api::Wrong;
use serde_json::json;

use super::certificates::{CERTIFICATES, TOKEN_INFO};
use super::endpoints::{Content, IdentityResponse, METADATA, TOKEN};
use crate::pipeline::faults::Rejection;
use crate::pipeline::faults::wrong::flip_token;

/// Operations that faults may name.
pub(in crate::gcp) const OPERATIONS: &[&str] = &[CERTIFICATES, METADATA, TOKEN, TOKEN_INFO];
/// Codes that `error=CODE` accepts, of the token endpoint. The metadata server has `INTERNAL` and
/// `UNAVAILABLE`.
pub(in crate::gcp) const CODES: &[&str] = &["internal_failure", "invalid_grant"];

/// The response to a request that a fault rejects; `None` if the endpoint has no such error.
pub(super) fn rejected(operation: &str, rejection: Rejection<'_>) -> Option<IdentityResponse> {
    let (error, description, status) = match (operation, rejection) {
        // The error is recorded in GAM-team/GAM#164, without its HTTP status.
        (TOKEN, Rejection::Throttled(_)) => (
            "invalid_request",
            "Rate limit exceeded",
            StatusCode::TOO_MANY_REQUESTS,
        ),
        // Recorded in yasyf/vc#187.
        (TOKEN, Rejection::Error("internal_failure")) => (
            "internal_failure",
            "Backend Error",
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (TOKEN, Rejection::Error("invalid_grant")) => (
            "invalid_grant",
            "Invalid JWT Signature.",
            StatusCode::BAD_REQUEST,
        ),
        (METADATA, Rejection::Throttled(_)) => return reason(StatusCode::TOO_MANY_REQUESTS),
        (METADATA, Rejection::Error("INTERNAL")) => {
            return reason(StatusCode::INTERNAL_SERVER_ERROR);
        }
        (METADATA, Rejection::Error("UNAVAILABLE")) => {
            return reason(StatusCode::SERVICE_UNAVAILABLE);
        }
        _ => return None,
    };
    let body = json!({ "error": error, "error_description": description });
    Some(IdentityResponse::json(TOKEN, status, body))
}

/// The metadata server's errors are the status's reason phrase.
fn reason(status: StatusCode) -> Option<IdentityResponse> {
    let phrase = status.canonical_reason()?;
    Some(IdentityResponse::text(status, format!("{phrase}\n")))
}

/// Makes a token invalid. Returns whether there is one.
pub(super) fn corrupt(response: &mut IdentityResponse, wrong: Wrong) -> bool {
    let Content::Json(body) = &mut response.body else {
        return false;
    };
    wrong == Wrong::Bit && body.get_mut("access_token").is_some_and(flip_token)
}
