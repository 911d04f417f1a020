//! Key material: made, sealed at rest under a master key, unsealed for one use. AES-256-GCM by the
//! `aes-gcm` crate.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use crate::asymmetric::signing_algorithm;
use crate::version::SealedMaterial;
use crate::{Algorithm, Curve, Entropy, KeyError, VersionId};

/// The key that all material is sealed under; made at start, kept nowhere.
pub(crate) struct MasterKey(Aes256Gcm);

impl MasterKey {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self(cipher(&key))
    }

    /// Seals `material` for that version only: its name is the additional data.
    pub(crate) fn seal(
        &self,
        entropy: &dyn Entropy,
        version: &VersionId,
        material: &[u8],
    ) -> Result<SealedMaterial, KeyError> {
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce);
        let payload = Payload {
            msg: material,
            aad: version.as_bytes(),
        };
        let body = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| SEAL)?;
        Ok(SealedMaterial { nonce, body })
    }

    pub(crate) fn unseal(
        &self,
        version: &VersionId,
        sealed: &SealedMaterial,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let payload = Payload {
            msg: &sealed.body,
            aad: version.as_bytes(),
        };
        let opened = self.0.decrypt(&Nonce::from(sealed.nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| KeyError::Internal {
            what: "material at rest does not unseal",
        })
    }
}

/// What a backup is bound to; no version's name is as short.
const BACKUP: &[u8] = b"kmslab backup 1";

impl MasterKey {
    /// Nonce ‖ ciphertext ‖ tag.
    pub(crate) fn seal_backup(
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
                    aad: BACKUP,
                },
            )
            .map_err(|_| SEAL)?;
        Ok([&nonce[..], &body].concat())
    }

    pub(crate) fn open_backup(&self, backup: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (nonce, body) = backup
            .split_first_chunk::<12>()
            .ok_or(KeyError::BadBackup)?;
        let opened = self.0.decrypt(
            &Nonce::from(*nonce),
            Payload {
                msg: body,
                aad: BACKUP,
            },
        );
        opened.map(Zeroizing::new).map_err(|_| KeyError::BadBackup)
    }
}

const SEAL: KeyError = KeyError::Internal {
    what: "AES-GCM refused to seal",
};
const MAKE: KeyError = KeyError::Internal {
    what: "the key could not be generated",
};

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn cipher_of(material: &[u8]) -> Result<Aes256Gcm, KeyError> {
    let key = Zeroizing::new(
        <[u8; 32]>::try_from(material).map_err(|_| KeyError::Internal {
            what: "AES material is not 32 bytes",
        })?,
    );
    Ok(cipher(&key))
}

/// AES-256-GCM with a random nonce; returns the nonce and ciphertext ‖ tag.
pub(crate) fn seal_with(
    material: &[u8],
    entropy: &dyn Entropy,
    plaintext: &[u8],
    aad: &[u8],
) -> Result<([u8; 12], Vec<u8>), KeyError> {
    let mut nonce = [0; 12];
    entropy.fill(&mut nonce);
    let body = cipher_of(material)?
        .encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: plaintext,
                aad,
            },
        )
        .map_err(|_| SEAL)?;
    Ok((nonce, body))
}

pub(crate) fn open_with(
    material: &[u8],
    nonce: &[u8; 12],
    body: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let opened = cipher_of(material)?.decrypt(&Nonce::from(*nonce), Payload { msg: body, aad });
    opened
        .map(Zeroizing::new)
        .map_err(|_| KeyError::DoesNotOpen)
}

/// New material: as many bits as the key has for AES and HMAC, PKCS#8 for the rest. RSA takes up to
/// seconds.
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
            let key = PrivateDecryptingKey::generate(size).map_err(|_| MAKE)?;
            Zeroizing::new(key.as_der().map_err(|_| MAKE)?.as_ref().to_vec())
        }
        Algorithm::Kem(kem) => crate::kem::generate(kem, entropy)?,
        Algorithm::Ec(Curve::Ed25519) => Zeroizing::new(
            Ed25519KeyPair::generate_pkcs8(&rng)
                .map_err(|_| MAKE)?
                .as_ref()
                .to_vec(),
        ),
        Algorithm::Ec(curve) => {
            let signing = signing_algorithm(curve).ok_or(KeyError::WrongAlgorithm { algorithm })?;
            Zeroizing::new(
                EcdsaKeyPair::generate_pkcs8(signing, &rng)
                    .map_err(|_| MAKE)?
                    .as_ref()
                    .to_vec(),
            )
        }
    })
}
