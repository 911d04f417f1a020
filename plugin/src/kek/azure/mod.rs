//! A key in Azure Key Vault, through the official SDK.

mod azure_json;
mod client;
mod cloud;
mod error;
mod login;
mod name;
mod token;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, KeyClientEncryptOptions, KeyClientWrapKeyOptions, KeyOperationParameters,
    KeyOperationResult,
};
use zeroize::Zeroizing;

pub use azure_json::ConfigFileError;
pub use client::{AuthMethod, AzureKekBuilder, ConfigError};
pub use name::{NameError, Vault};

use self::error::classify;
use self::name::{KeyName, split_kid};
use super::canonical::CanonicalName;
use super::context::{CallContext, CallKind};
use super::usage::UsageCounter;
use super::{Kek, KekError, KeyVersion, Usage, Wrapped};

/// Limit of RSA-OAEP-256 with the smallest key: 2048 bits minus two hashes and two bytes. Larger
/// keys allow more, but reading the key's size needs a permission that the guide does not grant.
const MAX_PLAINTEXT_LEN: usize = 256 - 2 * 32 - 2;

/// A key.
pub struct AzureKek {
    client: KeyClient,
    name: KeyName,
    /// Whether to use `wrapKey` and `unwrapKey` instead of `encrypt` and `decrypt`, found out by
    /// trying. The ciphertexts are the same.
    use_wrap_key: AtomicBool,
    /// A vault may be reached by another URL than its own.
    canonical_name: CanonicalName,
    context: CallContext,
    usage: UsageCounter,
}

impl fmt::Debug for AzureKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKek")
            .field("name", &self.name)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl AzureKek {
    /// Builds a client for a key.
    pub fn builder(vault: Vault, key: impl Into<String>) -> AzureKekBuilder {
        AzureKekBuilder::new(vault, key.into())
    }

    /// Runs a call with the operations that worked last; if those are denied, with the others.
    async fn run(
        &self,
        kind: CallKind,
        version: Option<&str>,
        value: &[u8],
    ) -> Result<KeyOperationResult, KekError> {
        let wraps = self.use_wrap_key.load(Ordering::Relaxed);
        let denied = match self.call(kind, wraps, version, value).await {
            Err(denied @ KekError::Denied { .. }) => denied,
            answered => return answered,
        };
        match self.call(kind, !wraps, version, value).await {
            Err(KekError::Denied { .. }) => Err(denied),
            answered => {
                if answered.is_ok() {
                    self.use_wrap_key.store(!wraps, Ordering::Relaxed);
                }
                answered
            }
        }
    }

    async fn call(
        &self,
        kind: CallKind,
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
            match (kind, wraps) {
                (CallKind::Sealing, false) => {
                    let options = KeyClientEncryptOptions {
                        key_version: version,
                        ..Default::default()
                    };
                    self.client
                        .encrypt(key, parameters, Some(options))
                        .await?
                        .into_model()
                }
                (CallKind::Sealing, true) => {
                    let options = KeyClientWrapKeyOptions {
                        key_version: version,
                        ..Default::default()
                    };
                    self.client
                        .wrap_key(key, parameters, Some(options))
                        .await?
                        .into_model()
                }
                (CallKind::Opening, false) => {
                    let version = version.unwrap_or_default();
                    self.client
                        .decrypt(key, &version, parameters, None)
                        .await?
                        .into_model()
                }
                (CallKind::Opening, true) => {
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
            .map_err(|error: azure_core::Error| classify(&self.context, &error, kind, named))
    }

    async fn encrypt(&self, plaintext: &[u8]) -> Result<Wrapped, KekError> {
        let answer = self
            .run(CallKind::Sealing, self.name.version.as_deref(), plaintext)
            .await?;
        self.usage.encrypted();
        let ciphertext = answer.result.ok_or_else(|| missing_field("value"))?;
        let kid = answer.kid.ok_or_else(|| missing_field("kid"))?;
        let (key, version) = split_kid(&kid).ok_or_else(|| KekError::Unexpected {
            detail: format!("the vault's answer names {kid:?}, which is not a version of a key"),
        })?;
        let key = self.canonical_name.set(key);
        Ok(Wrapped {
            ciphertext,
            version: KeyVersion { key, version },
        })
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        version: &str,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let answer = self
            .run(CallKind::Opening, Some(version), ciphertext)
            .await?;
        self.usage.decrypted();
        Ok(Zeroizing::new(
            answer.result.ok_or_else(|| missing_field("value"))?,
        ))
    }
}

fn missing_field(field: &str) -> KekError {
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

    fn endpoint(&self) -> String {
        self.context.endpoint.clone()
    }

    fn max_plaintext(&self) -> usize {
        MAX_PLAINTEXT_LEN
    }

    /// From a discarded ciphertext: reading the key needs a permission that the guide does not
    /// grant.
    async fn current(&self) -> Result<KeyVersion, KekError> {
        Ok(self.encrypt(b"which version").await?.version)
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        _expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        self.encrypt(plaintext).await
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.canonical_name
            .ensure_matches(
                self,
                &version.key,
                &self.name.display_name().to_ascii_lowercase(),
            )
            .await?;
        // A ciphertext does not contain its version; it decrypts with its own version only.
        self.decrypt(ciphertext, &version.version).await
    }

    fn usage(&self) -> Usage {
        self.usage.usage()
    }
}
