//! The contract of every store, run on each of them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use common::TestFront;
use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Alias, KeyCore, KeyError, KeyId, ManualClock, MemoryStore, NewKey, NewVersion,
    Purpose, Realm, RecordStore, Store, SystemEntropy, Tables,
};
use kmslab_store::{Change, Database, FileDatabase, MasterKey, NoDatabase, Record, StoreError};

type AnyStore = Arc<dyn Store<TestFront>>;

fn filled(store: &AnyStore, id: &str) -> (Realm, KeyId) {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let core = KeyCore::new(Arc::clone(store), clock, Arc::new(SystemEntropy));
    let (realm, id) = (Realm::new("r"), KeyId::new(id));
    let new = NewKey {
        id: id.clone(),
        algorithm: Algorithm::AES_256,
        first: Some(NewVersion::new(Algorithm::AES_256)),
        purpose: Purpose::EncryptDecrypt,
        data: String::new(),
    };
    core.create(&realm, new).unwrap();
    (realm, id)
}

fn contract(store: &AnyStore) {
    let (realm, id) = filled(store, "b");
    filled(store, "a");
    let before = store.get(&realm, &id).unwrap();

    // An id can be used once.
    assert!(matches!(
        store.insert(before.key.clone()),
        Err(KeyError::AlreadyExists { .. })
    ));
    // Keys are ordered by creation, then by id.
    let ids = store.keys(&realm);
    let ids: Vec<_> = ids.iter().map(|stored| stored.key.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(store.realms(), std::slice::from_ref(&realm));

    // A key is replaced once by those who saw the same revision, and the revision rises.
    let mut changed = before.key.clone();
    changed.data = "changed".to_owned();
    let after = store.replace(changed.clone(), before.revision);
    let after = after.unwrap().unwrap();
    assert!(after.revision > before.revision);
    assert!(store.replace(changed, before.revision).unwrap().is_none());
    assert_eq!(before.key.data, "", "a returned key does not change");
    assert_eq!(store.get(&realm, &id).unwrap().key.data, "changed");

    // Aliases are created once, replaced only where they exist, and removed with their key.
    let at = Timestamp::UNIX_EPOCH;
    let alias = |target: &str| Alias {
        name: "x".into(),
        target: KeyId::new(target),
        created: at,
        updated: at,
    };
    assert!(matches!(
        store.put_alias(&realm, alias("b"), true),
        Err(KeyError::AliasNotFound { .. })
    ));
    assert!(matches!(
        store.put_alias(&realm, alias("none"), false),
        Err(KeyError::NotFound { .. })
    ));
    store.put_alias(&realm, alias("b"), false).unwrap();
    assert!(matches!(
        store.put_alias(&realm, alias("a"), false),
        Err(KeyError::AliasExists { .. })
    ));
    assert!(!store.remove(&realm, &id, before.revision).unwrap());
    assert!(store.remove(&realm, &id, after.revision).unwrap());
    assert!(store.alias(&realm, "x").is_none() && store.get(&realm, &id).is_none());

    // A key that is created again is not the one that somebody saw before.
    let again = store.insert(before.key.clone()).unwrap();
    assert!(again.revision > after.revision);
    let replaced = store.replace(after.key.clone(), after.revision);
    assert!(replaced.unwrap().is_none());

    store.clear().unwrap();
    assert!(store.realms().is_empty());
    let again = store.insert(before.key.clone()).unwrap();
    assert!(again.revision > after.revision);
}

fn one_replacement_of_a_revision_wins(store: &AnyStore) {
    let (realm, id) = filled(store, "k");
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..250 {
                    loop {
                        let seen = store.get(&realm, &id).unwrap();
                        let mut key = seen.key.clone();
                        key.rotation.on_demand_used += 1;
                        if store.replace(key, seen.revision).unwrap().is_some() {
                            break;
                        }
                    }
                }
            });
        }
    });
    let used = store.get(&realm, &id).unwrap().key.rotation.on_demand_used;
    assert_eq!(used, 1000);
}

#[test]
fn memory_store_meets_the_store_contract() {
    let store = || Arc::new(MemoryStore::default()) as AnyStore;
    contract(&store());
    one_replacement_of_a_revision_wins(&store());
}

const TABLES: Tables = Tables {
    keys: "test/keys",
    aliases: "test/aliases",
};

fn records(database: Arc<dyn Database>) -> AnyStore {
    Arc::new(RecordStore::open(database, TABLES).unwrap())
}

#[test]
fn record_store_meets_the_store_contract() {
    let store = || records(Arc::new(NoDatabase));
    contract(&store());
    one_replacement_of_a_revision_wins(&store());
}

#[test]
fn file_store_meets_the_store_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = |name| {
        let master = MasterKey::random().unwrap();
        records(Arc::new(
            FileDatabase::open(&dir.path().join(name), master).unwrap(),
        ))
    };
    contract(&store("contract"));
    one_replacement_of_a_revision_wins(&store("replacements"));
}

/// All keys and aliases.
fn content(store: &AnyStore) -> Vec<(Vec<String>, Vec<Alias>)> {
    let realms = store.realms().into_iter();
    let content = realms.map(|realm| {
        let keys = store.keys(&realm).into_iter();
        let keys = keys.map(|stored| serde_json::to_string(&stored.key).unwrap());
        (keys.collect(), store.aliases(&realm))
    });
    content.collect()
}

fn alias(name: &str, target: &KeyId) -> Alias {
    Alias {
        name: name.to_owned(),
        target: target.clone(),
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::MAX,
    }
}

#[test]
fn keys_and_aliases_of_a_file_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let master = MasterKey::random().unwrap();
    let open = || records(Arc::new(FileDatabase::open(&path, master.clone()).unwrap()));
    let before = {
        let store = open();
        let (realm, first) = filled(&store, "first");
        let (_, second) = filled(&store, "second");
        for name in ["a", "b", "c"] {
            store.put_alias(&realm, alias(name, &first), false).unwrap();
        }
        store.put_alias(&realm, alias("b", &second), true).unwrap();
        store.remove_alias(&realm, "c").unwrap();
        let (_, third) = filled(&store, "third");
        store.put_alias(&realm, alias("d", &third), false).unwrap();
        let revision = store.get(&realm, &third).unwrap().revision;
        assert!(store.remove(&realm, &third, revision).unwrap());
        content(&store)
    };
    assert_eq!((before[0].0.len(), before[0].1.len()), (2, 2));
    assert_eq!(content(&open()), before);
    open().clear().unwrap();
    assert!(content(&open()).is_empty());
}

/// A database that refuses every change once it is full.
#[derive(Debug, Default)]
struct Filling(AtomicBool);

impl Database for Filling {
    fn load(&self, _: &'static str) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _: Vec<Change>) -> Result<(), StoreError> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(StoreError::Full),
            false => Ok(()),
        }
    }
}

#[test]
fn a_change_that_cannot_be_stored_does_not_take_effect() {
    let database = Arc::new(Filling::default());
    let store = records(Arc::clone(&database) as Arc<dyn Database>);
    let (realm, id) = filled(&store, "k");
    store.put_alias(&realm, alias("a", &id), false).unwrap();
    let before = content(&store);
    let stored = store.get(&realm, &id).unwrap();
    database.0.store(true, Ordering::Relaxed);
    let full = KeyError::Store(StoreError::Full);
    let mut other = stored.key.clone();
    other.id = KeyId::new("other");
    assert_eq!(store.insert(other).unwrap_err(), full);
    let replaced = store.replace(stored.key.clone(), stored.revision);
    assert_eq!(replaced.unwrap_err(), full);
    assert_eq!(
        store.remove(&realm, &id, stored.revision).unwrap_err(),
        full
    );
    assert_eq!(
        store.put_alias(&realm, alias("b", &id), false).unwrap_err(),
        full
    );
    assert_eq!(store.remove_alias(&realm, "a").unwrap_err(), full);
    assert_eq!(content(&store), before);
    assert_eq!(store.get(&realm, &id).unwrap().revision, stored.revision);
}
