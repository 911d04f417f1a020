//! The contract of every store, run on the memory store.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{Arc, Barrier};
use std::thread;

use common::TestFront;
use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Alias, KeyCore, KeyError, KeyId, ManualClock, MemoryStore, NewKey, NewVersion,
    Purpose, Realm, Store, SystemEntropy,
};

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
    let after = store.replace(changed.clone(), before.revision).unwrap();
    assert!(after.revision > before.revision);
    assert!(store.replace(changed, before.revision).is_none());
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
    assert!(!store.remove(&realm, &id, before.revision));
    assert!(store.remove(&realm, &id, after.revision));
    assert!(store.alias(&realm, "x").is_none() && store.get(&realm, &id).is_none());

    // A key that is created again is not the one that somebody saw before.
    let again = store.insert(before.key.clone()).unwrap();
    assert!(again.revision > after.revision);
    assert!(store.replace(after.key.clone(), after.revision).is_none());

    store.clear();
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
                        if store.replace(key, seen.revision).is_some() {
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
