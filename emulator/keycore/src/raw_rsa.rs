//! RSASSA-PKCS1-v1_5 over unhashed input, by RustCrypto's `rsa`: `aws-lc-rs` always adds the
//! DigestInfo of a hash.

use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, PrivateKey, PublicKey};

use crate::KeyError;

/// Minimum length of the padding, in bytes.
const MIN_PADDING_LEN: usize = 11;

fn key(private: &[u8]) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_pkcs8_der(private).map_err(|_| KeyError::Internal {
        what: "the private key does not parse",
    })
}

pub(crate) fn sign(private: &[u8], input: &[u8]) -> Result<Vec<u8>, KeyError> {
    let key = key(private)?;
    let max = key.size() - MIN_PADDING_LEN;
    if input.len() > max {
        return Err(KeyError::TooLong { max });
    }
    key.sign(Pkcs1v15Sign::new_unprefixed(), input)
        .map_err(|_| KeyError::Internal {
            what: "signing failed",
        })
}

pub(crate) fn verify(private: &[u8], input: &[u8], signature: &[u8]) -> Result<bool, KeyError> {
    let public = PublicKey::from(&key(private)?);
    Ok(public
        .verify(Pkcs1v15Sign::new_unprefixed(), input, signature)
        .is_ok())
}
