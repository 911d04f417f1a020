//! The key that all values are sealed under.

use std::fmt;

use zeroize::Zeroizing;

use crate::StoreError;

const LEN: usize = 32;

/// The key that all values are sealed under: 32 bytes.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; LEN]>);

impl MasterKey {
    /// A new key.
    pub fn random() -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; LEN]);
        getrandom::fill(&mut *key).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(key))
    }

    /// The key of this text: 64 hexadecimal digits, with white space around them or not.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; LEN]);
        let digits = text.trim();
        hex::decode_to_slice(digits, &mut *key).map_err(|_| {
            // The text itself may be the key with a typing error.
            StoreError::MasterKey(format!(
                "64 hexadecimal digits are expected, as `openssl rand -hex 32` prints them, and not {} characters of another kind",
                digits.chars().count()
            ))
        })?;
        Ok(Self(key))
    }

    /// The text that [`MasterKey::parse`] takes.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_text() {
        let key = MasterKey::random().unwrap();
        let text = format!(" {}\n", &*key.to_text());
        assert_eq!(MasterKey::parse(&text).unwrap().as_bytes(), key.as_bytes());
        assert!(!format!("{key:?}").contains(&*key.to_text()));
    }

    #[test]
    fn what_is_no_key_is_an_error_that_does_not_show_it() {
        for text in [
            "",
            "secret",
            &"g".repeat(64),
            &"a".repeat(63),
            &"a".repeat(66),
        ] {
            let error = MasterKey::parse(text).unwrap_err().to_string();
            assert!(error.contains("openssl rand -hex 32"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
