//! Operations on keys. Looking up a key first applies what is due: scheduled rotations, and
//! deletions whose time has come.

mod aliases;
mod backup;
mod crypto;
mod due;
mod handle;
mod lifecycle;
mod rotate;
mod transfer;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::material::{self, MasterKey};
use crate::store::Stored;
use crate::{
    Cause, Clock, Entropy, Front, Key, KeyError, KeyId, KeyState, NewKey, NewVersion, Realm,
    Rotation, Store, Version, VersionId, VersionState,
};

pub use crypto::Ciphertext;
pub use due::DueChanges;
pub use handle::{KeyRef, VersionRef};
pub use lifecycle::RotationPolicy;
use rotate::RotationLocks;
pub use transfer::{ImportError, PlainKey, PlainVersion};

/// The keys of one front end.
pub struct KeyCore<F: Front> {
    store: Arc<dyn Store<F>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    master: MasterKey,
    rotating: RotationLocks,
}

impl<F: Front> fmt::Debug for KeyCore<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCore")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl<F: Front> KeyCore<F> {
    /// Creates a core over a store. The master key is generated here and lives as long as the core.
    pub fn new(store: Arc<dyn Store<F>>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let master = MasterKey::random(entropy.as_ref());
        Self {
            store,
            clock,
            entropy,
            master,
            rotating: RotationLocks::default(),
        }
    }

    /// Returns the time of the clock that keys live by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns `len` random bytes.
    pub fn random(&self, len: usize) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Creates a key and its first version. RSA takes up to seconds.
    pub fn create(&self, realm: &Realm, new: NewKey<F>) -> Result<KeyRef<'_, F>, KeyError> {
        let now = self.now();
        let first = match new.first {
            Some(first) => Some((first.primary, self.new_version(first, now, Cause::Created)?)),
            None => None,
        };
        let mut key = Key {
            realm: realm.clone(),
            id: new.id,
            purpose: new.purpose,
            state: KeyState::Enabled,
            created: now,
            algorithm: new.algorithm,
            primary: None,
            versions: Vec::new(),
            last_number: 0,
            rotation: Rotation::default(),
            data: new.data,
        };
        if let Some((primary, version)) = first {
            append_and_schedule(&mut key, version, primary);
        }
        let stored = self.store.insert(key)?;
        self.current(stored)
    }

    /// Returns a key as it is now. A key whose deletion is due is not found.
    pub fn key(&self, realm: &Realm, id: &KeyId) -> Result<KeyRef<'_, F>, KeyError> {
        self.current(self.stored(realm, id)?)
    }

    /// A key without its due changes.
    fn stored(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Stored<F>>, KeyError> {
        let not_found = || KeyError::NotFound { id: id.to_string() };
        self.store.get(realm, id).ok_or_else(not_found)
    }

    /// Lists the keys of a realm, ordered by creation time, then by id.
    pub fn keys(&self, realm: &Realm) -> Vec<KeyRef<'_, F>> {
        self.store
            .keys(realm)
            .into_iter()
            .filter_map(|stored| self.apply_due_to(stored))
            .map(|stored| self.handle(stored))
            .collect()
    }

    /// Lists the realms that have a key.
    pub fn realms(&self) -> Vec<Realm> {
        self.store.realms()
    }

    /// Removes all keys and aliases of a realm, whatever their state.
    pub fn remove_realm(&self, realm: &Realm) -> Result<(), KeyError> {
        for stored in self.store.keys(realm) {
            self.remove_if(realm, &stored.key.id, |_| true)?;
        }
        Ok(())
    }

    /// Removes all keys and aliases.
    pub fn reset(&self) -> Result<(), KeyError> {
        self.store.clear()
    }

    fn handle(&self, stored: Arc<Stored<F>>) -> KeyRef<'_, F> {
        KeyRef::new(self, stored)
    }

    /// A key after its due changes. A key whose deletion is due is not found.
    fn current(&self, stored: Arc<Stored<F>>) -> Result<KeyRef<'_, F>, KeyError> {
        let id = stored.key.id.clone();
        match self.apply_due_to(stored) {
            Some(stored) => Ok(self.handle(stored)),
            None => Err(KeyError::NotFound { id: id.to_string() }),
        }
    }

    /// Removes a key and its aliases if `when` returns true for it. Returns whether it did.
    fn remove_if(
        &self,
        realm: &Realm,
        id: &KeyId,
        when: impl Fn(&Key<F>) -> bool,
    ) -> Result<bool, KeyError> {
        while let Some(stored) = self.store.get(realm, id) {
            if !when(&stored.key) {
                return Ok(false);
            }
            if self.store.remove(realm, id, stored.revision)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A version that belongs to no key yet and has no number.
    fn new_version(
        &self,
        new: NewVersion<F>,
        at: Timestamp,
        cause: Cause,
    ) -> Result<Version<F>, KeyError> {
        let id = VersionId::random(self.entropy.as_ref());
        let material = match &new.material {
            _ if new.pending => None,
            Some(material) => Some(material.for_algorithm(new.algorithm)?),
            None => Some(material::generate(new.algorithm, self.entropy.as_ref())?),
        };
        let wrapped = material
            .map(|material| self.master.wrap(self.entropy.as_ref(), &id, &material))
            .transpose()?;
        Ok(Version {
            id,
            number: 0,
            state: if new.pending {
                VersionState::Pending
            } else {
                VersionState::Enabled
            },
            created: at,
            updated: at,
            cause,
            algorithm: new.algorithm,
            not_before: new.not_before,
            expires: new.expires,
            data: new.data,
            material: wrapped.map(Arc::new),
        })
    }
}

/// Appends the newest version and counts the schedule from it.
fn append_and_schedule<F: Front>(key: &mut Key<F>, version: Version<F>, primary: bool) {
    key.rotation
        .version_created(version.created, version.expires);
    append(key, version, primary);
}

/// Appends the newest version; the schedule has its dates already.
fn append<F: Front>(key: &mut Key<F>, version: Version<F>, primary: bool) {
    let number = key.last_number.saturating_add(1);
    key.last_number = number;
    if primary {
        key.primary = Some(version.id);
    }
    key.algorithm = version.algorithm;
    key.versions.push(Version { number, ..version });
}
