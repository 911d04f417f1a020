//! Where an emulator keeps its records.
//!
//! A record has a table, a key and a value. A [`Database`] changes records in batches: each batch is
//! stored as a whole or not at all, and is durable once [`Database::commit`] returns. Values are
//! sealed under a master key; keys of records are not, and hold no secrets.

mod error;
#[cfg(test)]
mod failures;
mod file;
mod master_key;
#[cfg(test)]
mod power_loss;
mod seal;
mod table;
mod writer;

use std::fmt;

pub use error::StoreError;
pub use file::FileDatabase;
pub use master_key::MasterKey;
pub use table::Table;

/// A change of a record.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the table, such as `aws/keys`.
    pub table: &'static str,
    /// Key of the record in its table.
    pub key: String,
    /// The new value; `None` removes the record.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold secrets.
        f.debug_struct("Change")
            .field("table", &self.table)
            .field("key", &self.key)
            .field("is_removal", &self.value.is_none())
            .finish()
    }
}

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Key of the record in its table.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Storage of records.
pub trait Database: Send + Sync + fmt::Debug {
    /// Returns the records of a table, ordered by key.
    fn load(&self, table: &'static str) -> Result<Vec<Record>, StoreError>;

    /// Applies all changes or none. They are durable when it returns, which takes as long as the
    /// device needs: call it where a thread may block.
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;
}

/// A database that keeps nothing: records live in memory only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDatabase;

impl Database for NoDatabase {
    fn load(&self, _: &'static str) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _: Vec<Change>) -> Result<(), StoreError> {
        Ok(())
    }
}
