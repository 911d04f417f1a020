//! The verbs on keys. Every verb first settles what is due: rotations that the schedule owes,
//! deletions whose day has come.

mod aliases;
mod backup;
mod crypto;
mod life;
mod rotating;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::material::{self, MasterKey};
use crate::{
    Cause, Clock, Entropy, Key, KeyError, KeyId, KeyState, NewKey, NewVersion, Realm, Rotation,
    Store, Version, VersionId, VersionState,
};

pub use crypto::Named;
use rotating::Rotating;

/// All keys of one emulator.
pub struct KeyCore {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    master: MasterKey,
    rotating: Rotating,
}

/// A ciphertext of a key's primary version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The version that sealed.
    pub version: VersionId,
    /// The nonce of AES-256-GCM.
    pub nonce: [u8; 12],
    /// Ciphertext ‖ tag, 16 bytes longer than the plaintext.
    pub body: Vec<u8>,
}

/// What settling did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Versions made by schedules.
    pub rotated: usize,
    /// Keys whose deletion came due.
    pub deleted: usize,
    /// Versions that schedules owed and that were left out, the oldest of more than one settling
    /// makes: 32 of an RSA key, 1000 of others.
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
    /// A core over an empty or filled store. The master key is made here and lives as long as the
    /// core.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let master = MasterKey::random(entropy.as_ref());
        Self {
            store,
            clock,
            entropy,
            master,
            rotating: Rotating::default(),
        }
    }

    /// The time on the clock that keys live by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Random bytes.
    pub fn random(&self, len: usize) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Makes a key and its first version. RSA takes up to seconds.
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
            numbered: 0,
            rotation: Rotation::default(),
            description: new.description,
            labels: new.labels,
            policy: new.policy,
            attributes: new.attributes,
            grants: Vec::new(),
        };
        if let (Some(made), Some(asked)) = (first, &new.first) {
            push(&mut key, made, asked.primary);
        }
        self.store.insert(key)?;
        self.key(realm, &new.id)
    }

    /// A key as it is now; one whose deletion came due is not found.
    pub fn key(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        let key = self.store.get(realm, id).and_then(|key| self.settled(key));
        key.ok_or_else(|| KeyError::NotFound { id: id.to_string() })
    }

    /// All keys of a realm, by time of creation, then by name.
    pub fn keys(&self, realm: &Realm) -> Vec<Arc<Key>> {
        self.store
            .keys(realm)
            .into_iter()
            .filter_map(|key| self.settled(key))
            .collect()
    }

    /// Every realm that has a key.
    pub fn realms(&self) -> Vec<Realm> {
        self.store.realms()
    }

    /// The key that has this version; for ciphertexts that name only a version.
    pub fn find_version(&self, realm: &Realm, version: &VersionId) -> Result<Arc<Key>, KeyError> {
        self.store
            .find(realm, version)
            .and_then(|key| self.settled(key))
            .ok_or(KeyError::VersionNotFound)
    }

    /// Settles everything that is due now.
    pub fn settle(&self) -> Settled {
        self.settle_while(&|| true)
    }

    /// Settles what is due now, key by key and version by version, until `go_on` says no.
    pub fn settle_while(&self, go_on: &dyn Fn() -> bool) -> Settled {
        let mut done = Settled::default();
        for realm in self.store.realms() {
            for key in self.store.keys(&realm) {
                if !go_on() {
                    return done;
                }
                let known = key.versions.len();
                let (settled, skipped) = self.settled_while(key, go_on);
                done.skipped += skipped;
                match settled {
                    Some(key) => done.rotated += key.versions.len().saturating_sub(known),
                    None => done.deleted += 1,
                }
            }
        }
        done
    }

    /// Forgets every key and alias of one realm, whatever their state.
    pub fn forget(&self, realm: &Realm) {
        for key in self.store.keys(realm) {
            self.store.remove(realm, &key.id, &|_| true);
        }
    }

    /// Forgets every key and alias.
    pub fn reset(&self) {
        self.store.clear();
    }

    /// The key after what is due for it; `None` where that is its end.
    fn settled(&self, key: Arc<Key>) -> Option<Arc<Key>> {
        self.settled_while(key, &|| true).0
    }

    /// The same for as long as `go_on` says so, and how many rotations were left out.
    fn settled_while(&self, key: Arc<Key>, go_on: &dyn Fn() -> bool) -> (Option<Arc<Key>>, usize) {
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
                .any(|version| version.state.ends_by(now)) =>
            {
                let settled = self.store.update(&key.realm, &key.id, &mut |key| {
                    key.versions
                        .iter_mut()
                        .for_each(|version| version.end_by(now));
                    Ok(())
                });
                settled.map_or((None, 0), |key| self.settled_while(key, go_on))
            }
            KeyState::Enabled if key.rotation.next.is_some_and(|next| next <= now) => {
                self.rotate_due(&key, now, go_on)
            }
            _ => (Some(key), 0),
        }
    }

    /// A version that is nobody's yet, and so has no number.
    fn new_version(
        &self,
        new: &NewVersion,
        at: Timestamp,
        cause: Cause,
    ) -> Result<Version, KeyError> {
        let id = VersionId::random(self.entropy.as_ref());
        let material = match &new.material {
            _ if new.later => None,
            Some(material) => Some(material.of(new.algorithm)?),
            None => Some(material::generate(new.algorithm, self.entropy.as_ref())?),
        };
        let sealed = material
            .map(|material| self.master.seal(self.entropy.as_ref(), &id, &material))
            .transpose()?;
        Ok(Version {
            id,
            number: 0,
            state: if new.later {
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
            material: sealed.map(Arc::new),
        })
    }
}

/// The newest version from then on, from which the schedule counts.
fn push(key: &mut Key, version: Version, primary: bool) {
    key.rotation.made(version.created, version.expires);
    append(key, version, primary);
}

/// The newest version from then on; the schedule has its dates already.
fn append(key: &mut Key, version: Version, primary: bool) {
    let number = key.numbered.saturating_add(1);
    key.numbered = number;
    if primary {
        key.primary = Some(version.id);
    }
    key.algorithm = version.algorithm;
    key.versions.push(Version { number, ..version });
}
