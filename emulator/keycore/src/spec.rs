//! What a key is: its algorithm and what it may be used for.

use serde::{Deserialize, Serialize};

/// The algorithm of a key's material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES with a key of that many bits: 128, 192 or 256.
    Aes {
        /// Bits of the key.
        bits: u16,
    },
    /// HMAC with a hash of that many bits: SHA-1 has 160, those of SHA-2 224, 256, 384 or 512.
    Hmac {
        /// Bits of the hash, and of the key.
        bits: u16,
    },
    /// RSA with a modulus of that many bits: 2048, 3072 or 4096.
    Rsa {
        /// Bits of the modulus.
        bits: u16,
    },
    /// An elliptic curve.
    Ec(Curve),
    /// Key encapsulation.
    Kem(Kem),
}

/// A mechanism of key encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kem {
    /// ML-KEM-768 of FIPS 203.
    MlKem768,
    /// ML-KEM-1024 of FIPS 203.
    MlKem1024,
    /// X-Wing, of ML-KEM-768 and X25519.
    XWing,
}

impl Algorithm {
    /// AES-256.
    pub const AES_256: Self = Self::Aes { bits: 256 };
}

/// A curve.
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
    /// Bytes of a coordinate of its points, and of half a signature.
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
    /// RSA, big-endian without zeroes at the front.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
        /// SubjectPublicKeyInfo, DER.
        der: Vec<u8>,
    },
    /// A point, as many bytes as the curve's coordinates have; of Ed25519 only `x`, which is the
    /// whole key.
    Ec {
        /// The curve.
        curve: Curve,
        /// Its first coordinate.
        x: Vec<u8>,
        /// Its second coordinate.
        y: Vec<u8>,
        /// SubjectPublicKeyInfo, DER.
        der: Vec<u8>,
    },
    /// An encapsulation key, as its standard writes it.
    Kem(Vec<u8>),
}

impl PublicKey {
    /// SubjectPublicKeyInfo, DER; not of key encapsulation.
    pub fn der(&self) -> Option<&[u8]> {
        match self {
            Self::Rsa { der, .. } | Self::Ec { der, .. } => Some(der),
            Self::Kem(_) => None,
        }
    }
}

/// What a key may be used for; a key has one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Encrypt and decrypt.
    EncryptDecrypt,
    /// Sign and verify.
    SignVerify,
    /// Make and check a message authentication code.
    Mac,
    /// Take a shared secret out of what was encapsulated to its public key.
    Encapsulation,
    /// Agree on a shared secret; such keys can be made and described only.
    KeyAgreement,
    /// Whatever its algorithm can do; the front end says what of that is allowed.
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

/// How a caller's own AES key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AesMode {
    /// Galois/Counter Mode with a nonce of 12 bytes and a tag of 16, which stands at the
    /// ciphertext's end.
    Gcm,
    /// Cipher Block Chaining of whole blocks.
    Cbc,
    /// The same with the padding of PKCS #7.
    CbcPkcs7,
    /// Counter mode, with a first counter block of 16 bytes.
    Ctr,
    /// Key Wrap (RFC 3394) of whole half blocks.
    KeyWrap,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS, salt as long as the hash.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// The same over the input as it is: not hashed, and without the name of a hash in front. At
    /// most 11 bytes shorter than the modulus.
    RsaPkcs1Raw,
    /// ECDSA, DER-encoded.
    Ecdsa(Hash),
    /// ECDSA, the two numbers one after the other, each as long as the curve's coordinates.
    EcdsaFixed(Hash),
    /// Ed25519 over the message itself.
    Ed25519,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub enum SignInput<'a> {
    /// A message, hashed here.
    Message(&'a [u8]),
    /// Its hash.
    Digest(&'a [u8]),
}

impl<'a> SignInput<'a> {
    /// What was given, whichever it is.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Message(bytes) | Self::Digest(bytes) => bytes,
        }
    }
}
