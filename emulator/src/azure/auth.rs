//! Who calls a vault: the bearer token of a request, verified on every call, and the challenge for whoever has none.

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::AzureError;
use super::identity::{Identity, Refused, VAULT_RESOURCE};

/// The caller that a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) issuer: String,
}

impl Principal {
    /// As refusals name it.
    pub(super) fn shown(&self) -> String {
        format!("appid={};oid={};iss={}", self.client_id, self.object_id, self.issuer)
    }
}

/// The value of `WWW-Authenticate`: where tokens come from, and for which resource.
pub(super) fn challenge(authority: &str, tenant: &str) -> String {
    format!("Bearer authorization=\"{authority}/{tenant}\", resource=\"{VAULT_RESOURCE}\"")
}

/// The caller, or the refusal in the service's words.
pub(super) fn authenticate(identity: &Identity, parts: &Parts) -> Result<Principal, AzureError> {
    let header = parts.headers.get(AUTHORIZATION).ok_or_else(AzureError::no_token)?;
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.filter(|token| !token.is_empty()).ok_or_else(AzureError::no_token)?;
    let tenant = &identity.directory.tenant;
    let claims = identity.verify(token).map_err(|refused| AzureError::unauthorized(sentence(&refused, tenant)))?;
    Ok(Principal { client_id: claims.appid, object_id: claims.oid, issuer: claims.iss })
}

fn sentence(refused: &Refused, tenant: &str) -> String {
    match refused {
        Refused::Signature(header) => {
            format!("AKV10046: Unable to resolve the key used for signature validation. EncodedJwtHeader: '{header}'.")
        }
        Refused::Issuer(found) => {
            format!("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{tenant}/, found {found}.")
        }
        Refused::Audience(found) => {
            format!("AKV10022: Invalid audience. Expected {VAULT_RESOURCE}, found: {found}.")
        }
        Refused::Expired | Refused::NotYetValid => "[TokenExpired] Error validating token: 'S2S12086'.".to_owned(),
    }
}
