//! An RSA key that signs tokens, and what verifies them: a JSON Web Key, an X.509 certificate.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{
    CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};

use crate::tls::set_validity;

/// How long certificates of token keys are valid.
const CERTIFICATE_DAYS: i64 = 365;

/// An RSA-2048 key pair. Its id is the start of the SHA-256 of its public key.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    id: String,
}

impl fmt::Debug for SigningKey {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key; takes a moment. `None` where the system has no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
        let id = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(&id.as_ref()[..20]);
        Some(Self { pair, id })
    }

    /// The id that tokens name it by, `kid`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its public half.
    pub(crate) fn public(&self) -> PublicRsaKey {
        PublicRsaKey::of(&self.pair)
    }

    /// A JSON Web Token with these claims, RS256. `header` has what it says beside `alg`, `typ` and
    /// `kid`.
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

    /// A certificate of `subject`, signed by this key, valid from the day before `now` for a year;
    /// PEM.
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

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicRsaKey {
    /// Big-endian, without leading zeros.
    pub(crate) modulus: Vec<u8>,
    /// The same.
    pub(crate) exponent: Vec<u8>,
    /// Both as PKCS #1 has them, DER.
    pkcs1: Vec<u8>,
}

impl PublicRsaKey {
    /// The public half of a pair.
    pub(crate) fn of(pair: &RsaKeyPair) -> Self {
        let key = pair.public_key();
        let (modulus, exponent) = (key.modulus(), key.exponent());
        Self {
            modulus: modulus.big_endian_without_leading_zero().to_vec(),
            exponent: exponent.big_endian_without_leading_zero().to_vec(),
            pkcs1: key.as_ref().to_vec(),
        }
    }

    /// As a JSON Web Key of that id.
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
