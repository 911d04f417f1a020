//! Errors by meaning. Each front end translates them into its vendor's codes and messages.

use jiff::Timestamp;

use crate::{Algorithm, Purpose, VersionState};

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message documents its variant")]
pub enum KeyError {
    #[error("key {id} not found")]
    NotFound { id: String },
    #[error("key {id} already exists")]
    AlreadyExists { id: String },
    #[error("key {id} is disabled")]
    Disabled { id: String },
    #[error("key {id} is pending deletion")]
    PendingDeletion { id: String },
    #[error("key {id} is not pending deletion")]
    NotPendingDeletion { id: String },
    #[error("key {id} still has versions")]
    HasVersions { id: String },
    #[error("the key's purpose is {purpose:?}")]
    WrongPurpose { purpose: Purpose },
    #[error("the key's algorithm is {algorithm:?}")]
    WrongAlgorithm { algorithm: Algorithm },
    #[error("key {id} has no primary version")]
    NoPrimary { id: String },
    #[error("version not found")]
    VersionNotFound,
    #[error("the version is {state:?}")]
    VersionUnusable { state: VersionState },
    #[error("the version is not valid before {at}")]
    NotYetValid { at: Timestamp },
    #[error("the version expired at {at}")]
    Expired { at: Timestamp },
    /// The ciphertext was changed, or encrypted under another key or other additional data. The
    /// error does not tell which.
    #[error("decryption failed")]
    DecryptionFailed,
    #[error("the input is longer than {max} bytes")]
    TooLong { max: usize },
    /// Input or IV of the wrong length for the mode.
    #[error("the {what} must have {expected} bytes")]
    BadLength {
        what: &'static str,
        expected: &'static str,
    },
    #[error("the key material is invalid or is not of the stated algorithm")]
    BadMaterial,
    #[error("the backup was made by another process or was changed")]
    BadBackup,
    #[error("the digest has the wrong length for the hash")]
    BadDigestLength,
    #[error("keys of this algorithm cannot be rotated")]
    RotationUnsupported,
    #[error("the key has reached the limit of {limit} on-demand rotations")]
    RotationLimit { limit: u32 },
    #[error("alias {name} not found")]
    AliasNotFound { name: String },
    #[error("alias {name} already exists")]
    AliasExists { name: String },
    #[error("a version cannot change from {from:?} to {to:?}")]
    InvalidTransition {
        from: VersionState,
        to: VersionState,
    },
    #[error("the time is out of range")]
    OutOfRange,
    /// The change is not stored, and did not take effect.
    #[error(transparent)]
    Store(#[from] kmslab_store::StoreError),
    /// A bug in the core. `what` contains no secret.
    #[error("internal error: {what}")]
    Internal { what: &'static str },
}
