//! Rotations. Material is generated before the store is locked, since RSA takes up to seconds, and
//! the rotation of one key never waits for that of another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::{KeyCore, append};
use crate::{Algorithm, Cause, Key, KeyError, KeyId, KeyState, NewVersion, Realm, Version};

/// Due rotations of one key that one call makes. A clock that jumps 100 years makes 405 due for a
/// period of 90 days.
const MAX_DUE_ROTATIONS: usize = 1000;
/// The same for RSA, whose versions take up to seconds each.
const MAX_DUE_RSA_ROTATIONS: usize = 32;

/// Held while a key is rotated.
type KeyLock = Arc<Mutex<()>>;

/// The keys that are being rotated, and whether rotations are stopped.
#[derive(Debug, Default)]
pub(super) struct RotationLocks {
    locks: Mutex<BTreeMap<(Realm, KeyId), KeyLock>>,
    stopped: AtomicBool,
}

impl RotationLocks {
    /// Runs `work` while no other rotation of the key runs. Of two callers that find the same date
    /// due, the second finds it done.
    fn with_key_locked<T>(&self, realm: &Realm, id: &KeyId, work: impl FnOnce() -> T) -> T {
        let name = (realm.clone(), id.clone());
        let locks = || self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(locks().entry(name.clone()).or_default());
        let done = {
            let _alone = lock.lock().unwrap_or_else(PoisonError::into_inner);
            work()
        };
        let mut locks = locks();
        // One reference is ours and one the map's: nobody waits.
        if Arc::strong_count(&lock) == 2 {
            locks.remove(&name);
        }
        done
    }
}

fn max_due_rotations(algorithm: Algorithm) -> usize {
    if matches!(algorithm, Algorithm::Rsa { .. }) {
        MAX_DUE_RSA_ROTATIONS
    } else {
        MAX_DUE_ROTATIONS
    }
}

impl KeyCore {
    /// Ends running rotations after the version that each is generating and starts no more. Called
    /// when the process ends.
    pub fn stop(&self) {
        self.rotating.stopped.store(true, Ordering::Relaxed);
    }

    /// Makes the versions that are due at `now`, for as long as `should_continue` returns true; the others
    /// stay due. Returns the key and the number of skipped dates.
    pub(super) fn rotate_due(
        &self,
        key: &Key,
        now: Timestamp,
        should_continue: &dyn Fn() -> bool,
    ) -> (Option<Arc<Key>>, usize) {
        let (realm, id) = (&key.realm, &key.id);
        self.rotating.with_key_locked(realm, id, || {
            let mut left_out = 0;
            loop {
                let Some(current) = self.store.get(realm, id) else {
                    return (None, left_out);
                };
                if current.state != KeyState::Enabled
                    || current.rotation.next.is_none_or(|next| next > now)
                {
                    return (Some(current), left_out);
                }
                let mut after = current.rotation.clone();
                let (dates, mut skipped) =
                    after.take_due(now, max_due_rotations(current.algorithm));
                // One by one, so that finished versions are kept when this is interrupted.
                let mut rotated = Key::clone(&current);
                let mut stored = current;
                for (at, following) in dates
                    .iter()
                    .zip(dates.iter().skip(1).map(Some).chain([None]))
                {
                    if self.rotating.stopped.load(Ordering::Relaxed) || !should_continue() {
                        return (Some(stored), left_out);
                    }
                    let Ok(next) = self.next_version(&rotated, *at, Cause::Automatic) else {
                        return (Some(stored), left_out);
                    };
                    append(&mut rotated, next, true);
                    rotated.rotation.next = following.copied().or(after.next);
                    match self.replace(&stored, &rotated) {
                        Some(replaced) => {
                            stored = replaced;
                            // Storing the first version moves the schedule past the skipped dates.
                            left_out += std::mem::take(&mut skipped);
                        }
                        // The key was removed or changed meanwhile: look again at what is due.
                        None => break,
                    }
                }
            }
        })
    }

    /// Adds one version, created at the time that `take` returns.
    pub(super) fn rotate(
        &self,
        realm: &Realm,
        id: &KeyId,
        take: &dyn Fn(&mut Key) -> Result<Timestamp, KeyError>,
    ) -> Result<Arc<Key>, KeyError> {
        self.rotating.with_key_locked(realm, id, || {
            loop {
                let current = self
                    .store
                    .get(realm, id)
                    .ok_or_else(|| KeyError::NotFound { id: id.to_string() })?;
                let mut rotated = Key::clone(&current);
                let at = take(&mut rotated)?;
                let next = self.next_version(&rotated, at, Cause::OnDemand)?;
                append(&mut rotated, next, true);
                if let Some(stored) = self.replace(&current, &rotated) {
                    return Ok(stored);
                }
            }
        })
    }

    /// Replaces `old` by `new` unless the key has changed or is gone.
    fn replace(&self, old: &Key, new: &Key) -> Option<Arc<Key>> {
        let mut unchanged = false;
        let stored = self.store.update(&old.realm, &old.id, &mut |key| {
            unchanged = *key == *old;
            if unchanged {
                key.clone_from(new);
            }
            Ok(())
        });
        stored.ok().filter(|_| unchanged)
    }

    /// A version with new material and the properties of the newest version.
    fn next_version(&self, key: &Key, at: Timestamp, cause: Cause) -> Result<Version, KeyError> {
        let newest = key.versions.last();
        let new = NewVersion {
            expires: key.rotation.expiry_of_version_created(at),
            labels: newest
                .map(|newest| newest.labels.clone())
                .unwrap_or_default(),
            attributes: newest
                .map(|newest| newest.attributes.clone())
                .unwrap_or_default(),
            ..NewVersion::new(key.algorithm)
        };
        self.new_version(&new, at, cause)
    }
}
