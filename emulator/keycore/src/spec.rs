//! What a key is: its algorithm and its purpose.

use serde::{Deserialize, Serialize};

/// Algorithm of key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES with a key of 128, 192 or 256 bits.
    Aes {
        /// Key length in bits.
        bits: u16,
    },
    /// HMAC with SHA-1 (160 bits) or SHA-2 (224, 256, 384 or 512 bits).
    Hmac {
        /// Length of the hash and of the key, in bits.
        bits: u16,
    },
    /// RSA with a modulus of 2048, 3072 or 4096 bits.
    Rsa {
        /// Modulus length in bits.
        bits: u16,
    },
    /// An elliptic curve.
    Ec(Curve),
    /// Key encapsulation mechanism.
    Kem(Kem),
}

/// A key encapsulation mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kem {
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024 (FIPS 203).
    MlKem1024,
    /// X-Wing: ML-KEM-768 combined with X25519.
    XWing,
}

impl Algorithm {
    /// AES-256.
    pub const AES_256: Self = Self::Aes { bits: 256 };
}

/// An elliptic curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1.
    Secp256k1,
    /// Ed25519.
    Ed25519,
}

impl Curve {
    /// Length in bytes of a coordinate, and of each half of a fixed-length signature.
    pub fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 | Self::Secp256k1 | Self::Ed25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA; both numbers big-endian without leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
        /// SubjectPublicKeyInfo, DER.
        der: Vec<u8>,
    },
    /// A point; its coordinates have the curve's full length. Ed25519 has only `x`, which is the
    /// whole key.
    Ec {
        /// The curve.
        curve: Curve,
        /// First coordinate.
        x: Vec<u8>,
        /// Second coordinate; empty for Ed25519.
        y: Vec<u8>,
        /// SubjectPublicKeyInfo, DER.
        der: Vec<u8>,
    },
    /// An encapsulation key in the encoding of its standard.
    Kem(Vec<u8>),
}

impl PublicKey {
    /// SubjectPublicKeyInfo as DER; `None` for key encapsulation.
    pub fn der(&self) -> Option<&[u8]> {
        match self {
            Self::Rsa { der, .. } | Self::Ec { der, .. } => Some(der),
            Self::Kem(_) => None,
        }
    }
}

/// What a key may be used for. A key has one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Encrypt and decrypt.
    EncryptDecrypt,
    /// Sign and verify.
    SignVerify,
    /// Generate and verify message authentication codes.
    Mac,
    /// Decapsulate shared secrets.
    Encapsulation,
    /// Key agreement. Such keys can be created and described only.
    KeyAgreement,
    /// Everything that the algorithm can do; the front end decides what of that is allowed.
    Any,
}

/// A hash of the SHA-2 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Padding of RSA encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RsaPadding {
    /// PKCS #1 v1.5.
    Pkcs1,
    /// OAEP with SHA-1.
    OaepSha1,
    /// OAEP with SHA-256.
    OaepSha256,
    /// OAEP with SHA-512.
    OaepSha512,
}

/// Mode of AES.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AesMode {
    /// Galois/Counter Mode with a nonce of 12 bytes; the tag of 16 bytes is appended to the
    /// ciphertext.
    Gcm,
    /// Cipher Block Chaining of whole blocks.
    Cbc,
    /// Cipher Block Chaining with PKCS #7 padding.
    CbcPkcs7,
    /// Counter mode with an initial counter block of 16 bytes.
    Ctr,
    /// Key Wrap (RFC 3394) of whole 8-byte blocks.
    KeyWrap,
}

/// Signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS with a salt as long as the hash.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// RSASSA-PKCS1-v1_5 over unhashed input without a DigestInfo. The input is at least 11 bytes
    /// shorter than the modulus.
    RsaPkcs1Raw,
    /// ECDSA, DER-encoded.
    Ecdsa(Hash),
    /// ECDSA as `r ‖ s`, each as long as the curve's coordinates.
    EcdsaFixed(Hash),
    /// Ed25519 over the message itself.
    Ed25519,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub enum SignInput<'a> {
    /// A message, which the core hashes.
    Message(&'a [u8]),
    /// The hash of a message.
    Digest(&'a [u8]),
}

impl<'a> SignInput<'a> {
    /// The bytes of either.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Message(bytes) | Self::Digest(bytes) => bytes,
        }
    }
}
