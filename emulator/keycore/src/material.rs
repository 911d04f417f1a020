//! Key material: generated, wrapped under a master key at rest, and unwrapped for one use.
//! AES-256-GCM by the `aes-gcm` crate.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use crate::asymmetric::signing_algorithm;
use crate::version::WrappedMaterial;
use crate::{Algorithm, Curve, Entropy, KeyError, VersionId};

/// The key that all key material is wrapped under. Generated at start and never stored.
pub(crate) struct MasterKey(Aes256Gcm);

impl MasterKey {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self(cipher(&key))
    }

    /// Wraps `material`; the version's id is the additional authenticated data, so it unwraps for
    /// that version only.
    pub(crate) fn wrap(
        &self,
        entropy: &dyn Entropy,
        version: &VersionId,
        material: &[u8],
    ) -> Result<WrappedMaterial, KeyError> {
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce);
        let payload = Payload {
            msg: material,
            aad: version.as_bytes(),
        };
        let body = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| ENCRYPT_FAILED)?;
        Ok(WrappedMaterial { nonce, body })
    }

    pub(crate) fn unwrap(
        &self,
        version: &VersionId,
        sealed: &WrappedMaterial,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let payload = Payload {
            msg: &sealed.body,
            aad: version.as_bytes(),
        };
        let plaintext = self.0.decrypt(&Nonce::from(sealed.nonce), payload);
        plaintext
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Internal {
                what: "material at rest does not unseal",
            })
    }
}

/// Additional authenticated data of backups. Version ids are longer, so the two cannot be confused.
const BACKUP_AAD: &[u8] = b"kmslab backup 1";

impl MasterKey {
    /// Returns nonce ‖ ciphertext ‖ tag.
    pub(crate) fn encrypt_backup(
        &self,
        entropy: &dyn Entropy,
        bytes: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce);
        let body = self
            .0
            .encrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: bytes,
                    aad: BACKUP_AAD,
                },
            )
            .map_err(|_| ENCRYPT_FAILED)?;
        Ok([&nonce[..], &body].concat())
    }

    pub(crate) fn decrypt_backup(&self, backup: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (nonce, body) = backup
            .split_first_chunk::<12>()
            .ok_or(KeyError::BadBackup)?;
        let plaintext = self.0.decrypt(
            &Nonce::from(*nonce),
            Payload {
                msg: body,
                aad: BACKUP_AAD,
            },
        );
        plaintext
            .map(Zeroizing::new)
            .map_err(|_| KeyError::BadBackup)
    }
}

const ENCRYPT_FAILED: KeyError = KeyError::Internal {
    what: "AES-GCM refused to seal",
};
const GENERATE_FAILED: KeyError = KeyError::Internal {
    what: "the key could not be generated",
};

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn cipher_from_material(material: &[u8]) -> Result<Aes256Gcm, KeyError> {
    let key = Zeroizing::new(
        <[u8; 32]>::try_from(material).map_err(|_| KeyError::Internal {
            what: "AES material is not 32 bytes",
        })?,
    );
    Ok(cipher(&key))
}

/// Encrypts with AES-256-GCM and a random nonce. Returns the nonce and ciphertext ‖ tag.
pub(crate) fn encrypt_gcm(
    material: &[u8],
    entropy: &dyn Entropy,
    plaintext: &[u8],
    aad: &[u8],
) -> Result<([u8; 12], Vec<u8>), KeyError> {
    let mut nonce = [0; 12];
    entropy.fill(&mut nonce);
    let body = cipher_from_material(material)?
        .encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: plaintext,
                aad,
            },
        )
        .map_err(|_| ENCRYPT_FAILED)?;
    Ok((nonce, body))
}

pub(crate) fn decrypt_gcm(
    material: &[u8],
    nonce: &[u8; 12],
    body: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let plaintext =
        cipher_from_material(material)?.decrypt(&Nonce::from(*nonce), Payload { msg: body, aad });
    plaintext
        .map(Zeroizing::new)
        .map_err(|_| KeyError::DecryptionFailed)
}

/// Generates material: as many bits as the key has for AES and HMAC, PKCS #8 for the others. RSA
/// takes up to seconds.
pub(crate) fn generate(
    algorithm: Algorithm,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let random = |len: usize| {
        let mut bytes = Zeroizing::new(vec![0; len]);
        entropy.fill(&mut bytes);
        bytes
    };
    let rng = aws_lc_rs::rand::SystemRandom::new();
    Ok(match algorithm {
        Algorithm::Aes { bits } | Algorithm::Hmac { bits } => random(usize::from(bits) / 8),
        Algorithm::Rsa { bits } => {
            let size = match bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                _ => return Err(KeyError::WrongAlgorithm { algorithm }),
            };
            let key = PrivateDecryptingKey::generate(size).map_err(|_| GENERATE_FAILED)?;
            Zeroizing::new(key.as_der().map_err(|_| GENERATE_FAILED)?.as_ref().to_vec())
        }
        Algorithm::Kem(kem) => crate::kem::generate(kem, entropy)?,
        Algorithm::Ec(Curve::Ed25519) => Zeroizing::new(
            Ed25519KeyPair::generate_pkcs8(&rng)
                .map_err(|_| GENERATE_FAILED)?
                .as_ref()
                .to_vec(),
        ),
        Algorithm::Ec(curve) => {
            let signing = signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
            Zeroizing::new(
                EcdsaKeyPair::generate_pkcs8(signing, &rng)
                    .map_err(|_| GENERATE_FAILED)?
                    .as_ref()
                    .to_vec(),
            )
        }
    })
}
