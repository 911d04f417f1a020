//! A key in Google Cloud KMS, through the official SDK.

mod client;
mod error;
mod name;
mod retry;

use std::fmt;

use async_trait::async_trait;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::EncryptResponse;
use zeroize::Zeroizing;

pub use client::{ConfigError, CredentialsSource, GcpKekBuilder};
pub use name::NameError;

use self::error::classify;
use self::name::{split_version, version_name};
use super::canonical::CanonicalName;
use super::context::{CallContext, CallKind};
use super::usage::UsageCounter;
use super::{Kek, KekError, KeyVersion, Usage, Wrapped};

/// Maximum requests of an Encrypt while the key rotates.
const WRAP_ATTEMPTS: usize = 3;

/// CRC32C, as in the API's `…_crc32c` fields.
const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// A key.
pub struct GcpKek {
    client: KeyManagementService,
    key: String,
    /// A project may be named by its number.
    canonical_name: CanonicalName,
    context: CallContext,
    usage: UsageCounter,
}

impl fmt::Debug for GcpKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKek")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl GcpKek {
    /// Builds a client for a key, by its resource name.
    pub fn builder(key: impl Into<String>) -> GcpKekBuilder {
        GcpKekBuilder::new(key.into())
    }

    /// Sends a request.
    async fn send<T>(
        &self,
        kind: CallKind,
        call: impl Future<Output = google_cloud_kms_v1::Result<T>>,
    ) -> Result<T, KekError> {
        self.usage.request();
        call.await
            .map_err(|error| classify(&self.context, &error, kind))
    }

    /// Encrypts with the key's primary version; `label` is additional authenticated data.
    async fn encrypt(&self, plaintext: &[u8], label: &[u8]) -> Result<EncryptResponse, KekError> {
        // Encrypting is idempotent, which the SDK does not assume of a POST.
        let call = self
            .client
            .encrypt()
            .set_name(&self.key)
            .set_plaintext(plaintext.to_vec())
            .set_plaintext_crc32c(crc32c(plaintext))
            .set_additional_authenticated_data(label.to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(label))
            .with_idempotency(true)
            .with_attempt_timeout(self.context.timeout / 2);
        let answer = self.send(CallKind::Sealing, call.send()).await?;
        self.usage.encrypted();
        if !answer.verified_plaintext_crc32c
            || !answer.verified_additional_authenticated_data_crc32c
        {
            return Err(checksum_mismatch(
                "Cloud KMS did not confirm the CRC32C of what it was sent",
            ));
        }
        ensure_checksum(&answer.ciphertext, answer.ciphertext_crc32c)?;
        Ok(answer)
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let call = self
            .client
            .decrypt()
            .set_name(&self.key)
            .set_ciphertext(ciphertext.to_vec())
            .set_ciphertext_crc32c(crc32c(ciphertext))
            .set_additional_authenticated_data(label.to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(label))
            .with_idempotency(true)
            .with_attempt_timeout(self.context.timeout / 2);
        let answer = self.send(CallKind::Opening, call.send()).await?;
        self.usage.decrypted();
        ensure_checksum(&answer.plaintext, answer.plaintext_crc32c)?;
        Ok(Zeroizing::new(answer.plaintext.to_vec()))
    }

    /// The version that a response names.
    fn key_version(&self, answer: &EncryptResponse) -> Result<KeyVersion, KekError> {
        let (key, version) = split_version(&answer.name).ok_or_else(|| KekError::Unexpected {
            detail: format!(
                "the answer to Encrypt names {:?}, which is not a version of a key",
                answer.name
            ),
        })?;
        Ok(KeyVersion {
            key: self.canonical_name.set(key),
            version,
        })
    }
}

fn crc32c(bytes: &[u8]) -> i64 {
    i64::from(CRC32C.checksum(bytes))
}

fn ensure_checksum(bytes: &[u8], told: Option<i64>) -> Result<(), KekError> {
    match told {
        Some(told) if told == crc32c(bytes) => Ok(()),
        Some(_) => Err(checksum_mismatch(
            "the answer's bytes have another CRC32C than it says",
        )),
        None => Err(checksum_mismatch(
            "the answer has no CRC32C: the endpoint is another service or an incomplete emulator",
        )),
    }
}

fn checksum_mismatch(what: &str) -> KekError {
    KekError::Unexpected {
        detail: what.to_owned(),
    }
}

#[async_trait]
impl Kek for GcpKek {
    fn provider(&self) -> &'static str {
        "gcp"
    }

    fn endpoint(&self) -> String {
        self.context.endpoint.clone()
    }

    /// From a discarded ciphertext: `cryptoKeyEncrypterDecrypter` does not include the permission
    /// to read the key.
    async fn current(&self) -> Result<KeyVersion, KekError> {
        let answer = self.encrypt(b"which version", b"").await?;
        self.key_version(&answer)
    }

    /// A ciphertext decrypts with its key, whatever version it is from, and the response does not
    /// name the version. Therefore the version's name is additional authenticated data, and a
    /// ciphertext with another version's label does not decrypt. If the key has rotated since
    /// `expected`, the label names the wrong version, and the plaintext is encrypted again.
    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        let mut label = match expected {
            Some(expected) => expected.clone(),
            None => self.current().await?,
        };
        for _ in 0..WRAP_ATTEMPTS {
            let name = version_name(&label.key, &label.version);
            let answer = self.encrypt(plaintext, name.as_bytes()).await?;
            let version = self.key_version(&answer)?;
            if version == label {
                return Ok(Wrapped {
                    ciphertext: answer.ciphertext.to_vec(),
                    version,
                });
            }
            label = version;
        }
        Err(KekError::ServiceError {
            detail: format!(
                "Encrypt was answered {WRAP_ATTEMPTS} times by another version than before"
            ),
        })
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.canonical_name
            .ensure_matches(self, &version.key, &self.key)
            .await?;
        self.decrypt(
            ciphertext,
            version_name(&version.key, &version.version).as_bytes(),
        )
        .await
    }

    fn usage(&self) -> Usage {
        self.usage.usage()
    }
}
