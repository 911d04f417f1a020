//! What keys do. Material is unsealed for the one call and wiped after it.

use zeroize::Zeroizing;

use super::{KeyCore, Sealed};
use crate::{
    AesMode, Algorithm, Key, KeyError, KeyId, PublicKey, Purpose, Realm, RsaPadding, SignInput,
    SignatureAlgorithm, Version, VersionId, aes, asymmetric, kem, material,
};

impl KeyCore {
    /// Seals under the primary version.
    pub fn seal(
        &self,
        realm: &Realm,
        id: &KeyId,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Sealed, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(Purpose::EncryptDecrypt)?;
        self.seal_by(&key, &key.primary()?.id, plaintext, aad)
    }

    /// Seals under a version that the caller names.
    pub fn seal_with(
        &self,
        (realm, id, version): Named<'_>,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Sealed, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(Purpose::EncryptDecrypt)?;
        self.seal_by(&key, version, plaintext, aad)
    }

    fn seal_by(
        &self,
        key: &Key,
        version: &VersionId,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Sealed, KeyError> {
        let version = key.usable_version(version)?;
        only_aes_256(version)?;
        version.protects_at(self.now())?;
        let (nonce, body) = material::seal_with(
            &self.material(version)?,
            self.entropy.as_ref(),
            plaintext,
            aad,
        )?;
        Ok(Sealed {
            version: version.id,
            nonce,
            body,
        })
    }

    /// Opens what a version of the key sealed.
    pub fn open(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        nonce: &[u8; 12],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(Purpose::EncryptDecrypt)?;
        let version = key.usable_version(version)?;
        only_aes_256(version)?;
        material::open_with(&self.material(version)?, nonce, body, aad)
    }

    /// Encrypts with a version's AES key. `iv` has 12 bytes for GCM, 16 for CBC, none for key wrap.
    pub fn encrypt_aes(
        &self,
        (realm, id, version): Named<'_>,
        mode: AesMode,
        iv: &[u8],
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, key) = self.to_protect(realm, id, version, Purpose::EncryptDecrypt)?;
        only_aes(algorithm)?;
        aes::encrypt(&key, mode, iv, plaintext, aad)
    }

    /// Decrypts with a version's AES key.
    pub fn decrypt_aes(
        &self,
        (realm, id, version): Named<'_>,
        mode: AesMode,
        iv: &[u8],
        body: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, key) = self.to_use(realm, id, version, Purpose::EncryptDecrypt)?;
        only_aes(algorithm)?;
        aes::decrypt(&key, mode, iv, body, aad)
    }

    /// Encrypts to a version's RSA public key.
    pub fn encrypt_rsa(
        &self,
        (realm, id, version): Named<'_>,
        padding: RsaPadding,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, private) = self.to_protect(realm, id, version, Purpose::EncryptDecrypt)?;
        only_rsa(algorithm)?;
        asymmetric::rsa_encrypt(&private, padding, plaintext)
    }

    /// Decrypts with a version's RSA private key.
    pub fn decrypt_rsa(
        &self,
        (realm, id, version): Named<'_>,
        padding: RsaPadding,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) = self.to_use(realm, id, version, Purpose::EncryptDecrypt)?;
        only_rsa(algorithm)?;
        asymmetric::rsa_decrypt(&private, padding, body)
    }

    /// The shared secret of a ciphertext that was encapsulated to a version's public key.
    pub fn decapsulate(
        &self,
        (realm, id, version): Named<'_>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) = self.to_use(realm, id, version, Purpose::Encapsulation)?;
        let Algorithm::Kem(kem) = algorithm else {
            return Err(KeyError::WrongAlgorithm { algorithm });
        };
        kem::decapsulate(kem, &private, ciphertext)
    }

    /// Opens what was wrapped to a version's RSA public key by way of an AES key
    /// (CKM_RSA_AES_KEY_WRAP of PKCS #11): a block that holds the AES key, then the rest under it
    /// by key wrap with padding (RFC 5649).
    pub fn unwrap_rsa_aes(
        &self,
        (realm, id, version): Named<'_>,
        padding: RsaPadding,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (algorithm, private) = self.to_use(realm, id, version, Purpose::EncryptDecrypt)?;
        let Algorithm::Rsa { bits } = algorithm else {
            return Err(KeyError::WrongAlgorithm { algorithm });
        };
        let (block, rest) = wrapped
            .split_at_checked(usize::from(bits) / 8)
            .ok_or(KeyError::DoesNotOpen)?;
        let kek = asymmetric::rsa_decrypt(&private, padding, block)?;
        aes::unwrap_padded(&kek, rest)
    }

    /// Signs; ECDSA signatures are DER.
    pub fn sign(
        &self,
        (realm, id, version): Named<'_>,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, private) = self.to_protect(realm, id, version, Purpose::SignVerify)?;
        asymmetric::sign(algorithm, &private, how, input)
    }

    /// Whether a signature is the version's over that input.
    pub fn verify(
        &self,
        (realm, id, version): Named<'_>,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        let (algorithm, private) = self.to_use(realm, id, version, Purpose::SignVerify)?;
        asymmetric::verify(algorithm, &private, how, input, signature)
    }

    /// The authentication code of a message.
    pub fn mac(
        &self,
        (realm, id, version): Named<'_>,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, secret) = self.to_protect(realm, id, version, Purpose::Mac)?;
        asymmetric::mac(hmac_bits(algorithm)?, &secret, message)
    }

    /// Whether `tag` is the authentication code of a message.
    pub fn verify_mac(
        &self,
        (realm, id, version): Named<'_>,
        message: &[u8],
        tag: &[u8],
    ) -> Result<bool, KeyError> {
        let (algorithm, secret) = self.to_use(realm, id, version, Purpose::Mac)?;
        asymmetric::mac_holds(hmac_bits(algorithm)?, &secret, message, tag)
    }

    /// A version's public key; of a disabled one too, since it is public.
    pub fn public_key(&self, (realm, id, version): Named<'_>) -> Result<PublicKey, KeyError> {
        let key = self.key(realm, id)?;
        let version = key.version(version).ok_or(KeyError::VersionNotFound)?;
        asymmetric::public_key(version.algorithm, &self.material(version)?)
    }

    /// What opens, decrypts and verifies: a version that is enabled, whatever its dates.
    fn to_use(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        purpose: Purpose,
    ) -> Result<Usable, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(purpose)?;
        let version = key.usable_version(version)?;
        Ok((version.algorithm, self.material(version)?))
    }

    /// What encrypts and signs: its time must be now as well.
    fn to_protect(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        purpose: Purpose,
    ) -> Result<Usable, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(purpose)?;
        let version = key.usable_version(version)?;
        version.protects_at(self.now())?;
        Ok((version.algorithm, self.material(version)?))
    }

    fn material(&self, version: &Version) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let sealed = version.material.as_ref().ok_or(KeyError::VersionUnusable {
            state: version.state,
        })?;
        self.master.unseal(&version.id, sealed)
    }
}

/// One version of a key in its realm.
pub type Named<'a> = (&'a Realm, &'a KeyId, &'a VersionId);
type Usable = (Algorithm, Zeroizing<Vec<u8>>);

fn only_aes_256(version: &Version) -> Result<(), KeyError> {
    match version.algorithm {
        Algorithm::AES_256 => Ok(()),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
    }
}

fn only_aes(algorithm: Algorithm) -> Result<(), KeyError> {
    match algorithm {
        Algorithm::Aes { .. } => Ok(()),
        algorithm => Err(KeyError::WrongAlgorithm { algorithm }),
    }
}

fn only_rsa(algorithm: Algorithm) -> Result<(), KeyError> {
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
