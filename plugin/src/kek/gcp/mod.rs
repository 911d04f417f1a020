//! A key in Google Cloud KMS, through the official SDK.

mod client;
mod errors;
mod name;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::EncryptResponse;
use zeroize::Zeroizing;

pub use client::{ConfigError, CredentialsSource, GcpKekBuilder};
pub use name::NameError;

use self::errors::meaning;
use self::name::{split_version, version_name};
use super::known_as::KnownAs;
use super::origin::{Doing, Origin};
use super::{Kek, KekError, KeyVersion, Wrapped, same};

/// CRC-32C, as Google's API reference names it for its `…_crc32c` fields.
const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// One key. Every call has its own deadline, retries included.
pub struct GcpKek {
    client: KeyManagementService,
    key: String,
    /// A project may be named by its number.
    known_as: KnownAs,
    origin: Origin,
    requests: Arc<AtomicU64>,
}

impl fmt::Debug for GcpKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKek")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl GcpKek {
    /// A client for a key, by its resource name.
    pub fn builder(key: impl Into<String>) -> GcpKekBuilder {
        GcpKekBuilder::new(key.into())
    }

    /// Runs a call within its deadline.
    async fn run<T>(
        &self,
        doing: Doing,
        call: impl Future<Output = google_cloud_kms_v1::Result<T>>,
    ) -> Result<T, KekError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(self.origin.timeout, call).await {
            Ok(answered) => answered.map_err(|error| meaning(&self.origin, &error, doing)),
            Err(_) => Err(self.origin.too_late()),
        }
    }

    /// Seals under a key's primary version or under the one that is named; `label` goes into the
    /// ciphertext.
    async fn seal(
        &self,
        name: &str,
        plaintext: &[u8],
        label: &[u8],
    ) -> Result<EncryptResponse, KekError> {
        // Calls that only compute can be made again, which the SDK does not assume of a POST.
        let call = self
            .client
            .encrypt()
            .set_name(name)
            .set_plaintext(plaintext.to_vec())
            .set_plaintext_crc32c(crc32c(plaintext))
            .set_additional_authenticated_data(label.to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(label))
            .with_idempotency(true)
            .with_attempt_timeout(self.origin.timeout / 2);
        let answer = self.run(Doing::Sealing, call.send()).await?;
        if !answer.verified_plaintext_crc32c
            || !answer.verified_additional_authenticated_data_crc32c
        {
            return Err(damaged(
                "Cloud KMS did not confirm the CRC32C of what it was sent",
            ));
        }
        same_crc(&answer.ciphertext, answer.ciphertext_crc32c)?;
        Ok(answer)
    }

    async fn open(&self, ciphertext: &[u8], label: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let call = self
            .client
            .decrypt()
            .set_name(&self.key)
            .set_ciphertext(ciphertext.to_vec())
            .set_ciphertext_crc32c(crc32c(ciphertext))
            .set_additional_authenticated_data(label.to_vec())
            .set_additional_authenticated_data_crc32c(crc32c(label))
            .with_idempotency(true)
            .with_attempt_timeout(self.origin.timeout / 2);
        let answer = self.run(Doing::Opening, call.send()).await?;
        same_crc(&answer.plaintext, answer.plaintext_crc32c)?;
        Ok(Zeroizing::new(answer.plaintext.to_vec()))
    }

    /// The version that an answer names.
    fn version_of(&self, answer: &EncryptResponse) -> Result<KeyVersion, KekError> {
        let (key, version) = split_version(&answer.name).ok_or_else(|| KekError::Unexpected {
            detail: format!(
                "the answer to Encrypt names {:?}, which is no version of a key",
                answer.name
            ),
        })?;
        Ok(KeyVersion {
            key: self.known_as.learn(key),
            version,
        })
    }
}

fn crc32c(bytes: &[u8]) -> i64 {
    i64::from(CRC32C.checksum(bytes))
}

fn same_crc(bytes: &[u8], told: Option<i64>) -> Result<(), KekError> {
    match told {
        Some(told) if told == crc32c(bytes) => Ok(()),
        Some(_) => Err(damaged(
            "the answer's bytes have another CRC32C than it says",
        )),
        None => Err(damaged(
            "the answer has no CRC32C: the endpoint is another service or an incomplete emulator",
        )),
    }
}

fn damaged(what: &str) -> KekError {
    KekError::Unexpected {
        detail: what.to_owned(),
    }
}

#[async_trait]
impl Kek for GcpKek {
    fn provider(&self) -> &'static str {
        "gcp"
    }

    /// From a ciphertext that nobody needs: to look at the key takes a permission that
    /// `cryptoKeyEncrypterDecrypter` does not have.
    async fn current(&self) -> Result<KeyVersion, KekError> {
        let answer = self.seal(&self.key, b"which version", b"").await?;
        self.version_of(&answer)
    }

    /// A ciphertext opens under its key, whichever version it is from, and the answer does not say
    /// which. So the version's name goes into it as additional authenticated data, and a label that
    /// was exchanged for another's does not open it.
    async fn wrap(&self, plaintext: &[u8]) -> Result<Wrapped, KekError> {
        let version = self.current().await?;
        let name = version_name(&version.key, &version.version);
        let answer = self.seal(&name, plaintext, name.as_bytes()).await?;
        if self.version_of(&answer)? != version {
            let detail = format!("Encrypt with {name} was answered by {}", answer.name);
            return Err(KekError::Unexpected { detail });
        }
        let ciphertext = answer.ciphertext.to_vec();
        let opened = self.open(&ciphertext, name.as_bytes()).await?;
        same(&opened, plaintext)?;
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
        self.known_as.check(self, &version.key, &self.key).await?;
        self.open(
            ciphertext,
            version_name(&version.key, &version.version).as_bytes(),
        )
        .await
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
