//! Access tokens of the token endpoint and the metadata server. They are opaque to callers; here
//! they are authenticated records of account and scopes, so that none has to be stored and no
//! caller can displace the tokens of another.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::Entropy;
use serde::{Deserialize, Serialize};

use super::token::InvalidToken;

/// Lifetime of access tokens.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_secs(3599);
/// Prefix of all access tokens.
const PREFIX: &str = "ya29.c.";
/// Length of the authentication tag in bytes.
const TAG_LEN: usize = 32;

/// What a token grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) email: String,
    /// Serial number of the account: an account that is deleted and created again has another one.
    pub(crate) serial: u64,
    /// Scopes, separated by spaces.
    pub(crate) scopes: String,
    /// Expiry, in seconds since 1970.
    pub(crate) expires: i64,
    /// Makes every token unique.
    pub(crate) unique: u64,
}

/// The key that authenticates tokens.
pub(crate) struct TokenKey(RwLock<hmac::Key>);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals").finish_non_exhaustive()
    }
}

fn key(entropy: &dyn Entropy) -> hmac::Key {
    let mut bytes = zeroize::Zeroizing::new([0; TAG_LEN]);
    entropy.fill(&mut *bytes);
    hmac::Key::new(HMAC_SHA256, &*bytes)
}

impl TokenKey {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self(RwLock::new(key(entropy)))
    }

    /// Replaces the key, which invalidates all tokens.
    pub(crate) fn rotate(&self, entropy: &dyn Entropy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key(entropy);
    }

    pub(crate) fn issue(&self, grant: &Grant) -> String {
        // A struct of strings and numbers always serializes.
        let text = serde_json::to_vec(grant).unwrap_or_default();
        let seal = hmac::sign(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
            &text,
        );
        format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode([seal.as_ref(), &text].concat())
        )
    }

    /// Returns what a token grants. Fails if it was not issued here or has expired.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<Grant, InvalidToken> {
        let bytes = token
            .strip_prefix(PREFIX)
            .and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok())
            .ok_or(InvalidToken::WrongIssuer)?;
        let (seal, text) = bytes
            .split_at_checked(TAG_LEN)
            .ok_or(InvalidToken::WrongIssuer)?;
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hmac::verify(&key, text, seal).map_err(|_| InvalidToken::WrongIssuer)?;
        let grant: Grant = serde_json::from_slice(text).map_err(|_| InvalidToken::WrongIssuer)?;
        if grant.expires > now.as_second() {
            Ok(grant)
        } else {
            Err(InvalidToken::Expired)
        }
    }
}

#[cfg(test)]
mod tests {
    use kmslab_keycore::SystemEntropy;
    use proptest::prelude::*;

    use super::*;

    fn grant() -> Grant {
        Grant {
            email: "a@p.iam.gserviceaccount.com".into(),
            serial: 1,
            scopes: "x y".into(),
            expires: 1000,
            unique: 7,
        }
    }

    #[test]
    fn token_is_valid_until_it_expires_or_the_key_rotates() {
        let seals = TokenKey::new(&SystemEntropy);
        let token = seals.issue(&grant());
        let at = |second| seals.verify(&token, Timestamp::from_second(second).unwrap());
        assert_eq!(at(999), Ok(grant()));
        assert_eq!(at(1000), Err(InvalidToken::Expired));
        seals.rotate(&SystemEntropy);
        assert_eq!(at(999), Err(InvalidToken::WrongIssuer));
    }

    proptest! {
        #[test]
        fn foreign_access_tokens_are_invalid(token: String, flip in 0usize..400, bit in 0u8..6) {
            let seals = TokenKey::new(&SystemEntropy);
            let now = Timestamp::UNIX_EPOCH;
            prop_assert!(seals.verify(&token, now).is_err());
            let good = seals.issue(&grant());
            let mut changed = good.clone().into_bytes();
            let at = PREFIX.len() + flip % (changed.len() - PREFIX.len());
            changed[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(changed) {
                // The last base64 character has unused bits; a strict decoder rejects other values
                // of them.
                prop_assert!(seals.verify(&changed, now).is_err());
            }
            prop_assert!(seals.verify(&good[..at], now).is_err());
        }
    }
}
