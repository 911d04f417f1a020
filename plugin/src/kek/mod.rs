//! The key-encryption key in a cloud: one trait, one module per cloud, and errors by meaning that
//! every cloud maps its own to.

pub mod aws;
pub mod azure;
pub mod gcp;
mod known_as;
mod origin;
mod renewing;
mod tls;

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub(crate) use renewing::Renewing;
pub use tls::CaFileError;

/// Which material of which key: what a `key_id` stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyVersion {
    /// The key's canonical name: never an alias, the same for every replica of a key.
    pub key: String,
    /// The version of its material.
    pub version: String,
}

/// A ciphertext, and the version that the cloud really sealed it with.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The cloud's ciphertext, as it is.
    pub ciphertext: Vec<u8>,
    /// What the cloud says opens it: asked after sealing, not assumed before.
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

/// One configured key in one cloud. Every call ends within the implementation's own deadline.
#[async_trait]
pub trait Kek: Send + Sync + fmt::Debug {
    /// The cloud's name as it goes into key ids: `aws`, `azure`, `gcp`.
    fn provider(&self) -> &'static str;

    /// Most bytes that one [`Kek::wrap`] takes.
    fn max_plaintext(&self) -> usize {
        4096
    }

    /// The version that the cloud would seal with now, and whether the key is of a usable kind and
    /// state.
    async fn current(&self) -> Result<KeyVersion, KekError>;

    /// Seals, then opens what came out: so that the answer names the version that was really used,
    /// and what cannot be opened again is never handed out.
    async fn wrap(&self, plaintext: &[u8]) -> Result<Wrapped, KekError>;

    /// Opens `ciphertext`, which must have been sealed by `version`. A key other than the
    /// configured one is [`KekError::Foreign`], without a call to the cloud.
    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError>;

    /// Requests that went out to the cloud so far, retries included.
    fn requests(&self) -> u64 {
        0
    }
}

/// A key, or one version of it: what an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which key.
    pub key: String,
    /// Which version, where the trouble is that version's own and others can be used.
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

/// What is wrong, by meaning; `Display` names the cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// The key is disabled.
    #[error(
        "{key} is disabled: enable it again; until then nothing can be written or read with it"
    )]
    Disabled {
        /// Which key or version.
        key: Subject,
    },
    /// The key waits for its deletion.
    #[error(
        "{key} is pending deletion{when}: cancel the deletion and enable it before everything under it is lost"
    )]
    PendingDeletion {
        /// Which key or version.
        key: Subject,
        /// ` at <time>`, where the cloud says so.
        when: String,
    },
    /// There is no such key.
    #[error(
        "{key} was not found ({detail}): check its name, and the region and account, the vault or the key ring that it is in; if it was deleted, recover it while that is \
         possible, else what it encrypted is lost and a new key is needed"
    )]
    Gone {
        /// Which key or version.
        key: Subject,
        /// The cloud's words.
        detail: String,
    },
    /// The caller may not use the key.
    #[error(
        "access to the key {key} is denied ({detail}): allow the plugin's identity to encrypt and decrypt with it"
    )]
    Denied {
        /// Which key.
        key: String,
        /// The cloud's words.
        detail: String,
    },
    /// The key is there but of the wrong kind.
    #[error("{key} cannot be used for this: {detail}; give a key that encrypts and decrypts")]
    Unusable {
        /// Which key or version.
        key: Subject,
        /// Why not.
        detail: String,
    },
    /// The data is under another key than the configured one.
    #[error(
        "the data was encrypted with the key {wanted}, but this plugin is configured for {configured}: \
         run a plugin for {wanted} under another provider name to read it"
    )]
    Foreign {
        /// The key that the data names.
        wanted: String,
        /// The key that is configured.
        configured: String,
    },
    /// The ciphertext is not what the cloud made, or not under the version that it is labelled
    /// with.
    #[error(
        "the ciphertext does not belong to this key and version ({detail}): the stored value was damaged or relabelled; restore it from a backup"
    )]
    Corrupt {
        /// What did not fit.
        detail: String,
    },
    /// The cloud asks for fewer calls.
    #[error(
        "the cloud throttles calls ({detail}): it is tried again; raise the request quota if this lasts"
    )]
    Throttled {
        /// The cloud's words.
        detail: String,
    },
    /// No answer in time, or no connection.
    #[error(
        "the cloud's endpoint {endpoint} gave no answer ({detail}): check the network and the endpoint's URL"
    )]
    Unreachable {
        /// Where the request went.
        endpoint: String,
        /// What happened instead.
        detail: String,
    },
    /// The endpoint's certificate is not trusted.
    #[error(
        "the certificate of {endpoint} is not trusted ({detail}): give the CA that signed it with --ca-file, for Google in SSL_CERT_FILE, or correct the endpoint URL"
    )]
    Certificate {
        /// Where the request went.
        endpoint: String,
        /// What the check said.
        detail: String,
    },
    /// There are no credentials, or the cloud does not take them.
    #[error(
        "the credentials are missing or not accepted ({detail}): give the plugin valid credentials for the key's account"
    )]
    Credentials {
        /// What was said.
        detail: String,
    },
    /// The request's time is too far from the cloud's.
    #[error(
        "the cloud refuses the request's time ({detail}): set this machine's clock, it runs ahead or behind"
    )]
    ClockSkew {
        /// The cloud's words.
        detail: String,
    },
    /// The cloud failed on its side.
    #[error("the cloud had a fault of its own ({detail}): it is tried again")]
    Fault {
        /// The cloud's words.
        detail: String,
    },
    /// An answer that fits nothing above.
    #[error("unexpected answer from the cloud: {detail}")]
    Unexpected {
        /// What came.
        detail: String,
    },
}

/// What was sealed and opened again must be what it was.
fn same(opened: &[u8], sealed: &[u8]) -> Result<(), KekError> {
    if opened == sealed {
        return Ok(());
    }
    Err(KekError::Unexpected {
        detail: "decrypting a fresh ciphertext gave other bytes than were encrypted".into(),
    })
}

impl KekError {
    /// The cloud has answered and said that the key cannot be used: waiting does not help, so
    /// Status fails at once. Everything else may pass by itself.
    pub fn is_dead_key(&self) -> bool {
        matches!(
            self,
            Self::Disabled { .. }
                | Self::PendingDeletion { .. }
                | Self::Gone { .. }
                | Self::Denied { .. }
                | Self::Unusable { .. }
        )
    }

    /// The version that alone is concerned, if it is one version and not the key.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Disabled { key }
            | Self::PendingDeletion { key, .. }
            | Self::Gone { key, .. }
            | Self::Unusable { key, .. } => key.version.as_deref(),
            _ => None,
        }
    }

    /// One word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disabled { .. } => "disabled",
            Self::PendingDeletion { .. } => "pending_deletion",
            Self::Gone { .. } => "gone",
            Self::Denied { .. } => "denied",
            Self::Unusable { .. } => "unusable",
            Self::Foreign { .. } => "foreign",
            Self::Corrupt { .. } => "corrupt",
            Self::Throttled { .. } => "throttled",
            Self::Unreachable { .. } => "unreachable",
            Self::Certificate { .. } => "certificate",
            Self::Credentials { .. } => "credentials",
            Self::ClockSkew { .. } => "clock_skew",
            Self::Fault { .. } => "fault",
            Self::Unexpected { .. } => "unexpected",
        }
    }
}
