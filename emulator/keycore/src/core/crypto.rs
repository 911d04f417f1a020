//! Cryptographic operations. Key material is unwrapped for one call and zeroized after it.

use zeroize::Zeroizing;

use super::{KeyRef, VersionRef};
use crate::{
    AesMode, Algorithm, Front, KeyError, PublicKey, Purpose, RsaPadding, SignInput,
    SignatureAlgorithm, VersionId, VersionUse, aes, asymmetric, kem, material, uses,
};

/// A ciphertext of AES-256-GCM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphertext {
    /// The version that encrypted.
    pub version: VersionId,
    /// Nonce of AES-256-GCM.
    pub nonce: [u8; 12],
    /// Ciphertext ‖ tag, 16 bytes longer than the plaintext.
    pub body: Vec<u8>,
}

impl<F: Front> KeyRef<'_, F> {
    /// Encrypts with AES-256-GCM under the primary version.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Result<Ciphertext, KeyError> {
        self.ensure_usable_for(Purpose::EncryptDecrypt)?;
        self.primary()?.encrypt(plaintext, aad)
    }
}

impl<F: Front> VersionRef<'_, F> {
    /// Encrypts with AES-256-GCM.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Result<Ciphertext, KeyError> {
        let material = self.material_to_encrypt(Purpose::EncryptDecrypt)?;
        self.ensure_aes_256()?;
        let (nonce, body) =
            material::encrypt_gcm(&material, self.key.core.entropy.as_ref(), plaintext, aad)?;
        Ok(Ciphertext {
            version: self.id,
            nonce,
            body,
        })
    }

    /// Decrypts the nonce and body of a [`Ciphertext`].
    pub fn decrypt(
        &self,
        nonce: &[u8; 12],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let material = self.material_to_decrypt(Purpose::EncryptDecrypt)?;
        self.ensure_aes_256()?;
        material::decrypt_gcm(&material, nonce, body, aad)
    }

    /// Encrypts with the version's AES key. `iv` has 12 bytes for GCM, 16 for CBC and CTR, and none
    /// for key wrap.
    pub fn encrypt_aes(
        &self,
        mode: AesMode,
        iv: &[u8],
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let key = self.material_to_encrypt(Purpose::EncryptDecrypt)?;
        ensure_aes(self.algorithm)?;
        aes::encrypt(&key, mode, iv, plaintext, aad)
    }

    /// Decrypts with the version's AES key; `iv` as in [`Self::encrypt_aes`].
    pub fn decrypt_aes(
        &self,
        mode: AesMode,
        iv: &[u8],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.material_to_decrypt(Purpose::EncryptDecrypt)?;
        ensure_aes(self.algorithm)?;
        aes::decrypt(&key, mode, iv, body, aad)
    }

    /// Encrypts with the version's RSA public key.
    pub fn encrypt_rsa(&self, padding: RsaPadding, plaintext: &[u8]) -> Result<Vec<u8>, KeyError> {
        let private = self.material_to_encrypt(Purpose::EncryptDecrypt)?;
        ensure_rsa(self.algorithm)?;
        asymmetric::rsa_encrypt(&private, padding, plaintext)
    }

    /// Decrypts with the version's RSA private key.
    pub fn decrypt_rsa(
        &self,
        padding: RsaPadding,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let private = self.material_to_decrypt(Purpose::EncryptDecrypt)?;
        ensure_rsa(self.algorithm)?;
        asymmetric::rsa_decrypt(&private, padding, body)
    }

    /// Returns the shared secret that was encapsulated to the version's public key.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let private = self.material_to_decrypt(Purpose::Encapsulation)?;
        let Algorithm::Kem(kem) = self.algorithm else {
            return Err(self.wrong_algorithm());
        };
        kem::decapsulate(kem, &private, ciphertext)
    }

    /// Unwraps CKM_RSA_AES_KEY_WRAP of PKCS #11: an RSA block that holds an AES key, followed by
    /// the target key under that AES key by key wrap with padding (RFC 5649).
    pub fn unwrap_rsa_aes(
        &self,
        padding: RsaPadding,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let private = self.material_to_decrypt(Purpose::EncryptDecrypt)?;
        let Algorithm::Rsa { bits } = self.algorithm else {
            return Err(self.wrong_algorithm());
        };
        let (block, rest) = wrapped
            .split_at_checked(usize::from(bits) / 8)
            .ok_or(KeyError::DecryptionFailed)?;
        let kek = asymmetric::rsa_decrypt(&private, padding, block)?;
        aes::unwrap_padded(&kek, rest)
    }

    /// Signs. ECDSA signatures are DER unless `how` is [`SignatureAlgorithm::EcdsaFixed`].
    pub fn sign(&self, how: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyError> {
        let private = self.material_to_encrypt(Purpose::SignVerify)?;
        asymmetric::sign(self.algorithm, &private, how, input)
    }

    /// Reports whether `signature` is valid for `input`.
    pub fn verify(
        &self,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        let private = self.material_to_decrypt(Purpose::SignVerify)?;
        asymmetric::verify(self.algorithm, &private, how, input, signature)
    }

    /// Returns the message authentication code of `message`.
    pub fn mac(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let secret = self.material_to_encrypt(Purpose::Mac)?;
        asymmetric::mac(hmac_bits(self.algorithm)?, &secret, message)
    }

    /// Reports whether `tag` is the message authentication code of `message`.
    pub fn verify_mac(&self, message: &[u8], tag: &[u8]) -> Result<bool, KeyError> {
        let secret = self.material_to_decrypt(Purpose::Mac)?;
        asymmetric::verify_mac(hmac_bits(self.algorithm)?, &secret, message, tag)
    }

    /// Returns the public key, whatever the state of the version.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        asymmetric::public_key(self.algorithm, &self.material()?)
    }

    /// Material to decrypt and verify: the version must be enabled, its dates do not matter.
    fn material_to_decrypt(&self, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.note_use();
        self.key.ensure_usable_for(purpose)?;
        self.ensure_enabled()?;
        self.material()
    }

    /// Material to encrypt and sign: the version must be enabled and within its dates.
    fn material_to_encrypt(&self, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.note_use();
        self.key.ensure_usable_for(purpose)?;
        self.ensure_enabled()?;
        self.ensure_valid_at(self.key.core.now())?;
        self.material()
    }

    fn note_use(&self) {
        uses::note(|| VersionUse {
            realm: self.key.realm.clone(),
            key: self.key.id.clone(),
            version: self.id,
            number: self.number,
        });
    }

    fn material(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let wrapped = self
            .material
            .as_ref()
            .ok_or(KeyError::VersionUnusable { state: self.state })?;
        self.key.core.master.unwrap(&self.id, wrapped)
    }

    fn wrong_algorithm(&self) -> KeyError {
        KeyError::WrongAlgorithm {
            algorithm: self.algorithm,
        }
    }

    fn ensure_aes_256(&self) -> Result<(), KeyError> {
        match self.algorithm {
            Algorithm::AES_256 => Ok(()),
            algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
        }
    }
}

fn ensure_aes(algorithm: Algorithm) -> Result<(), KeyError> {
    match algorithm {
        Algorithm::Aes { .. } => Ok(()),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
    }
}

fn ensure_rsa(algorithm: Algorithm) -> Result<(), KeyError> {
    match algorithm {
        Algorithm::Rsa { .. } => Ok(()),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
    }
}

fn hmac_bits(algorithm: Algorithm) -> Result<u16, KeyError> {
    match algorithm {
        Algorithm::Hmac { bits } => Ok(bits),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
    }
}
