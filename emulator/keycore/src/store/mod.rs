//! Storage of keys. Only the core uses it, and it does not interpret keys.

mod claims;
mod memory;
mod records;

use std::fmt::Debug;
use std::sync::Arc;

use crate::{Alias, Front, Key, KeyError, KeyId, Realm};

pub use memory::MemoryStore;
pub use records::{RecordStore, Tables};

/// How often a key was stored. A store gives out each number once for all its keys, so that a key
/// that was deleted and created again has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A stored key, which does not change.
#[derive(Debug)]
pub struct Stored<F: Front> {
    /// Revision of the key.
    pub revision: Revision,
    /// The key.
    pub key: Key<F>,
}

/// Storage of keys and aliases. Every method is atomic, and what it changes is durable when it returns
/// if the store is. A change that cannot be stored fails with [`KeyError::Store`].
pub trait Store<F: Front>: Send + Sync + Debug {
    /// Adds a key. Fails with [`KeyError::AlreadyExists`] if its id is in use.
    fn insert(&self, key: Key<F>) -> Result<Arc<Stored<F>>, KeyError>;
    /// Returns a key by its id.
    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Stored<F>>>;
    /// Replaces a key that still has revision `expected`. Returns `None` if it has another or is
    /// gone.
    fn replace(&self, key: Key<F>, expected: Revision) -> Result<Option<Arc<Stored<F>>>, KeyError>;
    /// Removes a key that still has revision `expected`, and its aliases. Returns whether it did.
    fn remove(&self, realm: &Realm, id: &KeyId, expected: Revision) -> Result<bool, KeyError>;
    /// Lists the keys of a realm, ordered by creation time, then by id.
    fn keys(&self, realm: &Realm) -> Vec<Arc<Stored<F>>>;
    /// Lists the realms that have a key.
    fn realms(&self) -> Vec<Realm>;
    /// Sets an alias. With `replace` it must exist, without it must not.
    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError>;
    /// Returns an alias by its name.
    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias>;
    /// Removes an alias.
    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError>;
    /// Lists the aliases of a realm, ordered by name.
    fn aliases(&self, realm: &Realm) -> Vec<Alias>;
    /// Removes everything.
    fn clear(&self) -> Result<(), KeyError>;
}
