//! AES modes on raw key bytes: GCM by `aes-gcm`, CBC and CTR by `aws-lc-rs`, key wrap by `aes-kw`.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit, Nonce};
use aes_kw::{AesKw, AesKwp};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use crate::{AesMode, KeyError};

const BLOCK: usize = 16;
/// Key wrap works in blocks of 8 bytes, and its output is one such block longer than its input.
const HALF_BLOCK: usize = 8;
const INVALID_KEY_SIZE: KeyError = KeyError::Internal {
    what: "AES material is not 16, 24 or 32 bytes",
};
const CIPHER_FAILED: KeyError = KeyError::Internal {
    what: "AES refused",
};

/// Runs `$body` with `$cipher` built over the AES of the key's length.
macro_rules! with_aes {
    ($key:expr, |$cipher:ident: $of:ident| $body:expr) => {
        match $key.len() {
            16 => {
                let $cipher = $of::<Aes128>::new_from_slice($key).map_err(|_| INVALID_KEY_SIZE)?;
                $body
            }
            24 => {
                let $cipher = $of::<Aes192>::new_from_slice($key).map_err(|_| INVALID_KEY_SIZE)?;
                $body
            }
            32 => {
                let $cipher = $of::<Aes256>::new_from_slice($key).map_err(|_| INVALID_KEY_SIZE)?;
                $body
            }
            _ => return Err(INVALID_KEY_SIZE),
        }
    };
}

type Gcm<C> = AesGcm<C, U12>;

pub(crate) fn encrypt(
    key: &[u8],
    mode: AesMode,
    iv: &[u8],
    plaintext: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, KeyError> {
    match mode {
        AesMode::Gcm => {
            let (nonce, payload) = (
                nonce(iv)?,
                Payload {
                    msg: plaintext,
                    aad,
                },
            );
            with_aes!(key, |cipher: Gcm| cipher
                .encrypt(&nonce, payload)
                .map_err(|_| CIPHER_FAILED))
        }
        AesMode::Cbc => {
            ensure_whole_blocks(plaintext, "plaintext")?;
            let mut bytes = plaintext.to_vec();
            let context = EncryptionContext::Iv128(FixedLength::from(iv_block(iv)?));
            let cipher = EncryptingKey::cbc(unbound_key(key)?).map_err(|_| CIPHER_FAILED)?;
            cipher
                .less_safe_encrypt(&mut bytes, context)
                .map_err(|_| CIPHER_FAILED)?;
            Ok(bytes)
        }
        AesMode::Ctr => {
            let mut bytes = plaintext.to_vec();
            apply_ctr(key, iv, &mut bytes)?;
            Ok(bytes)
        }
        AesMode::CbcPkcs7 => {
            let mut bytes = plaintext.to_vec();
            let context = EncryptionContext::Iv128(FixedLength::from(iv_block(iv)?));
            let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(unbound_key(key)?)
                .map_err(|_| CIPHER_FAILED)?;
            cipher
                .less_safe_encrypt(&mut bytes, context)
                .map_err(|_| CIPHER_FAILED)?;
            Ok(bytes)
        }
        AesMode::KeyWrap => {
            ensure_half_blocks(plaintext, 2)?;
            let mut out = vec![0; plaintext.len() + HALF_BLOCK];
            with_aes!(key, |cipher: AesKw| cipher
                .wrap_key(plaintext, &mut out)
                .map_err(|_| CIPHER_FAILED)?);
            Ok(out)
        }
    }
}

pub(crate) fn decrypt(
    key: &[u8],
    mode: AesMode,
    iv: &[u8],
    body: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match mode {
        AesMode::Gcm => {
            let (nonce, payload) = (nonce(iv)?, Payload { msg: body, aad });
            let plaintext = with_aes!(key, |cipher: Gcm| cipher
                .decrypt(&nonce, payload)
                .map_err(|_| KeyError::DecryptionFailed));
            plaintext.map(Zeroizing::new)
        }
        AesMode::Cbc => {
            ensure_whole_blocks(body, "ciphertext")?;
            let mut bytes = Zeroizing::new(body.to_vec());
            let context = DecryptionContext::Iv128(FixedLength::from(iv_block(iv)?));
            let cipher = DecryptingKey::cbc(unbound_key(key)?).map_err(|_| CIPHER_FAILED)?;
            cipher
                .decrypt(&mut bytes, context)
                .map_err(|_| KeyError::DecryptionFailed)?;
            Ok(bytes)
        }
        AesMode::Ctr => {
            let mut bytes = Zeroizing::new(body.to_vec());
            apply_ctr(key, iv, &mut bytes)?;
            Ok(bytes)
        }
        AesMode::CbcPkcs7 => {
            ensure_whole_blocks(body, "ciphertext")?;
            let mut bytes = Zeroizing::new(body.to_vec());
            let context = DecryptionContext::Iv128(FixedLength::from(iv_block(iv)?));
            let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(unbound_key(key)?)
                .map_err(|_| CIPHER_FAILED)?;
            let len = cipher
                .decrypt(&mut bytes, context)
                .map_err(|_| KeyError::DecryptionFailed)?
                .len();
            bytes.truncate(len);
            Ok(bytes)
        }
        AesMode::KeyWrap => {
            ensure_half_blocks(body, 3)?;
            let mut out = Zeroizing::new(vec![0; body.len() - HALF_BLOCK]);
            with_aes!(key, |cipher: AesKw| cipher
                .unwrap_key(body, &mut out)
                .map_err(|_| KeyError::DecryptionFailed)?);
            Ok(out)
        }
    }
}

/// Unwraps key wrap with padding (RFC 5649).
pub(crate) fn unwrap_padded(kek: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if !matches!(kek.len(), 16 | 24 | 32) || wrapped.len() < BLOCK {
        return Err(KeyError::DecryptionFailed);
    }
    let mut out = Zeroizing::new(vec![0; wrapped.len()]);
    let len = with_aes!(kek, |cipher: AesKwp| cipher
        .unwrap_key(wrapped, &mut out)
        .map_err(|_| KeyError::DecryptionFailed)?
        .len());
    out.truncate(len);
    Ok(out)
}

/// Applies counter mode, which encrypts and decrypts alike.
fn apply_ctr(key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Result<(), KeyError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv_block(iv)?));
    let cipher = EncryptingKey::ctr(unbound_key(key)?).map_err(|_| CIPHER_FAILED)?;
    cipher
        .less_safe_encrypt(bytes, context)
        .map(|_| ())
        .map_err(|_| CIPHER_FAILED)
}

fn nonce(iv: &[u8]) -> Result<Nonce<U12>, KeyError> {
    let bytes: [u8; 12] = iv.try_into().map_err(|_| KeyError::BadLength {
        what: "IV",
        expected: "12",
    })?;
    Ok(Nonce::from(bytes))
}

fn iv_block(iv: &[u8]) -> Result<[u8; BLOCK], KeyError> {
    iv.try_into().map_err(|_| KeyError::BadLength {
        what: "IV",
        expected: "16",
    })
}

fn ensure_whole_blocks(bytes: &[u8], what: &'static str) -> Result<(), KeyError> {
    match !bytes.is_empty() && bytes.len().is_multiple_of(BLOCK) {
        true => Ok(()),
        false => Err(KeyError::BadLength {
            what,
            expected: "a multiple of 16",
        }),
    }
}

fn ensure_half_blocks(bytes: &[u8], least: usize) -> Result<(), KeyError> {
    match bytes.len().is_multiple_of(HALF_BLOCK) && bytes.len() / HALF_BLOCK >= least {
        true => Ok(()),
        false => Err(KeyError::BadLength {
            what: "key to wrap",
            expected: "a multiple of 8, 16 at least,",
        }),
    }
}

fn unbound_key(key: &[u8]) -> Result<UnboundCipherKey, KeyError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(INVALID_KEY_SIZE),
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| INVALID_KEY_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn key_wrap_matches_rfc_3394_examples() {
        // Sections 4.1, 4.2 and 4.6.
        let cases = [
            (16, 16, "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
            (24, 16, "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"),
            (
                32,
                32,
                "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
            ),
        ];
        let kek = bytes("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let data = bytes("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        for (key, plain, wrapped) in cases {
            let done = encrypt(&kek[..key], AesMode::KeyWrap, &[], &data[..plain], &[]).unwrap();
            assert_eq!(done, bytes(wrapped));
            assert_eq!(
                *decrypt(&kek[..key], AesMode::KeyWrap, &[], &done, &[]).unwrap(),
                data[..plain]
            );
        }
    }

    #[test]
    fn cbc_matches_nist_example() {
        // SP 800-38A, F.2.1, first block.
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let plain = bytes("6bc1bee22e409f96e93d7e117393172a");
        let body = encrypt(&key, AesMode::Cbc, &iv, &plain, &[]).unwrap();
        assert_eq!(body, bytes("7649abac8119b246cee98e9b12e9197d"));
        // PKCS #7 padding adds a whole block.
        let padded = encrypt(&key, AesMode::CbcPkcs7, &iv, &plain, &[]).unwrap();
        assert_eq!((padded.len(), &padded[..16]), (32, &body[..]));
    }

    #[test]
    fn ctr_matches_nist_example() {
        // SP 800-38A, F.5.5.
        let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
            .unwrap();
        let counter: Vec<u8> = (0xf0..=0xff).collect();
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        let body = encrypt(&key, AesMode::Ctr, &counter, &plain, b"").unwrap();
        assert_eq!(hex::encode(&body), "601ec313775789a5b7a7f504bbf3d228");
    }

    #[test]
    fn every_mode_and_key_size_round_trips_and_detects_changes() {
        for bits in [128_usize, 192, 256] {
            let key = vec![7; bits / 8];
            for (mode, iv) in [
                (AesMode::Gcm, vec![1; 12]),
                (AesMode::Cbc, vec![1; 16]),
                (AesMode::CbcPkcs7, vec![1; 16]),
                (AesMode::Ctr, vec![1; 16]),
                (AesMode::KeyWrap, vec![]),
            ] {
                let plain = vec![9; 32];
                let body = encrypt(&key, mode, &iv, &plain, b"").unwrap();
                assert_eq!(
                    *decrypt(&key, mode, &iv, &body, b"").unwrap(),
                    plain,
                    "{mode:?} {bits}"
                );
                if mode == AesMode::Ctr {
                    continue; // Which is as long as the plaintext, and checks nothing.
                }
                let short = decrypt(&key, mode, &iv, &body[1..], b"").unwrap_err();
                assert!(
                    matches!(
                        short,
                        KeyError::DecryptionFailed | KeyError::BadLength { .. }
                    ),
                    "{mode:?} {short}"
                );
                assert!(decrypt(&key, mode, &iv, &[], b"").is_err());
                if mode == AesMode::Gcm {
                    assert_eq!(
                        decrypt(&key, mode, &iv, &body, b"a").unwrap_err(),
                        KeyError::DecryptionFailed
                    );
                }
                if mode != AesMode::KeyWrap {
                    assert!(matches!(
                        encrypt(&key, mode, &[1], &plain, b""),
                        Err(KeyError::BadLength { .. })
                    ));
                }
            }
        }
    }
}
