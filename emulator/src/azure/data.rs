//! What Key Vault stores with a key and its versions, and the core's types with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kmslab_keycore::Front;
use serde::{Deserialize, Serialize};

/// The front end Azure Key Vault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AzureFront;

impl Front for AzureFront {
    type KeyData = KeyData;
    type VersionData = VersionData;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyData {
    /// The name as it was first written.
    pub(crate) name: String,
    pub(crate) rotation_policy: Option<RotationPolicy>,
}

/// A rotation policy as it was set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RotationPolicy {
    pub(crate) actions: Vec<LifetimeAction>,
    /// Lifetime of versions, as an ISO 8601 duration.
    pub(crate) expiry_time: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LifetimeAction {
    /// `Rotate` or `Notify`.
    pub(crate) kind: String,
    /// `timeAfterCreate` or `timeBeforeExpiry`.
    pub(crate) trigger: String,
    /// The trigger's ISO 8601 duration.
    pub(crate) time: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionData {
    /// The key type, with or without `-HSM`.
    pub(crate) kty: String,
    pub(crate) key_ops: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

pub(crate) type KeyCore = kmslab_keycore::KeyCore<AzureFront>;
pub(crate) type Key = kmslab_keycore::Key<AzureFront>;
pub(crate) type KeyRef<'a> = kmslab_keycore::KeyRef<'a, AzureFront>;
pub(crate) type Version = kmslab_keycore::Version<AzureFront>;
pub(crate) type VersionRef<'a> = kmslab_keycore::VersionRef<'a, AzureFront>;
