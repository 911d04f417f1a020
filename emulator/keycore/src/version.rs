//! One version of a key: its state, the one table of legal moves, and its sealed material.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::VersionId;

/// Whether a version can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionState {
    /// It opens, and seals where it is the primary.
    Enabled,
    /// It does neither, until it is enabled.
    Disabled,
    /// Its material is gone for good.
    Destroyed,
}

/// Every legal move of a version from one state to another; what is not here is refused.
pub const MOVES: &[(VersionState, VersionState)] = &[
    (VersionState::Enabled, VersionState::Disabled),
    (VersionState::Disabled, VersionState::Enabled),
    (VersionState::Enabled, VersionState::Destroyed),
    (VersionState::Disabled, VersionState::Destroyed),
];

impl VersionState {
    /// Whether `self` may become `to`. Staying is always legal.
    pub fn may_become(self, to: Self) -> bool {
        self == to || MOVES.contains(&(self, to))
    }
}

/// Why a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// With its key.
    Created,
    /// By the rotation schedule.
    Automatic,
    /// By somebody who asked.
    OnDemand,
}

/// One version.
#[derive(Clone)]
pub struct Version {
    /// Its name, unique over all keys.
    pub id: VersionId,
    /// Its place in the key's history, from 1.
    pub number: u32,
    /// Whether it can be used.
    pub state: VersionState,
    /// When it was made.
    pub created: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Sealed under the master key; `None` once destroyed.
    pub(crate) material: Option<Arc<SealedMaterial>>,
}

/// Material as it is kept: nonce, AES-256-GCM ciphertext and tag under the master key.
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
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_from_destroyed() {
        for to in [VersionState::Enabled, VersionState::Disabled] {
            assert!(!VersionState::Destroyed.may_become(to));
            assert!(to.may_become(VersionState::Destroyed));
        }
    }
}
