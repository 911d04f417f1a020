//! The `azure` part of a seed file: applications, token issuers and vaults.

use std::collections::BTreeSet;
use std::fmt;

use jsonwebtoken::jwk::JwkSet;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Azure;
use super::identity::{Application, Federated, Issuer, managed_identity_id};
use super::names::{HSM, is_vault_name};
use super::vaults::{AccessPolicy, Role, RoleAssignment, Vault};

/// The `azure` part of a seed file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureSeed {
    /// Applications and managed identities, in addition to the well-known one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<SeedApplication>,
    /// Issuers whose assertions applications may log in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<SeedIssuer>,
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
    /// Certificate to log in with, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Federated credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<SeedFederated>,
    /// Makes it a managed identity, whose tokens the instance metadata service returns.
    #[serde(default)]
    pub managed_identity: bool,
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
            certificate: None,
            federated: Vec::new(),
            managed_identity: false,
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
    /// Retention period of deleted keys, 7 to 90 days; 90 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

impl SeedVault {
    /// A vault without permissions.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            location: None,
            policies: Vec::new(),
            roles: Vec::new(),
            retention_days: None,
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

impl AzureSeed {
    /// Applies the seed. The error names the entry that is wrong.
    pub(crate) fn apply(&self, azure: &Azure) -> Result<(), String> {
        for application in &self.applications {
            azure.identity.directory.add(application.made()?);
        }
        for issuer in &self.issuers {
            let keys: JwkSet = serde_json::from_str(&issuer.jwks).map_err(|error| {
                format!(
                    "issuer {}: jwks is not a JSON Web Key Set: {error}",
                    issuer.url
                )
            })?;
            azure.identity.directory.trust(Issuer {
                url: issuer.url.clone(),
                keys,
            });
        }
        for vault in &self.vaults {
            azure.add_vault(vault.made()?);
        }
        Ok(())
    }
}

impl SeedApplication {
    fn made(&self) -> Result<Application, String> {
        for (what, id) in [("clientId", &self.client_id), ("objectId", &self.object_id)] {
            uuid::Uuid::parse_str(id).map_err(|_| {
                format!("application {}: {what} {id} is not a GUID", self.client_id)
            })?;
        }
        let certificate = self.certificate.as_deref().map(certificate_der).transpose();
        let certificate =
            certificate.map_err(|why| format!("application {}: {why}", self.client_id))?;
        let managed = self.managed_identity.then(|| {
            managed_identity_id("kmslab", self.name.as_deref().unwrap_or(&self.client_id))
        });
        Ok(Application {
            client_id: self.client_id.clone(),
            object_id: self.object_id.clone(),
            name: self.name.clone().unwrap_or_else(|| self.client_id.clone()),
            secrets: self
                .secret
                .iter()
                .map(|secret| Zeroizing::new(secret.clone()))
                .collect(),
            certificates: certificate.into_iter().collect(),
            federated: self
                .federated
                .iter()
                .map(|there| Federated {
                    issuer: there.issuer.clone(),
                    subject: there.subject.clone(),
                    audience: there.audience.clone(),
                })
                .collect(),
            managed,
        })
    }
}

/// Returns the first certificate of a PEM file.
fn certificate_der(pem: &str) -> Result<Vec<u8>, String> {
    match CertificateDer::from_pem_slice(pem.as_bytes()) {
        Ok(der) => Ok(der.to_vec()),
        Err(_) => Err("certificate has no PEM certificate".to_owned()),
    }
}

impl SeedVault {
    fn made(&self) -> Result<Vault, String> {
        let name = &self.name;
        if !is_vault_name(name.strip_suffix(HSM).unwrap_or(name)) {
            return Err(format!(
                "vault {name}: a vault's name has 3 to 24 letters, digits and dashes, a letter first, no two dashes together"
            ));
        }
        let retention_days = self.retention_days.unwrap_or(90);
        if !(7..=90).contains(&retention_days) {
            return Err(format!("vault {name}: retentionDays must be from 7 to 90"));
        }
        let roles = self.roles.iter().map(|there| {
            let role = Role::parse(&there.role).ok_or_else(|| {
                let known: Vec<&str> = Role::all().map(Role::name).collect();
                format!(
                    "vault {name}: there is no role {}; there are {}",
                    there.role,
                    known.join(", ")
                )
            })?;
            Ok(RoleAssignment {
                object_id: there.object_id.clone(),
                role,
            })
        });
        let mut vault = Vault::new(name);
        vault.roles = roles.collect::<Result<_, String>>()?;
        vault.rbac = !vault.roles.is_empty();
        vault.policies = self
            .policies
            .iter()
            .map(|policy| AccessPolicy {
                object_id: policy.object_id.clone(),
                keys: policy.keys.clone(),
                others: serde_json::Value::Null,
            })
            .collect();
        vault.retention_days = retention_days;
        if let Some(location) = &self.location {
            vault.location.clone_from(location);
        }
        Ok(vault)
    }
}
