//! What the vendors' own audit logs have besides an event's common fields.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The part of an event that depends on its cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// Of AWS KMS.
    Aws(AwsDetail),
    /// Of Key Vault.
    Azure(AzureDetail),
    /// Of Cloud KMS.
    Gcp(GcpDetail),
}

/// What CloudTrail has of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwsDetail {
    /// Account of the caller, 12 digits.
    pub account: String,
    /// Region of the request.
    pub region: String,
    /// The request's members that are not secret, named as CloudTrail does: `keyId`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// Message of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What Key Vault's diagnostic log has of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AzureDetail {
    /// Resource Manager's id of the vault.
    pub resource_id: String,
    /// Whether roles decide about access to the vault, and not access policies.
    pub rbac: bool,
    /// Object id of the caller.
    pub object_id: String,
    /// URL of the request.
    pub uri: String,
    /// `api-version` of the request.
    pub api_version: String,
    /// Algorithm of a cryptographic operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// HTTP status of the response.
    pub status: u16,
    /// Message of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What Cloud Audit Logs have of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GcpDetail {
    /// The permission that was checked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// The resource on which it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether it was granted.
    pub granted: bool,
    /// Code of `google.rpc.Code`; 0 if the call succeeded.
    pub status: i32,
    /// Message of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
