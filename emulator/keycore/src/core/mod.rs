//! Operations on keys. Each one first applies what is due: scheduled rotations, and deletions whose
//! time has come.

mod aliases;
mod backup;
mod crypto;
mod lifecycle;
mod rotate;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::material::{self, MasterKey};
use crate::{
    Cause, Clock, Entropy, Key, KeyError, KeyId, KeyState, NewKey, NewVersion, Realm, Rotation,
    Store, Version, VersionId, VersionState,
};

pub use crypto::VersionRef;
use rotate::RotationLocks;

/// The keys of one emulator.
pub struct KeyCore {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    master: MasterKey,
    rotating: RotationLocks,
}

/// A ciphertext of AES-256-GCM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphertext {
    /// The version that encrypted.
    pub version: VersionId,
    /// Nonce of AES-256-GCM.
    pub nonce: [u8; 12],
    /// Ciphertext ‖ tag, 16 bytes longer than the plaintext.
    pub body: Vec<u8>,
}

/// What applying due changes did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DueChanges {
    /// Versions made by rotation schedules.
    pub rotated: usize,
    /// Keys deleted.
    pub deleted: usize,
    /// Due versions that were not made, the oldest first, because one call makes at most 32 of an
    /// RSA key and 1000 of any other.
    pub skipped: usize,
}

impl fmt::Debug for KeyCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCore")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl KeyCore {
    /// Creates a core over a store. The master key is generated here and lives as long as the core.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
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
    pub fn create(&self, realm: &Realm, new: NewKey) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        let first = new
            .first
            .as_ref()
            .map(|first| self.new_version(first, now, Cause::Created))
            .transpose()?;
        let mut key = Key {
            realm: realm.clone(),
            id: new.id.clone(),
            purpose: new.purpose,
            state: KeyState::Enabled,
            created: now,
            algorithm: new.algorithm,
            primary: None,
            versions: Vec::new(),
            last_number: 0,
            rotation: Rotation::default(),
            description: new.description,
            labels: new.labels,
            policy: new.policy,
            attributes: new.attributes,
            grants: Vec::new(),
        };
        if let (Some(made), Some(asked)) = (first, &new.first) {
            append_and_schedule(&mut key, made, asked.primary);
        }
        self.store.insert(key)?;
        self.key(realm, &new.id)
    }

    /// Returns a key as it is now. A key whose deletion is due is not found.
    pub fn key(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        let key = self
            .store
            .get(realm, id)
            .and_then(|key| self.apply_due_to(key));
        key.ok_or_else(|| KeyError::NotFound { id: id.to_string() })
    }

    /// Lists the keys of a realm, ordered by creation time, then by id.
    pub fn keys(&self, realm: &Realm) -> Vec<Arc<Key>> {
        self.store
            .keys(realm)
            .into_iter()
            .filter_map(|key| self.apply_due_to(key))
            .collect()
    }

    /// Lists the realms that have a key.
    pub fn realms(&self) -> Vec<Realm> {
        self.store.realms()
    }

    /// Finds the key that has a version, for ciphertexts that name only the version.
    pub fn find_version(&self, realm: &Realm, version: &VersionId) -> Result<Arc<Key>, KeyError> {
        self.store
            .find_by_version(realm, version)
            .and_then(|key| self.apply_due_to(key))
            .ok_or(KeyError::VersionNotFound)
    }

    /// Applies everything that is due now.
    pub fn apply_due(&self) -> DueChanges {
        self.apply_due_while(&|| true)
    }

    /// Applies what is due now, version by version, for as long as `should_continue` returns true.
    pub fn apply_due_while(&self, should_continue: &dyn Fn() -> bool) -> DueChanges {
        let mut done = DueChanges::default();
        for realm in self.store.realms() {
            for key in self.store.keys(&realm) {
                if !should_continue() {
                    return done;
                }
                let known = key.versions.len();
                let (applied, skipped) = self.apply_due_to_while(key, should_continue);
                done.skipped += skipped;
                match applied {
                    Some(key) => done.rotated += key.versions.len().saturating_sub(known),
                    None => done.deleted += 1,
                }
            }
        }
        done
    }

    /// Removes all keys and aliases of a realm, whatever their state.
    pub fn remove_realm(&self, realm: &Realm) {
        for key in self.store.keys(realm) {
            self.store.remove(realm, &key.id, &|_| true);
        }
    }

    /// Removes all keys and aliases.
    pub fn reset(&self) {
        self.store.clear();
    }

    /// The key after its due changes; `None` if it was deleted.
    fn apply_due_to(&self, key: Arc<Key>) -> Option<Arc<Key>> {
        self.apply_due_to_while(key, &|| true).0
    }

    /// The same for as long as `should_continue` returns true, and how many rotations were skipped.
    fn apply_due_to_while(
        &self,
        key: Arc<Key>,
        should_continue: &dyn Fn() -> bool,
    ) -> (Option<Arc<Key>>, usize) {
        let now = self.now();
        match key.state {
            KeyState::PendingDeletion { at } if at <= now => {
                let due =
                    |key: &Key| matches!(key.state, KeyState::PendingDeletion { at } if at <= now);
                let removed = self.store.remove(&key.realm, &key.id, &due);
                (
                    if removed {
                        None
                    } else {
                        self.store.get(&key.realm, &key.id)
                    },
                    0,
                )
            }
            _ if key
                .versions
                .iter()
                .any(|version| version.state.is_destruction_due(now)) =>
            {
                let applied = self.store.update(&key.realm, &key.id, &mut |key| {
                    key.versions
                        .iter_mut()
                        .for_each(|version| version.destroy_if_due(now));
                    Ok(())
                });
                applied.map_or((None, 0), |key| {
                    self.apply_due_to_while(key, should_continue)
                })
            }
            KeyState::Enabled if key.rotation.next.is_some_and(|next| next <= now) => {
                self.rotate_due(&key, now, should_continue)
            }
            _ => (Some(key), 0),
        }
    }

    /// A version that belongs to no key yet and has no number.
    fn new_version(
        &self,
        new: &NewVersion,
        at: Timestamp,
        cause: Cause,
    ) -> Result<Version, KeyError> {
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
            labels: new.labels.clone(),
            attributes: new.attributes.clone(),
            material: wrapped.map(Arc::new),
        })
    }
}

/// Appends the newest version and counts the schedule from it.
fn append_and_schedule(key: &mut Key, version: Version, primary: bool) {
    key.rotation
        .version_created(version.created, version.expires);
    append(key, version, primary);
}

/// Appends the newest version; the schedule has its dates already.
fn append(key: &mut Key, version: Version, primary: bool) {
    let number = key.last_number.saturating_add(1);
    key.last_number = number;
    if primary {
        key.primary = Some(version.id);
    }
    key.algorithm = version.algorithm;
    key.versions.push(Version { number, ..version });
}
