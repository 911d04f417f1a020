//! Access tokens as the token endpoint and the metadata server give them out. To callers they are
//! opaque; to us they say whose they are and what for, under our own seal. So none has to be kept,
//! and nobody can push out another's by asking for many.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::Entropy;
use serde::{Deserialize, Serialize};

use super::token::Refused;

/// How long tokens are valid.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_secs(3599);
/// What all of them begin with.
const PREFIX: &str = "ya29.c.";
/// Bytes of the seal.
const SEAL: usize = 32;

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) email: String,
    /// The account's number: an account that was deleted and made again is another.
    pub(crate) serial: u64,
    /// Separated by spaces.
    pub(crate) scopes: String,
    /// Seconds since 1970.
    pub(crate) ends: i64,
    /// Makes each token another.
    pub(crate) unique: u64,
}

/// Makes tokens and reads them again.
pub(crate) struct Seals(RwLock<hmac::Key>);

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals").finish_non_exhaustive()
    }
}

fn key(entropy: &dyn Entropy) -> hmac::Key {
    let mut bytes = zeroize::Zeroizing::new([0; SEAL]);
    entropy.fill(&mut *bytes);
    hmac::Key::new(HMAC_SHA256, &*bytes)
}

impl Seals {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self(RwLock::new(key(entropy)))
    }

    /// No token that was given out holds any more.
    pub(crate) fn renew(&self, entropy: &dyn Entropy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key(entropy);
    }

    pub(crate) fn seal(&self, grant: &Grant) -> String {
        // A struct of texts and numbers can be written.
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

    /// What a token is for, if it is from here and holds at `now`.
    pub(crate) fn open(&self, token: &str, now: Timestamp) -> Result<Grant, Refused> {
        let bytes = token
            .strip_prefix(PREFIX)
            .and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok())
            .ok_or(Refused::Foreign)?;
        let (seal, text) = bytes.split_at_checked(SEAL).ok_or(Refused::Foreign)?;
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hmac::verify(&key, text, seal).map_err(|_| Refused::Foreign)?;
        let grant: Grant = serde_json::from_slice(text).map_err(|_| Refused::Foreign)?;
        if grant.ends > now.as_second() {
            Ok(grant)
        } else {
            Err(Refused::Expired)
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
            ends: 1000,
            unique: 7,
        }
    }

    #[test]
    fn a_token_says_whose_it_is_until_its_end_and_until_the_seals_are_renewed() {
        let seals = Seals::new(&SystemEntropy);
        let token = seals.seal(&grant());
        let at = |second| seals.open(&token, Timestamp::from_second(second).unwrap());
        assert_eq!(at(999), Ok(grant()));
        assert_eq!(at(1000), Err(Refused::Expired));
        seals.renew(&SystemEntropy);
        assert_eq!(at(999), Err(Refused::Foreign));
    }

    proptest! {
        #[test]
        fn what_was_not_sealed_here_is_refused(token: String, flip in 0usize..400, bit in 0u8..6) {
            let seals = Seals::new(&SystemEntropy);
            let now = Timestamp::UNIX_EPOCH;
            prop_assert!(seals.open(&token, now).is_err());
            let good = seals.seal(&grant());
            let mut changed = good.clone().into_bytes();
            let at = PREFIX.len() + flip % (changed.len() - PREFIX.len());
            changed[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(changed) {
                // The last character of base64 has bits that mean nothing; a decoder that is strict
                // refuses those, too.
                prop_assert!(seals.open(&changed, now).is_err());
            }
            prop_assert!(seals.open(&good[..at], now).is_err());
        }
    }
}
