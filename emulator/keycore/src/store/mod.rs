//! Storage of keys. Only the core uses it, and it does not interpret keys.

mod memory;

use std::fmt::Debug;
use std::sync::Arc;

use crate::{Alias, Key, KeyError, KeyId, Realm, VersionId};

pub use memory::MemoryStore;

/// Changes a key in place. If it fails, the stored key stays as it was.
pub type Change<'a> = dyn FnMut(&mut Key) -> Result<(), KeyError> + 'a;

/// Storage of keys and aliases. Every method is atomic, and a key that was returned does not change
/// afterwards.
pub trait Store: Send + Sync + Debug {
    /// Adds a key. Fails with [`KeyError::AlreadyExists`] if its id is in use.
    fn insert(&self, key: Key) -> Result<(), KeyError>;
    /// Returns a key by its id.
    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Key>>;
    /// Returns the key that has a version.
    fn find_by_version(&self, realm: &Realm, version: &VersionId) -> Option<Arc<Key>>;
    /// Changes a key and returns the result.
    fn update(
        &self,
        realm: &Realm,
        id: &KeyId,
        change: &mut Change<'_>,
    ) -> Result<Arc<Key>, KeyError>;
    /// Removes a key and its aliases if `when` returns true for it. Returns whether it did.
    fn remove(&self, realm: &Realm, id: &KeyId, when: &dyn Fn(&Key) -> bool) -> bool;
    /// Lists the keys of a realm, ordered by creation time, then by id.
    fn keys(&self, realm: &Realm) -> Vec<Arc<Key>>;
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
    fn clear(&self);
}
