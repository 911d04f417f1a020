//! Every key with its versions, for the admin port and the inspector. No material.

use jiff::Timestamp;
use serde::Serialize;

/// One key and its versions.
#[derive(Debug, Clone, Serialize)]
pub struct KeyRow {
    /// `aws`, `azure` or `gcp`.
    pub cloud: &'static str,
    /// Its ARN, its URL or its resource name.
    pub key: String,
    /// Its state in the vendor's word.
    pub state: &'static str,
    /// The number of the version that encrypts; 0 where none does.
    pub primary: u32,
    /// Oldest first.
    pub versions: Vec<VersionRow>,
}

/// One version of a key.
#[derive(Debug, Clone, Serialize)]
pub struct VersionRow {
    /// From 1.
    pub number: u32,
    /// The vendor's name for it: the KeyMaterialId of AWS, the last part of Key Vault's kid.
    pub id: String,
    /// The 32 bytes, in hex, by which ciphertexts name it, where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<String>,
    /// When it was made.
    pub created: Timestamp,
}
