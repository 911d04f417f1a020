//! What can be wrong, by meaning; each front end has the vendor's words for it.

use jiff::Timestamp;

use crate::{Algorithm, Purpose, VersionState};

/// Why the core refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KeyError {
    #[error("there is no key {id}")]
    NotFound { id: String },
    #[error("there is a key {id} already")]
    AlreadyExists { id: String },
    #[error("the key {id} is disabled")]
    Disabled { id: String },
    #[error("the key {id} waits for its deletion")]
    PendingDeletion { id: String },
    #[error("the key {id} does not wait for a deletion")]
    NotPendingDeletion { id: String },
    #[error("the key {id} has versions")]
    HasVersions { id: String },
    #[error("the key's purpose is {purpose:?}")]
    WrongPurpose { purpose: Purpose },
    #[error("the key's algorithm is {algorithm:?}")]
    WrongAlgorithm { algorithm: Algorithm },
    #[error("the key {id} has no primary version")]
    NoPrimary { id: String },
    #[error("no key has that version")]
    VersionNotFound,
    #[error("the version is {state:?}")]
    VersionUnusable { state: VersionState },
    #[error("the version may be used from {at} on")]
    NotYetValid { at: Timestamp },
    #[error("the version could be used until {at}")]
    Expired { at: Timestamp },
    /// Tampered with, sealed by another key, or under other additional data; which of these is not
    /// told.
    #[error("the ciphertext does not open")]
    DoesNotOpen,
    #[error("at most {max} bytes fit")]
    TooLong { max: usize },
    /// What a mode takes: whole blocks, an IV of its own length.
    #[error("the {what} must have {wanted} bytes")]
    BadLength {
        what: &'static str,
        wanted: &'static str,
    },
    #[error("the key does not parse, or is of another kind than it is said to be")]
    BadMaterial,
    #[error("the backup was not made here, or was changed")]
    BadBackup,
    #[error("the digest's length does not fit the hash")]
    BadDigestLength,
    #[error("keys of this kind are not rotated")]
    RotationUnsupported,
    #[error("the key was rotated on demand {limit} times, which is the limit")]
    RotationLimit { limit: u32 },
    #[error("there is no alias {name}")]
    AliasNotFound { name: String },
    #[error("there is an alias {name} already")]
    AliasExists { name: String },
    #[error("a version that is {from:?} never becomes {to:?}")]
    IllegalMove {
        from: VersionState,
        to: VersionState,
    },
    #[error("the time is out of range")]
    OutOfRange,
    /// A fault of the core itself; `what` names no secret.
    #[error("internal error: {what}")]
    Internal { what: &'static str },
}
