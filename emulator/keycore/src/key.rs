//! A key: an ordered list of versions, at most one of them primary, and the key's data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Algorithm, Front, KeyError, KeyId, NewVersion, Purpose, Realm, Rotation, Version, VersionId,
};

/// Whether a key can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// The key can be used.
    Enabled,
    /// The key cannot be used until it is enabled.
    Disabled,
    /// The key cannot be used and will be deleted, unless the deletion is cancelled.
    PendingDeletion {
        /// Time of the deletion.
        at: Timestamp,
    },
}

/// Properties of a new key.
#[derive(Debug, Clone)]
pub struct NewKey<F: Front> {
    /// The key's id, unique in its realm.
    pub id: KeyId,
    /// Algorithm of the versions that rotations make.
    pub algorithm: Algorithm,
    /// The first version; `None` creates a key without versions.
    pub first: Option<NewVersion<F>>,
    /// The key's only purpose.
    pub purpose: Purpose,
    /// The front end's data.
    pub data: F::KeyData,
}

/// A key with all its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Key<F: Front> {
    /// The realm that the key is in.
    pub realm: Realm,
    /// The key's id, unique in its realm.
    pub id: KeyId,
    /// The key's only purpose.
    pub purpose: Purpose,
    /// Whether the key can be used.
    pub state: KeyState,
    /// Creation time.
    pub created: Timestamp,
    /// Algorithm of the newest version, which rotations use.
    pub algorithm: Algorithm,
    /// All versions, oldest first.
    pub versions: Vec<Version<F>>,
    /// Number of the newest version that the key ever had. Numbers of removed versions are not
    /// given out again.
    pub last_number: u32,
    /// The version that encrypts, if there is one.
    pub primary: Option<VersionId>,
    /// Rotation policy and its state.
    pub rotation: Rotation,
    /// The front end's data.
    pub data: F::KeyData,
}

impl<F: Front> Key<F> {
    /// Returns a version by its id.
    pub fn find_version(&self, id: &VersionId) -> Option<&Version<F>> {
        self.versions.iter().rev().find(|v| v.id == *id)
    }

    pub(crate) fn version_mut(&mut self, id: &VersionId) -> Result<&mut Version<F>, KeyError> {
        self.versions
            .iter_mut()
            .find(|v| v.id == *id)
            .ok_or(KeyError::VersionNotFound)
    }

    /// Returns the primary version. Fails with [`KeyError::NoPrimary`] if there is none.
    pub fn primary_version(&self) -> Result<&Version<F>, KeyError> {
        self.primary
            .and_then(|id| self.find_version(&id))
            .ok_or_else(|| KeyError::NoPrimary {
                id: self.id.to_string(),
            })
    }

    /// Fails if the key cannot be rotated.
    pub(crate) fn ensure_rotates(&self) -> Result<(), KeyError> {
        match (self.algorithm, self.purpose) {
            (Algorithm::AES_256, Purpose::EncryptDecrypt) | (_, Purpose::Any) => Ok(()),
            _ => Err(KeyError::RotationUnsupported),
        }
    }

    /// Fails if the key as a whole cannot be used.
    pub fn ensure_usable(&self) -> Result<(), KeyError> {
        match self.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(KeyError::Disabled {
                id: self.id.to_string(),
            }),
            KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion {
                id: self.id.to_string(),
            }),
        }
    }

    /// Fails if the key cannot be used for `purpose`.
    pub fn ensure_usable_for(&self, purpose: Purpose) -> Result<(), KeyError> {
        self.ensure_usable()?;
        if self.purpose == purpose || self.purpose == Purpose::Any {
            Ok(())
        } else {
            Err(KeyError::WrongPurpose {
                purpose: self.purpose,
            })
        }
    }

    /// Returns a version by its id if the key and the version can be used.
    pub fn usable_version(&self, id: &VersionId) -> Result<&Version<F>, KeyError> {
        self.ensure_usable()?;
        let version = self.find_version(id).ok_or(KeyError::VersionNotFound)?;
        version.ensure_enabled()?;
        Ok(version)
    }
}

/// A second name for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The alias, unique in its realm.
    pub name: String,
    /// The key that it names.
    pub target: KeyId,
    /// Creation time.
    pub created: Timestamp,
    /// Time of the last change.
    pub updated: Timestamp,
}
