//! A key: an ordered list of versions, one of them primary, and what is known about it.

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
    /// It can.
    Enabled,
    /// It cannot, until it is enabled.
    Disabled,
    /// It cannot, and is deleted at that time unless that is cancelled.
    PendingDeletion {
        /// When.
        at: Timestamp,
    },
}

/// What a key is made from.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its name in its realm.
    pub id: KeyId,
    /// Algorithm of the versions that rotations make.
    pub algorithm: Algorithm,
    /// Its first version; a key may begin without.
    pub first: Option<NewVersion>,
    /// Its one purpose.
    pub purpose: Purpose,
    /// Free text.
    pub description: String,
    /// Labels, or tags.
    pub labels: BTreeMap<String, String>,
    /// An access policy, in the front end's language; kept, not understood.
    pub policy: Option<String>,
    /// A front end's own facts; kept, not understood.
    pub attributes: BTreeMap<String, String>,
}

/// The part of a key that callers may change without touching its material.
#[derive(Debug)]
pub struct KeyFields<'a> {
    /// Free text.
    pub description: &'a mut String,
    /// Labels, or tags.
    pub labels: &'a mut BTreeMap<String, String>,
    /// An access policy.
    pub policy: &'a mut Option<String>,
    /// A front end's own facts.
    pub attributes: &'a mut BTreeMap<String, String>,
    /// Permissions handed on.
    pub grants: &'a mut Vec<Grant>,
}

/// A permission handed on to somebody; data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub id: String,
    /// Who may.
    pub grantee: String,
    /// What.
    pub operations: Vec<String>,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its world.
    pub realm: Realm,
    /// Its name there.
    pub id: KeyId,
    /// Its one purpose.
    pub purpose: Purpose,
    /// Whether it can be used.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// Algorithm of the versions that rotations make: that of the newest.
    pub algorithm: Algorithm,
    /// Every version, oldest first.
    pub versions: Vec<Version>,
    /// The number of the newest version that it ever had; numbers of versions that were removed are
    /// not given again.
    pub numbered: u32,
    /// The version that seals, where there is one.
    pub primary: Option<VersionId>,
    /// Its rotation policy.
    pub rotation: Rotation,
    /// Free text.
    pub description: String,
    /// Labels, or tags.
    pub labels: BTreeMap<String, String>,
    /// An access policy, in the front end's language; kept, not understood.
    pub policy: Option<String>,
    /// A front end's own facts; kept, not understood.
    pub attributes: BTreeMap<String, String>,
    /// Permissions handed on; kept, not understood.
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

    /// The version of that name.
    pub fn version(&self, id: &VersionId) -> Option<&Version> {
        self.versions.iter().rev().find(|v| v.id == *id)
    }

    pub(crate) fn version_mut(&mut self, id: &VersionId) -> Result<&mut Version, KeyError> {
        self.versions
            .iter_mut()
            .find(|v| v.id == *id)
            .ok_or(KeyError::VersionNotFound)
    }

    /// The version that seals.
    pub fn primary(&self) -> Result<&Version, KeyError> {
        self.primary
            .and_then(|id| self.version(&id))
            .ok_or_else(|| KeyError::NoPrimary {
                id: self.id.to_string(),
            })
    }

    /// Why the key as a whole cannot be used, if so.
    pub fn usable(&self) -> Result<(), KeyError> {
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

    /// Whether it can be used for `purpose`.
    pub fn usable_for(&self, purpose: Purpose) -> Result<(), KeyError> {
        self.usable()?;
        if self.purpose == purpose || self.purpose == Purpose::Any {
            Ok(())
        } else {
            Err(KeyError::WrongPurpose {
                purpose: self.purpose,
            })
        }
    }

    /// The version of that name, if it can be used now.
    pub fn usable_version(&self, id: &VersionId) -> Result<&Version, KeyError> {
        self.usable()?;
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
    /// The name, unique in its realm.
    pub name: String,
    /// The key.
    pub target: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last pointed at a key.
    pub updated: Timestamp,
}
