//! Where keys are kept. The core is the only user; a store knows nothing of what a key means.

mod memory;

use std::fmt::Debug;
use std::sync::Arc;

use crate::{Alias, Key, KeyError, KeyId, Realm, VersionId};

pub use memory::MemoryStore;

/// Changes a key in place; an error leaves it as it was.
pub type Change<'a> = dyn FnMut(&mut Key) -> Result<(), KeyError> + 'a;

/// Keys and aliases. Every method is atomic; a key that was handed out does not change under its
/// reader.
pub trait Store: Send + Sync + Debug {
    /// Adds a key; [`KeyError::AlreadyExists`] where its name is taken.
    fn insert(&self, key: Key) -> Result<(), KeyError>;
    /// A key by its name.
    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Key>>;
    /// The key that has that version.
    fn find(&self, realm: &Realm, version: &VersionId) -> Option<Arc<Key>>;
    /// Changes a key; returns it as it then is.
    fn update(
        &self,
        realm: &Realm,
        id: &KeyId,
        change: &mut Change<'_>,
    ) -> Result<Arc<Key>, KeyError>;
    /// Removes a key and the aliases that name it, if it is still one of those that `when` takes;
    /// whether it did.
    fn remove(&self, realm: &Realm, id: &KeyId, when: &dyn Fn(&Key) -> bool) -> bool;
    /// All keys of a realm, by time of creation, then by name.
    fn keys(&self, realm: &Realm) -> Vec<Arc<Key>>;
    /// Every realm that has a key.
    fn realms(&self) -> Vec<Realm>;
    /// Sets an alias; `replace` says whether one must be there already or must not.
    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError>;
    /// An alias by its name.
    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias>;
    /// Removes an alias.
    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError>;
    /// All aliases of a realm, by name.
    fn aliases(&self, realm: &Realm) -> Vec<Alias>;
    /// Removes everything.
    fn clear(&self);
}
