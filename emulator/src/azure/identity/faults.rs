//! How faults look at the identity platform and the instance metadata service.

use http::StatusCode;
use kmslab_emulator_api::Wrong;
use serde_json::json;

use super::endpoint::Endpoint;
use super::error::LoginError;
use super::{Content, Identity, IdentityResponse, failed};
use crate::pipeline::faults::Rejection;
use crate::pipeline::faults::wrong::flip_token;

/// `Retry-After` of a throttled token request that names no time, as recorded in
/// AzureAD/microsoft-authentication-library-for-dotnet#2855.
const RETRY_AFTER: u64 = 60;

/// Operations that faults may name.
pub(in crate::azure) const OPERATIONS: &[&str] = Endpoint::OPERATIONS;
/// Codes that `error=CODE` accepts.
pub(in crate::azure) const CODES: &[&str] = &["AADSTS90033", "AADSTS90036", "AADSTS7000222"];

impl Identity {
    /// The response to a request that a fault rejects; `None` if the endpoint has no such error.
    pub(super) fn rejected(
        &self,
        endpoint: Endpoint<'_>,
        client_id: &str,
        rejection: Rejection<'_>,
    ) -> Option<IdentityResponse> {
        let error = match rejection {
            Rejection::Throttled(retry_after) => {
                let seconds = retry_after.map(|time| time.as_secs());
                return Some(throttled(endpoint, seconds));
            }
            Rejection::Error("AADSTS90033") => LoginError::transient(),
            Rejection::Error("AADSTS90036") => LoginError::server_error(),
            Rejection::Error("AADSTS7000222") if matches!(endpoint, Endpoint::Token { .. }) => {
                LoginError::expired_secret(client_id)
            }
            _ => return None,
        };
        Some(self.failed_login(&error))
    }
}

fn throttled(endpoint: Endpoint<'_>, retry_after: Option<u64>) -> IdentityResponse {
    if endpoint == Endpoint::ManagedIdentity {
        // Recorded in hashicorp/terraform-provider-azurerm#20901.
        let body = json!({
            "error": "invalid_request",
            "error_description": "Temporarily throttled, too many requests",
        });
        return IdentityResponse {
            retry_after,
            ..failed(StatusCode::TOO_MANY_REQUESTS, "invalid_request", body)
        };
    }
    IdentityResponse {
        status: StatusCode::TOO_MANY_REQUESTS,
        body: Content::Text("Too Many Requests"),
        retry_after: Some(retry_after.unwrap_or(RETRY_AFTER)),
        caller: None,
        code: "429".to_owned(),
    }
}

/// Makes a token invalid: its signature has another last bit. Returns whether there is a token.
pub(super) fn corrupt(response: &mut IdentityResponse, wrong: Wrong) -> bool {
    let Content::Json(body) = &mut response.body else {
        return false;
    };
    wrong == Wrong::Bit && body.get_mut("access_token").is_some_and(flip_token)
}
