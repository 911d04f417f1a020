//! JSON Web Tokens that service accounts sign: assertions for the token endpoint, and tokens of
//! their own (AIP-4111).

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use serde::Deserialize;

use super::accounts::Accounts;
use crate::oauth::jwt;

/// How far clocks may differ, and the longest that an account may sign for: an hour, counted from a
/// clock that differs.
const LONGEST: i64 = 3600 + SKEW;
const SKEW: i64 = 300;

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not from here, or not for this service.
    Foreign,
    Expired,
    /// Given out for other services than this one.
    Scope,
}

/// What a signed token says.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    /// For whom; the account itself, unless it was given a whole domain's users, which none is
    /// here.
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Option<String>,
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// For whom an ID token is wanted, in place of an access token.
    #[serde(default)]
    pub(crate) target_audience: Option<String>,
    #[serde(default)]
    iat: i64,
    #[serde(default)]
    exp: i64,
}

impl Claims {
    /// Whether the account speaks for somebody else.
    pub(crate) fn is_for_another(&self) -> bool {
        self.sub
            .as_ref()
            .is_some_and(|sub| !sub.eq_ignore_ascii_case(&self.iss))
    }
}

/// Why a signed token is none of an account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadAssertion {
    Malformed,
    NoAccount,
    Signature,
    /// Valid for too long, or at another time.
    Time,
}

/// What an account says by its signature, if it is of now.
pub(crate) fn signed(
    token: &str,
    accounts: &Accounts,
    now: Timestamp,
) -> Result<Claims, BadAssertion> {
    let header = decode_header(token).map_err(|_| BadAssertion::Malformed)?;
    let claimed: Claims = jwt::unverified(token).ok_or(BadAssertion::Malformed)?;
    let account = accounts.get(&claimed.iss).ok_or(BadAssertion::NoAccount)?;
    let key = account
        .keys
        .iter()
        .find(|key| header.kid.as_ref().is_none_or(|kid| *kid == key.id));
    let key = key.ok_or(BadAssertion::Signature)?;
    let key = DecodingKey::from_rsa_raw_components(&key.public.modulus, &key.public.exponent);
    let claims: Claims =
        jwt::signed(token, Algorithm::RS256, &key).ok_or(BadAssertion::Signature)?;
    let now = now.as_second();
    // Both are the caller's, and may be any numbers.
    let short = claims.exp.saturating_sub(claims.iat) <= LONGEST
        && claims.iat <= now + SKEW
        && claims.exp > now;
    if short {
        Ok(claims)
    } else {
        Err(BadAssertion::Time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_nobody_signed_is_refused(token: String, parts in "[A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_=-]{0,80}\\.[A-Za-z0-9_=-]{0,80}") {
            let accounts = Accounts::default();
            prop_assert!(signed(&token, &accounts, Timestamp::UNIX_EPOCH).is_err());
            prop_assert!(signed(&parts, &accounts, Timestamp::UNIX_EPOCH).is_err());
        }
    }
}
