//! The contract of every store, run on the memory store.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Alias, KeyCore, KeyError, KeyId, ManualClock, MemoryStore, NewKey, NewVersion,
    Purpose, Realm, Store, SystemEntropy,
};

fn filled(store: &Arc<dyn Store>, id: &str) -> (Realm, KeyId) {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let core = KeyCore::new(Arc::clone(store), clock, Arc::new(SystemEntropy));
    let (realm, id) = (Realm::new("r"), KeyId::new(id));
    let new = NewKey {
        id: id.clone(),
        algorithm: Algorithm::AES_256,
        first: Some(NewVersion::new(Algorithm::AES_256)),
        purpose: Purpose::EncryptDecrypt,
        description: String::new(),
        labels: BTreeMap::new(),
        policy: None,
        attributes: BTreeMap::new(),
    };
    core.create(&realm, new).unwrap();
    (realm, id)
}

fn contract(store: &Arc<dyn Store>) {
    let (realm, id) = filled(store, "b");
    filled(store, "a");
    let key = store.get(&realm, &id).unwrap();

    // An id can be used once.
    assert!(matches!(
        store.insert((*key).clone()),
        Err(KeyError::AlreadyExists { .. })
    ));
    // Keys are found by their versions, and ordered by creation, then by id.
    assert_eq!(
        store
            .find_by_version(&realm, &key.primary.unwrap())
            .unwrap()
            .id,
        id
    );
    assert_eq!(
        store
            .keys(&realm)
            .iter()
            .map(|k| k.id.to_string())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(store.realms(), std::slice::from_ref(&realm));

    // A failed change leaves the key as it was; a returned key does not change.
    let failed = store.update(&realm, &id, &mut |key| {
        key.description = "half done".into();
        Err(KeyError::OutOfRange)
    });
    assert_eq!(failed.unwrap_err(), KeyError::OutOfRange);
    assert_eq!(store.get(&realm, &id).unwrap().description, "");
    store
        .update(&realm, &id, &mut |key| {
            key.description = "done".into();
            Ok(())
        })
        .unwrap();
    assert_eq!(key.description, "");
    assert_eq!(store.get(&realm, &id).unwrap().description, "done");

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
    assert!(!store.remove(&realm, &id, &|_| false));
    assert!(store.remove(&realm, &id, &|key| key.description == "done"));
    assert!(store.alias(&realm, "x").is_none() && store.get(&realm, &id).is_none());
    assert!(
        store
            .find_by_version(&realm, &key.primary.unwrap())
            .is_none()
    );

    store.clear();
    assert!(store.realms().is_empty());
}

fn changes_are_atomic(store: &Arc<dyn Store>) {
    let (realm, id) = filled(store, "k");
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..250 {
                    let add = &mut |key: &mut kmslab_keycore::Key| {
                        key.rotation.on_demand_used += 1;
                        Ok(())
                    };
                    store.update(&realm, &id, add).unwrap();
                }
            });
        }
    });
    assert_eq!(
        store.get(&realm, &id).unwrap().rotation.on_demand_used,
        1000
    );
}

#[test]
fn memory_store_meets_the_store_contract() {
    contract(&(Arc::new(MemoryStore::default()) as Arc<dyn Store>));
    changes_are_atomic(&(Arc::new(MemoryStore::default()) as Arc<dyn Store>));
}
