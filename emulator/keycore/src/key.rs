//! A key: an ordered list of versions, at most one of them primary, and the key's data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Algorithm, KeyError, KeyId, NewVersion, Purpose, Realm, Rotation, Version, VersionId,
    VersionState,
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
pub struct NewKey {
    /// The key's id, unique in its realm.
    pub id: KeyId,
    /// Algorithm of the versions that rotations make.
    pub algorithm: Algorithm,
    /// The first version; `None` creates a key without versions.
    pub first: Option<NewVersion>,
    /// The key's only purpose.
    pub purpose: Purpose,
    /// Free text.
    pub description: String,
    /// Labels or tags.
    pub labels: BTreeMap<String, String>,
    /// Access policy in the front end's language; the core only stores it.
    pub policy: Option<String>,
    /// Properties of the front end; the core only stores them.
    pub attributes: BTreeMap<String, String>,
}

/// The data of a key that callers may change.
#[derive(Debug)]
pub struct KeyFields<'a> {
    /// Free text.
    pub description: &'a mut String,
    /// Labels or tags.
    pub labels: &'a mut BTreeMap<String, String>,
    /// Access policy in the front end's language.
    pub policy: &'a mut Option<String>,
    /// Properties of the front end.
    pub attributes: &'a mut BTreeMap<String, String>,
    /// Grants.
    pub grants: &'a mut Vec<Grant>,
}

/// A grant; the core only stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The grant's id.
    pub id: String,
    /// Who may use the key.
    pub grantee: String,
    /// The operations that are allowed.
    pub operations: Vec<String>,
}

/// A key with all its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
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
    pub versions: Vec<Version>,
    /// Number of the newest version that the key ever had. Numbers of removed versions are not
    /// given out again.
    pub last_number: u32,
    /// The version that encrypts, if there is one.
    pub primary: Option<VersionId>,
    /// Rotation policy and its state.
    pub rotation: Rotation,
    /// Free text.
    pub description: String,
    /// Labels or tags.
    pub labels: BTreeMap<String, String>,
    /// Access policy in the front end's language; the core only stores it.
    pub policy: Option<String>,
    /// Properties of the front end; the core only stores them.
    pub attributes: BTreeMap<String, String>,
    /// Grants; the core only stores them.
    pub grants: Vec<Grant>,
}

impl Key {
    pub(crate) fn fields(&mut self) -> KeyFields<'_> {
        KeyFields {
            description: &mut self.description,
            labels: &mut self.labels,
            policy: &mut self.policy,
            attributes: &mut self.attributes,
            grants: &mut self.grants,
        }
    }

    /// Returns a version by its id.
    pub fn version(&self, id: &VersionId) -> Option<&Version> {
        self.versions.iter().rev().find(|v| v.id == *id)
    }

    pub(crate) fn version_mut(&mut self, id: &VersionId) -> Result<&mut Version, KeyError> {
        self.versions
            .iter_mut()
            .find(|v| v.id == *id)
            .ok_or(KeyError::VersionNotFound)
    }

    /// Returns the primary version. Fails with [`KeyError::NoPrimary`] if there is none.
    pub fn primary(&self) -> Result<&Version, KeyError> {
        self.primary
            .and_then(|id| self.version(&id))
            .ok_or_else(|| KeyError::NoPrimary {
                id: self.id.to_string(),
            })
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
    pub fn usable_version(&self, id: &VersionId) -> Result<&Version, KeyError> {
        self.ensure_usable()?;
        let version = self.version(id).ok_or(KeyError::VersionNotFound)?;
        match version.state {
            VersionState::Enabled => Ok(version),
            state => Err(KeyError::VersionUnusable { state }),
        }
    }
}

/// A second name for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
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
