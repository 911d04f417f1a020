//! The lifecycle of keys: enable, disable, rotate, delete.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{KeyCore, VersionRef, append_and_schedule};
use crate::{
    Algorithm, Cause, Key, KeyError, KeyFields, KeyId, KeyState, NewVersion, Period, Purpose,
    Realm, Trigger, Version, VersionFields, VersionId, VersionState, material,
};

impl KeyCore {
    /// Enables a key. If rotations came due while it was disabled, it rotates once, now.
    pub fn enable(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            ensure_not_pending(key)?;
            key.state = KeyState::Enabled;
            key.rotation.catch_up(now);
            Ok(())
        })?;
        self.key(realm, id)
    }

    /// Disables a key.
    pub fn disable(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            ensure_not_pending(key)?;
            key.state = KeyState::Disabled;
            Ok(())
        })
    }

    /// Schedules the deletion of a key `after` from now.
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
            ensure_not_pending(key)?;
            key.state = KeyState::PendingDeletion { at };
            Ok(())
        })
    }

    /// Cancels a scheduled deletion and leaves the key in state `then`.
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

    /// Deletes a key that is pending deletion, now.
    pub fn purge(&self, realm: &Realm, id: &KeyId) -> Result<(), KeyError> {
        self.key(realm, id)?;
        let waits = |key: &Key| matches!(key.state, KeyState::PendingDeletion { .. });
        let removed = self.store.remove(realm, id, &waits);
        if removed {
            Ok(())
        } else {
            Err(KeyError::NotPendingDeletion { id: id.to_string() })
        }
    }

    /// Changes the state of a version where [`VersionState::may_become`] allows it. Destroying a
    /// version erases its material.
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

    /// Removes a destroyed version. Its number is not given out again.
    pub fn remove_version(
        &self,
        (realm, id, version): VersionRef<'_>,
    ) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            let from = key.version_mut(version)?.state;
            if from != VersionState::Destroyed {
                return Err(KeyError::InvalidTransition {
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
        let removed = self.store.remove(realm, id, &|key| key.versions.is_empty());
        if removed {
            Ok(())
        } else {
            Err(KeyError::HasVersions { id: id.to_string() })
        }
    }

    /// Makes a usable version the primary.
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

    /// Changes a version's data (dates, labels, attributes), and its state where
    /// [`VersionState::may_become`] allows it.
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
            ensure_not_pending(key)?;
            let newest = key
                .versions
                .last()
                .is_some_and(|newest| newest.id == *version);
            let changed = key.version_mut(version)?;
            move_to(changed, to.unwrap_or(changed.state))?;
            f(changed.fields());
            changed.updated = now;
            if newest {
                let (version, expires) = (changed.created, changed.expires);
                key.rotation.version_created(version, expires);
            }
            Ok(())
        })
    }

    /// Sets the rotation trigger (`None` turns automatic rotation off) and the lifetime of versions
    /// that rotations make. Dates of [`Trigger::Every`] start at `first`, by default one period
    /// from now.
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
            key.ensure_usable()?;
            rotates(key)?;
            let newest = key
                .versions
                .last()
                .map(|newest| (newest.created, newest.expires));
            let (version, expires) = newest.unwrap_or((key.created, None));
            key.rotation.lifetime = lifetime;
            key.rotation.schedule(trigger, first, now, version, expires);
            Ok(())
        })
    }

    /// Rotates the key now, at most `limit` times in its life. The schedule does not change.
    pub fn rotate_now(
        &self,
        realm: &Realm,
        id: &KeyId,
        limit: Option<u32>,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.key(realm, id)?;
        self.rotate(realm, id, &|key| {
            key.ensure_usable()?;
            rotates(key)?;
            if let Some(limit) = limit.filter(|limit| key.rotation.on_demand_used >= *limit) {
                return Err(KeyError::RotationLimit { limit });
            }
            key.rotation.on_demand_used += 1;
            key.rotation
                .version_created(now, key.rotation.expiry_of_version_created(now));
            Ok(now)
        })
    }

    /// Adds a version; its algorithm may differ from that of older versions.
    pub fn add_version(
        &self,
        realm: &Realm,
        id: &KeyId,
        new: NewVersion,
    ) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        // Generated before the store is locked, since RSA takes up to seconds.
        let version = self.new_version(&new, now, Cause::Created)?;
        self.change(realm, id, |key| {
            ensure_not_pending(key)?;
            append_and_schedule(key, version.clone(), new.primary);
            Ok(())
        })
    }

    /// Generates the material of a pending version and enables it. RSA takes up to seconds.
    pub fn finish_version(
        &self,
        (realm, id, version): VersionRef<'_>,
    ) -> Result<Arc<Key>, KeyError> {
        let key = self.key(realm, id)?;
        let algorithm = key
            .version(version)
            .ok_or(KeyError::VersionNotFound)?
            .algorithm;
        let material = material::generate(algorithm, self.entropy.as_ref())?;
        let wrapped = Arc::new(
            self.master
                .wrap(self.entropy.as_ref(), version, &material)?,
        );
        self.change(realm, id, |key| {
            let version = key.version_mut(version)?;
            if version.state == VersionState::Pending {
                (version.state, version.material) =
                    (VersionState::Enabled, Some(Arc::clone(&wrapped)));
            }
            Ok(())
        })
    }

    /// Changes a key's data: description, labels, policy, attributes, grants.
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
        return Err(KeyError::InvalidTransition {
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

fn ensure_not_pending(key: &Key) -> Result<(), KeyError> {
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
