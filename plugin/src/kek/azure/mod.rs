//! A key in Azure Key Vault, through the official SDK.

mod azure_json;
mod client;
mod errors;
mod login;
mod name;
mod token;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, KeyClientEncryptOptions, KeyClientWrapKeyOptions, KeyOperationParameters,
    KeyOperationResult,
};
use zeroize::Zeroizing;

pub use client::{AuthMethod, AzureKekBuilder, ConfigError};
pub use name::{NameError, Vault};

use self::errors::meaning;
use self::name::{KeyName, split_kid};
use super::known_as::KnownAs;
use super::origin::{Doing, Origin};
use super::{Kek, KekError, KeyVersion, Wrapped, same};

/// What RSA-OAEP-256 takes with the smallest key that there is: 2048 bits less two hashes and two
/// bytes. A larger key takes more; asking for its size would need a permission that the guide does
/// not grant.
const MAX_PLAINTEXT: usize = 256 - 2 * 32 - 2;

/// One key. Every call has its own deadline, retries included.
pub struct AzureKek {
    client: KeyClient,
    name: KeyName,
    /// Whether `wrapKey` and `unwrapKey` are what this plugin may do, and not `encrypt` and
    /// `decrypt`: found out by trying. The ciphertexts are the same.
    wraps: AtomicBool,
    /// A vault may be reached by another URL than its own.
    known_as: KnownAs,
    origin: Origin,
    requests: Arc<AtomicU64>,
}

impl fmt::Debug for AzureKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKek")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl AzureKek {
    /// A client for a key.
    pub fn builder(vault: Vault, key: impl Into<String>) -> AzureKekBuilder {
        AzureKekBuilder::new(vault, key.into())
    }

    /// Runs a call within its deadline, in the way that worked last; where that is denied, in the
    /// other.
    async fn run(
        &self,
        doing: Doing,
        version: Option<&str>,
        value: &[u8],
    ) -> Result<KeyOperationResult, KekError> {
        let work = async {
            let wraps = self.wraps.load(Ordering::Relaxed);
            let denied = match self.call(doing, wraps, version, value).await {
                Err(denied @ KekError::Denied { .. }) => denied,
                answered => return answered,
            };
            match self.call(doing, !wraps, version, value).await {
                Err(KekError::Denied { .. }) => Err(denied),
                answered => {
                    if answered.is_ok() {
                        self.wraps.store(!wraps, Ordering::Relaxed);
                    }
                    answered
                }
            }
        };
        tokio::time::timeout(self.origin.timeout, work)
            .await
            .unwrap_or_else(|_| Err(self.origin.too_late()))
    }

    async fn call(
        &self,
        doing: Doing,
        wraps: bool,
        version: Option<&str>,
        value: &[u8],
    ) -> Result<KeyOperationResult, KekError> {
        let key = &self.name.key;
        let parameters = KeyOperationParameters {
            algorithm: Some(EncryptionAlgorithm::RsaOaep256),
            value: Some(value.to_vec()),
            ..KeyOperationParameters::default()
        };
        let named = version;
        let answered = async {
            let (parameters, version) = (parameters.try_into()?, version.map(str::to_owned));
            match (doing, wraps) {
                (Doing::Sealing, false) => {
                    let options = KeyClientEncryptOptions {
                        key_version: version,
                        ..Default::default()
                    };
                    self.client
                        .encrypt(key, parameters, Some(options))
                        .await?
                        .into_model()
                }
                (Doing::Sealing, true) => {
                    let options = KeyClientWrapKeyOptions {
                        key_version: version,
                        ..Default::default()
                    };
                    self.client
                        .wrap_key(key, parameters, Some(options))
                        .await?
                        .into_model()
                }
                (Doing::Opening, false) => {
                    let version = version.unwrap_or_default();
                    self.client
                        .decrypt(key, &version, parameters, None)
                        .await?
                        .into_model()
                }
                (Doing::Opening, true) => {
                    let version = version.unwrap_or_default();
                    self.client
                        .unwrap_key(key, &version, parameters, None)
                        .await?
                        .into_model()
                }
            }
        };
        answered
            .await
            .map_err(|error: azure_core::Error| meaning(&self.origin, &error, doing, named))
    }

    async fn seal(&self, plaintext: &[u8]) -> Result<Wrapped, KekError> {
        let answer = self
            .run(Doing::Sealing, self.name.version.as_deref(), plaintext)
            .await?;
        let ciphertext = answer.result.ok_or_else(|| unnamed("value"))?;
        let kid = answer.kid.ok_or_else(|| unnamed("kid"))?;
        let (key, version) = split_kid(&kid).ok_or_else(|| KekError::Unexpected {
            detail: format!("the vault's answer names {kid:?}, which is no version of a key"),
        })?;
        let key = self.known_as.learn(key);
        Ok(Wrapped {
            ciphertext,
            version: KeyVersion { key, version },
        })
    }

    async fn open(&self, ciphertext: &[u8], version: &str) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let answer = self.run(Doing::Opening, Some(version), ciphertext).await?;
        Ok(Zeroizing::new(
            answer.result.ok_or_else(|| unnamed("value"))?,
        ))
    }
}

fn unnamed(field: &str) -> KekError {
    KekError::Unexpected {
        detail: format!(
            "the vault answered without {field}: the endpoint is another service or an incomplete emulator"
        ),
    }
}

#[async_trait]
impl Kek for AzureKek {
    fn provider(&self) -> &'static str {
        "azure"
    }

    fn max_plaintext(&self) -> usize {
        MAX_PLAINTEXT
    }

    /// From a ciphertext that nobody needs: to look at the key takes a permission that the guide
    /// does not grant.
    async fn current(&self) -> Result<KeyVersion, KekError> {
        Ok(self.seal(b"which version").await?.version)
    }

    async fn wrap(&self, plaintext: &[u8]) -> Result<Wrapped, KekError> {
        let wrapped = self.seal(plaintext).await?;
        let opened = self
            .open(&wrapped.ciphertext, &wrapped.version.version)
            .await?;
        same(&opened, plaintext)?;
        Ok(wrapped)
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.known_as
            .check(self, &version.key, &self.name.shown().to_ascii_lowercase())
            .await?;
        // A ciphertext does not say its version: with another than its own it does not open.
        self.open(ciphertext, &version.version).await
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
