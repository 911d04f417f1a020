//! What AWS KMS stores with a key, and the core's types with it.

use std::collections::BTreeMap;

use kmslab_keycore::Front;
use serde::{Deserialize, Serialize};

/// The front end AWS KMS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AwsFront;

impl Front for AwsFront {
    type KeyData = KeyData;
    type VersionData = ();
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyData {
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// The policy document; `None` is the default policy.
    pub(crate) policy: Option<String>,
}

pub(crate) type KeyCore = kmslab_keycore::KeyCore<AwsFront>;
pub(crate) type Key = kmslab_keycore::Key<AwsFront>;
pub(crate) type KeyRef<'a> = kmslab_keycore::KeyRef<'a, AwsFront>;
pub(crate) type Version = kmslab_keycore::Version<AwsFront>;
