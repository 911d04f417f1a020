//! Keys of the emulator's certificates: ECDSA with P-256.
//!
//! Made by RustCrypto with randomness of the system. The first use of aws-lc's random generator
//! takes tens of milliseconds, which a start without a request need not wait for.

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

/// A key that the emulator made.
pub(super) struct EcKey {
    key: SigningKey,
    /// Uncompressed point.
    public: Vec<u8>,
}

/// The key of a CA: ours, or one of another kind that somebody put into the directory.
pub(super) enum CaKey {
    Own(EcKey),
    Other(KeyPair),
}

impl EcKey {
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        loop {
            let mut scalar = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *scalar)?;
            // Almost every 32 bytes are a private key.
            if let Ok(key) = SigningKey::from_slice(&*scalar) {
                return Ok(Self::from(key));
            }
        }
    }

    pub(super) fn to_pem(&self) -> Result<Zeroizing<String>, p256::pkcs8::Error> {
        self.key.to_pkcs8_pem(LineEnding::LF)
    }

    pub(super) fn to_der(&self) -> Result<PrivatePkcs8KeyDer<'static>, p256::pkcs8::Error> {
        Ok(self.key.to_pkcs8_der()?.as_bytes().to_vec().into())
    }
}

impl From<SigningKey> for EcKey {
    fn from(key: SigningKey) -> Self {
        let public = key.verifying_key().to_sec1_point(false);
        Self {
            public: public.as_bytes().to_vec(),
            key,
        }
    }
}

impl CaKey {
    pub(super) fn from_pem(pem: &str) -> Result<Self, rcgen::Error> {
        match SigningKey::from_pkcs8_pem(pem) {
            Ok(key) => Ok(Self::Own(key.into())),
            Err(_) => KeyPair::from_pem(pem).map(Self::Other),
        }
    }
}

impl PublicKeyData for EcKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for EcKey {
    /// The signature is deterministic (RFC 6979).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Own(key) => key.der_bytes(),
            Self::Other(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Own(key) => key.algorithm(),
            Self::Other(key) => PublicKeyData::algorithm(key),
        }
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Own(key) => key.sign(message),
            Self::Other(key) => key.sign(message),
        }
    }
}
