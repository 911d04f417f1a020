//! A key's life: enabled, disabled, rotated, deleted.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::KeyCore;
use crate::{Algorithm, Cause, Key, KeyError, KeyFields, KeyId, KeyState, Purpose, Realm, VersionId, VersionState};

impl KeyCore {
    /// Lets a disabled key be used again. A rotation that came due meanwhile happens now, once.
    pub fn enable(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            not_pending(key)?;
            key.state = KeyState::Enabled;
            self.catch_up(key)
        })
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
    pub fn schedule_deletion(&self, realm: &Realm, id: &KeyId, after: Duration) -> Result<Arc<Key>, KeyError> {
        let after = SignedDuration::try_from(after).map_err(|_| KeyError::OutOfRange)?;
        let at = self.now().checked_add(after).map_err(|_| KeyError::OutOfRange)?;
        self.change(realm, id, |key| {
            not_pending(key)?;
            key.state = KeyState::PendingDeletion { at };
            Ok(())
        })
    }

    /// Keeps a key that waits for its deletion; it is disabled then.
    pub fn cancel_deletion(&self, realm: &Realm, id: &KeyId) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| match key.state {
            KeyState::PendingDeletion { .. } => {
                key.state = KeyState::Disabled;
                Ok(())
            }
            _ => Err(KeyError::NotPendingDeletion { id: key.id.to_string() }),
        })
    }

    /// Moves one version to another state, where [`crate::MOVES`] allows it. Destroying takes its material away.
    pub fn set_version_state(
        &self,
        realm: &Realm,
        id: &KeyId,
        version: &VersionId,
        to: VersionState,
    ) -> Result<Arc<Key>, KeyError> {
        self.change(realm, id, |key| {
            let version = key.versions.iter_mut().find(|v| v.id == *version).ok_or(KeyError::VersionNotFound)?;
            if !version.state.may_become(to) {
                return Err(KeyError::IllegalMove { from: version.state, to });
            }
            version.state = to;
            if to == VersionState::Destroyed {
                version.material = None;
            }
            Ok(())
        })
    }

    /// Switches automatic rotation on, every so many days from now, or off.
    pub fn set_rotation(&self, realm: &Realm, id: &KeyId, days: Option<u32>) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            key.usable()?;
            rotates(key)?;
            key.rotation.schedule(days, now);
            Ok(())
        })
    }

    /// Makes a new version now; at most `limit` times in a key's life. The schedule goes on as it was.
    pub fn rotate_now(&self, realm: &Realm, id: &KeyId, limit: Option<u32>) -> Result<Arc<Key>, KeyError> {
        let now = self.now();
        self.change(realm, id, |key| {
            key.usable()?;
            rotates(key)?;
            if let Some(limit) = limit.filter(|limit| key.rotation.on_demand_used >= *limit) {
                return Err(KeyError::RotationLimit { limit });
            }
            key.rotation.on_demand_used += 1;
            self.push_version(key, now, Cause::OnDemand)
        })
    }

    /// Changes what is only data: description, labels, policy, attributes, grants.
    pub fn update(&self, realm: &Realm, id: &KeyId, f: impl FnMut(KeyFields<'_>)) -> Result<Arc<Key>, KeyError> {
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

    /// A schedule that stood still rotates once, now, however many of its days have passed.
    fn catch_up(&self, key: &mut Key) -> Result<(), KeyError> {
        let now = self.now();
        if key.rotation.next.is_some_and(|next| next <= now) {
            let days = key.rotation.every_days;
            key.rotation.schedule(days, now);
            self.push_version(key, now, Cause::Automatic)?;
        }
        Ok(())
    }
}

fn not_pending(key: &Key) -> Result<(), KeyError> {
    match key.state {
        KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion { id: key.id.to_string() }),
        KeyState::Enabled | KeyState::Disabled => Ok(()),
    }
}

fn rotates(key: &Key) -> Result<(), KeyError> {
    match (key.algorithm, key.purpose) {
        (Algorithm::Aes256, Purpose::EncryptDecrypt) => Ok(()),
        _ => Err(KeyError::RotationUnsupported),
    }
}
