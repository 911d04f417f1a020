//! One version of a key: its state, the one table of legal moves, and its sealed material.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Algorithm, KeyError, Material, VersionId};

/// Whether a version can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionState {
    /// Its material is not made yet.
    Pending,
    /// It opens, and seals where it is the primary.
    Enabled,
    /// It does neither, until it is enabled.
    Disabled,
    /// It does neither, and its material goes at that time unless that is cancelled.
    DestroyScheduled {
        /// When.
        at: Timestamp,
    },
    /// Its material is gone for good.
    Destroyed,
}

impl VersionState {
    /// Whether `self` may become `to`: every legal move is here. Staying is always legal.
    pub fn may_become(self, to: Self) -> bool {
        use VersionState::{DestroyScheduled, Destroyed, Disabled, Enabled};
        match self {
            _ if self == to => true,
            // By its material alone.
            Self::Pending => false,
            Enabled => matches!(to, Disabled | DestroyScheduled { .. } | Destroyed),
            Disabled => matches!(to, Enabled | DestroyScheduled { .. } | Destroyed),
            DestroyScheduled { .. } => matches!(to, Disabled | Destroyed),
            Destroyed => false,
        }
    }

    /// Whether its material is to go, and that is due.
    pub(crate) fn ends_by(self, now: Timestamp) -> bool {
        matches!(self, Self::DestroyScheduled { at } if at <= now)
    }
}

/// Why a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// With its key.
    Created,
    /// By the rotation schedule.
    Automatic,
    /// By somebody who asked.
    OnDemand,
}

/// What a version is made from.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Algorithm of its material.
    pub algorithm: Algorithm,
    /// Somebody's own material; made here when absent.
    pub material: Option<Material>,
    /// Whether its material is made later, by [`crate::KeyCore::finish_version`], and it is pending
    /// until then.
    pub later: bool,
    /// Whether it is the primary from the start.
    pub primary: bool,
    /// It protects nothing before that time.
    pub not_before: Option<Timestamp>,
    /// It protects nothing from that time on.
    pub expires: Option<Timestamp>,
    /// Labels, or tags.
    pub labels: BTreeMap<String, String>,
    /// A front end's own facts; kept, not understood.
    pub attributes: BTreeMap<String, String>,
}

impl NewVersion {
    /// A primary with new material, for all times.
    pub fn of(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            material: None,
            later: false,
            primary: true,
            not_before: None,
            expires: None,
            labels: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// The part of a version that callers may change without touching its material.
#[derive(Debug)]
pub struct VersionFields<'a> {
    /// It protects nothing before that time.
    pub not_before: &'a mut Option<Timestamp>,
    /// It protects nothing from that time on.
    pub expires: &'a mut Option<Timestamp>,
    /// Labels, or tags.
    pub labels: &'a mut BTreeMap<String, String>,
    /// A front end's own facts.
    pub attributes: &'a mut BTreeMap<String, String>,
}

/// One version.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its name, unique over all keys.
    pub id: VersionId,
    /// Its place in the key's history, from 1.
    pub number: u32,
    /// Whether it can be used.
    pub state: VersionState,
    /// When it was made.
    pub created: Timestamp,
    /// When its data was last changed.
    pub updated: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Algorithm of its material.
    pub algorithm: Algorithm,
    /// It protects nothing before that time; what it has protected opens all the same.
    pub not_before: Option<Timestamp>,
    /// It protects nothing from that time on; what it has protected opens all the same.
    pub expires: Option<Timestamp>,
    /// Labels, or tags.
    pub labels: BTreeMap<String, String>,
    /// A front end's own facts; kept, not understood.
    pub attributes: BTreeMap<String, String>,
    /// Sealed under the master key; `None` while pending and once destroyed.
    pub(crate) material: Option<Arc<SealedMaterial>>,
}

impl Version {
    pub(crate) fn fields(&mut self) -> VersionFields<'_> {
        VersionFields {
            not_before: &mut self.not_before,
            expires: &mut self.expires,
            labels: &mut self.labels,
            attributes: &mut self.attributes,
        }
    }

    /// Destroys it, where that is due.
    pub(crate) fn end_by(&mut self, now: Timestamp) {
        if let VersionState::DestroyScheduled { at } = self.state
            && at <= now
        {
            (self.state, self.material, self.updated) = (VersionState::Destroyed, None, at);
        }
    }

    /// Whether its time has come and has not passed: what a version must have to encrypt or to
    /// sign.
    pub fn protects_at(&self, now: Timestamp) -> Result<(), KeyError> {
        match (self.not_before, self.expires) {
            (Some(at), _) if now < at => Err(KeyError::NotYetValid { at }),
            (_, Some(at)) if now >= at => Err(KeyError::Expired { at }),
            _ => Ok(()),
        }
    }
}

/// Material as it is kept: nonce, AES-256-GCM ciphertext and tag under the master key.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedMaterial {
    pub(crate) nonce: [u8; 12],
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Version {
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
    fn nothing_comes_back_from_destroyed() {
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
