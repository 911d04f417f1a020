//! RSA, elliptic curves and HMAC on unwrapped key material, by `aws-lc-rs`.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::io;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
    Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    self as sig, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use zeroize::Zeroizing;

use crate::{
    Algorithm, Curve, Hash, KeyError, PublicKey, RsaPadding, SignInput, SignatureAlgorithm, kem,
    raw_rsa,
};

const UNREADABLE_MATERIAL: KeyError = KeyError::Internal {
    what: "the private key does not parse",
};

/// The ECDSA signing algorithm of a curve. Each curve has one hash, as in all three clouds.
pub(crate) fn signing_algorithm(curve: Curve) -> Option<&'static EcdsaSigningAlgorithm> {
    match curve {
        Curve::P256 => Some(&sig::ECDSA_P256_SHA256_ASN1_SIGNING),
        Curve::P384 => Some(&sig::ECDSA_P384_SHA384_ASN1_SIGNING),
        Curve::P521 => Some(&sig::ECDSA_P521_SHA512_ASN1_SIGNING),
        Curve::Secp256k1 => Some(&sig::ECDSA_P256K1_SHA256_ASN1_SIGNING),
        Curve::Ed25519 => None,
    }
}

/// Derives the public key from a private key.
pub(crate) fn public_key(algorithm: Algorithm, private: &[u8]) -> Result<PublicKey, KeyError> {
    let der = |key: Result<PublicKeyX509Der<'_>, _>| {
        key.map(|d| d.as_ref().to_vec())
            .map_err(|_: aws_lc_rs::error::Unspecified| UNREADABLE_MATERIAL)
    };
    match algorithm {
        Algorithm::Rsa { .. } => {
            let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| UNREADABLE_MATERIAL)?;
            let bytes = |part: io::Positive<'_>| part.big_endian_without_leading_zero().to_vec();
            let public = pair.public_key();
            let (n, e) = (bytes(public.modulus()), bytes(public.exponent()));
            Ok(PublicKey::Rsa {
                n,
                e,
                der: der(public.as_der())?,
            })
        }
        Algorithm::Ec(Curve::Ed25519) => {
            let pair = Ed25519KeyPair::from_pkcs8(private).map_err(|_| UNREADABLE_MATERIAL)?;
            let x = pair.public_key().as_ref().to_vec();
            Ok(PublicKey::Ec {
                curve: Curve::Ed25519,
                x,
                y: Vec::new(),
                der: der(pair.public_key().as_der())?,
            })
        }
        Algorithm::Ec(curve) => {
            let signing = signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
            let pair =
                EcdsaKeyPair::from_pkcs8(signing, private).map_err(|_| UNREADABLE_MATERIAL)?;
            // Uncompressed point: `04 ‖ x ‖ y`.
            let (_, point) = pair
                .public_key()
                .as_ref()
                .split_first()
                .ok_or(UNREADABLE_MATERIAL)?;
            let (x, y) = point
                .split_at_checked(curve.coordinate_bytes())
                .ok_or(UNREADABLE_MATERIAL)?;
            Ok(PublicKey::Ec {
                curve,
                x: x.to_vec(),
                y: y.to_vec(),
                der: der(pair.public_key().as_der())?,
            })
        }
        Algorithm::Kem(kem) => Ok(PublicKey::Kem(kem::public_key(kem, private)?)),
        Algorithm::Aes { .. } | Algorithm::Hmac { .. } => {
            Err(KeyError::WrongAlgorithm { algorithm })
        }
    }
}

/// `None` for PKCS #1 v1.5.
fn oaep(padding: RsaPadding) -> Option<&'static OaepAlgorithm> {
    match padding {
        RsaPadding::Pkcs1 => None,
        RsaPadding::OaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        RsaPadding::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        RsaPadding::OaepSha512 => Some(&OAEP_SHA512_MGF1SHA512),
    }
}

pub(crate) fn rsa_encrypt(
    private: &[u8],
    padding: RsaPadding,
    plaintext: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let public = PrivateDecryptingKey::from_pkcs8(private)
        .map_err(|_| UNREADABLE_MATERIAL)?
        .public_key();
    let mut out = vec![0; public.key_size_bytes()];
    let len = match oaep(padding) {
        Some(oaep) => {
            let key = OaepPublicEncryptingKey::new(public).map_err(|_| UNREADABLE_MATERIAL)?;
            ensure_fits(plaintext, key.max_plaintext_size(oaep))?;
            key.encrypt(oaep, plaintext, &mut out, None)
                .map_err(|_| UNREADABLE_MATERIAL)?
                .len()
        }
        None => {
            let key = Pkcs1PublicEncryptingKey::new(public).map_err(|_| UNREADABLE_MATERIAL)?;
            ensure_fits(plaintext, key.max_plaintext_size())?;
            key.encrypt(plaintext, &mut out)
                .map_err(|_| UNREADABLE_MATERIAL)?
                .len()
        }
    };
    out.truncate(len);
    Ok(out)
}

fn ensure_fits(plaintext: &[u8], max: usize) -> Result<(), KeyError> {
    if plaintext.len() > max {
        Err(KeyError::TooLong { max })
    } else {
        Ok(())
    }
}

pub(crate) fn rsa_decrypt(
    private: &[u8],
    padding: RsaPadding,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = PrivateDecryptingKey::from_pkcs8(private).map_err(|_| UNREADABLE_MATERIAL)?;
    let mut out = Zeroizing::new(vec![0; key.key_size_bytes()]);
    let len = match oaep(padding) {
        Some(oaep) => {
            let key = OaepPrivateDecryptingKey::new(key).map_err(|_| UNREADABLE_MATERIAL)?;
            key.decrypt(oaep, body, &mut out, None)
                .map_err(|_| KeyError::DecryptionFailed)?
                .len()
        }
        None => {
            let key = Pkcs1PrivateDecryptingKey::new(key).map_err(|_| UNREADABLE_MATERIAL)?;
            key.decrypt(body, &mut out)
                .map_err(|_| KeyError::DecryptionFailed)?
                .len()
        }
    };
    out.truncate(len);
    Ok(out)
}

fn digest_algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha224 => &digest::SHA224,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

fn digest_input(hash: Hash, input: SignInput<'_>) -> Result<Digest, KeyError> {
    match input {
        SignInput::Message(message) => Ok(digest::digest(digest_algorithm(hash), message)),
        SignInput::Digest(bytes) => Digest::import_less_safe(bytes, digest_algorithm(hash))
            .map_err(|_| KeyError::BadDigestLength),
    }
}

fn rsa_encoding(
    algorithm: SignatureAlgorithm,
) -> Option<(
    &'static dyn RsaEncoding,
    &'static dyn VerificationAlgorithm,
    Hash,
)> {
    use Hash::{Sha256, Sha384, Sha512};
    Some(match algorithm {
        SignatureAlgorithm::RsaPss(Sha256) => {
            (&sig::RSA_PSS_SHA256, &sig::RSA_PSS_2048_8192_SHA256, Sha256)
        }
        SignatureAlgorithm::RsaPss(Sha384) => {
            (&sig::RSA_PSS_SHA384, &sig::RSA_PSS_2048_8192_SHA384, Sha384)
        }
        SignatureAlgorithm::RsaPss(Sha512) => {
            (&sig::RSA_PSS_SHA512, &sig::RSA_PSS_2048_8192_SHA512, Sha512)
        }
        SignatureAlgorithm::RsaPkcs1(Sha256) => (
            &sig::RSA_PKCS1_SHA256,
            &sig::RSA_PKCS1_2048_8192_SHA256,
            Sha256,
        ),
        SignatureAlgorithm::RsaPkcs1(Sha384) => (
            &sig::RSA_PKCS1_SHA384,
            &sig::RSA_PKCS1_2048_8192_SHA384,
            Sha384,
        ),
        SignatureAlgorithm::RsaPkcs1(Sha512) => (
            &sig::RSA_PKCS1_SHA512,
            &sig::RSA_PKCS1_2048_8192_SHA512,
            Sha512,
        ),
        _ => return None,
    })
}

/// The ECDSA signing algorithm of a curve, with signatures of fixed length (`r ‖ s`).
fn fixed_signing_algorithm(curve: Curve) -> Option<&'static EcdsaSigningAlgorithm> {
    match curve {
        Curve::P256 => Some(&sig::ECDSA_P256_SHA256_FIXED_SIGNING),
        Curve::P384 => Some(&sig::ECDSA_P384_SHA384_FIXED_SIGNING),
        Curve::P521 => Some(&sig::ECDSA_P521_SHA512_FIXED_SIGNING),
        Curve::Secp256k1 => Some(&sig::ECDSA_P256K1_SHA256_FIXED_SIGNING),
        Curve::Ed25519 => None,
    }
}

fn fixed_verification(curve: Curve) -> Option<(&'static dyn VerificationAlgorithm, Hash)> {
    Some(match curve {
        Curve::P256 => (&sig::ECDSA_P256_SHA256_FIXED, Hash::Sha256),
        Curve::P384 => (&sig::ECDSA_P384_SHA384_FIXED, Hash::Sha384),
        Curve::P521 => (&sig::ECDSA_P521_SHA512_FIXED, Hash::Sha512),
        Curve::Secp256k1 => (&sig::ECDSA_P256K1_SHA256_FIXED, Hash::Sha256),
        Curve::Ed25519 => return None,
    })
}

fn ec_verification(curve: Curve) -> Option<(&'static dyn VerificationAlgorithm, Hash)> {
    Some(match curve {
        Curve::P256 => (&sig::ECDSA_P256_SHA256_ASN1, Hash::Sha256),
        Curve::P384 => (&sig::ECDSA_P384_SHA384_ASN1, Hash::Sha384),
        Curve::P521 => (&sig::ECDSA_P521_SHA512_ASN1, Hash::Sha512),
        Curve::Secp256k1 => (&sig::ECDSA_P256K1_SHA256_ASN1, Hash::Sha256),
        Curve::Ed25519 => return None,
    })
}

pub(crate) fn sign(
    key: Algorithm,
    private: &[u8],
    how: SignatureAlgorithm,
    input: SignInput<'_>,
) -> Result<Vec<u8>, KeyError> {
    let refused = |_| KeyError::Internal {
        what: "signing failed",
    };
    let wrong = KeyError::WrongAlgorithm { algorithm: key };
    match (key, how) {
        (
            Algorithm::Rsa { .. },
            SignatureAlgorithm::RsaPss(_) | SignatureAlgorithm::RsaPkcs1(_),
        ) => {
            let (encoding, _, hash) = rsa_encoding(how).ok_or(wrong)?;
            let digest = digest_input(hash, input)?;
            let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| UNREADABLE_MATERIAL)?;
            let mut out = vec![0; pair.public_modulus_len()];
            pair.sign_digest(encoding, &digest, &mut out)
                .map_err(refused)?;
            Ok(out)
        }
        (Algorithm::Rsa { .. }, SignatureAlgorithm::RsaPkcs1Raw) => {
            raw_rsa::sign(private, input.bytes())
        }
        (
            Algorithm::Ec(curve),
            SignatureAlgorithm::Ecdsa(hash) | SignatureAlgorithm::EcdsaFixed(hash),
        ) if ec_verification(curve).is_some_and(|(_, h)| h == hash) => {
            let digest = digest_input(hash, input)?;
            let signing = match how {
                SignatureAlgorithm::EcdsaFixed(_) => fixed_signing_algorithm(curve),
                _ => signing_algorithm(curve),
            };
            let signing = signing.ok_or(wrong)?;
            let pair =
                EcdsaKeyPair::from_pkcs8(signing, private).map_err(|_| UNREADABLE_MATERIAL)?;
            Ok(pair
                .sign_digest(&digest)
                .map_err(refused)?
                .as_ref()
                .to_vec())
        }
        (Algorithm::Ec(Curve::Ed25519), SignatureAlgorithm::Ed25519) => {
            let SignInput::Message(message) = input else {
                return Err(KeyError::BadDigestLength);
            };
            Ok(Ed25519KeyPair::from_pkcs8(private)
                .map_err(|_| UNREADABLE_MATERIAL)?
                .sign(message)
                .as_ref()
                .to_vec())
        }
        _ => Err(wrong),
    }
}

pub(crate) fn verify(
    key: Algorithm,
    private: &[u8],
    how: SignatureAlgorithm,
    input: SignInput<'_>,
    signature: &[u8],
) -> Result<bool, KeyError> {
    let wrong = KeyError::WrongAlgorithm { algorithm: key };
    if let (Algorithm::Rsa { .. }, SignatureAlgorithm::RsaPkcs1Raw) = (key, how) {
        return raw_rsa::verify(private, input.bytes(), signature);
    }
    let public = public_key(key, private)?;
    let public = public
        .der()
        .ok_or(KeyError::WrongAlgorithm { algorithm: key })?;
    let (algorithm, hash): (&'static dyn VerificationAlgorithm, Hash) = match (key, how) {
        (
            Algorithm::Rsa { .. },
            SignatureAlgorithm::RsaPss(_) | SignatureAlgorithm::RsaPkcs1(_),
        ) => {
            let (_, verification, hash) = rsa_encoding(how).ok_or(wrong)?;
            (verification, hash)
        }
        (Algorithm::Ec(curve), SignatureAlgorithm::Ecdsa(hash)) => ec_verification(curve)
            .filter(|(_, paired)| *paired == hash)
            .ok_or(wrong)?,
        (Algorithm::Ec(curve), SignatureAlgorithm::EcdsaFixed(hash)) => fixed_verification(curve)
            .filter(|(_, paired)| *paired == hash)
            .ok_or(wrong)?,
        (Algorithm::Ec(Curve::Ed25519), SignatureAlgorithm::Ed25519) => {
            let SignInput::Message(message) = input else {
                return Err(KeyError::BadDigestLength);
            };
            return Ok(UnparsedPublicKey::new(&sig::ED25519, public)
                .verify(message, signature)
                .is_ok());
        }
        _ => return Err(wrong),
    };
    let digest = digest_input(hash, input)?;
    Ok(UnparsedPublicKey::new(algorithm, public)
        .verify_digest(&digest, signature)
        .is_ok())
}

fn hmac_key(bits: u16, material: &[u8]) -> Result<hmac::Key, KeyError> {
    let algorithm = match bits {
        160 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        224 => hmac::HMAC_SHA224,
        256 => hmac::HMAC_SHA256,
        384 => hmac::HMAC_SHA384,
        512 => hmac::HMAC_SHA512,
        _ => {
            return Err(KeyError::WrongAlgorithm {
                algorithm: Algorithm::Hmac { bits },
            });
        }
    };
    Ok(hmac::Key::new(algorithm, material))
}

pub(crate) fn mac(bits: u16, material: &[u8], message: &[u8]) -> Result<Vec<u8>, KeyError> {
    Ok(hmac::sign(&hmac_key(bits, material)?, message)
        .as_ref()
        .to_vec())
}

/// Checks `tag` in constant time.
pub(crate) fn verify_mac(
    bits: u16,
    material: &[u8],
    message: &[u8],
    tag: &[u8],
) -> Result<bool, KeyError> {
    Ok(hmac::verify(&hmac_key(bits, material)?, message, tag).is_ok())
}
