//! The algorithms of key versions: what each is for, what its material is, and how it is used.

use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionAlgorithm as Name;
use kmslab_keycore::{AesMode, Algorithm, Curve, Hash, Kem, RsaPadding, SignatureAlgorithm};

/// How a version is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Encrypt and Decrypt, in ciphertexts that name the version.
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

/// One algorithm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: Name,
    pub(crate) purpose: Purpose,
    pub(crate) material: Algorithm,
    pub(crate) usage: Use,
}

const fn row(name: Name, purpose: Purpose, material: Algorithm, usage: Use) -> Row {
    Row {
        name,
        purpose,
        material,
        usage,
    }
}

const fn aes(bits: u16) -> Algorithm {
    Algorithm::Aes { bits }
}

const fn raw(name: Name, bits: u16, mode: AesMode) -> Row {
    row(name, Purpose::RawEncryptDecrypt, aes(bits), Use::Raw(mode))
}

const fn rsa(name: Name, bits: u16, how: SignatureAlgorithm) -> Row {
    row(
        name,
        Purpose::AsymmetricSign,
        Algorithm::Rsa { bits },
        Use::Sign(how),
    )
}

const fn ec(name: Name, curve: Curve, how: SignatureAlgorithm) -> Row {
    row(
        name,
        Purpose::AsymmetricSign,
        Algorithm::Ec(curve),
        Use::Sign(how),
    )
}

const fn oaep(name: Name, bits: u16, padding: RsaPadding) -> Row {
    row(
        name,
        Purpose::AsymmetricDecrypt,
        Algorithm::Rsa { bits },
        Use::Decrypt(padding),
    )
}

const fn kem(name: Name, kem: Kem) -> Row {
    row(
        name,
        Purpose::KeyEncapsulation,
        Algorithm::Kem(kem),
        Use::Decapsulate,
    )
}

const fn mac(name: Name, bits: u16) -> Row {
    row(name, Purpose::Mac, Algorithm::Hmac { bits }, Use::Mac)
}

/// Every algorithm that the emulator has; what is not here is refused as unsupported.
const ROWS: &[Row] = &[
    row(
        Name::GoogleSymmetricEncryption,
        Purpose::EncryptDecrypt,
        aes(256),
        Use::Symmetric,
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

/// The algorithm of that name, where the emulator has it.
pub(crate) fn find(name: Name) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The algorithm that keys of a purpose have when nobody names one, where there is one.
pub(crate) fn default_of(purpose: Purpose) -> Option<Name> {
    (purpose == Purpose::EncryptDecrypt).then_some(Name::GoogleSymmetricEncryption)
}

impl Row {
    /// The core's word for the purpose.
    pub(crate) fn core_purpose(&self) -> kmslab_keycore::Purpose {
        match self.usage {
            Use::Symmetric | Use::Raw(_) | Use::Decrypt(_) => {
                kmslab_keycore::Purpose::EncryptDecrypt
            }
            Use::Sign(_) => kmslab_keycore::Purpose::SignVerify,
            Use::Decapsulate => kmslab_keycore::Purpose::Encapsulation,
            Use::Mac => kmslab_keycore::Purpose::Mac,
        }
    }

    /// Whether making its key takes so long that the service answers before it is made.
    pub(crate) fn is_asymmetric(&self) -> bool {
        matches!(
            self.usage,
            Use::Sign(_) | Use::Decrypt(_) | Use::Decapsulate
        )
    }

    /// Bytes of the digest that it signs.
    pub(crate) fn hash(&self) -> Option<Hash> {
        match self.usage {
            Use::Sign(
                SignatureAlgorithm::RsaPss(hash)
                | SignatureAlgorithm::RsaPkcs1(hash)
                | SignatureAlgorithm::Ecdsa(hash),
            ) => Some(hash),
            _ => None,
        }
    }
}
