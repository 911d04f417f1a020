//! A caller's own AES keys: GCM by `aes-gcm`, CBC and CTR by `aws-lc-rs`, key wrap by `aes-kw`.

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
/// What key wrap works in, and how much longer its output is.
const HALF_BLOCK: usize = 8;
const SIZE: KeyError = KeyError::Internal {
    what: "AES material is not 16, 24 or 32 bytes",
};
const REFUSED: KeyError = KeyError::Internal {
    what: "AES refused",
};

/// Runs `$body` with `$cipher` built over the AES of the key's length.
macro_rules! with_aes {
    ($key:expr, |$cipher:ident: $of:ident| $body:expr) => {
        match $key.len() {
            16 => {
                let $cipher = $of::<Aes128>::new_from_slice($key).map_err(|_| SIZE)?;
                $body
            }
            24 => {
                let $cipher = $of::<Aes192>::new_from_slice($key).map_err(|_| SIZE)?;
                $body
            }
            32 => {
                let $cipher = $of::<Aes256>::new_from_slice($key).map_err(|_| SIZE)?;
                $body
            }
            _ => return Err(SIZE),
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
                .map_err(|_| REFUSED))
        }
        AesMode::Cbc => {
            whole(plaintext, "plaintext")?;
            let mut bytes = plaintext.to_vec();
            let context = EncryptionContext::Iv128(FixedLength::from(block(iv)?));
            let cipher = EncryptingKey::cbc(unbound_key(key)?).map_err(|_| REFUSED)?;
            cipher
                .less_safe_encrypt(&mut bytes, context)
                .map_err(|_| REFUSED)?;
            Ok(bytes)
        }
        AesMode::Ctr => {
            let mut bytes = plaintext.to_vec();
            counted(key, iv, &mut bytes)?;
            Ok(bytes)
        }
        AesMode::CbcPkcs7 => {
            let mut bytes = plaintext.to_vec();
            let context = EncryptionContext::Iv128(FixedLength::from(block(iv)?));
            let cipher =
                PaddedBlockEncryptingKey::cbc_pkcs7(unbound_key(key)?).map_err(|_| REFUSED)?;
            cipher
                .less_safe_encrypt(&mut bytes, context)
                .map_err(|_| REFUSED)?;
            Ok(bytes)
        }
        AesMode::KeyWrap => {
            halves(plaintext, 2)?;
            let mut out = vec![0; plaintext.len() + HALF_BLOCK];
            with_aes!(key, |cipher: AesKw| cipher
                .wrap_key(plaintext, &mut out)
                .map_err(|_| REFUSED)?);
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
            let opened = with_aes!(key, |cipher: Gcm| cipher
                .decrypt(&nonce, payload)
                .map_err(|_| KeyError::DoesNotOpen));
            opened.map(Zeroizing::new)
        }
        AesMode::Cbc => {
            whole(body, "ciphertext")?;
            let mut bytes = Zeroizing::new(body.to_vec());
            let context = DecryptionContext::Iv128(FixedLength::from(block(iv)?));
            let cipher = DecryptingKey::cbc(unbound_key(key)?).map_err(|_| REFUSED)?;
            cipher
                .decrypt(&mut bytes, context)
                .map_err(|_| KeyError::DoesNotOpen)?;
            Ok(bytes)
        }
        AesMode::Ctr => {
            let mut bytes = Zeroizing::new(body.to_vec());
            counted(key, iv, &mut bytes)?;
            Ok(bytes)
        }
        AesMode::CbcPkcs7 => {
            whole(body, "ciphertext")?;
            let mut bytes = Zeroizing::new(body.to_vec());
            let context = DecryptionContext::Iv128(FixedLength::from(block(iv)?));
            let cipher =
                PaddedBlockDecryptingKey::cbc_pkcs7(unbound_key(key)?).map_err(|_| REFUSED)?;
            let len = cipher
                .decrypt(&mut bytes, context)
                .map_err(|_| KeyError::DoesNotOpen)?
                .len();
            bytes.truncate(len);
            Ok(bytes)
        }
        AesMode::KeyWrap => {
            halves(body, 3)?;
            let mut out = Zeroizing::new(vec![0; body.len() - HALF_BLOCK]);
            with_aes!(key, |cipher: AesKw| cipher
                .unwrap_key(body, &mut out)
                .map_err(|_| KeyError::DoesNotOpen)?);
            Ok(out)
        }
    }
}

/// Key wrap with padding (RFC 5649), opened.
pub(crate) fn unwrap_padded(kek: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if !matches!(kek.len(), 16 | 24 | 32) || wrapped.len() < BLOCK {
        return Err(KeyError::DoesNotOpen);
    }
    let mut out = Zeroizing::new(vec![0; wrapped.len()]);
    let len = with_aes!(kek, |cipher: AesKwp| cipher
        .unwrap_key(wrapped, &mut out)
        .map_err(|_| KeyError::DoesNotOpen)?
        .len());
    out.truncate(len);
    Ok(out)
}

/// Counter mode, which is the same in both directions.
fn counted(key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Result<(), KeyError> {
    let context = EncryptionContext::Iv128(FixedLength::from(block(iv)?));
    let cipher = EncryptingKey::ctr(unbound_key(key)?).map_err(|_| REFUSED)?;
    cipher
        .less_safe_encrypt(bytes, context)
        .map(|_| ())
        .map_err(|_| REFUSED)
}

fn nonce(iv: &[u8]) -> Result<Nonce<U12>, KeyError> {
    let bytes: [u8; 12] = iv.try_into().map_err(|_| KeyError::BadLength {
        what: "IV",
        wanted: "12",
    })?;
    Ok(Nonce::from(bytes))
}

fn block(iv: &[u8]) -> Result<[u8; BLOCK], KeyError> {
    iv.try_into().map_err(|_| KeyError::BadLength {
        what: "IV",
        wanted: "16",
    })
}

fn whole(bytes: &[u8], what: &'static str) -> Result<(), KeyError> {
    match !bytes.is_empty() && bytes.len().is_multiple_of(BLOCK) {
        true => Ok(()),
        false => Err(KeyError::BadLength {
            what,
            wanted: "a multiple of 16",
        }),
    }
}

fn halves(bytes: &[u8], least: usize) -> Result<(), KeyError> {
    match bytes.len().is_multiple_of(HALF_BLOCK) && bytes.len() / HALF_BLOCK >= least {
        true => Ok(()),
        false => Err(KeyError::BadLength {
            what: "key to wrap",
            wanted: "a multiple of 8, 16 at least,",
        }),
    }
}

fn unbound_key(key: &[u8]) -> Result<UnboundCipherKey, KeyError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(SIZE),
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn key_wrap_gives_rfc_3394s_own_examples() {
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
    fn cbc_gives_nists_own_example() {
        // SP 800-38A, F.2.1, first block.
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = bytes("000102030405060708090a0b0c0d0e0f");
        let plain = bytes("6bc1bee22e409f96e93d7e117393172a");
        let body = encrypt(&key, AesMode::Cbc, &iv, &plain, &[]).unwrap();
        assert_eq!(body, bytes("7649abac8119b246cee98e9b12e9197d"));
        // With padding, a whole block more.
        let padded = encrypt(&key, AesMode::CbcPkcs7, &iv, &plain, &[]).unwrap();
        assert_eq!((padded.len(), &padded[..16]), (32, &body[..]));
    }

    #[test]
    fn ctr_gives_nists_own_example() {
        // SP 800-38A, F.5.5.
        let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
            .unwrap();
        let counter: Vec<u8> = (0xf0..=0xff).collect();
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        let body = encrypt(&key, AesMode::Ctr, &counter, &plain, b"").unwrap();
        assert_eq!(hex::encode(&body), "601ec313775789a5b7a7f504bbf3d228");
    }

    #[test]
    fn every_mode_and_size_opens_what_it_sealed_and_nothing_else() {
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
                    matches!(short, KeyError::DoesNotOpen | KeyError::BadLength { .. }),
                    "{mode:?} {short}"
                );
                assert!(decrypt(&key, mode, &iv, &[], b"").is_err());
                if mode == AesMode::Gcm {
                    assert_eq!(
                        decrypt(&key, mode, &iv, &body, b"a").unwrap_err(),
                        KeyError::DoesNotOpen
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
