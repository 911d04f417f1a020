//! What Kubernetes stores in etcd: a client of a live etcd, a reader of snapshots and database
//! files, and the formats of stored values.
//!
//! For tests of etcd's contents: [`snapshot_text`] renders values as text in which nothing differs
//! between runs. `tests/snapshot_test.rs` of this crate is an example with insta. It depends on no
//! cloud and no running lab.

use async_trait::async_trait;

use history::History;

pub mod bbolt;
pub mod client;
pub mod envelope;
mod r#gen;
pub mod history;
pub mod label;
pub mod layout;
pub mod live;
pub mod snapshot_text;
pub mod stale;
pub mod value;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key, such as `/registry/secrets/default/s1`.
    pub key: String,
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Revision at which the key was created.
    pub create_revision: i64,
    /// Revision of the last change: the API's resourceVersion.
    pub mod_revision: i64,
    /// Number of writes since the key was created.
    pub version: i64,
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The revision.
    pub revision: i64,
    /// Items ordered by key.
    pub items: Vec<Stored>,
}

/// A database at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The bytes of the database.
    pub database: Vec<u8>,
    /// Its keys and values, as far as they were not compacted.
    pub history: History,
}

/// Read and write access below the API server.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// Returns all keys that begin with `prefix`, at one revision, in as many pages as it takes.
    async fn range(&self, prefix: &str) -> anyhow::Result<Range>;
    /// Returns one key.
    async fn get(&self, key: &str) -> anyhow::Result<Option<Stored>>;
    /// Writes a value without the API server; returns the revision.
    async fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<i64>;
    /// Deletes a key without the API server; returns whether it existed.
    async fn delete(&self, key: &str) -> anyhow::Result<bool>;
    /// Returns the bytes of the database including its history, to search for plaintext.
    async fn database(&self) -> anyhow::Result<Vec<u8>>;
    /// Takes a snapshot.
    async fn snapshot(&self) -> anyhow::Result<Snapshot>;
}
