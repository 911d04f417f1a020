//! A key's life: enabled, disabled, rotated, deleted.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{KeyCore, Named, push};
use crate::{
    Algorithm, Cause, Key, KeyError, KeyFields, KeyId, KeyState, NewVersion, Period, Purpose,
    Realm, Trigger, Version, VersionFields, VersionId, VersionState, material,
};

impl KeyCore {
    /// Lets a disabled key be used again. A rotation that came due meanwhile happens now, once.
    pub fn enable(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            not_pending(key)?;
            key.state = KeyState::Enabled;
            key.rotation.catch_up(now);
            Ok(())
        })?;
        self.key(realm, id)
    }

    /// Keeps a key from being used, until it is enabled.
    pub fn disable(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            not_pending(key)?;
            key.state = KeyState::Disabled;
            Ok(())
        })
    }

    /// Deletes a key after that time, unless it is cancelled before.
    pub fn schedule_deletion(
        &self,
        realm: &Realm,
        id: &KeyId,
        after: Duration,
    ) -> Result<Arc<Key>, KeyError> {
        let after = SignedDuration::try_from(after).map_err(|_| KeyError::OutOfRange)?;
        let at = self
            .now()
            .checked_add(after)
            .map_err(|_| KeyError::OutOfRange)?;
        self.change(realm, id, |key| {
            not_pending(key)?;
            key.state = KeyState::PendingDeletion { at };
            Ok(())
        })
    }

    /// Keeps a key that waits for its deletion, in that state from then on.
    pub fn cancel_deletion(
        &self,
        realm: &Realm,
        id: &KeyId,
        then: KeyState,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| match key.state {
            KeyState::PendingDeletion { .. } => {
                key.state = then;
                if then == KeyState::Enabled {
                    key.rotation.catch_up(now);
                }
                Ok(())
            }
            _ => Err(KeyError::NotPendingDeletion {
                id: key.id.to_string(),
            }),
        })?;
        self.key(realm, id)
    }

    /// Deletes a key that waits for its deletion, now.
    pub fn purge(&self, realm: &Realm, id: &KeyId) -> Result<(), KeyError> {
        self.key(realm, id)?;
        let waits = |key: &Key| matches!(key.state, KeyState::PendingDeletion { .. });
        let gone = self.store.remove(realm, id, &waits);
        if gone {
            Ok(())
        } else {
            Err(KeyError::NotPendingDeletion { id: id.to_string() })
        }
    }

    /// Moves one version to another state, where [`VersionState::may_become`] allows it. Destroying
    /// takes its material away.
    pub fn set_version_state(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        to: VersionState,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            let version = key.version_mut(version)?;
            move_to(version, to)?;
            version.updated = now;
            Ok(())
        })
    }

    /// Removes a version whose material is destroyed. It leaves no trace but its number, which is
    /// not given again.
    pub fn remove_version(&self, (realm, id, version): Named<'_>) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            let from = key.version_mut(version)?.state;
            if from != VersionState::Destroyed {
                return Err(KeyError::IllegalMove {
                    from,
                    to: VersionState::Destroyed,
                });
            }
            key.versions.retain(|one| one.id != *version);
            key.primary = key.primary.filter(|primary| primary != version);
            Ok(())
        })
    }

    /// Removes a key that has no versions, now.
    pub fn remove_without_versions(&self, realm: &Realm, id: &KeyId) -> Result<(), KeyError> {
        self.key(realm, id)?;
        let gone = self.store.remove(realm, id, &|key| key.versions.is_empty());
        if gone {
            Ok(())
        } else {
            Err(KeyError::HasVersions { id: id.to_string() })
        }
    }

    /// Makes a version the one that seals; it must be one that can be used.
    pub fn set_primary(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
    ) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            let version = key.usable_version(version)?.id;
            key.primary = Some(version);
            Ok(())
        })
    }

    /// Changes what is only data of one version, and its state where [`VersionState::may_become`]
    /// allows it.
    pub fn update_version(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        to: Option<VersionState>,
        f: impl FnMut(VersionFields<'_>),
    ) -> Result<Arc<Key>, KeyError> {
        let (mut f, now) = (f, self.now());
        self.change(realm, id, |key| {
            not_pending(key)?;
            let newest = key
                .versions
                .last()
                .is_some_and(|newest| newest.id == *version);
            let changed = key.version_mut(version)?;
            move_to(changed, to.unwrap_or(changed.state))?;
            f(changed.fields());
            changed.updated = now;
            if newest {
                let (made, expires) = (changed.created, changed.expires);
                key.rotation.made(made, expires);
            }
            Ok(())
        })
    }

    /// Sets when the key rotates by itself, or that it does not, and how long versions made so are
    /// valid. A trigger that counts date by date begins at `first`, or a whole period from now.
    pub fn set_rotation(
        &self,
        realm: &Realm,
        id: &KeyId,
        trigger: Option<Trigger>,
        first: Option<Timestamp>,
        lifetime: Option<Period>,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            key.usable()?;
            rotates(key)?;
            let newest = key
                .versions
                .last()
                .map(|newest| (newest.created, newest.expires));
            let (made, expires) = newest.unwrap_or((key.created, None));
            key.rotation.lifetime = lifetime;
            key.rotation.schedule(trigger, first, now, made, expires);
            Ok(())
        })
    }

    /// Makes a new version now; at most `limit` times in a key's life. The schedule goes on as it
    /// was.
    pub fn rotate_now(
        &self,
        realm: &Realm,
        id: &KeyId,
        limit: Option<u32>,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.key(realm, id)?;
        self.rotate(realm, id, &|key| {
            key.usable()?;
            rotates(key)?;
            if let Some(limit) = limit.filter(|limit| key.rotation.on_demand_used >= *limit) {
                return Err(KeyError::RotationLimit { limit });
            }
            key.rotation.on_demand_used += 1;
            key.rotation.made(now, key.rotation.expiry(now));
            Ok(now)
        })
    }

    /// Adds a version, which may be of another algorithm than those before.
    pub fn add_version(
        &self,
        realm: &Realm,
        id: &KeyId,
        new: NewVersion,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        // Made before the store is locked: RSA takes up to seconds.
        let made = self.new_version(&new, now, Cause::Created)?;
        self.change(realm, id, |key| {
            not_pending(key)?;
            push(key, made.clone(), new.primary);
            Ok(())
        })
    }

    /// Makes the material of a version that is pending, which is enabled then. RSA takes up to
    /// seconds.
    pub fn finish_version(&self, (realm, id, version): Named<'_>) -> Result<Arc<Key>, KeyError> {
        let key = self.key(realm, id)?;
        let algorithm = key
            .version(version)
            .ok_or(KeyError::VersionNotFound)?
            .algorithm;
        let material = material::generate(algorithm, self.entropy.as_ref())?;
        let sealed = Arc::new(
            self.master
                .seal(self.entropy.as_ref(), version, &material)?,
        );
        self.change(realm, id, |key| {
            let version = key.version_mut(version)?;
            if version.state == VersionState::Pending {
                (version.state, version.material) =
                    (VersionState::Enabled, Some(Arc::clone(&sealed)));
            }
            Ok(())
        })
    }

    /// Changes what is only data: description, labels, policy, attributes, grants.
    pub fn update(
        &self,
        realm: &Realm,
        id: &KeyId,
        f: impl FnMut(KeyFields<'_>),
    ) -> Result<Arc<Key>, KeyError> {
        let mut f = f;
        self.change(realm, id, |key| {
            f(key.fields());
            Ok(())
        })
    }

    fn change(
        &self,
        realm: &Realm,
        id: &KeyId,
        mut change: impl FnMut(&mut Key) -> Result<(), KeyError>,
    ) -> Result<Arc<Key>, KeyError> {
        self.key(realm, id)?;
        self.store.update(realm, id, &mut change)
    }
}

fn move_to(version: &mut Version, to: VersionState) -> Result<(), KeyError> {
    if !version.state.may_become(to) {
        return Err(KeyError::IllegalMove {
            from: version.state,
            to,
        });
    }
    version.state = to;
    if to == VersionState::Destroyed {
        version.material = None;
    }
    Ok(())
}

fn not_pending(key: &Key) -> Result<(), KeyError> {
    match key.state {
        KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion {
            id: key.id.to_string(),
        }),
        KeyState::Enabled | KeyState::Disabled => Ok(()),
    }
}

fn rotates(key: &Key) -> Result<(), KeyError> {
    match (key.algorithm, key.purpose) {
        (Algorithm::AES_256, Purpose::EncryptDecrypt) | (_, Purpose::Any) => Ok(()),
        _ => Err(KeyError::RotationUnsupported),
    }
}
