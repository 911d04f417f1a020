//! Key rings, keys and import jobs in a seed file. Names and values are those of the API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seed::material::{MaterialSchema, SeedMaterial};

/// A key ring.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedKeyRing {
    /// Full name, `projects/P/locations/L/keyRings/R`.
    pub name: String,
    /// Creation time; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// Keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SeedCryptoKey>,
    /// Import jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_jobs: Vec<SeedImportJob>,
}

/// A key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedCryptoKey {
    /// Id: the last part of the key's name.
    pub id: String,
    /// Purpose; `ENCRYPT_DECRYPT` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Algorithm of new versions; if absent, the service's default for the purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// `SOFTWARE`, which is the default, or `HSM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection_level: Option<String>,
    /// Labels by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Period of automatic rotation in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_seconds: Option<u64>,
    /// Time of the next automatic rotation; one period from now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Timestamp>,
    /// Time from Destroy to the destruction of a version in seconds; 30 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_scheduled_seconds: Option<i64>,
    /// Whether all versions are imported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub import_only: bool,
    /// Creation time; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// Number of the primary version, or 0 for none. By default the newest version of a key whose
    /// purpose is `ENCRYPT_DECRYPT`, and none of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<u32>,
    /// Number of the newest version that the key ever had, which may be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_version: Option<u32>,
    /// All versions, oldest first; if absent, one with generated material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Vec<SeedCryptoKeyVersion>>,
}

/// A version of a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedCryptoKeyVersion {
    /// Number; one more than that of the version before if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// What ciphertexts identify the version by, 64 lower-case hex digits; if absent, derived from
    /// the version's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `ENABLED`, which is the default, `DISABLED`, `DESTROY_SCHEDULED`, `DESTROYED` or
    /// `PENDING_GENERATION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Algorithm; the key's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Protection level; the key's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection_level: Option<String>,
    /// Creation time; the key's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// When a version whose state is `DESTROY_SCHEDULED` will be destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_time: Option<Timestamp>,
    /// When a version whose state is `DESTROYED` was destroyed; its creation time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_event_time: Option<Timestamp>,
    /// Full name of the import job with which the material was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_job: Option<String>,
    /// Time of the import; the creation time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_time: Option<Timestamp>,
    /// Whether the rotation schedule made the version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
    /// Key material; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaterialSchema>")]
    pub material: Option<SeedMaterial>,
}

/// An import job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedImportJob {
    /// Id: the last part of the job's name.
    pub id: String,
    /// Import method, such as `RSA_OAEP_3072_SHA256`.
    pub import_method: String,
    /// `SOFTWARE`, which is the default, or `HSM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection_level: Option<String>,
    /// Creation time, three days before the job expires; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<Timestamp>,
    /// The wrapping key, PKCS #8; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaterialSchema>")]
    pub material: Option<SeedMaterial>,
}

/// The name of a key that was deleted, which is not used again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedRetiredKey {
    /// Full name of the key.
    pub key: String,
    /// Id of the retired resource.
    pub id: String,
    /// Time of the deletion.
    pub delete_time: Timestamp,
}

impl SeedKeyRing {
    /// All key material of the ring.
    pub(crate) fn materials(&mut self) -> impl Iterator<Item = &mut SeedMaterial> {
        let versions = self.keys.iter_mut().flat_map(|key| &mut key.versions);
        let of_versions = versions
            .flatten()
            .filter_map(|version| version.material.as_mut());
        let jobs = self.import_jobs.iter_mut();
        of_versions.chain(jobs.filter_map(|job| job.material.as_mut()))
    }
}
