//! What Google Cloud KMS stores with a key and its versions, and the core's types with it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms::ProtectionLevel;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionAlgorithm;
use kmslab_keycore::{Cause, Front};
use serde::{Deserialize, Serialize};

/// The front end Google Cloud KMS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GcpFront;

impl Front for GcpFront {
    type KeyData = KeyData;
    type VersionData = VersionData;
}

/// Data of a key. That of an import job's wrapping key is the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyData {
    #[serde(with = "number")]
    pub(crate) purpose: CryptoKeyPurpose,
    /// What new versions are made with.
    pub(crate) template: VersionTemplate,
    pub(crate) import_only: bool,
    /// Time from the call of Destroy to the destruction.
    pub(crate) destroy_after: SignedDuration,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionTemplate {
    #[serde(with = "number")]
    pub(crate) algorithm: CryptoKeyVersionAlgorithm,
    #[serde(with = "number")]
    pub(crate) protection: ProtectionLevel,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionData {
    pub(crate) template: VersionTemplate,
    pub(crate) import: Option<Import>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Import {
    /// Name of the import job.
    pub(crate) job: String,
    pub(crate) time: Timestamp,
}

/// How the material of a version was imported. A version that a schedule made has the data of the
/// previous one, but was not imported.
pub(crate) fn import(version: &Version) -> Option<&Import> {
    version
        .data
        .import
        .as_ref()
        .filter(|_| version.cause == Cause::Created)
}

/// An enumeration of a proto as its number.
mod number {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Copy + Into<i32>, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32((*value).into())
    }

    pub(super) fn deserialize<'de, T: TryFrom<i32>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let number = i32::deserialize(deserializer)?;
        T::try_from(number).map_err(|_| D::Error::custom(format!("unknown value {number}")))
    }
}

pub(crate) type KeyCore = kmslab_keycore::KeyCore<GcpFront>;
pub(crate) type Key = kmslab_keycore::Key<GcpFront>;
pub(crate) type KeyRef<'a> = kmslab_keycore::KeyRef<'a, GcpFront>;
pub(crate) type NewVersion = kmslab_keycore::NewVersion<GcpFront>;
pub(crate) type Version = kmslab_keycore::Version<GcpFront>;
pub(crate) type VersionRef<'a> = kmslab_keycore::VersionRef<'a, GcpFront>;
