//! Why records cannot be read or stored.

use std::io;
use std::path::PathBuf;

/// Why records cannot be read or stored. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error("{} is in use by another process: end it, or name another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or created.
    #[error("cannot open {}: {message}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The file has another format.
    #[error(
        "{} has format {found} of the store, and this kmslab knows format {known}: use the kmslab that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Format of the file.
        found: u64,
        /// Format of this program.
        known: u64,
    },
    /// The file is none of a store.
    #[error("{} is not a store of kmslab: {message}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The values were sealed under another master key.
    #[error("{} was sealed under another master key: name the one that it was created with", path.display())]
    WrongMasterKey {
        /// The file.
        path: PathBuf,
    },
    /// The master key cannot be had.
    #[error("the store's master key: {0}")]
    MasterKey(String),
    /// A record does not open, or its value is none of its table.
    #[error("the store is damaged: the record {key:?} of {table} {message}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// Key of the record.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// The device has no room.
    #[error("the store's device is full; nothing was changed")]
    Full,
    /// The change could not be written.
    #[error("the store cannot be written; nothing was changed: {0}")]
    Write(String),
    /// The change could not be written, and the store cannot be read to know whether it took effect.
    #[error("the store cannot be used; whether the change took effect shows when it can: {0}")]
    Unknown(String),
    /// A read failed.
    #[error("the store cannot be read: {0}")]
    Read(String),
    /// A value cannot be encoded or sealed, which is a bug.
    #[error("a value cannot be encoded or sealed")]
    Unwritable,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Whether a device has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
