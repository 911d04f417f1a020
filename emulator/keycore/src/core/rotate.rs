//! Rotations. Material is generated before the store is locked, since RSA takes up to seconds, and
//! the rotation of one key never waits for that of another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::{KeyCore, KeyRef, append};
use crate::store::Stored;
use crate::{Algorithm, Cause, Front, Key, KeyError, KeyId, KeyState, NewVersion, Realm, Version};

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

impl<F: Front> KeyCore<F> {
    /// Ends running rotations after the version that each is generating and starts no more. Called
    /// when the process ends.
    pub fn stop(&self) {
        self.rotating.stopped.store(true, Ordering::Relaxed);
    }

    /// Makes the versions that are due at `now`, for as long as `should_continue` returns true; the
    /// others stay due. Returns the key and the number of skipped dates.
    pub(super) fn rotate_due(
        &self,
        key: &Key<F>,
        now: Timestamp,
        should_continue: &dyn Fn() -> bool,
    ) -> (Option<Arc<Stored<F>>>, usize) {
        let (realm, id) = (&key.realm, &key.id);
        self.rotating.with_key_locked(realm, id, || {
            let mut left_out = 0;
            loop {
                let Some(mut stored) = self.store.get(realm, id) else {
                    return (None, left_out);
                };
                if stored.key.state != KeyState::Enabled
                    || stored.key.rotation.next.is_none_or(|next| next > now)
                {
                    return (Some(stored), left_out);
                }
                let mut after = stored.key.rotation.clone();
                let (dates, mut skipped) =
                    after.take_due(now, max_due_rotations(stored.key.algorithm));
                // One by one, so that finished versions are kept when this is interrupted.
                for (at, following) in dates
                    .iter()
                    .zip(dates.iter().skip(1).map(Some).chain([None]))
                {
                    if self.rotating.stopped.load(Ordering::Relaxed) || !should_continue() {
                        return (Some(stored), left_out);
                    }
                    let mut rotated = stored.key.clone();
                    let Ok(next) = self.next_version(&rotated, *at, Cause::Automatic) else {
                        return (Some(stored), left_out);
                    };
                    append(&mut rotated, next, true);
                    rotated.rotation.next = following.copied().or(after.next);
                    match self.store.replace(rotated, stored.revision) {
                        // The rotation stays due.
                        Err(_) => return (Some(stored), left_out),
                        Ok(Some(replaced)) => {
                            stored = replaced;
                            // Storing the first version moves the schedule past the skipped dates.
                            left_out += std::mem::take(&mut skipped);
                        }
                        // The key was removed or changed meanwhile: look again at what is due.
                        Ok(None) => break,
                    }
                }
            }
        })
    }

    /// A version with new material and the data of the newest version.
    fn next_version(
        &self,
        key: &Key<F>,
        at: Timestamp,
        cause: Cause,
    ) -> Result<Version<F>, KeyError> {
        let newest = key.versions.last();
        let new = NewVersion {
            expires: key.rotation.expiry_of_version_created(at),
            data: newest.map(|newest| newest.data.clone()).unwrap_or_default(),
            ..NewVersion::new(key.algorithm)
        };
        self.new_version(new, at, cause)
    }
}

impl<F: Front> KeyRef<'_, F> {
    /// Rotates the key now, at most `limit` times in its life. The schedule does not change.
    pub fn rotate_now(&self, limit: Option<u32>) -> Result<Self, KeyError> {
        let (core, now) = (self.core, self.core.now());
        core.rotating.with_key_locked(&self.realm, &self.id, || {
            loop {
                // As it is now and not as it was looked up: another rotation may have come first,
                // and material for a key that has changed is generated in vain. Not `reload`, which
                // takes this lock when a rotation is due.
                let current = core.stored(&self.realm, &self.id)?;
                let mut rotated = current.key.clone();
                rotated.ensure_usable()?;
                rotated.ensure_rotates()?;
                if let Some(limit) = limit
                    && rotated.rotation.on_demand_used >= limit
                {
                    return Err(KeyError::RotationLimit { limit });
                }
                rotated.rotation.on_demand_used += 1;
                let expires = rotated.rotation.expiry_of_version_created(now);
                rotated.rotation.version_created(now, expires);
                let next = core.next_version(&rotated, now, Cause::OnDemand)?;
                append(&mut rotated, next, true);
                if let Some(stored) = core.store.replace(rotated, current.revision)? {
                    return Ok(core.handle(stored));
                }
            }
        })
    }
}
