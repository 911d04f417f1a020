//! Handles: a key or a version as it was when it was looked up, with the operations on it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::KeyCore;
use crate::store::Stored;
use crate::{Front, Key, KeyError, Version, VersionId};

/// A key as it was when it was looked up, from [`KeyCore::key`]. An operation uses the key in that
/// state; a change is applied to the key's current state and returns a new handle.
pub struct KeyRef<'a, F: Front> {
    pub(super) core: &'a KeyCore<F>,
    pub(super) stored: Arc<Stored<F>>,
}

impl<'a, F: Front> KeyRef<'a, F> {
    pub(super) fn new(core: &'a KeyCore<F>, stored: Arc<Stored<F>>) -> Self {
        Self { core, stored }
    }

    /// Returns a version by its id. Fails with [`KeyError::VersionNotFound`].
    pub fn version(&self, id: &VersionId) -> Result<VersionRef<'a, F>, KeyError> {
        self.version_where(|version| version.id == *id)
    }

    /// Returns the newest version for which `is` returns true. Fails with
    /// [`KeyError::VersionNotFound`].
    pub fn version_where(
        &self,
        is: impl Fn(&Version<F>) -> bool,
    ) -> Result<VersionRef<'a, F>, KeyError> {
        let index = self.versions.iter().rposition(is);
        Ok(VersionRef {
            key: self.clone(),
            index: index.ok_or(KeyError::VersionNotFound)?,
        })
    }

    /// Returns the primary version. Fails with [`KeyError::NoPrimary`] if there is none.
    pub fn primary(&self) -> Result<VersionRef<'a, F>, KeyError> {
        self.version(&self.primary_version()?.id)
    }

    /// All versions, oldest first.
    pub fn version_refs(&self) -> impl Iterator<Item = VersionRef<'a, F>> {
        (0..self.versions.len()).map(|index| VersionRef {
            key: self.clone(),
            index,
        })
    }

    /// Looks the key up again.
    pub fn reload(&self) -> Result<Self, KeyError> {
        self.core.key(&self.realm, &self.id)
    }
}

impl<F: Front> Deref for KeyRef<'_, F> {
    type Target = Key<F>;

    fn deref(&self) -> &Key<F> {
        &self.stored.key
    }
}

impl<F: Front> Clone for KeyRef<'_, F> {
    fn clone(&self) -> Self {
        Self {
            core: self.core,
            stored: Arc::clone(&self.stored),
        }
    }
}

impl<F: Front> fmt::Debug for KeyRef<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRef").field(&self.stored.key).finish()
    }
}

/// A version of a key as it was when it was looked up, from [`KeyRef::version`] or
/// [`KeyRef::primary`].
#[derive(Debug, Clone)]
pub struct VersionRef<'a, F: Front> {
    pub(super) key: KeyRef<'a, F>,
    /// Position in the key's versions, which the handle keeps as they are.
    index: usize,
}

impl<'a, F: Front> VersionRef<'a, F> {
    /// The key of the version.
    pub fn key(&self) -> &KeyRef<'a, F> {
        &self.key
    }
}

impl<F: Front> Deref for VersionRef<'_, F> {
    type Target = Version<F>;

    fn deref(&self) -> &Version<F> {
        &self.key.stored.key.versions[self.index]
    }
}
