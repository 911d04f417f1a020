//! The algorithms of key versions: purpose, key material and operation of each.

use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionAlgorithm as Name;
use kmslab_keycore::{AesMode, Algorithm, Curve, Hash, Kem, RsaPadding, SignatureAlgorithm};

/// How a version is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Encrypt and Decrypt; the ciphertext identifies the version.
    Symmetric,
    /// RawEncrypt and RawDecrypt.
    Raw(AesMode),
    /// AsymmetricSign.
    Sign(SignatureAlgorithm),
    /// AsymmetricDecrypt.
    Decrypt(RsaPadding),
    /// Decapsulate.
    Decapsulate,
    /// MacSign and MacVerify.
    Mac,
}

/// Properties of an algorithm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AlgorithmInfo {
    pub(crate) name: Name,
    pub(crate) purpose: Purpose,
    pub(crate) material: Algorithm,
    pub(crate) usage: Operation,
}

const fn info(
    name: Name,
    purpose: Purpose,
    material: Algorithm,
    usage: Operation,
) -> AlgorithmInfo {
    AlgorithmInfo {
        name,
        purpose,
        material,
        usage,
    }
}

const fn aes(bits: u16) -> Algorithm {
    Algorithm::Aes { bits }
}

const fn raw(name: Name, bits: u16, mode: AesMode) -> AlgorithmInfo {
    info(
        name,
        Purpose::RawEncryptDecrypt,
        aes(bits),
        Operation::Raw(mode),
    )
}

const fn rsa(name: Name, bits: u16, how: SignatureAlgorithm) -> AlgorithmInfo {
    info(
        name,
        Purpose::AsymmetricSign,
        Algorithm::Rsa { bits },
        Operation::Sign(how),
    )
}

const fn ec(name: Name, curve: Curve, how: SignatureAlgorithm) -> AlgorithmInfo {
    info(
        name,
        Purpose::AsymmetricSign,
        Algorithm::Ec(curve),
        Operation::Sign(how),
    )
}

const fn oaep(name: Name, bits: u16, padding: RsaPadding) -> AlgorithmInfo {
    info(
        name,
        Purpose::AsymmetricDecrypt,
        Algorithm::Rsa { bits },
        Operation::Decrypt(padding),
    )
}

const fn kem(name: Name, kem: Kem) -> AlgorithmInfo {
    info(
        name,
        Purpose::KeyEncapsulation,
        Algorithm::Kem(kem),
        Operation::Decapsulate,
    )
}

const fn mac(name: Name, bits: u16) -> AlgorithmInfo {
    info(name, Purpose::Mac, Algorithm::Hmac { bits }, Operation::Mac)
}

/// All supported algorithms. Others are rejected as unimplemented.
const ALGORITHMS: &[AlgorithmInfo] = &[
    info(
        Name::GoogleSymmetricEncryption,
        Purpose::EncryptDecrypt,
        aes(256),
        Operation::Symmetric,
    ),
    raw(Name::Aes128Gcm, 128, AesMode::Gcm),
    raw(Name::Aes256Gcm, 256, AesMode::Gcm),
    raw(Name::Aes128Cbc, 128, AesMode::Cbc),
    raw(Name::Aes256Cbc, 256, AesMode::Cbc),
    raw(Name::Aes128Ctr, 128, AesMode::Ctr),
    raw(Name::Aes256Ctr, 256, AesMode::Ctr),
    rsa(
        Name::RsaSignPss2048Sha256,
        2048,
        SignatureAlgorithm::RsaPss(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPss3072Sha256,
        3072,
        SignatureAlgorithm::RsaPss(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPss4096Sha256,
        4096,
        SignatureAlgorithm::RsaPss(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPss4096Sha512,
        4096,
        SignatureAlgorithm::RsaPss(Hash::Sha512),
    ),
    rsa(
        Name::RsaSignPkcs12048Sha256,
        2048,
        SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPkcs13072Sha256,
        3072,
        SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPkcs14096Sha256,
        4096,
        SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
    ),
    rsa(
        Name::RsaSignPkcs14096Sha512,
        4096,
        SignatureAlgorithm::RsaPkcs1(Hash::Sha512),
    ),
    rsa(
        Name::RsaSignRawPkcs12048,
        2048,
        SignatureAlgorithm::RsaPkcs1Raw,
    ),
    rsa(
        Name::RsaSignRawPkcs13072,
        3072,
        SignatureAlgorithm::RsaPkcs1Raw,
    ),
    rsa(
        Name::RsaSignRawPkcs14096,
        4096,
        SignatureAlgorithm::RsaPkcs1Raw,
    ),
    ec(
        Name::EcSignP256Sha256,
        Curve::P256,
        SignatureAlgorithm::Ecdsa(Hash::Sha256),
    ),
    ec(
        Name::EcSignP384Sha384,
        Curve::P384,
        SignatureAlgorithm::Ecdsa(Hash::Sha384),
    ),
    ec(
        Name::EcSignSecp256k1Sha256,
        Curve::Secp256k1,
        SignatureAlgorithm::Ecdsa(Hash::Sha256),
    ),
    ec(
        Name::EcSignEd25519,
        Curve::Ed25519,
        SignatureAlgorithm::Ed25519,
    ),
    oaep(Name::RsaDecryptOaep2048Sha256, 2048, RsaPadding::OaepSha256),
    oaep(Name::RsaDecryptOaep3072Sha256, 3072, RsaPadding::OaepSha256),
    oaep(Name::RsaDecryptOaep4096Sha256, 4096, RsaPadding::OaepSha256),
    oaep(Name::RsaDecryptOaep4096Sha512, 4096, RsaPadding::OaepSha512),
    oaep(Name::RsaDecryptOaep2048Sha1, 2048, RsaPadding::OaepSha1),
    oaep(Name::RsaDecryptOaep3072Sha1, 3072, RsaPadding::OaepSha1),
    oaep(Name::RsaDecryptOaep4096Sha1, 4096, RsaPadding::OaepSha1),
    kem(Name::MlKem768, Kem::MlKem768),
    kem(Name::MlKem1024, Kem::MlKem1024),
    kem(Name::KemXwing, Kem::XWing),
    mac(Name::HmacSha1, 160),
    mac(Name::HmacSha224, 224),
    mac(Name::HmacSha256, 256),
    mac(Name::HmacSha384, 384),
    mac(Name::HmacSha512, 512),
];

/// All supported algorithms.
pub(crate) fn names() -> impl Iterator<Item = Name> {
    ALGORITHMS.iter().map(|info| info.name)
}

/// Finds a supported algorithm.
pub(crate) fn find(name: Name) -> Option<&'static AlgorithmInfo> {
    ALGORITHMS.iter().find(|row| row.name == name)
}

/// The default algorithm of keys with a purpose, if there is one.
pub(crate) fn default_algorithm(purpose: Purpose) -> Option<Name> {
    (purpose == Purpose::EncryptDecrypt).then_some(Name::GoogleSymmetricEncryption)
}

impl AlgorithmInfo {
    /// The purpose of keys in the core.
    pub(crate) fn core_purpose(&self) -> kmslab_keycore::Purpose {
        match self.usage {
            Operation::Symmetric | Operation::Raw(_) | Operation::Decrypt(_) => {
                kmslab_keycore::Purpose::EncryptDecrypt
            }
            Operation::Sign(_) => kmslab_keycore::Purpose::SignVerify,
            Operation::Decapsulate => kmslab_keycore::Purpose::Encapsulation,
            Operation::Mac => kmslab_keycore::Purpose::Mac,
        }
    }

    /// Whether generating a key takes so long that the service responds before it is done.
    pub(crate) fn is_asymmetric(&self) -> bool {
        matches!(
            self.usage,
            Operation::Sign(_) | Operation::Decrypt(_) | Operation::Decapsulate
        )
    }

    /// The hash that it signs.
    pub(crate) fn hash(&self) -> Option<Hash> {
        match self.usage {
            Operation::Sign(
                SignatureAlgorithm::RsaPss(hash)
                | SignatureAlgorithm::RsaPkcs1(hash)
                | SignatureAlgorithm::Ecdsa(hash),
            ) => Some(hash),
            _ => None,
        }
    }
}
