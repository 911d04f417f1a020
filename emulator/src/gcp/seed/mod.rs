//! The `gcp` part of a seed file: service accounts, policies, the account of the metadata server, and
//! key rings with their keys and import jobs.

mod apply;
mod export;
mod identity;
mod keys;

use crate::well_known::GCP_TOKEN_URI;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity::KeyFile;
pub use keys::{SeedCryptoKey, SeedCryptoKeyVersion, SeedImportJob, SeedKeyRing, SeedRetiredKey};

/// The `gcp` part of a seed file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GcpSeed {
    /// Service accounts, in addition to the well-known one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<SeedServiceAccount>,
    /// Bindings on projects, key rings and keys, which need not exist yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<SeedBinding>,
    /// Whole policies, in place of what was set before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<SeedResourcePolicy>,
    /// Key rings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_rings: Vec<SeedKeyRing>,
    /// Names of deleted keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_keys: Vec<SeedRetiredKey>,
    /// Account whose tokens the metadata server returns; the well-known one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_account: Option<String>,
}

/// A service account.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedServiceAccount {
    /// Email address, `NAME@PROJECT.iam.gserviceaccount.com`.
    pub email: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Content of one of its key files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Public keys of key files that are elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<SeedPublicKey>,
}

/// The public key of a key file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedPublicKey {
    /// `private_key_id` of the key file.
    pub id: String,
    /// Modulus, base64url as in a JSON Web Key.
    pub n: String,
    /// Exponent, base64url.
    pub e: String,
}

impl From<&KeyFile> for SeedServiceAccount {
    /// The account of a key file, with that key.
    fn from(file: &KeyFile) -> Self {
        Self {
            email: file.email.clone(),
            display_name: None,
            public_keys: Vec::new(),
            key_file: Some(file.json(GCP_TOKEN_URI).to_string()),
        }
    }
}

impl fmt::Debug for SeedServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedServiceAccount")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

/// A role on a resource and everything below it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedBinding {
    /// `projects/P`, or the full name of a key ring or key.
    pub resource: String,
    /// Role, such as `roles/cloudkms.cryptoKeyEncrypterDecrypter`.
    pub role: String,
    /// Members, such as `serviceAccount:NAME@PROJECT.iam.gserviceaccount.com`.
    pub members: Vec<String>,
}

/// The policy of a resource.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedResourcePolicy {
    /// `projects/P`, or the full name of a key ring, key or import job; empty for the parent of all
    /// projects.
    pub resource: String,
    /// How often the policy was set, which its etag depends on; 1 if absent.
    #[serde(default = "one")]
    pub revision: u64,
    /// Bindings.
    pub bindings: Vec<SeedPolicyBinding>,
}

fn one() -> u64 {
    1
}

/// A binding of a policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedPolicyBinding {
    /// Role, such as `roles/cloudkms.cryptoKeyEncrypterDecrypter`.
    pub role: String,
    /// Members, such as `serviceAccount:NAME@PROJECT.iam.gserviceaccount.com`.
    pub members: Vec<String>,
    /// Condition. Conditions are not evaluated: a conditional binding grants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<SeedCondition>,
}

/// The condition of a binding.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedCondition {
    /// Expression in the Common Expression Language.
    pub expression: String,
    /// Title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where the expression comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
}
