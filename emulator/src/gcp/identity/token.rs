//! Tokens: access tokens as the token endpoint gives them, and JSON Web Tokens that service accounts sign for themselves (AIP-4111).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use kmslab_keycore::Entropy;
use serde::Deserialize;

use super::accounts::Accounts;
use crate::oauth::jwt;

/// How long tokens are valid.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_secs(3599);
/// How far clocks may differ, and the longest that an account may sign for: an hour, counted from a clock that differs.
const LONGEST: i64 = 3600 + SKEW;
const SKEW: i64 = 300;
/// Tokens kept; beyond them the oldest go.
const MOST: usize = 10_000;

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not from here, or not for this service.
    Foreign,
    Expired,
}

/// What a signed token says.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
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
pub(crate) fn signed(token: &str, accounts: &Accounts, now: Timestamp) -> Result<Claims, BadAssertion> {
    let header = decode_header(token).map_err(|_| BadAssertion::Malformed)?;
    let claimed: Claims = jwt::unverified(token).ok_or(BadAssertion::Malformed)?;
    let account = accounts.get(&claimed.iss).ok_or(BadAssertion::NoAccount)?;
    let key = account.keys.iter().find(|key| header.kid.as_ref().is_none_or(|kid| *kid == key.id));
    let key = key.ok_or(BadAssertion::Signature)?;
    let key = DecodingKey::from_rsa_raw_components(&key.public.modulus, &key.public.exponent);
    let claims: Claims = jwt::signed(token, Algorithm::RS256, &key).ok_or(BadAssertion::Signature)?;
    let now = now.as_second();
    // Both are the caller's, and may be any numbers.
    let short = claims.exp.saturating_sub(claims.iat) <= LONGEST && claims.iat <= now + SKEW && claims.exp > now;
    if short { Ok(claims) } else { Err(BadAssertion::Time) }
}

/// Access tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Given(Mutex<HashMap<String, (String, Timestamp)>>);

impl Given {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A new token for an account.
    pub(crate) fn give(&self, email: &str, now: Timestamp, entropy: &dyn Entropy) -> String {
        let mut bytes = [0; 96];
        entropy.fill(&mut bytes);
        let token = format!("ya29.c.{}", URL_SAFE_NO_PAD.encode(bytes));
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MOST {
            given.retain(|_, (_, ends)| *ends > now);
        }
        if given.len() >= MOST
            && let Some(oldest) = given.iter().min_by_key(|(_, (_, ends))| *ends).map(|(token, _)| token.clone())
        {
            given.remove(&oldest);
        }
        given.insert(token.clone(), (email.to_owned(), now + LIFETIME));
        token
    }

    /// Whose token it is, and when it ends.
    pub(crate) fn find(&self, token: &str, now: Timestamp) -> Result<(String, Timestamp), Refused> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match given.get(token) {
            Some((email, ends)) if *ends > now => Ok((email.clone(), *ends)),
            Some(_) => Err(Refused::Expired),
            None => Err(Refused::Foreign),
        }
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
