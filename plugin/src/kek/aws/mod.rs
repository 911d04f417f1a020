//! A key in AWS KMS, through the official SDK.

mod client;
mod error;
mod name;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::{Blob, DateTimeFormat};
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType};
use kmslab_kmsv2::label::canonical_arn;
use zeroize::Zeroizing;

pub use client::{AwsKekBuilder, ConfigError};
pub use name::{NameError, region_of_key_arn};

use self::error::classify;
use self::name::KeyName;
use super::context::CallContext;
use super::usage::UsageCounter;
use super::{Kek, KekError, KeyVersion, Subject, Usage, Wrapped, ensure_roundtrip};

/// A KMS key.
#[derive(Debug)]
pub struct AwsKek {
    client: Client,
    name: KeyName,
    /// ARN of the configured key, once known.
    arn: ArcSwapOption<String>,
    context: CallContext,
    usage: UsageCounter,
}

impl AwsKek {
    /// Builds a client for `key`: the ARN of a key or an alias, `alias/<name>`, or a key id.
    pub fn builder(key: impl Into<String>) -> AwsKekBuilder {
        AwsKekBuilder::new(key.into())
    }

    async fn describe(&self) -> Result<KeyMetadata, KekError> {
        let described = self
            .client
            .describe_key()
            .key_id(self.name.given())
            .send()
            .await;
        let described = described.map_err(|err| classify(&self.context, &err))?;
        let metadata = described
            .key_metadata
            .ok_or_else(|| missing_field("DescribeKey", "KeyMetadata"))?;
        if let Some(arn) = &metadata.arn {
            self.set_arn(arn);
        }
        Ok(metadata)
    }

    fn set_arn(&self, arn: &str) {
        if self.arn.load().as_deref().is_none_or(|known| known != arn) {
            self.arn.store(Some(Arc::new(arn.to_owned())));
        }
    }

    /// Returns the ARN of the configured key, resolving it once if needed.
    async fn arn(&self) -> Result<String, KekError> {
        if let Some(arn) = self.name.key_arn() {
            return Ok(arn.to_owned());
        }
        if let Some(arn) = self.arn.load_full() {
            return Ok(arn.to_string());
        }
        self.describe()
            .await?
            .arn
            .ok_or_else(|| missing_field("DescribeKey", "Arn"))
    }

    /// Decrypts with the given key only; returns the plaintext and the key material used.
    async fn decrypt(
        &self,
        ciphertext: &[u8],
        arn: &str,
    ) -> Result<(Zeroizing<Vec<u8>>, KeyVersion), KekError> {
        let decrypted = self
            .client
            .decrypt()
            .key_id(arn)
            .ciphertext_blob(Blob::new(ciphertext))
            .send()
            .await;
        let decrypted = decrypted.map_err(|err| classify(&self.context, &err))?;
        self.usage.decrypted();
        let plaintext = Zeroizing::new(
            decrypted
                .plaintext
                .ok_or_else(|| missing_field("Decrypt", "Plaintext"))?
                .into_inner(),
        );
        let key = decrypted
            .key_id
            .ok_or_else(|| missing_field("Decrypt", "KeyId"))?;
        let version = decrypted
            .key_material_id
            .ok_or_else(|| missing_field("Decrypt", "KeyMaterialId"))?;
        Ok((
            plaintext,
            KeyVersion {
                key: canonical_arn(&key),
                version,
            },
        ))
    }
}

/// The endpoint is not KMS, or an emulator that omits a field that KMS returns since June 2025.
fn missing_field(operation: &str, field: &str) -> KekError {
    KekError::Unexpected {
        detail: format!(
            "{operation} answered without {field}, which AWS KMS always names: the endpoint is another service or an incomplete emulator"
        ),
    }
}

#[async_trait]
impl Kek for AwsKek {
    fn provider(&self) -> &'static str {
        "aws"
    }

    fn endpoint(&self) -> String {
        self.context.endpoint.clone()
    }

    async fn current(&self) -> Result<KeyVersion, KekError> {
        let metadata = self.describe().await?;
        let key = metadata
            .arn
            .as_deref()
            .ok_or_else(|| missing_field("DescribeKey", "Arn"))?;
        check_usable(key, &metadata)?;
        let version = metadata
            .current_key_material_id
            .clone()
            .ok_or_else(|| missing_field("DescribeKey", "CurrentKeyMaterialId"))?;
        Ok(KeyVersion {
            key: canonical_arn(key),
            version,
        })
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        _expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        let encrypted = self
            .client
            .encrypt()
            .key_id(self.name.given())
            .plaintext(Blob::new(plaintext))
            .send()
            .await;
        let encrypted = encrypted.map_err(|err| classify(&self.context, &err))?;
        self.usage.encrypted();
        let arn = encrypted
            .key_id
            .ok_or_else(|| missing_field("Encrypt", "KeyId"))?;
        let ciphertext = encrypted
            .ciphertext_blob
            .ok_or_else(|| missing_field("Encrypt", "CiphertextBlob"))?
            .into_inner();
        self.set_arn(&arn);
        // Encrypt does not return the key material that it used; only Decrypt does.
        let (decrypted, version) = self.decrypt(&ciphertext, &arn).await?;
        ensure_roundtrip(&decrypted, plaintext)?;
        Ok(Wrapped {
            ciphertext,
            version,
        })
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let arn = self.arn().await?;
        if canonical_arn(&arn) != version.key {
            return Err(KekError::WrongKey {
                expected: version.key.clone(),
                configured: arn,
            });
        }
        let (plaintext, opened_by) = self.decrypt(ciphertext, &arn).await?;
        if opened_by != *version {
            return Err(KekError::Corrupt {
                detail: format!(
                    "labelled with key material {}, opened by {}",
                    version.version, opened_by.version
                ),
            });
        }
        Ok(plaintext)
    }

    fn usage(&self) -> Usage {
        self.usage.usage()
    }
}

fn check_usable(key: &str, metadata: &KeyMetadata) -> Result<(), KekError> {
    let key = Subject::from(key);
    match metadata.key_state() {
        Some(KeyState::Disabled) => return Err(KekError::Disabled { key }),
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            let date = metadata
                .deletion_date()
                .and_then(|date| date.fmt(DateTimeFormat::DateTime).ok());
            return Err(KekError::PendingDeletion {
                key,
                when: date.map(|date| format!(" on {date}")).unwrap_or_default(),
            });
        }
        Some(KeyState::PendingImport) => {
            return Err(KekError::Unusable {
                key,
                detail: "it waits for the import of its key material".into(),
            });
        }
        _ => {}
    }
    let spec = metadata.key_spec().unwrap_or(&KeySpec::SymmetricDefault);
    let usage = metadata
        .key_usage()
        .unwrap_or(&KeyUsageType::EncryptDecrypt);
    if *spec != KeySpec::SymmetricDefault || *usage != KeyUsageType::EncryptDecrypt {
        let detail = format!(
            "its KeySpec is {} and its KeyUsage {}, needed are SYMMETRIC_DEFAULT and ENCRYPT_DECRYPT",
            spec.as_str(),
            usage.as_str()
        );
        return Err(KekError::Unusable { key, detail });
    }
    Ok(())
}
