//! Cryptographic operations. Key material is unwrapped for one call and zeroized after it.

use zeroize::Zeroizing;

use super::{Ciphertext, KeyCore};
use crate::{
    AesMode, Algorithm, Key, KeyError, KeyId, PublicKey, Purpose, Realm, RsaPadding, SignInput,
    SignatureAlgorithm, Version, VersionId, aes, asymmetric, kem, material,
};

impl KeyCore {
    /// Encrypts with AES-256-GCM under the primary version.
    pub fn encrypt(
        &self,
        realm: &Realm,
        id: &KeyId,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Ciphertext, KeyError> {
        let key = self.key(realm, id)?;
        key.ensure_usable_for(Purpose::EncryptDecrypt)?;
        self.encrypt_as(&key, &key.primary()?.id, plaintext, aad)
    }

    /// Encrypts with AES-256-GCM under the given version.
    pub fn encrypt_with_version(
        &self,
        (realm, id, version): VersionRef<'_>,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Ciphertext, KeyError> {
        let key = self.key(realm, id)?;
        key.ensure_usable_for(Purpose::EncryptDecrypt)?;
        self.encrypt_as(&key, version, plaintext, aad)
    }

    fn encrypt_as(
        &self,
        key: &Key,
        version: &VersionId,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Ciphertext, KeyError> {
        let version = key.usable_version(version)?;
        ensure_aes_256(version)?;
        version.ensure_valid_at(self.now())?;
        let (nonce, body) = material::encrypt_gcm(
            &self.material(version)?,
            self.entropy.as_ref(),
            plaintext,
            aad,
        )?;
        Ok(Ciphertext {
            version: version.id,
            nonce,
            body,
        })
    }

    /// Decrypts a [`Ciphertext`] of the given version.
    pub fn decrypt(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        nonce: &[u8; 12],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.key(realm, id)?;
        key.ensure_usable_for(Purpose::EncryptDecrypt)?;
        let version = key.usable_version(version)?;
        ensure_aes_256(version)?;
        material::decrypt_gcm(&self.material(version)?, nonce, body, aad)
    }

    /// Encrypts with a version's AES key. `iv` has 12 bytes for GCM, 16 for CBC and CTR, and none
    /// for key wrap.
    pub fn encrypt_aes(
        &self,
        (realm, id, version): VersionRef<'_>,
        mode: AesMode,
        iv: &[u8],
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, key) =
            self.material_for_encrypt(realm, id, version, Purpose::EncryptDecrypt)?;
        ensure_aes(algorithm)?;
        aes::encrypt(&key, mode, iv, plaintext, aad)
    }

    /// Decrypts with a version's AES key; `iv` as in [`Self::encrypt_aes`].
    pub fn decrypt_aes(
        &self,
        (realm, id, version): VersionRef<'_>,
        mode: AesMode,
        iv: &[u8],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, key) =
            self.material_for_decrypt(realm, id, version, Purpose::EncryptDecrypt)?;
        ensure_aes(algorithm)?;
        aes::decrypt(&key, mode, iv, body, aad)
    }

    /// Encrypts with a version's RSA public key.
    pub fn encrypt_rsa(
        &self,
        (realm, id, version): VersionRef<'_>,
        padding: RsaPadding,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, private) =
            self.material_for_encrypt(realm, id, version, Purpose::EncryptDecrypt)?;
        ensure_rsa(algorithm)?;
        asymmetric::rsa_encrypt(&private, padding, plaintext)
    }

    /// Decrypts with a version's RSA private key.
    pub fn decrypt_rsa(
        &self,
        (realm, id, version): VersionRef<'_>,
        padding: RsaPadding,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) =
            self.material_for_decrypt(realm, id, version, Purpose::EncryptDecrypt)?;
        ensure_rsa(algorithm)?;
        asymmetric::rsa_decrypt(&private, padding, body)
    }

    /// Returns the shared secret that was encapsulated to a version's public key.
    pub fn decapsulate(
        &self,
        (realm, id, version): VersionRef<'_>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) =
            self.material_for_decrypt(realm, id, version, Purpose::Encapsulation)?;
        let Algorithm::Kem(kem) = algorithm else {
            return Err(KeyError::WrongAlgorithm { algorithm });
        };
        kem::decapsulate(kem, &private, ciphertext)
    }

    /// Unwraps CKM_RSA_AES_KEY_WRAP of PKCS #11: an RSA block that holds an AES key, followed by
    /// the target key under that AES key by key wrap with padding (RFC 5649).
    pub fn unwrap_rsa_aes(
        &self,
        (realm, id, version): VersionRef<'_>,
        padding: RsaPadding,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) =
            self.material_for_decrypt(realm, id, version, Purpose::EncryptDecrypt)?;
        let Algorithm::Rsa { bits } = algorithm else {
            return Err(KeyError::WrongAlgorithm { algorithm });
        };
        let (block, rest) = wrapped
            .split_at_checked(usize::from(bits) / 8)
            .ok_or(KeyError::DecryptionFailed)?;
        let kek = asymmetric::rsa_decrypt(&private, padding, block)?;
        aes::unwrap_padded(&kek, rest)
    }

    /// Signs. ECDSA signatures are DER unless `how` is [`SignatureAlgorithm::EcdsaFixed`].
    pub fn sign(
        &self,
        (realm, id, version): VersionRef<'_>,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, private) =
            self.material_for_encrypt(realm, id, version, Purpose::SignVerify)?;
        asymmetric::sign(algorithm, &private, how, input)
    }

    /// Reports whether `signature` is valid for `input`.
    pub fn verify(
        &self,
        (realm, id, version): VersionRef<'_>,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        let (algorithm, private) =
            self.material_for_decrypt(realm, id, version, Purpose::SignVerify)?;
        asymmetric::verify(algorithm, &private, how, input, signature)
    }

    /// Returns the message authentication code of `message`.
    pub fn mac(
        &self,
        (realm, id, version): VersionRef<'_>,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, secret) = self.material_for_encrypt(realm, id, version, Purpose::Mac)?;
        asymmetric::mac(hmac_bits(algorithm)?, &secret, message)
    }

    /// Reports whether `tag` is the message authentication code of `message`.
    pub fn verify_mac(
        &self,
        (realm, id, version): VersionRef<'_>,
        message: &[u8],
        tag: &[u8],
    ) -> Result<bool, KeyError> {
        let (algorithm, secret) = self.material_for_decrypt(realm, id, version, Purpose::Mac)?;
        asymmetric::verify_mac(hmac_bits(algorithm)?, &secret, message, tag)
    }

    /// Returns a version's public key, whatever the state of the version.
    pub fn public_key(&self, (realm, id, version): VersionRef<'_>) -> Result<PublicKey, KeyError> {
        let key = self.key(realm, id)?;
        let version = key.version(version).ok_or(KeyError::VersionNotFound)?;
        asymmetric::public_key(version.algorithm, &self.material(version)?)
    }

    /// Material to decrypt and verify: the version must be enabled, its dates do not matter.
    fn material_for_decrypt(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        purpose: Purpose,
    ) -> Result<UsableMaterial, KeyError> {
        let key = self.key(realm, id)?;
        key.ensure_usable_for(purpose)?;
        let version = key.usable_version(version)?;
        Ok((version.algorithm, self.material(version)?))
    }

    /// Material to encrypt and sign: the version must be enabled and within its dates.
    fn material_for_encrypt(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        purpose: Purpose,
    ) -> Result<UsableMaterial, KeyError> {
        let key = self.key(realm, id)?;
        key.ensure_usable_for(purpose)?;
        let version = key.usable_version(version)?;
        version.ensure_valid_at(self.now())?;
        Ok((version.algorithm, self.material(version)?))
    }

    fn material(&self, version: &Version) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let wrapped = version.material.as_ref().ok_or(KeyError::VersionUnusable {
            state: version.state,
        })?;
        self.master.unwrap(&version.id, wrapped)
    }
}

/// A version of a key in a realm.
pub type VersionRef<'a> = (&'a Realm, &'a KeyId, &'a VersionId);
type UsableMaterial = (Algorithm, Zeroizing<Vec<u8>>);

fn ensure_aes_256(version: &Version) -> Result<(), KeyError> {
    match version.algorithm {
        Algorithm::AES_256 => Ok(()),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
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
