//! What keys do. Material is unsealed for the one call and wiped after it.

use zeroize::Zeroizing;

use super::{KeyCore, Sealed};
use crate::{
    Algorithm, Key, KeyError, KeyId, Purpose, Realm, RsaPadding, SignInput, SignatureAlgorithm, Version, VersionId,
    asymmetric, material,
};

impl KeyCore {
    /// Seals under the primary version.
    pub fn seal(&self, realm: &Realm, id: &KeyId, plaintext: &[u8], aad: &[u8]) -> Result<Sealed, KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(Purpose::EncryptDecrypt)?;
        only(&key, Algorithm::Aes256)?;
        let version = key.usable_version(&key.primary)?;
        let (nonce, body) = material::seal_with(&self.material(version)?, self.entropy.as_ref(), plaintext, aad)?;
        Ok(Sealed { version: version.id, nonce, body })
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
        only(&key, Algorithm::Aes256)?;
        material::open_with(&self.material(key.usable_version(version)?)?, nonce, body, aad)
    }

    /// Encrypts to the key's RSA public key.
    pub fn encrypt_rsa(
        &self,
        realm: &Realm,
        id: &KeyId,
        padding: RsaPadding,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (_, private) = self.use_rsa(realm, id)?;
        asymmetric::rsa_encrypt(&private, padding, plaintext)
    }

    /// Decrypts with the key's RSA private key.
    pub fn decrypt_rsa(
        &self,
        realm: &Realm,
        id: &KeyId,
        padding: RsaPadding,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (_, private) = self.use_rsa(realm, id)?;
        asymmetric::rsa_decrypt(&private, padding, body)
    }

    /// Signs; ECDSA signatures are DER.
    pub fn sign(
        &self,
        realm: &Realm,
        id: &KeyId,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
    ) -> Result<Vec<u8>, KeyError> {
        let (algorithm, private) = self.use_for(realm, id, Purpose::SignVerify)?;
        asymmetric::sign(algorithm, &private, how, input)
    }

    /// Whether a signature is the key's over that input.
    pub fn verify(
        &self,
        realm: &Realm,
        id: &KeyId,
        how: SignatureAlgorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        let (algorithm, private) = self.use_for(realm, id, Purpose::SignVerify)?;
        asymmetric::verify(algorithm, &private, how, input, signature)
    }

    /// The authentication code of a message.
    pub fn mac(&self, realm: &Realm, id: &KeyId, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (bits, secret) = self.use_hmac(realm, id)?;
        asymmetric::mac(bits, &secret, message)
    }

    /// Whether `tag` is the authentication code of a message.
    pub fn verify_mac(&self, realm: &Realm, id: &KeyId, message: &[u8], tag: &[u8]) -> Result<bool, KeyError> {
        let (bits, secret) = self.use_hmac(realm, id)?;
        asymmetric::mac_holds(bits, &secret, message, tag)
    }

    /// The public key as SubjectPublicKeyInfo, DER; of a disabled key too, since it is public.
    pub fn public_key(&self, realm: &Realm, id: &KeyId) -> Result<Vec<u8>, KeyError> {
        let key = self.key(realm, id)?;
        asymmetric::public_key(key.algorithm, &self.material(key.primary())?)
    }

    fn use_for(
        &self,
        realm: &Realm,
        id: &KeyId,
        purpose: Purpose,
    ) -> Result<(Algorithm, Zeroizing<Vec<u8>>), KeyError> {
        let key = self.key(realm, id)?;
        key.usable_for(purpose)?;
        Ok((key.algorithm, self.material(key.usable_version(&key.primary)?)?))
    }

    fn use_rsa(&self, realm: &Realm, id: &KeyId) -> Result<(Algorithm, Zeroizing<Vec<u8>>), KeyError> {
        let (algorithm, private) = self.use_for(realm, id, Purpose::EncryptDecrypt)?;
        match algorithm {
            Algorithm::Rsa { .. } => Ok((algorithm, private)),
            _ => Err(KeyError::WrongAlgorithm { algorithm }),
        }
    }

    fn use_hmac(&self, realm: &Realm, id: &KeyId) -> Result<(u16, Zeroizing<Vec<u8>>), KeyError> {
        match self.use_for(realm, id, Purpose::Mac)? {
            (Algorithm::Hmac { bits }, secret) => Ok((bits, secret)),
            (algorithm, _) => Err(KeyError::WrongAlgorithm { algorithm }),
        }
    }

    fn material(&self, version: &Version) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let sealed = version.material.as_ref().ok_or(KeyError::VersionUnusable { state: version.state })?;
        self.master.unseal(&version.id, sealed)
    }
}

fn only(key: &Key, algorithm: Algorithm) -> Result<(), KeyError> {
    if key.algorithm == algorithm { Ok(()) } else { Err(KeyError::WrongAlgorithm { algorithm: key.algorithm }) }
}
