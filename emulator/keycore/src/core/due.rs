//! What the clock makes due: rotations, deletions of keys, destructions of versions.

use std::sync::Arc;

use super::KeyCore;
use crate::store::Stored;
use crate::{Front, Key, KeyState};

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

impl std::ops::AddAssign for DueChanges {
    fn add_assign(&mut self, other: Self) {
        self.rotated += other.rotated;
        self.deleted += other.deleted;
        self.skipped += other.skipped;
    }
}

impl<F: Front> KeyCore<F> {
    /// Applies everything that is due now.
    pub fn apply_due(&self) -> DueChanges {
        self.apply_due_while(&|| true)
    }

    /// Applies what is due now, version by version, for as long as `should_continue` returns true.
    pub fn apply_due_while(&self, should_continue: &dyn Fn() -> bool) -> DueChanges {
        let mut done = DueChanges::default();
        for realm in self.store.realms() {
            for stored in self.store.keys(&realm) {
                if !should_continue() {
                    return done;
                }
                let known = stored.key.versions.len();
                let (applied, skipped) = self.apply_due_to_while(stored, should_continue);
                done.skipped += skipped;
                match applied {
                    Some(stored) => {
                        done.rotated += stored.key.versions.len().saturating_sub(known);
                    }
                    None => done.deleted += 1,
                }
            }
        }
        done
    }

    /// The key after its due changes; `None` if it was deleted.
    pub(super) fn apply_due_to(&self, stored: Arc<Stored<F>>) -> Option<Arc<Stored<F>>> {
        self.apply_due_to_while(stored, &|| true).0
    }

    /// The same for as long as `should_continue` returns true, and how many rotations were skipped.
    fn apply_due_to_while(
        &self,
        mut stored: Arc<Stored<F>>,
        should_continue: &dyn Fn() -> bool,
    ) -> (Option<Arc<Stored<F>>>, usize) {
        let now = self.now();
        loop {
            let key = &stored.key;
            if is_deletion_due(key, now) {
                // What is due has happened, also if it cannot be stored now.
                let removed = self.remove_if(&key.realm, &key.id, |key| is_deletion_due(key, now));
                if removed.unwrap_or(true) {
                    return (None, 0);
                }
            } else if key
                .versions
                .iter()
                .any(|version| version.state.is_destruction_due(now))
            {
                let mut changed = key.clone();
                for version in &mut changed.versions {
                    version.destroy_if_due(now);
                }
                match self.store.replace(changed.clone(), stored.revision) {
                    Ok(None) => {}
                    Ok(Some(changed)) => {
                        stored = changed;
                        continue;
                    }
                    // It has happened all the same, and is stored with the next change.
                    Err(_) => {
                        stored = Arc::new(Stored {
                            revision: stored.revision,
                            key: changed,
                        });
                        continue;
                    }
                }
            } else if key.state == KeyState::Enabled
                && key.rotation.next.is_some_and(|next| next <= now)
            {
                return self.rotate_due(key, now, should_continue);
            } else {
                return (Some(stored), 0);
            }
            // Somebody else changed the key meanwhile.
            match self.store.get(&key.realm, &key.id) {
                Some(changed) => stored = changed,
                None => return (None, 0),
            }
        }
    }
}

fn is_deletion_due<F: Front>(key: &Key<F>, now: jiff::Timestamp) -> bool {
    matches!(key.state, KeyState::PendingDeletion { at } if at <= now)
}
