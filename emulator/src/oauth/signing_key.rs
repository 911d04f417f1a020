//! An RSA key that signs tokens, and its public forms: a JSON Web Key and an X.509 certificate.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{
    CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::tls::set_validity;

/// Validity of certificates of token keys.
const CERTIFICATE_DAYS: i64 = 365;

/// An RSA-2048 key pair. Its id is a prefix of the SHA-256 of its public key.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    id: String,
}

impl fmt::Debug for SigningKey {
    /// Omits the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Generates a key, which takes a moment. `None` if the system has no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
        let id = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(&id.as_ref()[..20]);
        Some(Self { pair, id })
    }

    /// The key id, `kid` of tokens.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The public key.
    pub(crate) fn public(&self) -> PublicRsaKey {
        PublicRsaKey::from_pair(&self.pair)
    }

    /// Returns a JSON Web Token with these claims, signed with RS256. `header` has members besides
    /// `alg`, `typ` and `kid`.
    pub(crate) fn sign(&self, mut header: Value, claims: &Value) -> Option<String> {
        header["alg"] = "RS256".into();
        header["typ"] = "JWT".into();
        header["kid"] = self.id.as_str().into();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Returns a self-signed certificate of `subject` as PEM, valid from one day before `now` for
    /// one year.
    pub(crate) fn certify(
        &self,
        subject: &PublicRsaKey,
        name: &str,
        now: Timestamp,
    ) -> Option<String> {
        let der = self.pair.as_der().ok()?;
        let (signer, pair) = (
            params("kmslab emulator token signer", now),
            KeyPair::try_from(der.as_ref()).ok()?,
        );
        let issuer = Issuer::from_params(&signer, pair);
        Some(params(name, now).signed_by(subject, &issuer).ok()?.pem())
    }
}

fn params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    set_validity(&mut params, now, CERTIFICATE_DAYS);
    params
}

/// An RSA public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicRsaKey {
    /// Modulus, big-endian without leading zeros.
    pub(crate) modulus: Vec<u8>,
    /// Exponent, big-endian without leading zeros.
    pub(crate) exponent: Vec<u8>,
    /// PKCS #1 encoding, DER.
    pkcs1: Vec<u8>,
}

impl PublicRsaKey {
    /// The public key of a pair.
    pub(crate) fn from_pair(pair: &RsaKeyPair) -> Self {
        let key = pair.public_key();
        let (modulus, exponent) = (key.modulus(), key.exponent());
        Self {
            modulus: modulus.big_endian_without_leading_zero().to_vec(),
            exponent: exponent.big_endian_without_leading_zero().to_vec(),
            pkcs1: key.as_ref().to_vec(),
        }
    }

    /// A public key of its modulus and exponent, big-endian; `None` if they are not one.
    pub(crate) fn from_parts(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let components = PublicKeyComponents {
            n: modulus,
            e: exponent,
        };
        let spki: PublicKeyX509Der<'_> = components.as_der().ok()?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki.as_ref()).ok()?;
        Some(Self {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            pkcs1: spki.subject_public_key.data.to_vec(),
        })
    }

    /// The key as a JSON Web Key with the given id.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": id,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
    }
}

impl PublicKeyData for PublicRsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.pkcs1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}
