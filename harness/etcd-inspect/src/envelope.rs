//! The data layer of KMS v2: decrypts a stored object with its decrypted DEK source, and encrypts
//! it again.
//!
//! There are two layouts of `encryptedData`, distinguished by the object's source type:
//!
//! | source type | `encryptedData` | AES-256-GCM key |
//! |---|---|---|
//! | `AES_GCM_KEY` (written by 1.25–1.27) | nonce (12) ‖ ciphertext ‖ tag (16) | the DEK itself |
//! | `HKDF_SHA256_XNONCE_AES_GCM_SEED` (since 1.28) | info (32) ‖ nonce (12) ‖ ciphertext ‖ tag (16) | HKDF-Expand(seed, info) |
//!
//! The additional data is the full etcd key, so a value decrypts only under the key it was written
//! to.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes192;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use aws_lc_rs::hmac;
use kmslab_kmsv2::stored::{EncryptedDekSourceType, EncryptedObject};
use zeroize::Zeroizing;

/// Length in bytes of seeds and DEKs that API servers generate.
pub const DEK_SOURCE_LEN: usize = 32;
/// Length in bytes of the HKDF info before the nonce.
pub const INFO_LEN: usize = 32;
/// Length of an AES-GCM nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of an AES-GCM tag in bytes.
pub const TAG_LEN: usize = 16;
/// Difference in length between the seed layout and its plaintext.
pub const SEED_OVERHEAD: usize = INFO_LEN + NONCE_LEN + TAG_LEN;

/// Why a value cannot be decrypted. The messages are the API server's, so that the model can return
/// them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too short for nonce, tag and (with a seed) info.
    #[error("the stored data was shorter than the required size")]
    TooShort,
    /// A seed of less than 32 bytes cannot be used for key derivation.
    #[error("invalid seed length {0} used for key generation")]
    SeedLength(usize),
    /// A DEK must be an AES key of 16, 24 or 32 bytes.
    #[error("crypto/aes: invalid key size {0}")]
    KeyLength(usize),
    /// A source type that no Kubernetes release has written.
    #[error("unknown encryptedDEKSourceType: {0}")]
    UnknownSourceType(i32),
    /// The tag does not match: another DEK source, another etcd key, or changed bytes.
    #[error("cipher: message authentication failed")]
    Authentication,
}

/// Decrypts a stored object with its decrypted DEK source and its etcd key.
pub fn decrypt(
    object: &EncryptedObject,
    dek_source: &[u8],
    etcd_key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let kind = object.encrypted_dek_source_type;
    let data = object.encrypted_data.as_ref();
    match EncryptedDekSourceType::try_from(kind) {
        Ok(EncryptedDekSourceType::AesGcmKey) => decrypt_gcm(dek_source, data, etcd_key),
        Ok(EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed) => {
            let (info, rest) = data
                .split_at_checked(INFO_LEN)
                .ok_or(EnvelopeError::TooShort)?;
            decrypt_gcm(derive(dek_source, info)?.as_ref(), rest, etcd_key)
        }
        Err(_) => Err(EnvelopeError::UnknownSourceType(kind)),
    }
}

/// Encrypts in the seed layout. `info` and `nonce` must be fresh random bytes for every value.
#[must_use]
pub fn encrypt_with_seed(
    seed: &[u8; DEK_SOURCE_LEN],
    info: &[u8; INFO_LEN],
    nonce: &[u8; NONCE_LEN],
    etcd_key: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let key = expand(seed, info);
    let mut out = Vec::with_capacity(SEED_OVERHEAD + plaintext.len());
    out.extend_from_slice(info);
    encrypt_into(&mut out, &key, nonce, etcd_key, plaintext);
    out
}

/// Encrypts in the layout before 1.28. A nonce must not be reused with one DEK.
#[must_use]
pub fn encrypt_with_dek(
    dek: &[u8; DEK_SOURCE_LEN],
    nonce: &[u8; NONCE_LEN],
    etcd_key: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(NONCE_LEN + TAG_LEN + plaintext.len());
    encrypt_into(&mut out, dek, nonce, etcd_key, plaintext);
    out
}

fn encrypt_into(
    out: &mut Vec<u8>,
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) {
    let payload = Payload {
        msg: plaintext,
        aad,
    };
    let encrypted = Aes256Gcm::new(key.into())
        .encrypt(nonce.into(), payload)
        .expect("AES-GCM seals anything under 64 GiB");
    out.extend_from_slice(nonce);
    out.extend_from_slice(&encrypted);
}

fn derive(seed: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, EnvelopeError> {
    if seed.len() < DEK_SOURCE_LEN {
        return Err(EnvelopeError::SeedLength(seed.len()));
    }
    Ok(expand(seed, info))
}

/// HKDF-Expand (RFC 5869 §2.3) without Extract. The output is as long as the hash, so it is the
/// single block `HMAC-SHA256(seed, info ‖ 0x01)`.
fn expand(seed: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let mut context = hmac::Context::with_key(&key);
    context.update(info);
    context.update(&[1]);
    let mut block = Zeroizing::new([0; 32]);
    block.copy_from_slice(context.sign().as_ref());
    block
}

/// AES-GCM over `nonce ‖ ciphertext ‖ tag` with the key sizes of Go's `aes.NewCipher`.
fn decrypt_gcm(key: &[u8], data: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let (nonce, msg) = data
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(EnvelopeError::TooShort)?;
    let payload = Payload { msg, aad };
    let decrypted = match key.len() {
        16 => Aes128Gcm::new_from_slice(key).map(|c| c.decrypt(nonce.into(), payload)),
        24 => AesGcm::<Aes192, U12>::new_from_slice(key).map(|c| c.decrypt(nonce.into(), payload)),
        32 => Aes256Gcm::new_from_slice(key).map(|c| c.decrypt(nonce.into(), payload)),
        other => return Err(EnvelopeError::KeyLength(other)),
    };
    match decrypted {
        Ok(Ok(plaintext)) => Ok(Zeroizing::new(plaintext)),
        Ok(Err(_)) => Err(EnvelopeError::Authentication),
        Err(_) => Err(EnvelopeError::KeyLength(key.len())),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use kmslab_kmsv2::stored;
    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Recorded {
        kubernetes: String,
        etcd_key: String,
        dek_source: String,
        value: String,
    }

    fn recorded() -> Vec<(Recorded, EncryptedObject, Vec<u8>)> {
        let text = include_str!("../../../fixtures/envelopes/kubernetes-legacy.json");
        let all: Vec<Recorded> = serde_json::from_str(text).unwrap();
        all.into_iter()
            .map(|one| {
                let value = hex::decode(&one.value).unwrap();
                let (_, payload) = stored::split(&value).unwrap();
                let object = stored::decode(payload).unwrap();
                // The plugin of upstream's test "encrypts" with base64.
                let source = STANDARD.decode(&object.encrypted_dek_source).unwrap();
                assert_eq!(hex::encode(&source), one.dek_source);
                (one, object, source)
            })
            .collect()
    }

    #[test]
    fn values_of_kubernetes_1_27_and_1_28_decrypt() {
        let recorded = recorded();
        assert_eq!(recorded.len(), 2);
        for (one, object, source) in recorded {
            let plaintext = decrypt(&object, &source, one.etcd_key.as_bytes()).unwrap();
            let name = one.etcd_key.rsplit('/').next().unwrap().as_bytes();
            assert!(plaintext.starts_with(b"k8s\0\n\x0c\n\x02v1\x12\x06Secret"));
            assert!(
                plaintext.windows(name.len()).any(|w| w == name),
                "{}",
                one.kubernetes
            );
        }
    }

    #[test]
    fn recorded_value_is_encrypted_to_the_same_bytes() {
        for (one, object, source) in recorded() {
            let key = one.etcd_key.as_bytes();
            let plaintext = decrypt(&object, &source, key).unwrap();
            let data = &object.encrypted_data;
            let source = source.try_into().unwrap();
            let again = if object.encrypted_dek_source_type == 1 {
                let (info, rest) = data.split_first_chunk().unwrap();
                encrypt_with_seed(&source, info, rest.first_chunk().unwrap(), key, &plaintext)
            } else {
                encrypt_with_dek(&source, data.first_chunk().unwrap(), key, &plaintext)
            };
            assert_eq!(&again, data);
        }
    }

    #[test]
    fn value_does_not_decrypt_under_another_etcd_key() {
        for (one, object, source) in recorded() {
            let moved = format!("{}-copy", one.etcd_key);
            let decrypted = decrypt(&object, &source, moved.as_bytes());
            assert_eq!(decrypted, Err(EnvelopeError::Authentication));
        }
    }

    #[test]
    fn dek_sources_of_wrong_length_are_reported() {
        let recorded = recorded();
        let (_, dek, _) = &recorded[0];
        let (_, seed, _) = &recorded[1];
        assert_eq!(
            decrypt(dek, &[1; 31], b"k"),
            Err(EnvelopeError::KeyLength(31))
        );
        assert_eq!(
            decrypt(seed, &[1; 31], b"k"),
            Err(EnvelopeError::SeedLength(31))
        );
        let unknown = EncryptedObject {
            encrypted_dek_source_type: 9,
            ..dek.clone()
        };
        assert_eq!(
            decrypt(&unknown, &[1; 32], b"k"),
            Err(EnvelopeError::UnknownSourceType(9))
        );
    }

    proptest! {
        #[test]
        fn changed_byte_of_a_value_is_detected(plaintext in prop::collection::vec(any::<u8>(), 0..99), at: prop::sample::Index, flip in 1u8..) {
            let mut data = encrypt_with_seed(&[1; 32], &[2; 32], &[3; 12], b"/registry/a", &plaintext);
            let at = at.index(data.len());
            data[at] ^= flip;
            let object = EncryptedObject { encrypted_data: data, encrypted_dek_source_type: 1, ..Default::default() };
            prop_assert_eq!(decrypt(&object, &[1; 32], b"/registry/a"), Err(EnvelopeError::Authentication));
        }

        #[test]
        fn decrypting_arbitrary_bytes_never_panics(data: Vec<u8>, source: Vec<u8>, kind in 0i32..3) {
            let object = EncryptedObject { encrypted_data: data, encrypted_dek_source_type: kind, ..Default::default() };
            prop_assert!(decrypt(&object, &source, b"k").is_err());
        }
    }
}
