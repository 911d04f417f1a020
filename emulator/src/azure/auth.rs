//! Authentication of vault requests: bearer tokens are verified on every request, and a request
//! without one gets a challenge.

use crate::well_known::{AZURE_CLIENT_ID, AZURE_OBJECT_ID};
use http::request::Parts;

use super::AzureError;
use super::error::TOKEN_EXPIRED;
use super::identity::{Claims, Identity, InvalidToken, issuer};
use crate::http::bearer::bearer_token;

/// The caller that a token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) issuer: String,
}

impl Principal {
    /// The caller as error messages show it.
    pub(super) fn display_name(&self) -> String {
        format!(
            "appid={};oid={};iss={}",
            self.client_id, self.object_id, self.issuer
        )
    }
}

/// Value of `WWW-Authenticate`: where to get a token, and for which resource.
pub(super) fn challenge(authority: &str, tenant: &str, resource: &str) -> String {
    format!("Bearer authorization=\"{authority}/{tenant}\", resource=\"{resource}\"")
}

impl From<Claims> for Principal {
    fn from(claims: Claims) -> Self {
        Self {
            client_id: claims.appid,
            object_id: claims.oid,
            issuer: claims.iss,
        }
    }
}

/// Returns the caller of a request to a vault that accepts tokens for `resource`, or the error of
/// the service.
pub(super) fn authenticate(
    identity: &Identity,
    parts: &Parts,
    resource: &str,
) -> Result<Principal, AzureError> {
    if identity.auth.is_off() {
        return Ok(caller_without_verification(identity, parts, &[resource]));
    }
    let token = bearer_token(&parts.headers).ok_or_else(AzureError::no_token)?;
    let tenant = &identity.directory.tenant;
    let claims = identity.verify(token, &[resource]);
    claims
        .map(Principal::from)
        .map_err(|refused| AzureError::unauthorized(message(&refused, tenant, resource)))
}

/// The caller with `--auth off`: that of the token if it is valid, else the well-known application.
pub(super) fn caller_without_verification(
    identity: &Identity,
    parts: &Parts,
    resources: &[&str],
) -> Principal {
    let claims =
        bearer_token(&parts.headers).and_then(|token| identity.verify(token, resources).ok());
    claims.map_or_else(
        || Principal {
            client_id: AZURE_CLIENT_ID.to_owned(),
            object_id: AZURE_OBJECT_ID.to_owned(),
            issuer: issuer(&identity.directory.tenant),
        },
        Principal::from,
    )
}

fn message(refused: &InvalidToken, tenant: &str, resource: &str) -> String {
    match refused {
        InvalidToken::Signature(header) => {
            format!(
                "AKV10046: Unable to resolve the key used for signature validation. EncodedJwtHeader: '{header}'."
            )
        }
        InvalidToken::Issuer(found) => {
            format!(
                "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{tenant}/, found {found}."
            )
        }
        InvalidToken::Audience(found) => {
            format!("AKV10022: Invalid audience. Expected {resource}, found: {found}.")
        }
        InvalidToken::Expired | InvalidToken::NotYetValid => TOKEN_EXPIRED.to_owned(),
    }
}
