//! A store that also keeps its keys and aliases as records of a database. Reads are served from
//! memory. A change is seen, and answered, once it is durable.

use std::sync::Arc;

use kmslab_store::{Change, Database, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::claims::Claims;
use super::{MemoryStore, Revision, Store, Stored};
use crate::{Alias, Front, Key, KeyError, KeyId, Realm};

/// Names of the tables of one front end.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// Table of keys.
    pub keys: &'static str,
    /// Table of aliases.
    pub aliases: &'static str,
}

/// Keys and aliases in memory and in a database.
#[derive(Debug)]
pub struct RecordStore<F: Front> {
    memory: MemoryStore<F>,
    database: Arc<dyn Database>,
    tables: Tables,
    changing: Claims,
}

impl<F: Front> RecordStore<F> {
    /// Reads the keys and aliases that the database has.
    pub fn open(database: Arc<dyn Database>, tables: Tables) -> Result<Self, StoreError> {
        let memory = MemoryStore::default();
        for (name, key) in load::<Key<F>>(database.as_ref(), tables.keys)? {
            let inserted = memory.insert(key);
            inserted.map_err(|error| damaged(tables.keys, name, &error))?;
        }
        for (name, InRealm { realm, of: alias }) in load(database.as_ref(), tables.aliases)? {
            let put = memory.put_alias(&realm, alias, false);
            put.map_err(|error| damaged(tables.aliases, name, &error))?;
        }
        Ok(Self {
            memory,
            database,
            tables,
            changing: Claims::default(),
        })
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), KeyError> {
        Ok(self.database.commit(changes)?)
    }

    fn put_key(&self, key: &Key<F>) -> Result<Change, KeyError> {
        put(self.tables.keys, name(&key.realm, key.id.as_str()), key)
    }

    fn remove_alias_record(&self, realm: &Realm, alias: &str) -> Change {
        Change {
            table: self.tables.aliases,
            key: name(realm, alias),
            value: None,
        }
    }

    fn has(&self, realm: &Realm, id: &KeyId, revision: Revision) -> bool {
        let stored = self.memory.get(realm, id);
        stored.is_some_and(|stored| stored.revision == revision)
    }

    /// Names of the aliases of a key.
    fn aliases_of(&self, realm: &Realm, id: &KeyId) -> Vec<String> {
        let aliases = self.memory.aliases(realm).into_iter();
        let of_key = aliases.filter(|alias| alias.target == *id);
        of_key.map(|alias| alias.name).collect()
    }
}

impl<F: Front> Store<F> for RecordStore<F> {
    fn insert(&self, key: Key<F>) -> Result<Arc<Stored<F>>, KeyError> {
        let _claim = self.changing.take(vec![key_claim(&key.realm, &key.id)]);
        if self.memory.get(&key.realm, &key.id).is_some() {
            return Err(KeyError::AlreadyExists {
                id: key.id.to_string(),
            });
        }
        self.commit(vec![self.put_key(&key)?])?;
        self.memory.insert(key)
    }

    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Stored<F>>> {
        self.memory.get(realm, id)
    }

    fn replace(&self, key: Key<F>, expected: Revision) -> Result<Option<Arc<Stored<F>>>, KeyError> {
        let _claim = self.changing.take(vec![key_claim(&key.realm, &key.id)]);
        if !self.has(&key.realm, &key.id, expected) {
            return Ok(None);
        }
        self.commit(vec![self.put_key(&key)?])?;
        self.memory.replace(key, expected)
    }

    fn remove(&self, realm: &Realm, id: &KeyId, expected: Revision) -> Result<bool, KeyError> {
        // No alias gets this target while the key is claimed; those that have it are claimed as well.
        let mut aliases = self.aliases_of(realm, id);
        let _claim = loop {
            let names = aliases.iter().map(|alias| alias_claim(realm, alias));
            let claim = self
                .changing
                .take(names.chain([key_claim(realm, id)]).collect());
            let now = self.aliases_of(realm, id);
            if now.iter().all(|alias| aliases.contains(alias)) {
                aliases = now;
                break claim;
            }
            aliases = now;
        };
        if !self.has(realm, id, expected) {
            return Ok(false);
        }
        let aliases = aliases
            .iter()
            .map(|alias| self.remove_alias_record(realm, alias));
        let key = Change {
            table: self.tables.keys,
            key: name(realm, id.as_str()),
            value: None,
        };
        self.commit(aliases.chain([key]).collect())?;
        self.memory.remove(realm, id, expected)
    }

    fn keys(&self, realm: &Realm) -> Vec<Arc<Stored<F>>> {
        self.memory.keys(realm)
    }

    fn realms(&self) -> Vec<Realm> {
        self.memory.realms()
    }

    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError> {
        let names = vec![
            key_claim(realm, &alias.target),
            alias_claim(realm, &alias.name),
        ];
        let _claim = self.changing.take(names);
        self.memory.check_alias(realm, &alias, replace)?;
        let record = InRealm {
            realm: realm.clone(),
            of: alias,
        };
        let change = put(self.tables.aliases, name(realm, &record.of.name), &record)?;
        self.commit(vec![change])?;
        self.memory.put_alias(realm, record.of, replace)
    }

    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias> {
        self.memory.alias(realm, name)
    }

    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        let _claim = self.changing.take(vec![alias_claim(realm, name)]);
        if self.memory.alias(realm, name).is_some() {
            self.commit(vec![self.remove_alias_record(realm, name)])?;
        }
        self.memory.remove_alias(realm, name)
    }

    fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.memory.aliases(realm)
    }

    fn clear(&self) -> Result<(), KeyError> {
        let _claim = self.changing.take_all();
        let mut changes = Vec::new();
        for table in [self.tables.keys, self.tables.aliases] {
            let records = self.database.load(table)?.into_iter();
            changes.extend(records.map(|record| Change {
                table,
                key: record.key,
                value: None,
            }));
        }
        self.commit(changes)?;
        self.memory.clear()
    }
}

/// Something in a realm, as it is stored.
#[derive(Debug, Serialize, serde::Deserialize)]
struct InRealm<T> {
    realm: Realm,
    of: T,
}

/// Key of a record. Realms have no line breaks.
fn name(realm: &Realm, of: &str) -> String {
    format!("{}\n{of}", realm.as_str())
}

fn key_claim(realm: &Realm, id: &KeyId) -> String {
    format!("key\n{}", name(realm, id.as_str()))
}

fn alias_claim(realm: &Realm, alias: &str) -> String {
    format!("alias\n{}", name(realm, alias))
}

fn put(table: &'static str, key: String, value: &impl Serialize) -> Result<Change, KeyError> {
    let value = serde_json::to_vec(value).map_err(|_| KeyError::Internal {
        what: "a record cannot be written as JSON",
    })?;
    Ok(Change {
        table,
        key,
        value: Some(value),
    })
}

fn load<T: DeserializeOwned>(
    database: &dyn Database,
    table: &'static str,
) -> Result<Vec<(String, T)>, StoreError> {
    let records = database.load(table)?.into_iter().map(|record| {
        match serde_json::from_slice(&record.value) {
            Ok(value) => Ok((record.key, value)),
            Err(error) => Err(damaged(table, record.key, &error)),
        }
    });
    records.collect()
}

fn damaged(table: &'static str, key: String, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged {
        table,
        key,
        message: error.to_string(),
    }
}
