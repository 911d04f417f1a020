//! The key-encryption key in a cloud: one trait, one module per cloud, and one error type.

pub mod aws;
pub mod azure;
mod canonical;
mod context;
mod deadline;
pub mod gcp;
mod metered;
mod renewing;
mod tls;
mod usage;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use deadline::Deadline;
pub use kmslab_kmsv2::label::KeyVersion;
pub(crate) use metered::Metered;
pub(crate) use renewing::Renewing;
pub use tls::CaFileError;
pub use usage::Usage;

/// A ciphertext with the version that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The cloud's ciphertext.
    pub ciphertext: Vec<u8>,
    /// The version that decrypts it, as returned by the cloud after encrypting.
    pub version: KeyVersion,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field(
                "ciphertext",
                &format_args!("<{} bytes>", self.ciphertext.len()),
            )
            .field("version", &self.version)
            .finish()
    }
}

/// One configured key in one cloud.
#[async_trait]
pub trait Kek: Send + Sync + fmt::Debug {
    /// The cloud's name in key ids: `aws`, `azure`, `gcp`.
    fn provider(&self) -> &'static str;

    /// The endpoint that errors name.
    fn endpoint(&self) -> String {
        self.provider().to_owned()
    }

    /// Maximum length in bytes of the plaintext of [`Kek::wrap`].
    fn max_plaintext(&self) -> usize {
        4096
    }

    /// Returns the version that would encrypt now. Fails if the key is of the wrong kind or state.
    async fn current(&self) -> Result<KeyVersion, KekError>;

    /// Encrypts, and returns the version that the cloud named for it. `expected` is the version
    /// that the caller takes for the current one, if it knows any; knowing it saves some clouds a
    /// request. The result may be of another version.
    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError>;

    /// Decrypts `ciphertext`, which `version` must have encrypted. Another key than the configured
    /// one fails with [`KekError::WrongKey`] without a call to the cloud.
    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError>;

    /// How often the key was used so far.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// The key or version that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The key.
    pub key: String,
    /// The version, if the error concerns it alone and others can be used.
    pub version: Option<String>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "version {version} of the key {}", self.key),
            None => write!(f, "the key {}", self.key),
        }
    }
}

impl<T: Into<String>> From<T> for Subject {
    fn from(key: T) -> Self {
        Self {
            key: key.into(),
            version: None,
        }
    }
}

/// Errors by meaning; `Display` names cause and remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// The key is disabled.
    #[error(
        "{key} is disabled: enable it again; until then nothing can be written or read with it"
    )]
    Disabled {
        /// The key or version.
        key: Subject,
    },
    /// The key is pending deletion.
    #[error(
        "{key} is pending deletion{when}: cancel the deletion and enable it before everything under it is lost"
    )]
    PendingDeletion {
        /// The key or version.
        key: Subject,
        /// ` at <time>`, if the cloud returns it.
        when: String,
    },
    /// The key does not exist.
    #[error(
        "{key} was not found ({detail}): check its name, and the region and account, the vault or the key ring that it is in; if it was deleted, recover it while that is \
         possible, else what it encrypted is lost and a new key is needed"
    )]
    NotFound {
        /// The key or version.
        key: Subject,
        /// The cloud's message.
        detail: String,
    },
    /// The caller may not use the key.
    #[error(
        "access to the key {key} is denied ({detail}): allow the plugin's identity to encrypt and decrypt with it"
    )]
    Denied {
        /// The key.
        key: String,
        /// The cloud's message.
        detail: String,
    },
    /// The key exists but is of the wrong kind.
    #[error("{key} cannot be used for this: {detail}; give a key that encrypts and decrypts")]
    Unusable {
        /// The key or version.
        key: Subject,
        /// What is wrong.
        detail: String,
    },
    /// The data was encrypted with another key than the configured one.
    #[error(
        "the data was encrypted with the key {expected}, but this plugin is configured for {configured}: \
         run a plugin for {expected} under another provider name to read it"
    )]
    WrongKey {
        /// The key that the data names.
        expected: String,
        /// The configured key.
        configured: String,
    },
    /// The ciphertext was changed, or was not made by the version that it is labelled with.
    #[error(
        "the ciphertext does not belong to this key and version ({detail}): the stored value was damaged or relabelled; restore it from a backup"
    )]
    Corrupt {
        /// What does not match.
        detail: String,
    },
    /// The cloud throttles requests.
    #[error(
        "the cloud throttles calls ({detail}): it is tried again; raise the request quota if this lasts"
    )]
    Throttled {
        /// The cloud's message.
        detail: String,
    },
    /// No response in time, or no connection.
    #[error(
        "the cloud's endpoint {endpoint} gave no answer ({detail}): check the network and the endpoint's URL"
    )]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        detail: String,
    },
    /// The endpoint's certificate is not trusted.
    #[error(
        "the certificate of {endpoint} is not trusted ({detail}): give the CA that signed it with --ca-file, for Google in SSL_CERT_FILE, or correct the endpoint URL"
    )]
    Certificate {
        /// The endpoint.
        endpoint: String,
        /// The verification error.
        detail: String,
    },
    /// Credentials are missing or not accepted.
    #[error(
        "the credentials are missing or not accepted ({detail}): give the plugin valid credentials for the key's account"
    )]
    Credentials {
        /// The message.
        detail: String,
    },
    /// The request's time is too far from the cloud's.
    #[error(
        "the cloud refuses the request's time ({detail}): set this machine's clock, it runs ahead or behind"
    )]
    ClockSkew {
        /// The cloud's message.
        detail: String,
    },
    /// The cloud had an internal error.
    #[error("the cloud had an internal error ({detail}): it is tried again")]
    ServiceError {
        /// The cloud's message.
        detail: String,
    },
    /// A response that none of the other variants describes.
    #[error("unexpected answer from the cloud: {detail}")]
    Unexpected {
        /// The response.
        detail: String,
    },
}

/// Fails unless the decrypted bytes equal the encrypted ones.
pub(crate) fn ensure_roundtrip(decrypted: &[u8], encrypted: &[u8]) -> Result<(), KekError> {
    if decrypted == encrypted {
        return Ok(());
    }
    Err(KekError::Unexpected {
        detail: "decrypting a fresh ciphertext gave other bytes than were encrypted".into(),
    })
}

impl KekError {
    fn no_answer_within(timeout: Duration, endpoint: String) -> Self {
        Self::Unreachable {
            endpoint,
            detail: format!("nothing within {timeout:?}"),
        }
    }

    /// Reports whether the cloud answered that the key cannot be used. Waiting does not help then,
    /// so Status fails at once. Other errors may be transient.
    pub fn is_dead_key(&self) -> bool {
        matches!(
            self,
            Self::Disabled { .. }
                | Self::PendingDeletion { .. }
                | Self::NotFound { .. }
                | Self::Denied { .. }
                | Self::Unusable { .. }
        )
    }

    /// The version concerned, if the error is about one version and not the key.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Disabled { key }
            | Self::PendingDeletion { key, .. }
            | Self::NotFound { key, .. }
            | Self::Unusable { key, .. } => key.version.as_deref(),
            _ => None,
        }
    }

    /// The error's label in logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disabled { .. } => "disabled",
            Self::PendingDeletion { .. } => "pending_deletion",
            Self::NotFound { .. } => "gone",
            Self::Denied { .. } => "denied",
            Self::Unusable { .. } => "unusable",
            Self::WrongKey { .. } => "foreign",
            Self::Corrupt { .. } => "corrupt",
            Self::Throttled { .. } => "throttled",
            Self::Unreachable { .. } => "unreachable",
            Self::Certificate { .. } => "certificate",
            Self::Credentials { .. } => "credentials",
            Self::ClockSkew { .. } => "clock_skew",
            Self::ServiceError { .. } => "fault",
            Self::Unexpected { .. } => "unexpected",
        }
    }
}
