//! Somebody's own key, as it comes in: parts in, the form that material has here out. Parts that do
//! not fit together are refused.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use crate::asymmetric::signing_algorithm;
use crate::{Algorithm, Curve, KeyError};

/// Material that was made elsewhere.
#[derive(Clone)]
pub struct Material {
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Material {
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

impl Material {
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

    /// A secret for HMAC with a hash of that many bits.
    pub fn hmac(bits: u16, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() * 8 != usize::from(bits) {
            return Err(KeyError::BadMaterial);
        }
        Ok(Self {
            algorithm: Algorithm::Hmac { bits },
            bytes: Zeroizing::new(secret.to_vec()),
        })
    }

    /// A private key of that algorithm in PKCS #8, DER.
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

    /// An RSA key with a modulus of 2048, 3072 or 4096 bits, all of whose parts are checked.
    pub fn rsa(parts: &RsaParts<'_>) -> Result<Self, KeyError> {
        let (n, e) = (minimal(parts.n), minimal(parts.e));
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

    /// A key on one of the curves that sign by ECDSA; `x` and `y` must be the point of `d`.
    pub fn ec(curve: Curve, d: &[u8], x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let algorithm = Algorithm::Ec(curve);
        let signing = signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
        let len = curve.coordinate_bytes();
        let (d, x, y) = (
            Zeroizing::new(padded(d, len)?),
            padded(x, len)?,
            padded(y, len)?,
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

    /// What it is a key of.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes, for a version that is said to be of `algorithm`.
    pub(crate) fn of(&self, algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if self.algorithm == algorithm {
            Ok(self.bytes.clone())
        } else {
            Err(KeyError::BadMaterial)
        }
    }
}

/// Without zeroes at its front.
fn minimal(bytes: &[u8]) -> &[u8] {
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeroes..]
}

/// With as many zeroes at its front as its length wants.
fn padded(bytes: &[u8], len: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = minimal(bytes);
    let missing = len.checked_sub(bytes.len()).ok_or(KeyError::BadMaterial)?;
    Ok([&vec![0; missing][..], bytes].concat())
}
