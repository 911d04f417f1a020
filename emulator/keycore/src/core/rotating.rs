//! Rotations. Material is made before the store is locked, since RSA takes up to seconds, and one
//! key's rotations never wait for another's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::{KeyCore, append};
use crate::{Algorithm, Cause, Key, KeyError, KeyId, KeyState, NewVersion, Realm, Version};

/// Most rotations of one key that one settling makes up for; a clock that jumps 100 years over a
/// 90-day period is owed 405.
const MOST_AT_ONCE: usize = 1000;
/// The same for RSA, of which a version takes up to seconds.
const MOST_OF_RSA: usize = 32;

/// Held by who rotates a key.
type Lock = Arc<Mutex<()>>;

/// Which keys are being rotated, and whether any may be.
#[derive(Debug, Default)]
pub(super) struct Rotating {
    locks: Mutex<BTreeMap<(Realm, KeyId), Lock>>,
    stopped: AtomicBool,
}

impl Rotating {
    /// Runs `work` while no other rotation of the key does: of two that see the same date pass, the
    /// other finds it done.
    fn alone<T>(&self, realm: &Realm, id: &KeyId, work: impl FnOnce() -> T) -> T {
        let name = (realm.clone(), id.clone());
        let locks = || self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(locks().entry(name.clone()).or_default());
        let done = {
            let _alone = lock.lock().unwrap_or_else(PoisonError::into_inner);
            work()
        };
        let mut locks = locks();
        // Ours and the map's: nobody waits for it.
        if Arc::strong_count(&lock) == 2 {
            locks.remove(&name);
        }
        done
    }
}

fn most_at_once(algorithm: Algorithm) -> usize {
    if matches!(algorithm, Algorithm::Rsa { .. }) {
        MOST_OF_RSA
    } else {
        MOST_AT_ONCE
    }
}

impl KeyCore {
    /// Ends the rotations that are under way after the version that each is making, and lets no
    /// more begin: for the end of the process.
    pub fn stop(&self) {
        self.rotating.stopped.store(true, Ordering::Relaxed);
    }

    /// Makes the versions that the key's schedule owes at `now`, for as long as `go_on` says so;
    /// what is left stays due. Gives the key, and how many of the oldest dates were left out.
    pub(super) fn rotate_due(
        &self,
        key: &Key,
        now: Timestamp,
        go_on: &dyn Fn() -> bool,
    ) -> (Option<Arc<Key>>, usize) {
        let (realm, id) = (&key.realm, &key.id);
        self.rotating.alone(realm, id, || {
            let mut left_out = 0;
            loop {
                let Some(seen) = self.store.get(realm, id) else {
                    return (None, left_out);
                };
                if seen.state != KeyState::Enabled
                    || seen.rotation.next.is_none_or(|next| next > now)
                {
                    return (Some(seen), left_out);
                }
                let mut after = seen.rotation.clone();
                let (dates, mut skipped) = after.take_due(now, most_at_once(seen.algorithm));
                // One by one, so that what was made is there if this is stopped.
                let mut rotated = Key::clone(&seen);
                let mut stored = seen;
                for (at, following) in dates
                    .iter()
                    .zip(dates.iter().skip(1).map(Some).chain([None]))
                {
                    if self.rotating.stopped.load(Ordering::Relaxed) || !go_on() {
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
                            // With the first version the schedule is past them.
                            left_out += std::mem::take(&mut skipped);
                        }
                        // Gone, or changed meanwhile: what is due is looked up anew.
                        None => break,
                    }
                }
            }
        })
    }

    /// Adds one version at the time that `take` gives, as the key then is.
    pub(super) fn rotate(
        &self,
        realm: &Realm,
        id: &KeyId,
        take: &dyn Fn(&mut Key) -> Result<Timestamp, KeyError>,
    ) -> Result<Arc<Key>, KeyError> {
        self.rotating.alone(realm, id, || {
            loop {
                let seen = self
                    .store
                    .get(realm, id)
                    .ok_or_else(|| KeyError::NotFound { id: id.to_string() })?;
                let mut rotated = Key::clone(&seen);
                let at = take(&mut rotated)?;
                let next = self.next_version(&rotated, at, Cause::OnDemand)?;
                append(&mut rotated, next, true);
                if let Some(stored) = self.replace(&seen, &rotated) {
                    return Ok(stored);
                }
            }
        })
    }

    /// Puts `new` where `old` is, unless that has changed or gone.
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

    /// A version like the newest, with new material.
    fn next_version(&self, key: &Key, at: Timestamp, cause: Cause) -> Result<Version, KeyError> {
        let newest = key.versions.last();
        let new = NewVersion {
            expires: key.rotation.expiry(at),
            labels: newest
                .map(|newest| newest.labels.clone())
                .unwrap_or_default(),
            attributes: newest
                .map(|newest| newest.attributes.clone())
                .unwrap_or_default(),
            ..NewVersion::of(key.algorithm)
        };
        self.new_version(&new, at, cause)
    }
}
