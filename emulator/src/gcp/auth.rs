//! Who calls: the bearer token of a call, verified on every call.

use http::HeaderMap;

use super::GcpError;
use super::identity::{Identity, Refused};
use crate::http_body::bearer;

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
        Self {
            email: email.to_owned(),
        }
    }

    /// Whether a policy's member means it.
    pub(crate) fn is(&self, member: &str) -> bool {
        matches!(member, "allUsers" | "allAuthenticatedUsers")
            || member
                .strip_prefix("serviceAccount:")
                .is_some_and(|email| email.eq_ignore_ascii_case(&self.email))
    }
}

/// The caller of one of Google's services, or the refusal in their words. `method` is the call's
/// full name, which refusals have.
pub(crate) fn authenticate(
    identity: &Identity,
    headers: &HeaderMap,
    method: &str,
    service: &str,
) -> Result<Caller, GcpError> {
    if identity.auth.is_off() {
        let claimed = bearer(headers).and_then(|token| identity.verify(token, service).ok());
        return Ok(Caller::service_account(claimed.as_deref().unwrap_or(OWNER)));
    }
    let token = bearer(headers).ok_or_else(|| GcpError::no_credentials(method))?;
    let email = identity
        .verify(token, service)
        .map_err(|refused| match refused {
            Refused::Expired => GcpError::bad_credentials("ACCESS_TOKEN_EXPIRED", method),
            Refused::Scope => GcpError::insufficient_scopes(method, service),
            Refused::Foreign => GcpError::bad_credentials("ACCESS_TOKEN_TYPE_UNSUPPORTED", method),
        })?;
    Ok(Caller::service_account(&email))
}
