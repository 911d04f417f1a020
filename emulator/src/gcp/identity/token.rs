//! JSON Web Tokens signed by service accounts: assertions for the token endpoint, and self-signed
//! tokens (AIP-4111).

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use serde::Deserialize;

use super::accounts::Accounts;
use crate::oauth::jwt;

/// Maximum lifetime of a signed token: one hour plus the allowed clock difference.
const MAX_LIFETIME: i64 = 3600 + SKEW;
const SKEW: i64 = 300;

/// Why a token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidToken {
    /// Not issued here, or not for this service.
    WrongIssuer,
    Expired,
    /// Issued for other scopes.
    Scope,
}

/// Claims of a signed token.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    /// Subject. Must be the account itself: domain-wide delegation is not supported.
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Option<String>,
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// Audience of the requested ID token; absent for an access token.
    #[serde(default)]
    pub(crate) target_audience: Option<String>,
    #[serde(default)]
    iat: i64,
    #[serde(default)]
    exp: i64,
}

impl Claims {
    /// Whether the subject is another account.
    pub(crate) fn has_other_subject(&self) -> bool {
        self.sub
            .as_ref()
            .is_some_and(|sub| !sub.eq_ignore_ascii_case(&self.iss))
    }
}

/// Why a signed token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidAssertion {
    Malformed,
    NoAccount,
    Signature,
    /// Valid for too long, not yet, or no longer.
    Time,
}

/// Verifies the signature and the times of a signed token.
pub(crate) fn verify_signed(
    token: &str,
    accounts: &Accounts,
    now: Timestamp,
) -> Result<Claims, InvalidAssertion> {
    let header = decode_header(token).map_err(|_| InvalidAssertion::Malformed)?;
    let claimed: Claims =
        jwt::claims_without_verification(token).ok_or(InvalidAssertion::Malformed)?;
    let account = accounts
        .get(&claimed.iss)
        .ok_or(InvalidAssertion::NoAccount)?;
    let key = account
        .keys
        .iter()
        .find(|key| header.kid.as_ref().is_none_or(|kid| *kid == key.id));
    let key = key.ok_or(InvalidAssertion::Signature)?;
    let key = DecodingKey::from_rsa_raw_components(&key.public.modulus, &key.public.exponent);
    let claims: Claims =
        jwt::verify_signature(token, Algorithm::RS256, &key).ok_or(InvalidAssertion::Signature)?;
    let now = now.as_second();
    // Both come from the caller and may be any numbers.
    let short = claims.exp.saturating_sub(claims.iat) <= MAX_LIFETIME
        && claims.iat <= now + SKEW
        && claims.exp > now;
    if short {
        Ok(claims)
    } else {
        Err(InvalidAssertion::Time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn unsigned_tokens_are_rejected(token: String, parts in "[A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_=-]{0,80}\\.[A-Za-z0-9_=-]{0,80}") {
            let accounts = Accounts::default();
            prop_assert!(verify_signed(&token, &accounts, Timestamp::UNIX_EPOCH).is_err());
            prop_assert!(verify_signed(&parts, &accounts, Timestamp::UNIX_EPOCH).is_err());
        }
    }
}
