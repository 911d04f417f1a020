//! The `azure` part of a seed file: applications, token issuers, resource groups, role assignments,
//! and vaults with their keys.

pub(crate) mod apply;
pub(crate) mod export;
mod keys;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use keys::{SeedLifetimeAction, SeedRotationPolicy, SeedVaultKey, SeedVaultKeyVersion};

/// The `azure` part of a seed file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AzureSeed {
    /// Applications and managed identities, in addition to the well-known one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<SeedApplication>,
    /// Issuers whose assertions applications may log in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<SeedIssuer>,
    /// Resource groups, in addition to those of the vaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_groups: Vec<SeedResourceGroup>,
    /// Role assignments on a key, a vault, a resource group or the subscription.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub role_assignments: Vec<SeedRoleAssignment>,
    /// Vaults, in addition to the well-known one or replacing it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vaults: Vec<SeedVault>,
}

/// An application with its service principal, or a managed identity.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedApplication {
    /// Client id, a GUID.
    pub client_id: String,
    /// Object id of its service principal, a GUID; permissions refer to it.
    pub object_id: String,
    /// Display name; the client id if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Further client secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Certificate to log in with, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Further certificates, as PEM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Federated credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<SeedFederated>,
    /// Makes it a managed identity, whose tokens the instance metadata service returns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed_identity: bool,
    /// Resource id of the managed identity; by default one in the resource group `kmslab` with the
    /// display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_identity_id: Option<String>,
}

impl fmt::Debug for SeedApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedApplication")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl SeedApplication {
    /// An application without credentials.
    pub fn new(client_id: impl Into<String>, object_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            object_id: object_id.into(),
            name: None,
            secret: None,
            secrets: Vec::new(),
            certificate: None,
            certificates: Vec::new(),
            federated: Vec::new(),
            managed_identity: false,
            managed_identity_id: None,
        }
    }
}

/// A federated credential.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedFederated {
    /// `iss` of the assertion.
    pub issuer: String,
    /// `sub` of the assertion.
    pub subject: String,
    /// `aud` of the assertion.
    #[serde(default = "exchange")]
    pub audience: String,
}

fn exchange() -> String {
    "api://AzureADTokenExchange".to_owned()
}

/// A token issuer and its keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedIssuer {
    /// `iss` of its assertions.
    pub url: String,
    /// Its JSON Web Key Set as a string, as `kubectl get --raw /openid/v1/jwks` prints it.
    pub jwks: String,
}

/// A vault.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedVault {
    /// First label of the host name; for a managed HSM with `.managedhsm`.
    pub name: String,
    /// Location; `eastus` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Access policies; they decide if there are no roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<SeedPolicy>,
    /// Role assignments; if there are any, they decide instead of the policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<SeedRole>,
    /// Whether roles decide instead of the policies; by default if there are roles here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rbac: Option<bool>,
    /// Retention period of deleted keys, 7 to 90 days; 90 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Resource group; `kmslab` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// `standard`, which is the default, or `premium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// Tags, as in Resource Manager.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub tags: Value,
    /// Network rules, as in Resource Manager; not enforced.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub network_acls: Value,
    /// When the vault was deleted; the time of the deletion of a vault that can be recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SeedVaultKey>,
}

impl SeedVault {
    /// A vault without permissions.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            location: None,
            policies: Vec::new(),
            roles: Vec::new(),
            rbac: None,
            retention_days: None,
            resource_group: None,
            sku: None,
            tags: Value::Null,
            network_acls: Value::Null,
            deleted: None,
            keys: Vec::new(),
        }
    }
}

/// Permissions of a principal on keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedPolicy {
    /// Object id of the principal.
    pub object_id: String,
    /// Permissions, such as `encrypt` and `decrypt`, or `all`.
    pub keys: BTreeSet<String>,
    /// Permissions on secrets and certificates, as in Resource Manager; not used.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub others: Value,
}

impl SeedPolicy {
    /// Permissions on keys only.
    pub fn new<'a>(object_id: impl Into<String>, keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            object_id: object_id.into(),
            keys: keys.into_iter().map(str::to_owned).collect(),
            others: Value::Null,
        }
    }
}

/// A role of a principal on a vault.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedRole {
    /// Object id of the principal.
    pub object_id: String,
    /// Name of the role, such as `Key Vault Crypto User`, or its id.
    pub role: String,
}

/// A resource group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedResourceGroup {
    /// Name.
    pub name: String,
    /// Location; `eastus` if absent.
    #[serde(default = "default_location")]
    pub location: String,
    /// Tags, as in Resource Manager.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub tags: Value,
}

fn default_location() -> String {
    "eastus".to_owned()
}

/// A role of a principal on a scope and everything below it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedRoleAssignment {
    /// Name of the assignment, a GUID.
    pub name: String,
    /// Resource id of the scope.
    pub scope: String,
    /// Object id of the principal.
    pub object_id: String,
    /// Name of the role, such as `Key Vault Crypto User`, or its id.
    pub role: String,
}
