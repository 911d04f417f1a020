//! The lifecycle of keys and versions: enable, disable, add, update, delete.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{KeyRef, VersionRef, append_and_schedule};
use crate::{
    Cause, Front, Key, KeyError, KeyState, NewVersion, Period, Rotation, Trigger, Version,
    VersionFields, VersionState, material,
};

/// When a key rotates. The default is: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RotationPolicy {
    /// What makes a rotation due; `None` turns automatic rotation off.
    pub trigger: Option<Trigger>,
    /// First date of [`Trigger::Every`]; one period from now if absent.
    pub first: Option<Timestamp>,
    /// Lifetime of the versions that rotations make.
    pub lifetime: Option<Period>,
}

impl RotationPolicy {
    /// The rotation of a key with this policy, whose newest version was created at `made` and
    /// expires at `expires`.
    pub fn rotation(self, now: Timestamp, made: Timestamp, expires: Option<Timestamp>) -> Rotation {
        let mut rotation = Rotation {
            lifetime: self.lifetime,
            ..Rotation::default()
        };
        rotation.schedule(self.trigger, self.first, now, made, expires);
        rotation
    }
}

impl<'a, F: Front> KeyRef<'a, F> {
    /// Enables the key. If rotations came due while it was disabled, it rotates once, now.
    pub fn enable(&self) -> Result<Self, KeyError> {
        let now = self.core.now();
        self.change(|key| {
            ensure_not_pending(key)?;
            key.state = KeyState::Enabled;
            key.rotation.catch_up(now);
            Ok(())
        })?
        .reload()
    }

    /// Disables the key.
    pub fn disable(&self) -> Result<Self, KeyError> {
        self.change(|key| {
            ensure_not_pending(key)?;
            key.state = KeyState::Disabled;
            Ok(())
        })
    }

    /// Schedules the deletion of the key `after` from now.
    pub fn schedule_deletion(&self, after: Duration) -> Result<Self, KeyError> {
        let after = SignedDuration::try_from(after).map_err(|_| KeyError::OutOfRange)?;
        let now = self.core.now();
        let at = now.checked_add(after).map_err(|_| KeyError::OutOfRange)?;
        self.change(|key| {
            ensure_not_pending(key)?;
            key.state = KeyState::PendingDeletion { at };
            Ok(())
        })
    }

    /// Cancels a scheduled deletion and leaves the key in state `then`.
    pub fn cancel_deletion(&self, then: KeyState) -> Result<Self, KeyError> {
        let now = self.core.now();
        self.change(|key| match key.state {
            KeyState::PendingDeletion { .. } => {
                key.state = then;
                if then == KeyState::Enabled {
                    key.rotation.catch_up(now);
                }
                Ok(())
            }
            KeyState::Enabled | KeyState::Disabled => Err(not_pending(key)),
        })?
        .reload()
    }

    /// Deletes the key, which is pending deletion, now.
    pub fn purge(&self) -> Result<(), KeyError> {
        let is_pending = |key: &Key<F>| matches!(key.state, KeyState::PendingDeletion { .. });
        if self.core.remove_if(&self.realm, &self.id, is_pending)? {
            Ok(())
        } else {
            Err(not_pending(self))
        }
    }

    /// Removes the key, which has no versions, now.
    pub fn remove_without_versions(&self) -> Result<(), KeyError> {
        let is_empty = |key: &Key<F>| key.versions.is_empty();
        if self.core.remove_if(&self.realm, &self.id, is_empty)? {
            Ok(())
        } else {
            Err(KeyError::HasVersions {
                id: self.id.to_string(),
            })
        }
    }

    /// Sets when the key rotates.
    pub fn set_rotation(&self, policy: RotationPolicy) -> Result<Self, KeyError> {
        let now = self.core.now();
        self.change(|key| {
            key.ensure_usable()?;
            key.ensure_rotates()?;
            let newest = key
                .versions
                .last()
                .map(|newest| (newest.created, newest.expires));
            let (version, expires) = newest.unwrap_or((key.created, None));
            key.rotation.lifetime = policy.lifetime;
            key.rotation
                .schedule(policy.trigger, policy.first, now, version, expires);
            Ok(())
        })
    }

    /// Adds a version; its algorithm may differ from that of older versions. RSA takes up to
    /// seconds.
    pub fn add_version(&self, new: NewVersion<F>) -> Result<Self, KeyError> {
        let (now, primary) = (self.core.now(), new.primary);
        let version = self.core.new_version(new, now, Cause::Created)?;
        self.change(|key| {
            ensure_not_pending(key)?;
            append_and_schedule(key, version.clone(), primary);
            Ok(())
        })
    }

    /// Changes the front end's data.
    pub fn update(&self, mut change: impl FnMut(&mut F::KeyData)) -> Result<Self, KeyError> {
        self.change(|key| {
            change(&mut key.data);
            Ok(())
        })
    }

    /// Applies a change to the key's current state, which may be newer than this handle. The change
    /// is applied again when another one comes first.
    pub(super) fn change(
        &self,
        mut change: impl FnMut(&mut Key<F>) -> Result<(), KeyError>,
    ) -> Result<Self, KeyError> {
        let mut current = self.clone();
        loop {
            let mut key = current.stored.key.clone();
            change(&mut key)?;
            match self.core.store.replace(key, current.stored.revision)? {
                Some(stored) => return Ok(self.core.handle(stored)),
                None => current = current.reload()?,
            }
        }
    }
}

impl<'a, F: Front> VersionRef<'a, F> {
    /// Changes the version's state where [`VersionState::may_become`] allows it. Destroying a
    /// version erases its material.
    pub fn set_state(&self, to: VersionState) -> Result<KeyRef<'a, F>, KeyError> {
        let now = self.key.core.now();
        self.key.change(|key| {
            let version = key.version_mut(&self.id)?;
            move_to(version, to)?;
            version.updated = now;
            Ok(())
        })
    }

    /// Changes the version's dates and data, and its state where [`VersionState::may_become`]
    /// allows it.
    pub fn update(
        &self,
        to: Option<VersionState>,
        mut change: impl FnMut(VersionFields<'_, F>),
    ) -> Result<KeyRef<'a, F>, KeyError> {
        let now = self.key.core.now();
        self.key.change(|key| {
            ensure_not_pending(key)?;
            let newest = key
                .versions
                .last()
                .is_some_and(|newest| newest.id == self.id);
            let version = key.version_mut(&self.id)?;
            move_to(version, to.unwrap_or(version.state))?;
            change(version.fields());
            version.updated = now;
            if newest {
                let (created, expires) = (version.created, version.expires);
                key.rotation.version_created(created, expires);
            }
            Ok(())
        })
    }

    /// Makes the version, which must be usable, the primary.
    pub fn set_primary(&self) -> Result<KeyRef<'a, F>, KeyError> {
        self.key.change(|key| {
            let version = key.usable_version(&self.id)?.id;
            key.primary = Some(version);
            Ok(())
        })
    }

    /// Removes the version, which must be destroyed. Its number is not given out again.
    pub fn remove(&self) -> Result<KeyRef<'a, F>, KeyError> {
        self.key.change(|key| {
            let from = key.version_mut(&self.id)?.state;
            if from != VersionState::Destroyed {
                return Err(KeyError::InvalidTransition {
                    from,
                    to: VersionState::Destroyed,
                });
            }
            key.versions.retain(|version| version.id != self.id);
            key.primary = key.primary.filter(|primary| *primary != self.id);
            Ok(())
        })
    }

    /// Generates the material of a pending version and enables it. RSA takes up to seconds.
    pub fn finish(&self) -> Result<KeyRef<'a, F>, KeyError> {
        let core = self.key.core;
        let material = material::generate(self.algorithm, core.entropy.as_ref())?;
        let wrapped = core
            .master
            .wrap(core.entropy.as_ref(), &self.id, &material)?;
        let wrapped = Arc::new(wrapped);
        self.key.change(|key| {
            let version = key.version_mut(&self.id)?;
            if version.state == VersionState::Pending {
                (version.state, version.material) =
                    (VersionState::Enabled, Some(Arc::clone(&wrapped)));
            }
            Ok(())
        })
    }
}

fn move_to<F: Front>(version: &mut Version<F>, to: VersionState) -> Result<(), KeyError> {
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

fn ensure_not_pending<F: Front>(key: &Key<F>) -> Result<(), KeyError> {
    match key.state {
        KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion {
            id: key.id.to_string(),
        }),
        KeyState::Enabled | KeyState::Disabled => Ok(()),
    }
}

fn not_pending<F: Front>(key: &Key<F>) -> KeyError {
    KeyError::NotPendingDeletion {
        id: key.id.to_string(),
    }
}
