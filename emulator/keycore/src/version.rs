//! A version of a key: its state, the table of allowed transitions, and its wrapped material.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Algorithm, Front, ImportedMaterial, KeyError, VersionId};

/// Whether a version can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionState {
    /// The material is not generated yet.
    Pending,
    /// The version decrypts, and encrypts while it is the primary.
    Enabled,
    /// The version cannot be used until it is enabled.
    Disabled,
    /// The version cannot be used and will be destroyed, unless that is cancelled.
    DestroyScheduled {
        /// Time of the destruction.
        at: Timestamp,
    },
    /// The material is erased.
    Destroyed,
}

impl VersionState {
    /// Reports whether a version may change from `self` to `to`. All allowed transitions are here;
    /// staying in a state is always allowed.
    pub fn may_become(self, to: Self) -> bool {
        use VersionState::{DestroyScheduled, Destroyed, Disabled, Enabled};
        match self {
            _ if self == to => true,
            // Only `VersionRef::finish` leaves this state.
            Self::Pending => false,
            Enabled => matches!(to, Disabled | DestroyScheduled { .. } | Destroyed),
            Disabled => matches!(to, Enabled | DestroyScheduled { .. } | Destroyed),
            DestroyScheduled { .. } => matches!(to, Disabled | Destroyed),
            Destroyed => false,
        }
    }

    /// Reports whether a scheduled destruction is due.
    pub(crate) fn is_destruction_due(self, now: Timestamp) -> bool {
        matches!(self, Self::DestroyScheduled { at } if at <= now)
    }
}

/// Why a version was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Created explicitly, or with its key.
    Created,
    /// By the rotation schedule.
    Automatic,
    /// By an on-demand rotation.
    OnDemand,
}

/// Properties of a new version.
#[derive(Debug, Clone)]
pub struct NewVersion<F: Front> {
    /// Algorithm of the material.
    pub algorithm: Algorithm,
    /// Imported material; `None` generates it.
    pub material: Option<ImportedMaterial>,
    /// Creates the version as pending, without material, until [`crate::VersionRef::finish`].
    pub pending: bool,
    /// Makes the version the primary.
    pub primary: bool,
    /// The version does not encrypt or sign before this time.
    pub not_before: Option<Timestamp>,
    /// The version does not encrypt or sign from this time on.
    pub expires: Option<Timestamp>,
    /// The front end's data.
    pub data: F::VersionData,
}

impl<F: Front> NewVersion<F> {
    /// A primary version with generated material and no dates.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            material: None,
            pending: false,
            primary: true,
            not_before: None,
            expires: None,
            data: F::VersionData::default(),
        }
    }
}

/// The data of a version that callers may change.
#[derive(Debug)]
pub struct VersionFields<'a, F: Front> {
    /// The version does not encrypt or sign before this time.
    pub not_before: &'a mut Option<Timestamp>,
    /// The version does not encrypt or sign from this time on.
    pub expires: &'a mut Option<Timestamp>,
    /// The front end's data.
    pub data: &'a mut F::VersionData,
}

/// A version of a key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Version<F: Front> {
    /// Id, unique over all keys.
    pub id: VersionId,
    /// Position in the key's history, from 1.
    pub number: u32,
    /// Whether the version can be used.
    pub state: VersionState,
    /// Creation time.
    pub created: Timestamp,
    /// Time of the last change of its data.
    pub updated: Timestamp,
    /// Why the version was created.
    pub cause: Cause,
    /// Algorithm of the material.
    pub algorithm: Algorithm,
    /// The version does not encrypt or sign before this time; it decrypts all the same.
    pub not_before: Option<Timestamp>,
    /// The version does not encrypt or sign from this time on; it decrypts all the same.
    pub expires: Option<Timestamp>,
    /// The front end's data.
    pub data: F::VersionData,
    /// Wrapped under the master key; `None` while pending and once destroyed.
    pub(crate) material: Option<Arc<WrappedMaterial>>,
}

impl<F: Front> Version<F> {
    pub(crate) fn fields(&mut self) -> VersionFields<'_, F> {
        VersionFields {
            not_before: &mut self.not_before,
            expires: &mut self.expires,
            data: &mut self.data,
        }
    }

    /// Destroys the version if that is due.
    pub(crate) fn destroy_if_due(&mut self, now: Timestamp) {
        if let VersionState::DestroyScheduled { at } = self.state
            && at <= now
        {
            (self.state, self.material, self.updated) = (VersionState::Destroyed, None, at);
        }
    }

    /// Fails if the version is not enabled.
    pub(crate) fn ensure_enabled(&self) -> Result<(), KeyError> {
        match self.state {
            VersionState::Enabled => Ok(()),
            state => Err(KeyError::VersionUnusable { state }),
        }
    }

    /// Fails if `now` is outside the dates within which the version encrypts and signs.
    pub fn ensure_valid_at(&self, now: Timestamp) -> Result<(), KeyError> {
        match (self.not_before, self.expires) {
            (Some(at), _) if now < at => Err(KeyError::NotYetValid { at }),
            (_, Some(at)) if now >= at => Err(KeyError::Expired { at }),
            _ => Ok(()),
        }
    }
}

/// Stored material: nonce, ciphertext and tag of AES-256-GCM under the master key.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrappedMaterial {
    pub(crate) nonce: [u8; 12],
    pub(crate) body: Vec<u8>,
}

impl<F: Front> fmt::Debug for Version<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("id", &self.id)
            .field("number", &self.number)
            .field("state", &self.state)
            .field("created", &self.created)
            .field("cause", &self.cause)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destroyed_version_never_changes_state() {
        let scheduled = VersionState::DestroyScheduled {
            at: Timestamp::UNIX_EPOCH,
        };
        for to in [VersionState::Enabled, VersionState::Disabled, scheduled] {
            assert!(!VersionState::Destroyed.may_become(to));
            assert!(to.may_become(VersionState::Destroyed));
        }
        assert!(
            !scheduled.may_become(VersionState::Enabled),
            "it comes back disabled"
        );
    }
}
