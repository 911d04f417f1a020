//! Values as they are stored: sealed by AES-256-GCM under a key of their own.
//!
//! The key of a value is derived from the master key and a random salt by HKDF-SHA256, so that the
//! number of values that may be sealed under one master key has no practical limit. Table and key of
//! the record are authenticated: a value that was moved to another record does not open.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::{MasterKey, StoreError};

const SALT_LEN: usize = 32;
/// A key seals one value, so its nonce need not differ.
const NONCE: [u8; 12] = [0; 12];

/// Returns salt ‖ ciphertext ‖ tag.
pub(crate) fn seal(
    master: &MasterKey,
    table: &str,
    key: &str,
    value: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut salt = [0; SALT_LEN];
    getrandom::fill(&mut salt).map_err(|_| StoreError::NoRandomness)?;
    let name = name(table, key);
    let payload = Payload {
        msg: value,
        aad: &name,
    };
    let sealed = cipher(master, &salt)?.encrypt(&Nonce::from(NONCE), payload);
    let sealed = sealed.map_err(|_| StoreError::Unwritable)?;
    Ok([&salt[..], &sealed].concat())
}

/// Returns the value that was sealed; `None` if it was not sealed under this key for this record.
pub(crate) fn open(master: &MasterKey, table: &str, key: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, sealed) = sealed.split_first_chunk::<SALT_LEN>()?;
    let name = name(table, key);
    let payload = Payload {
        msg: sealed,
        aad: &name,
    };
    let cipher = cipher(master, salt).ok()?;
    cipher.decrypt(&Nonce::from(NONCE), payload).ok()
}

fn name(table: &str, key: &str) -> Vec<u8> {
    // Names of tables have no NUL.
    [table.as_bytes(), &[0], key.as_bytes()].concat()
}

fn cipher(master: &MasterKey, salt: &[u8; SALT_LEN]) -> Result<Aes256Gcm, StoreError> {
    let mut key = Zeroizing::new([0; 32]);
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(master.as_bytes());
    derived
        .expand(&[b"kmslab store value 1"], hkdf::HKDF_SHA256)
        .and_then(|derived| derived.fill(&mut *key))
        .map_err(|_| StoreError::Unwritable)?;
    Ok(Aes256Gcm::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_for_its_record_and_master_key_only() {
        let master = MasterKey::random().unwrap();
        let sealed = seal(&master, "aws/keys", "k", b"value").unwrap();
        assert_eq!(open(&master, "aws/keys", "k", &sealed).unwrap(), b"value");
        assert_ne!(sealed, seal(&master, "aws/keys", "k", b"value").unwrap());
        let other = MasterKey::random().unwrap();
        assert!(open(&other, "aws/keys", "k", &sealed).is_none());
        for (table, key) in [("aws/keys", "l"), ("aws/key", "sk"), ("azure/keys", "k")] {
            assert!(
                open(&master, table, key, &sealed).is_none(),
                "{table} {key}"
            );
        }
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(open(&master, "aws/keys", "k", &broken).is_none(), "{at}");
            assert!(
                open(&master, "aws/keys", "k", &sealed[..at]).is_none(),
                "{at}"
            );
        }
    }
}
