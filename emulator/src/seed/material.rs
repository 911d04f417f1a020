//! Key material in a seed file: inline, from a file, or derived from a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_keycore::{Algorithm, ImportedMaterial, KeyError};
use kmslab_program::file;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::text_or::text_or;

const PEM_START: &[u8] = b"-----BEGIN";

/// Material of a version: the key itself for AES and HMAC, PKCS #8 for RSA and elliptic curves, the
/// decapsulation key for ML-KEM, the seed for X-Wing.
#[derive(Clone)]
pub enum SeedMaterial {
    /// Base64 of the material, or PKCS #8 as PEM.
    Inline(Zeroizing<String>),
    /// A file that holds the material as bytes, or PKCS #8 as PEM. A relative path starts at the
    /// seed file's directory.
    File(PathBuf),
    /// A secret that the material is derived from, together with the name and number of the
    /// version. For AES, HMAC, P-256, P-384, P-521, Ed25519 and X-Wing.
    FromSeed(Zeroizing<String>),
}

impl fmt::Debug for SeedMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::FromSeed(_) => f.write_str("FromSeed(..)"),
        }
    }
}

/// The forms of material that are not plain text.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Reference {
    /// Path of a file that holds the material as bytes, or PKCS #8 as PEM. A relative path starts at
    /// the seed file's directory.
    File(PathBuf),
    /// A secret that the material is derived from. The same secret gives a version of the same name
    /// and number the same material. Not for RSA, secp256k1 and ML-KEM.
    FromSeed(String),
}

/// Base64 of the material, or PKCS #8 as PEM; or where it comes from.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum MaterialSchema {
    Inline(String),
    Reference(Reference),
}

impl From<String> for SeedMaterial {
    fn from(text: String) -> Self {
        Self::Inline(Zeroizing::new(text))
    }
}

impl From<Reference> for SeedMaterial {
    fn from(reference: Reference) -> Self {
        match reference {
            Reference::File(path) => Self::File(path),
            Reference::FromSeed(secret) => Self::FromSeed(Zeroizing::new(secret)),
        }
    }
}

impl<'de> Deserialize<'de> for SeedMaterial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or::<_, Reference, _>(deserializer, "base64, or a map with file or fromSeed")
    }
}

impl Serialize for SeedMaterial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(text) => serializer.serialize_str(text),
            Self::File(path) => Reference::File(path.clone()).serialize(serializer),
            Self::FromSeed(secret) => Reference::FromSeed(secret.to_string()).serialize(serializer),
        }
    }
}

impl SeedMaterial {
    /// Material of the core as it stands in a seed file.
    pub(crate) fn of(material: &ImportedMaterial) -> Self {
        Self::Inline(Zeroizing::new(STANDARD.encode(material.as_bytes())))
    }

    /// The material of a version of `algorithm`. `context` is the version's name, which derived
    /// material depends on.
    pub(crate) fn load(
        &self,
        algorithm: Algorithm,
        context: &str,
    ) -> Result<ImportedMaterial, String> {
        let parsed = match self {
            Self::Inline(text) if text.trim_start().as_bytes().starts_with(PEM_START) => {
                ImportedMaterial::parse(algorithm, &pem(text.as_bytes())?)
            }
            Self::Inline(text) => {
                let compact: String = text.split_ascii_whitespace().collect();
                let bytes = STANDARD.decode(Zeroizing::new(compact).as_bytes());
                let bytes = bytes.map(Zeroizing::new);
                let bytes = bytes.map_err(|_| "is neither base64 nor PEM".to_owned())?;
                ImportedMaterial::parse(algorithm, &bytes)
            }
            Self::File(path) => ImportedMaterial::parse(algorithm, &read(path)?),
            Self::FromSeed(secret) => {
                ImportedMaterial::derive(algorithm, secret.as_bytes(), context.as_bytes())
            }
        };
        parsed.map_err(|error| match error {
            KeyError::WrongAlgorithm { algorithm } => format!(
                "cannot be derived for {algorithm:?}, which is for AES, HMAC, P-256, P-384, P-521, Ed25519 and X-Wing; give it inline or as a file"
            ),
            _ => format!("is not {}", form(algorithm)),
        })
    }

    /// Replaces a file by what it holds. Relative paths start at `directory`. The error names the
    /// file.
    pub(crate) fn read_file(&mut self, directory: &Path) -> Result<(), String> {
        if let Self::File(path) = self {
            *self = Self::Inline(Zeroizing::new(
                STANDARD.encode(&*read(&directory.join(path))?),
            ));
        }
        Ok(())
    }
}

/// The form that material of an algorithm has.
fn form(algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::Aes { bits } => format!("an AES key of {bits} bits"),
        Algorithm::Hmac { bits } => format!("an HMAC secret of {bits} bits"),
        Algorithm::Rsa { bits } => format!("a PKCS #8 RSA key of {bits} bits"),
        Algorithm::Ec(curve) => format!("a PKCS #8 key on {curve:?}"),
        Algorithm::Kem(kem) => format!("a private key of {kem:?}"),
    }
}

fn pem(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text)
        .map_err(|_| "has no PEM block PRIVATE KEY (PKCS #8)".to_owned())?;
    Ok(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = file::read(path, file::MAX_CONFIGURATION_BYTES)
        .map_err(|error| format!("cannot be read from {}: {error}", path.display()))?;
    if bytes.trim_ascii_start().starts_with(PEM_START) {
        return pem(&bytes);
    }
    Ok(bytes)
}
