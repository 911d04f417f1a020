//! Authentication: the bearer token is verified on every call.

use std::sync::OnceLock;

use http::HeaderMap;

use super::GcpError;
use super::identity::{Identity, InvalidToken, OWNER};
use crate::http::bearer::bearer_token;

/// The caller that a token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Email address of the service account.
    pub(crate) email: String,
    /// Whether no policy grants it anything.
    is_revoked: bool,
    /// The first permission that was checked.
    first_check: OnceLock<Check>,
}

/// A permission that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) permission: String,
    pub(crate) resource: String,
    pub(crate) granted: bool,
}

impl Caller {
    pub(crate) fn service_account(email: &str) -> Self {
        Self {
            email: email.to_owned(),
            is_revoked: false,
            first_check: OnceLock::new(),
        }
    }

    /// The same caller, to which no policy grants anything.
    pub(crate) fn without_permissions(&self) -> Self {
        Self {
            email: self.email.clone(),
            is_revoked: true,
            first_check: OnceLock::new(),
        }
    }

    /// Notes a check of a permission, of which the first is audited.
    pub(crate) fn note_check(&self, permission: &str, resource: &str, granted: bool) {
        self.first_check.get_or_init(|| Check {
            permission: permission.to_owned(),
            resource: resource.to_owned(),
            granted,
        });
    }

    pub(crate) fn first_check(&self) -> Option<&Check> {
        self.first_check.get()
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked
    }

    /// Reports whether a member of a policy matches this caller.
    pub(crate) fn matches_member(&self, member: &str) -> bool {
        matches!(member, "allUsers" | "allAuthenticatedUsers")
            || member
                .strip_prefix("serviceAccount:")
                .is_some_and(|email| email.eq_ignore_ascii_case(&self.email))
    }
}

/// Returns the caller of a Google service, or the service's error. `method` is the full name of the
/// call, which errors contain.
pub(crate) fn authenticate(
    identity: &Identity,
    headers: &HeaderMap,
    method: &str,
    service: &str,
) -> Result<Caller, GcpError> {
    if identity.auth.is_off() {
        let claimed = bearer_token(headers).and_then(|token| identity.verify(token, service).ok());
        return Ok(Caller::service_account(claimed.as_deref().unwrap_or(OWNER)));
    }
    let token = bearer_token(headers).ok_or_else(|| GcpError::no_credentials(method))?;
    let email = identity
        .verify(token, service)
        .map_err(|refused| match refused {
            InvalidToken::Expired => GcpError::bad_credentials("ACCESS_TOKEN_EXPIRED", method),
            InvalidToken::Scope => GcpError::insufficient_scopes(method, service),
            InvalidToken::WrongIssuer => {
                GcpError::bad_credentials("ACCESS_TOKEN_TYPE_UNSUPPORTED", method)
            }
        })?;
    Ok(Caller::service_account(&email))
}
