//! A map whose entries are records.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Change, Database, StoreError};

/// A map whose entries are records of a table. Reads are served from memory; a change is seen once
/// it is stored.
pub struct Table<K, V> {
    name: &'static str,
    database: Arc<dyn Database>,
    entries: RwLock<Arc<BTreeMap<K, V>>>,
    /// Held during a change, so that changes follow one another while reads go on.
    changing: Mutex<()>,
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold secrets.
        f.debug_struct("Table")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K, V> Table<K, V>
where
    K: Ord + Clone + Display + Serialize + DeserializeOwned,
    V: Clone + PartialEq + Serialize + DeserializeOwned,
{
    /// Reads the entries that the database has. No two keys may have the same text.
    pub fn open(database: Arc<dyn Database>, name: &'static str) -> Result<Self, StoreError> {
        let mut entries = BTreeMap::new();
        for record in database.load(name)? {
            let entry: Result<(K, V), _> = serde_json::from_slice(&record.value);
            let (key, value) = entry.map_err(|error| StoreError::Damaged {
                table: name,
                key: record.key,
                message: error.to_string(),
            })?;
            entries.insert(key, value);
        }
        Ok(Self {
            name,
            database,
            entries: RwLock::new(Arc::new(entries)),
            changing: Mutex::new(()),
        })
    }

    /// All entries as they are now. What changes later is not in them.
    pub fn read(&self) -> Arc<BTreeMap<K, V>> {
        Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.read().get(key).cloned()
    }

    /// Changes entries, all or none: they stay as they are if `change` or the database fails.
    pub fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut BTreeMap<K, V>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.read();
        let mut after = BTreeMap::clone(&before);
        let result = change(&mut after)?;
        let changes = self.changes(&before, &after)?;
        if !changes.is_empty() {
            self.database.commit(changes)?;
            *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        }
        Ok(result)
    }

    /// Removes all entries.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.change(|entries| {
            entries.clear();
            Ok(())
        })
    }

    fn changes(
        &self,
        before: &BTreeMap<K, V>,
        after: &BTreeMap<K, V>,
    ) -> Result<Vec<Change>, StoreError> {
        let removed = before.keys().filter(|key| !after.contains_key(key));
        let removed = removed.map(|key| Ok((key, None)));
        let is_changed = |(key, value): &(&K, &V)| before.get(key) != Some(value);
        let changed = after.iter().filter(is_changed).map(|entry| {
            let value = serde_json::to_vec(&entry).map_err(|_| StoreError::Unwritable)?;
            Ok((entry.0, Some(value)))
        });
        let change = |of: Result<(&K, Option<Vec<u8>>), StoreError>| {
            of.map(|(key, value)| Change {
                table: self.name,
                key: key.to_string(),
                value,
            })
        };
        removed.chain(changed).map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoDatabase, Record};

    /// Keeps what it was told, and refuses changes of the key `refused`.
    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<Change>>);

    impl Database for Recorder {
        fn load(&self, _: &'static str) -> Result<Vec<Record>, StoreError> {
            Ok(Vec::new())
        }

        fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
            if changes.iter().any(|change| change.key == "refused") {
                return Err(StoreError::Full);
            }
            self.0.lock().unwrap().extend(changes);
            Ok(())
        }
    }

    type Words = Table<String, u32>;

    fn put(table: &Words, key: &str, value: u32) -> Result<(), StoreError> {
        table.change(|entries| {
            entries.insert(key.to_owned(), value);
            Ok(())
        })
    }

    #[test]
    fn only_entries_that_change_are_written() {
        let recorder = Arc::new(Recorder::default());
        let table = Words::open(Arc::clone(&recorder) as Arc<dyn Database>, "words").unwrap();
        let before = table.read();
        put(&table, "a", 1).unwrap();
        put(&table, "b", 2).unwrap();
        put(&table, "b", 2).unwrap();
        let moved = table.change(|entries| {
            entries.insert("c".to_owned(), 3);
            Ok::<_, StoreError>(entries.remove("a"))
        });
        assert_eq!(moved.unwrap(), Some(1));
        assert!(before.is_empty() && table.get(&"a".to_owned()).is_none());
        table.clear().unwrap();
        let written = recorder.0.lock().unwrap();
        let written = written.iter().map(|change| match &change.value {
            Some(_) => format!("+{}", change.key),
            None => format!("-{}", change.key),
        });
        assert_eq!(written.collect::<Vec<_>>().join(" "), "+a +b -a +c -b -c");
    }

    #[test]
    fn a_change_that_fails_does_not_take_effect() {
        let table = Words::open(Arc::new(Recorder::default()), "words").unwrap();
        put(&table, "a", 1).unwrap();
        assert_eq!(put(&table, "refused", 1), Err(StoreError::Full));
        let failed = table.change(|entries| {
            entries.clear();
            Err::<(), _>(StoreError::NoRandomness)
        });
        assert_eq!(failed, Err(StoreError::NoRandomness));
        assert_eq!(*table.read(), BTreeMap::from([("a".to_owned(), 1)]));
        let table = Words::open(Arc::new(NoDatabase), "words").unwrap();
        put(&table, "a", 1).unwrap();
        assert_eq!(table.get(&"a".to_owned()), Some(1));
    }

    #[test]
    fn an_entry_that_is_none_names_its_record() {
        #[derive(Debug)]
        struct Damaged;
        impl Database for Damaged {
            fn load(&self, _: &'static str) -> Result<Vec<Record>, StoreError> {
                Ok(vec![Record {
                    key: "k".to_owned(),
                    value: b"[]".to_vec(),
                }])
            }

            fn commit(&self, _: Vec<Change>) -> Result<(), StoreError> {
                Ok(())
            }
        }
        let error = Words::open(Arc::new(Damaged), "words")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the store is damaged: the record \"k\" of words "),
            "{error}"
        );
    }
}
