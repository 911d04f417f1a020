//! Who calls: the bearer token of a call, verified on every call.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::GcpError;
use super::identity::{CLOUD_KMS, Identity, Refused};

/// The service account that may do everything everywhere.
pub(crate) const OWNER: &str = "kmslab@kmslab.iam.gserviceaccount.com";

/// The caller that a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The service account's address.
    pub(crate) email: String,
}

impl Caller {
    pub(crate) fn service_account(email: &str) -> Self {
        Self { email: email.to_owned() }
    }

    /// Whether it is the account that is there from the start.
    pub(crate) fn owns(&self) -> bool {
        self.email == OWNER
    }

    /// Whether a policy's member means it.
    pub(crate) fn is(&self, member: &str) -> bool {
        matches!(member, "allUsers" | "allAuthenticatedUsers")
            || member.strip_prefix("serviceAccount:").is_some_and(|email| email.eq_ignore_ascii_case(&self.email))
    }
}

/// The bearer token among the headers, or the metadata, of a call.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The caller, or the refusal in the service's words. `method` is the call's full name, which refusals have.
pub(crate) fn authenticate(identity: &Identity, headers: &HeaderMap, method: &str) -> Result<Caller, GcpError> {
    authenticate_for(identity, headers, method, CLOUD_KMS)
}

/// The same for another of Google's services.
pub(crate) fn authenticate_for(
    identity: &Identity,
    headers: &HeaderMap,
    method: &str,
    service: &str,
) -> Result<Caller, GcpError> {
    let token = bearer(headers).ok_or_else(|| GcpError::no_credentials(method))?;
    let email = identity.verify(token, service).map_err(|refused| match refused {
        Refused::Expired => GcpError::bad_credentials("ACCESS_TOKEN_EXPIRED", method),
        Refused::Foreign => GcpError::bad_credentials("ACCESS_TOKEN_TYPE_UNSUPPORTED", method),
    })?;
    Ok(Caller::service_account(&email))
}
