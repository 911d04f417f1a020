//! Key material that is derived from a secret, the same for the same secret and context:
//! HKDF-SHA256 of RFC 5869, without a salt.

use aws_lc_rs::agreement::{self, PrivateKey};
use aws_lc_rs::hkdf;
use aws_lc_rs::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

use crate::{Algorithm, Curve, ImportedMaterial, Kem, KeyError};

const FAILED: KeyError = KeyError::Internal {
    what: "the material could not be derived",
};
/// Candidates for the private scalar of a curve. Each is in range with a probability of more than a
/// half.
const MAX_CANDIDATES: u32 = 256;

impl ImportedMaterial {
    /// Derives material of `algorithm` from a secret. `context` separates keys with the same
    /// secret. Fails with [`KeyError::WrongAlgorithm`] for RSA, secp256k1 and ML-KEM, whose keys the
    /// library generates from its own randomness only.
    pub fn derive(algorithm: Algorithm, secret: &[u8], context: &[u8]) -> Result<Self, KeyError> {
        let bytes = |counter: u32, len: usize| hkdf_bytes(secret, context, counter, len);
        match algorithm {
            Algorithm::Aes { bits } => Self::aes(&bytes(0, usize::from(bits) / 8)?),
            Algorithm::Hmac { bits } => Self::hmac(bits, &bytes(0, usize::from(bits) / 8)?),
            Algorithm::Kem(Kem::XWing) => Self::parse(algorithm, &bytes(0, 32)?),
            Algorithm::Ec(Curve::Ed25519) => {
                let pair =
                    Ed25519KeyPair::from_seed_unchecked(&bytes(0, 32)?).map_err(|_| FAILED)?;
                Self::parse(algorithm, pair.to_pkcs8v1().map_err(|_| FAILED)?.as_ref())
            }
            Algorithm::Ec(curve) => {
                let agreed = match curve {
                    Curve::P256 => &agreement::ECDH_P256,
                    Curve::P384 => &agreement::ECDH_P384,
                    Curve::P521 => &agreement::ECDH_P521,
                    Curve::Secp256k1 | Curve::Ed25519 => {
                        return Err(KeyError::WrongAlgorithm { algorithm });
                    }
                };
                derive_ec(curve, agreed, &bytes)
            }
            Algorithm::Rsa { .. } | Algorithm::Kem(Kem::MlKem768 | Kem::MlKem1024) => {
                Err(KeyError::WrongAlgorithm { algorithm })
            }
        }
    }
}

/// Takes the first candidate that is a private scalar of the curve.
fn derive_ec(
    curve: Curve,
    agreed: &'static agreement::Algorithm,
    bytes: &dyn Fn(u32, usize) -> Result<Zeroizing<Vec<u8>>, KeyError>,
) -> Result<ImportedMaterial, KeyError> {
    let len = curve.coordinate_bytes();
    for counter in 0..MAX_CANDIDATES {
        let mut scalar = bytes(counter, len)?;
        if curve == Curve::P521 {
            // 521 bits are 65 bytes and one bit.
            scalar[0] &= 1;
        }
        let Ok(private) = PrivateKey::from_private_key(agreed, &scalar) else {
            continue;
        };
        let public = private.compute_public_key().map_err(|_| FAILED)?;
        let point = public.as_ref().get(1..).ok_or(FAILED)?;
        let (x, y) = point.split_at_checked(len).ok_or(FAILED)?;
        return ImportedMaterial::ec(curve, &scalar, x, y);
    }
    Err(FAILED)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn hkdf_bytes(
    secret: &[u8],
    context: &[u8],
    counter: u32,
    len: usize,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
    let counter = counter.to_be_bytes();
    let info = [b"kmslab material 1".as_slice(), &counter, context];
    let mut out = Zeroizing::new(vec![0; len]);
    pseudo_random
        .expand(&info, Length(len))
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|_| FAILED)?;
    Ok(out)
}
