//! A store in memory, which lives as long as the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Revision, Store, Stored};
use crate::{Alias, Front, Key, KeyError, KeyId, Realm};

/// Keys and aliases in memory.
#[derive(Debug)]
pub struct MemoryStore<F: Front>(RwLock<Content<F>>);

#[derive(Debug)]
struct Content<F: Front> {
    realms: BTreeMap<Realm, RealmEntries<F>>,
    /// The newest revision.
    revision: u64,
}

#[derive(Debug)]
struct RealmEntries<F: Front> {
    keys: HashMap<KeyId, Arc<Stored<F>>>,
    aliases: BTreeMap<String, Alias>,
}

impl<F: Front> Default for MemoryStore<F> {
    fn default() -> Self {
        Self(RwLock::new(Content {
            realms: BTreeMap::new(),
            revision: 0,
        }))
    }
}

impl<F: Front> Default for RealmEntries<F> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            aliases: BTreeMap::new(),
        }
    }
}

impl<F: Front> MemoryStore<F> {
    fn read(&self) -> RwLockReadGuard<'_, Content<F>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if an alias cannot be set.
    pub(super) fn check_alias(
        &self,
        realm: &Realm,
        alias: &Alias,
        replace: bool,
    ) -> Result<(), KeyError> {
        self.read().check_alias(realm, alias, replace)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content<F>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Front> Content<F> {
    fn put(&mut self, key: Key<F>) -> Arc<Stored<F>> {
        self.revision += 1;
        let stored = Arc::new(Stored {
            revision: Revision(self.revision),
            key,
        });
        let entries = self.realms.entry(stored.key.realm.clone()).or_default();
        entries
            .keys
            .insert(stored.key.id.clone(), Arc::clone(&stored));
        stored
    }

    fn get(&self, realm: &Realm, id: &KeyId) -> Option<&Arc<Stored<F>>> {
        self.realms.get(realm)?.keys.get(id)
    }

    /// Fails if an alias cannot be set.
    fn check_alias(&self, realm: &Realm, alias: &Alias, replace: bool) -> Result<(), KeyError> {
        let entries = self.realms.get(realm);
        if !entries.is_some_and(|entries| entries.keys.contains_key(&alias.target)) {
            return Err(KeyError::NotFound {
                id: alias.target.to_string(),
            });
        }
        let name = || alias.name.clone();
        let exists = entries.is_some_and(|entries| entries.aliases.contains_key(&alias.name));
        match (exists, replace) {
            (true, false) => Err(KeyError::AliasExists { name: name() }),
            (false, true) => Err(KeyError::AliasNotFound { name: name() }),
            _ => Ok(()),
        }
    }

    fn has(&self, realm: &Realm, id: &KeyId, revision: Revision) -> bool {
        self.get(realm, id)
            .is_some_and(|stored| stored.revision == revision)
    }
}

impl<F: Front> Store<F> for MemoryStore<F> {
    fn insert(&self, key: Key<F>) -> Result<Arc<Stored<F>>, KeyError> {
        let mut content = self.write();
        if content.get(&key.realm, &key.id).is_some() {
            return Err(KeyError::AlreadyExists {
                id: key.id.to_string(),
            });
        }
        Ok(content.put(key))
    }

    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Stored<F>>> {
        self.read().get(realm, id).cloned()
    }

    fn replace(&self, key: Key<F>, expected: Revision) -> Result<Option<Arc<Stored<F>>>, KeyError> {
        let mut content = self.write();
        let has = content.has(&key.realm, &key.id, expected);
        Ok(has.then(|| content.put(key)))
    }

    fn remove(&self, realm: &Realm, id: &KeyId, expected: Revision) -> Result<bool, KeyError> {
        let mut content = self.write();
        if !content.has(realm, id, expected) {
            return Ok(false);
        }
        if let Some(entries) = content.realms.get_mut(realm) {
            entries.keys.remove(id);
            entries.aliases.retain(|_, alias| alias.target != *id);
        }
        Ok(true)
    }

    fn keys(&self, realm: &Realm) -> Vec<Arc<Stored<F>>> {
        let mut keys: Vec<_> = self
            .read()
            .realms
            .get(realm)
            .map(|entries| entries.keys.values().cloned().collect())
            .unwrap_or_default();
        keys.sort_by(|a, b| (a.key.created, &a.key.id).cmp(&(b.key.created, &b.key.id)));
        keys
    }

    fn realms(&self) -> Vec<Realm> {
        self.read()
            .realms
            .iter()
            .filter(|(_, entries)| !entries.keys.is_empty())
            .map(|(realm, _)| realm.clone())
            .collect()
    }

    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError> {
        let mut content = self.write();
        content.check_alias(realm, &alias, replace)?;
        let entries = content.realms.entry(realm.clone()).or_default();
        entries.aliases.insert(alias.name.clone(), alias);
        Ok(())
    }

    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias> {
        self.read().realms.get(realm)?.aliases.get(name).cloned()
    }

    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        let removed = self
            .write()
            .realms
            .get_mut(realm)
            .and_then(|entries| entries.aliases.remove(name));
        removed.map(|_| ()).ok_or_else(|| KeyError::AliasNotFound {
            name: name.to_owned(),
        })
    }

    fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.read()
            .realms
            .get(realm)
            .map(|entries| entries.aliases.values().cloned().collect())
            .unwrap_or_default()
    }

    fn clear(&self) -> Result<(), KeyError> {
        // Revisions go on, so that a change that began before finds no key.
        self.write().realms.clear();
        Ok(())
    }
}
