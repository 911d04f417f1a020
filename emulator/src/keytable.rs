//! The key table: all keys with their versions, for the admin port and the inspector. It contains
//! no key material.

use jiff::Timestamp;
use serde::Serialize;

/// A key with its versions.
#[derive(Debug, Clone, Serialize)]
pub struct KeyRow {
    /// `aws`, `azure` or `gcp`.
    pub cloud: &'static str,
    /// ARN, URL or resource name.
    pub key: String,
    /// The vendor's name of its state.
    pub state: &'static str,
    /// Number of the version that encrypts; 0 if there is none.
    pub primary: u32,
    /// Versions, oldest first.
    pub versions: Vec<VersionRow>,
}

/// A version of a key.
#[derive(Debug, Clone, Serialize)]
pub struct VersionRow {
    /// Number, from 1.
    pub number: u32,
    /// The vendor's id: the KeyMaterialId of AWS, the last segment of Key Vault's kid.
    pub id: String,
    /// The 32 bytes, in hex, that identify the version in ciphertexts, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<String>,
    /// Creation time.
    pub created: Timestamp,
}
