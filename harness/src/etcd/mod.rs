//! etcd, as scenarios and the inspector see it: live through its API, or as a database file, and
//! what the values in it are.

use async_trait::async_trait;

use history::History;

pub mod bbolt;
pub mod client;
pub mod envelope;
mod r#gen;
pub mod history;
pub mod keytable;
pub mod layout;
pub mod live;
pub mod snapshot_text;
pub mod stale;
pub mod value;

/// One key with its value, as etcd holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key, `/registry/secrets/default/s1`.
    pub key: String,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// Revision of the store at which the key was created.
    pub create_revision: i64,
    /// Revision of its last change: what the API calls resourceVersion.
    pub mod_revision: i64,
    /// How many times the key was written since it was created.
    pub version: i64,
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The revision that this is the state of.
    pub revision: i64,
    /// In the order of their keys.
    pub items: Vec<Stored>,
}

/// A database at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every byte of it.
    pub database: Vec<u8>,
    /// The same as keys and values, as far as it was not compacted.
    pub history: History,
}

/// Read and write access below the API server.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// All keys that begin with `prefix`, at one revision, however many pages it takes.
    async fn range(&self, prefix: &str) -> anyhow::Result<Range>;
    /// One key.
    async fn get(&self, key: &str) -> anyhow::Result<Option<Stored>>;
    /// Writes a value past the API server; returns the revision.
    async fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<i64>;
    /// Deletes a key past the API server; whether there was one.
    async fn delete(&self, key: &str) -> anyhow::Result<bool>;
    /// Every byte of the database, history included: where a canary is searched.
    async fn database(&self) -> anyhow::Result<Vec<u8>>;
    /// A snapshot: what whoever takes one has.
    async fn snapshot(&self) -> anyhow::Result<Snapshot>;
}
