//! What a key is: its algorithm and what it may be used for.

/// The algorithm of a key's material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AES-256, used as AES-256-GCM.
    Aes256,
    /// HMAC with a SHA-2 hash of that many bits: 224, 256, 384 or 512.
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
}

/// A curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// What a key may be used for; a key has one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Encrypt and decrypt.
    EncryptDecrypt,
    /// Sign and verify.
    SignVerify,
    /// Make and check a message authentication code.
    Mac,
    /// Agree on a shared secret; such keys can be made and described only.
    KeyAgreement,
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
    /// OAEP with SHA-1.
    OaepSha1,
    /// OAEP with SHA-256.
    OaepSha256,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS, salt as long as the hash.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// ECDSA, DER-encoded.
    Ecdsa(Hash),
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
