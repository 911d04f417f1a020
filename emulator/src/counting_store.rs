//! A store that counts lookups of keys and aliases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kmslab_keycore::{
    Alias, Front, Key, KeyCore, KeyError, KeyId, LabClock, MemoryStore, Realm, Revision, Store,
    Stored, SystemClock, SystemEntropy,
};

#[derive(Debug)]
pub(crate) struct CountingStore<F: Front> {
    inner: MemoryStore<F>,
    lookups: AtomicUsize,
}

impl<F: Front> CountingStore<F> {
    /// Returns a store and a core over it.
    pub(crate) fn with_core() -> (Arc<Self>, Arc<KeyCore<F>>) {
        let store = Arc::new(Self {
            inner: MemoryStore::default(),
            lookups: AtomicUsize::default(),
        });
        let clock = Arc::new(LabClock::new(Arc::new(SystemClock)));
        let core = KeyCore::new(Arc::clone(&store) as _, clock, Arc::new(SystemEntropy));
        (store, Arc::new(core))
    }

    /// Returns the result of `work` with the number of lookups that it made.
    pub(crate) fn count<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = self.lookups.load(Ordering::SeqCst);
        let result = work();
        (result, self.lookups.load(Ordering::SeqCst) - before)
    }

    fn looked_up<T>(&self, found: T) -> T {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        found
    }
}

impl<F: Front> Store<F> for CountingStore<F> {
    fn insert(&self, key: Key<F>) -> Result<Arc<Stored<F>>, KeyError> {
        self.inner.insert(key)
    }

    fn get(&self, realm: &Realm, id: &KeyId) -> Option<Arc<Stored<F>>> {
        self.looked_up(self.inner.get(realm, id))
    }

    fn replace(&self, key: Key<F>, expected: Revision) -> Result<Option<Arc<Stored<F>>>, KeyError> {
        self.inner.replace(key, expected)
    }

    fn remove(&self, realm: &Realm, id: &KeyId, expected: Revision) -> Result<bool, KeyError> {
        self.inner.remove(realm, id, expected)
    }

    fn keys(&self, realm: &Realm) -> Vec<Arc<Stored<F>>> {
        self.looked_up(self.inner.keys(realm))
    }

    fn realms(&self) -> Vec<Realm> {
        self.looked_up(self.inner.realms())
    }

    fn put_alias(&self, realm: &Realm, alias: Alias, replace: bool) -> Result<(), KeyError> {
        self.inner.put_alias(realm, alias, replace)
    }

    fn alias(&self, realm: &Realm, name: &str) -> Option<Alias> {
        self.looked_up(self.inner.alias(realm, name))
    }

    fn remove_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        self.inner.remove_alias(realm, name)
    }

    fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.looked_up(self.inner.aliases(realm))
    }

    fn clear(&self) -> Result<(), KeyError> {
        self.inner.clear()
    }
}
