//! Keys of a vault in a seed file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seed::material::{MaterialSchema, SeedMaterial};

/// A key of a vault.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedVaultKey {
    /// Name: 1 to 127 letters, digits and dashes.
    pub name: String,
    /// Creation date; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// All versions, oldest first; the last is the current one. By default one RSA version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<SeedVaultKeyVersion>,
    /// Rotation policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<SeedRotationPolicy>,
    /// When a deleted key is purged; absent if the key is not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_purge: Option<Timestamp>,
}

/// A version of a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedVaultKeyVersion {
    /// The version's name, 32 lower-case hex digits; if absent, derived from the key's URL and the
    /// version's position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Key type: `RSA`, which is the default, `EC`, `oct-HSM`, `RSA-HSM` or `EC-HSM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kty: Option<String>,
    /// Key size in bits; 2048 for RSA and 256 for `oct-HSM` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_size: Option<u16>,
    /// Curve of an EC key; `P-256` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Key operations; those of the key type if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// Whether the version is enabled; true if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The version does not encrypt before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The version does not encrypt from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Creation date; the key's creation date if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Date of the last change; the creation date if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// Tags by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Key material; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaterialSchema>")]
    pub material: Option<SeedMaterial>,
}

/// A rotation policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedRotationPolicy {
    /// Lifetime of versions as an ISO 8601 duration, such as `P2Y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<String>,
    /// What happens during the lifetime of a version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifetime_actions: Vec<SeedLifetimeAction>,
    /// Creation date; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Date of the last change; the creation date if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// When the next rotation is due; computed from the newest version if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
}

/// A lifetime action, with one of the two times.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedLifetimeAction {
    /// `Rotate` or `Notify`.
    pub action: String,
    /// Time after the creation of a version as an ISO 8601 duration, such as `P90D`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_after_create: Option<String>,
    /// Time before the expiry of a version as an ISO 8601 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_before_expiry: Option<String>,
}

impl SeedVaultKey {
    /// All key material of the key.
    pub(crate) fn materials(&mut self) -> impl Iterator<Item = &mut SeedMaterial> {
        let versions = self.versions.iter_mut();
        versions.filter_map(|version| version.material.as_mut())
    }
}
