//! A store in memory, which lives as long as the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Change, Store};
use crate::{Alias, Key, KeyError, KeyId, Realm, VersionId};

/// Keys and aliases in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<BTreeMap<Realm, RealmEntries>>);

#[derive(Debug, Default)]
struct RealmEntries {
    keys: HashMap<KeyId, Arc<Key>>,
    versions: HashMap<VersionId, KeyId>,
    aliases: BTreeMap<String, Alias>,
}

impl MemoryStore {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Realm, RealmEntries>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Realm, RealmEntries>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn insert(&self, key: Key) -> Result<(), KeyError> {
        let mut realms = self.write();
        let world = realms.entry(key.realm.clone()).or_default();
        if world.keys.contains_key(&key.id) {
            return Err(KeyError::AlreadyExists {
                id: key.id.to_string(),
            });
        }
        world
            .versions
            .extend(key.versions.iter().map(|v| (v.id, key.id.clone())));
        world.keys.insert(key.id.clone(), Arc::new(key));
        Ok(())
    }

    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Key>> {
        self.read().get(realm)?.keys.get(id).cloned()
    }

    fn find_by_version(&self, realm: &Realm, version: &VersionId) -> Option<Arc<Key>> {
        let realms = self.read();
        let world = realms.get(realm)?;
        world.keys.get(world.versions.get(version)?).cloned()
    }

    fn update(
        &self,
        realm: &Realm,
        id: &KeyId,
        change: &mut Change<'_>,
    ) -> Result<Arc<Key>, KeyError> {
        let mut realms = self.write();
        let not_found = || KeyError::NotFound { id: id.to_string() };
        let world = realms.get_mut(realm).ok_or_else(not_found)?;
        let before = Arc::clone(world.keys.get(id).ok_or_else(not_found)?);
        let mut key = Key::clone(&before);
        let known = before.versions.len();
        change(&mut key)?;
        // A change adds versions at the end or removes some.
        world
            .versions
            .extend(key.versions.iter().skip(known).map(|v| (v.id, id.clone())));
        if key.versions.len() < known {
            for gone in before
                .versions
                .iter()
                .filter(|version| key.version(&version.id).is_none())
            {
                world.versions.remove(&gone.id);
            }
        }
        let key = Arc::new(key);
        world.keys.insert(id.clone(), Arc::clone(&key));
        Ok(key)
    }

    fn remove(&self, realm: &Realm, id: &KeyId, when: &dyn Fn(&Key) -> bool) -> bool {
        let mut realms = self.write();
        let Some(world) = realms.get_mut(realm) else {
            return false;
        };
        let Some(key) = world.keys.get(id).filter(|key| when(key)).cloned() else {
            return false;
        };
        world.keys.remove(id);
        for version in &key.versions {
            world.versions.remove(&version.id);
        }
        world.aliases.retain(|_, alias| alias.target != *id);
        true
    }

    fn keys(&self, realm: &Realm) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self
            .read()
            .get(realm)
            .map(|w| w.keys.values().cloned().collect())
            .unwrap_or_default();
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        keys
    }

    fn realms(&self) -> Vec<Realm> {
        self.read()
            .iter()
            .filter(|(_, world)| !world.keys.is_empty())
            .map(|(realm, _)| realm.clone())
            .collect()
    }

    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError> {
        let mut realms = self.write();
        let world = realms.entry(realm.clone()).or_default();
        if !world.keys.contains_key(&alias.target) {
            return Err(KeyError::NotFound {
                id: alias.target.to_string(),
            });
        }
        match (world.aliases.contains_key(&alias.name), replace) {
            (true, false) => Err(KeyError::AliasExists { name: alias.name }),
            (false, true) => Err(KeyError::AliasNotFound { name: alias.name }),
            _ => {
                world.aliases.insert(alias.name.clone(), alias);
                Ok(())
            }
        }
    }

    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias> {
        self.read().get(realm)?.aliases.get(name).cloned()
    }

    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        let removed = self
            .write()
            .get_mut(realm)
            .and_then(|world| world.aliases.remove(name));
        removed.map(|_| ()).ok_or_else(|| KeyError::AliasNotFound {
            name: name.to_owned(),
        })
    }

    fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.read()
            .get(realm)
            .map(|world| world.aliases.values().cloned().collect())
            .unwrap_or_default()
    }

    fn clear(&self) {
        self.write().clear();
    }
}
