//! Imported key material: checked and converted to the form in which the core stores material.
//! Parts that do not belong together are refused.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use crate::asymmetric::signing_algorithm;
use crate::{Algorithm, Curve, KeyError};

/// Key material that was generated elsewhere.
#[derive(Clone)]
pub struct ImportedMaterial {
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ImportedMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The parts of an RSA private key, big-endian.
#[expect(missing_docs, reason = "the names of RFC 8017")]
pub struct RsaParts<'a> {
    pub n: &'a [u8],
    pub e: &'a [u8],
    pub d: &'a [u8],
    pub p: &'a [u8],
    pub q: &'a [u8],
    pub d_p: &'a [u8],
    pub d_q: &'a [u8],
    pub q_inv: &'a [u8],
}

impl fmt::Debug for RsaParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaParts").finish_non_exhaustive()
    }
}

impl ImportedMaterial {
    /// An AES key of 16, 24 or 32 bytes.
    pub fn aes(key: &[u8]) -> Result<Self, KeyError> {
        let bits = match key.len() {
            16 => 128,
            24 => 192,
            32 => 256,
            _ => return Err(KeyError::BadMaterial),
        };
        Ok(Self {
            algorithm: Algorithm::Aes { bits },
            bytes: Zeroizing::new(key.to_vec()),
        })
    }

    /// An HMAC secret for a hash of `bits` bits.
    pub fn hmac(bits: u16, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() * 8 != usize::from(bits) {
            return Err(KeyError::BadMaterial);
        }
        Ok(Self {
            algorithm: Algorithm::Hmac { bits },
            bytes: Zeroizing::new(secret.to_vec()),
        })
    }

    /// Material in the form that [`Self::as_bytes`] returns. It is checked.
    pub fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let material = match algorithm {
            Algorithm::Aes { .. } => Self::aes(bytes)?,
            Algorithm::Hmac { bits } => Self::hmac(bits, bytes)?,
            Algorithm::Rsa { .. } | Algorithm::Ec(_) => Self::pkcs8(algorithm, bytes)?,
            Algorithm::Kem(kem) => {
                crate::kem::validate(kem, bytes)?;
                Self::from_stored(algorithm, Zeroizing::new(bytes.to_vec()))
            }
        };
        material.for_algorithm(algorithm)?;
        Ok(material)
    }

    /// Material that the core stored, which is not checked again.
    pub(crate) fn from_stored(algorithm: Algorithm, bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { algorithm, bytes }
    }

    /// The material: the key itself for AES and HMAC, PKCS #8 DER for RSA and elliptic curves, the
    /// decapsulation key of FIPS 203 for ML-KEM, the seed of 32 bytes for X-Wing.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A private key of `algorithm` as PKCS #8 DER.
    pub fn pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let bad = |_| KeyError::BadMaterial;
        match algorithm {
            Algorithm::Rsa { bits } => {
                let pair = KeyPair::from_pkcs8(der).map_err(bad)?;
                if pair.public_modulus_len() * 8 != usize::from(bits) {
                    return Err(KeyError::BadMaterial);
                }
            }
            Algorithm::Ec(Curve::Ed25519) => drop(Ed25519KeyPair::from_pkcs8(der).map_err(bad)?),
            Algorithm::Ec(curve) => {
                let signing =
                    signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
                drop(EcdsaKeyPair::from_pkcs8(signing, der).map_err(bad)?);
            }
            Algorithm::Aes { .. } | Algorithm::Hmac { .. } | Algorithm::Kem(_) => {
                return Err(KeyError::WrongAlgorithm { algorithm });
            }
        }
        Ok(Self {
            algorithm,
            bytes: Zeroizing::new(der.to_vec()),
        })
    }

    /// An RSA key with a modulus of 2048, 3072 or 4096 bits. All parts are checked.
    pub fn rsa(parts: &RsaParts<'_>) -> Result<Self, KeyError> {
        let (n, e) = (strip_leading_zeros(parts.n), strip_leading_zeros(parts.e));
        let bits = match n.len() * 8 {
            2048 => 2048,
            3072 => 3072,
            4096 => 4096,
            _ => return Err(KeyError::BadMaterial),
        };
        let pair = KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents { n, e },
            d: parts.d,
            p: parts.p,
            q: parts.q,
            dP: parts.d_p,
            dQ: parts.d_q,
            qInv: parts.q_inv,
        });
        let pair = pair.map_err(|_| KeyError::BadMaterial)?;
        let der = pair.as_der().map_err(|_| KeyError::BadMaterial)?;
        Ok(Self {
            algorithm: Algorithm::Rsa { bits },
            bytes: Zeroizing::new(der.as_ref().to_vec()),
        })
    }

    /// A key on an ECDSA curve; (`x`, `y`) must be the public point of `d`.
    pub fn ec(curve: Curve, d: &[u8], x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let algorithm = Algorithm::Ec(curve);
        let signing = signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
        let len = curve.coordinate_bytes();
        let (d, x, y) = (
            Zeroizing::new(pad_with_leading_zeros(d, len)?),
            pad_with_leading_zeros(x, len)?,
            pad_with_leading_zeros(y, len)?,
        );
        let public = [&[4][..], &x, &y].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &d, &public);
        let der = pair.and_then(|pair| {
            pair.to_pkcs8v1()
                .map_err(|_| aws_lc_rs::error::Unspecified.into())
        });
        let der = der.map_err(|_| KeyError::BadMaterial)?;
        Ok(Self {
            algorithm,
            bytes: Zeroizing::new(der.as_ref().to_vec()),
        })
    }

    /// The algorithm of the material.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes for a version of `algorithm`; fails if the material is of another one.
    pub(crate) fn for_algorithm(
        &self,
        algorithm: Algorithm,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if self.algorithm == algorithm {
            Ok(self.bytes.clone())
        } else {
            Err(KeyError::BadMaterial)
        }
    }
}

/// Strips leading zeros.
fn strip_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeroes..]
}

/// Pads with leading zeros up to `len`.
fn pad_with_leading_zeros(bytes: &[u8], len: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = strip_leading_zeros(bytes);
    let missing = len.checked_sub(bytes.len()).ok_or(KeyError::BadMaterial)?;
    Ok([&vec![0; missing][..], bytes].concat())
}
