//! An MVCC store like etcd: one revision per write, all old values kept.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::etcd::history::{History, Record};
use crate::etcd::{Etcd, Range, Snapshot, Stored};

/// Keys and values with their history. Nothing is compacted.
#[derive(Default)]
pub(crate) struct Store(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    /// Write `n` has revision `n + 2`: an empty etcd is at revision 1.
    log: Vec<Write>,
    live: BTreeMap<Arc<str>, LiveValue>,
}

struct Write {
    key: Arc<str>,
    /// `None` for a deletion.
    value: Option<Bytes>,
}

/// The current value of a key.
#[derive(Clone)]
pub(crate) struct LiveValue {
    pub(crate) value: Bytes,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        f.debug_struct("Store")
            .field("keys", &inner.live.len())
            .field("revision", &inner.revision())
            .finish()
    }
}

impl Inner {
    fn revision(&self) -> i64 {
        // The length of a Vec fits an i64.
        1 + self.log.len() as i64
    }

    fn put(&mut self, key: &str, value: Bytes) -> i64 {
        let known = self
            .live
            .get_key_value(key)
            .map(|(key, live)| (key.clone(), live.create_revision, live.version));
        let revision = self.revision() + 1;
        let (key, create_revision, version) = known.unwrap_or_else(|| (key.into(), revision, 0));
        self.log.push(Write {
            key: key.clone(),
            value: Some(value.clone()),
        });
        self.live.insert(
            key,
            LiveValue {
                value,
                create_revision,
                mod_revision: revision,
                version: version + 1,
            },
        );
        revision
    }

    fn delete(&mut self, key: &str) -> bool {
        let Some((key, _)) = self.live.remove_entry(key) else {
            return false;
        };
        self.log.push(Write { key, value: None });
        true
    }

    fn history(&self) -> History {
        let mut live: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        let records = self.log.iter().zip(2..).map(|(write, main)| {
            let deleted = write.value.is_none();
            let (create_revision, version) = match live.get(&*write.key) {
                _ if deleted => (0, 0),
                Some((created, version)) => (*created, version + 1),
                None => (main, 1),
            };
            if deleted {
                live.remove(&*write.key);
            } else {
                live.insert(&write.key, (create_revision, version));
            }
            let value = write.value.clone().unwrap_or_default();
            Record {
                main,
                sub: 0,
                deleted,
                stored: stored(
                    &write.key,
                    LiveValue {
                        value,
                        create_revision,
                        mod_revision: main,
                        version,
                    },
                ),
            }
        });
        History {
            records: records.collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let size = self
            .log
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len) + 2)
            .sum();
        let mut bytes = Vec::with_capacity(size);
        for write in &self.log {
            bytes.extend_from_slice(write.key.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(write.value.as_deref().unwrap_or_default());
            bytes.push(b'\n');
        }
        bytes
    }

    fn mod_revision(&self, key: &str) -> i64 {
        self.live.get(key).map_or(0, |live| live.mod_revision)
    }
}

impl Store {
    // No panic below leaves the maps inconsistent, so a poisoned lock can be used.
    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner_mut(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn live(&self, key: &str) -> Option<LiveValue> {
        self.inner().live.get(key).cloned()
    }

    /// Everything below a prefix, at one revision.
    pub(crate) fn range_below(&self, prefix: &str) -> (i64, Vec<(Arc<str>, LiveValue)>) {
        let inner = self.inner();
        let from = inner
            .live
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let items = from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, live)| (key.clone(), live.clone()));
        (inner.revision(), items.collect())
    }

    /// Writes if the key's last revision is still `expected`, 0 for a key that must not exist.
    /// `None` if it is not.
    pub(crate) fn put_if(&self, key: &str, expected: i64, value: Vec<u8>) -> Option<i64> {
        let mut inner = self.inner_mut();
        (inner.mod_revision(key) == expected).then(|| inner.put(key, value.into()))
    }

    /// Deletes if the key's last revision is still `expected`.
    pub(crate) fn delete_if(&self, key: &str, expected: i64) -> bool {
        let mut inner = self.inner_mut();
        inner.mod_revision(key) == expected && inner.delete(key)
    }
}

fn stored(key: &str, live: LiveValue) -> Stored {
    let LiveValue {
        value,
        create_revision,
        mod_revision,
        version,
    } = live;
    Stored {
        key: key.to_owned(),
        value: value.into(),
        create_revision,
        mod_revision,
        version,
    }
}

#[async_trait]
impl Etcd for Store {
    async fn range(&self, prefix: &str) -> anyhow::Result<Range> {
        let (revision, items) = self.range_below(prefix);
        Ok(Range {
            revision,
            items: items
                .into_iter()
                .map(|(key, live)| stored(&key, live))
                .collect(),
        })
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Stored>> {
        Ok(self.live(key).map(|live| stored(key, live)))
    }

    async fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<i64> {
        Ok(self.inner_mut().put(key, Bytes::copy_from_slice(value)))
    }

    async fn delete(&self, key: &str) -> anyhow::Result<bool> {
        Ok(self.inner_mut().delete(key))
    }

    async fn database(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.inner().bytes())
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let inner = self.inner();
        Ok(Snapshot {
            database: inner.bytes(),
            history: inner.history(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn revisions_versions_and_history_match_etcd() {
        let store = Store::default();
        assert_eq!(store.put("/a", b"one").await.unwrap(), 2);
        assert_eq!(store.put("/a", b"two").await.unwrap(), 3);
        assert_eq!(store.put("/b", b"three").await.unwrap(), 4);
        let a = store.get("/a").await.unwrap().unwrap();
        assert_eq!((a.create_revision, a.mod_revision, a.version), (2, 3, 2));
        assert!(store.delete("/a").await.unwrap() && !store.delete("/a").await.unwrap());
        store.put("/a", b"four").await.unwrap();
        let a = store.get("/a").await.unwrap().unwrap();
        assert_eq!((a.create_revision, a.mod_revision, a.version), (6, 6, 1));
        let history = store.snapshot().await.unwrap().history;
        let revisions = history
            .records
            .iter()
            .map(|record| (record.main, record.deleted, record.stored.version));
        let expected = [
            (2, false, 1),
            (3, false, 2),
            (4, false, 1),
            (5, true, 0),
            (6, false, 1),
        ];
        assert_eq!(revisions.collect::<Vec<_>>(), expected);
        assert_eq!(history.live("/"), store.range("/").await.unwrap());
        let database = store.database().await.unwrap();
        assert!(
            ["one", "two", "three", "four"]
                .iter()
                .all(|old| database.windows(old.len()).any(|w| w == old.as_bytes()))
        );
    }

    #[tokio::test]
    async fn conditional_write_fails_after_another_write() {
        let store = Store::default();
        assert_eq!(store.put_if("/a", 0, b"one".to_vec()), Some(2));
        assert_eq!(store.put_if("/a", 0, b"again".to_vec()), None);
        assert_eq!(store.put_if("/a", 2, b"two".to_vec()), Some(3));
        assert!(!store.delete_if("/a", 2));
        assert!(store.delete_if("/a", 3));
        assert_eq!(
            store.range("/").await.unwrap(),
            Range {
                revision: 4,
                items: vec![]
            }
        );
    }

    #[tokio::test]
    async fn range_ends_with_its_prefix() {
        let store = Store::default();
        for key in [
            "/registry/secrets/a",
            "/registry/secrets/b",
            "/registry/secretsx",
            "/registry/r",
        ] {
            store.put(key, b"v").await.unwrap();
        }
        let keys: Vec<String> = store
            .range("/registry/secrets/")
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|i| i.key)
            .collect();
        assert_eq!(keys, ["/registry/secrets/a", "/registry/secrets/b"]);
    }
}
