//! Writes what Azure has as a seed file has it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kmslab_keycore::{Algorithm, KeyError, KeyState, PlainKey, PlainVersion, VersionState};

use super::{
    AzureSeed, SeedApplication, SeedFederated, SeedIssuer, SeedLifetimeAction, SeedPolicy,
    SeedResourceGroup, SeedRole, SeedRoleAssignment, SeedRotationPolicy, SeedVault, SeedVaultKey,
    SeedVaultKeyVersion,
};
use crate::azure::Azure;
use crate::azure::data::AzureFront;
use crate::azure::identity::{Application, Issuer};
use crate::azure::jwk;
use crate::azure::management::Assignment;
use crate::azure::names;
use crate::azure::vaults::Vault;
use crate::seed::material::SeedMaterial;
use crate::well_known::AZURE_CLIENT_ID;

impl AzureSeed {
    /// Everything that there is. Without `with_material`, key material and client secrets are left
    /// out.
    pub(crate) fn export(azure: &Azure, with_material: bool) -> Result<Self, KeyError> {
        let directory = &azure.identity.directory;
        let there = azure.vaults.all().into_iter().map(|vault| (vault, None));
        let deleted = azure.vaults.all_deleted().into_iter();
        let vaults = there.chain(deleted.map(|(vault, at)| (vault, Some(at))));
        let vaults = vaults.map(|(vault, at)| SeedVault::of(azure, &vault, at, with_material));
        Ok(Self {
            // Without its secret, the well-known application would replace the one that can log in.
            applications: directory
                .applications()
                .iter()
                .filter(|there| with_material || there.client_id != AZURE_CLIENT_ID)
                .map(|application| SeedApplication::of(application, with_material))
                .collect(),
            issuers: directory
                .issuers()
                .iter()
                .map(|issuer| issuer.into())
                .collect(),
            resource_groups: azure
                .groups()
                .into_iter()
                .map(|(name, location, tags)| SeedResourceGroup {
                    name,
                    location,
                    tags,
                })
                .collect(),
            role_assignments: azure.vaults.assignments().iter().map(Into::into).collect(),
            vaults: vaults.collect::<Result<_, _>>()?,
        })
    }
}

impl SeedApplication {
    fn of(application: &Application, with_secrets: bool) -> Self {
        let secrets = application.secrets.iter().filter(|_| with_secrets);
        let certificates = application.certificates.iter();
        Self {
            client_id: application.client_id.clone(),
            object_id: application.object_id.clone(),
            name: Some(application.name.clone()),
            secret: None,
            secrets: secrets.map(|secret| secret.to_string()).collect(),
            certificate: None,
            certificates: certificates.map(|der| pem(der)).collect(),
            federated: application
                .federated
                .iter()
                .map(|there| SeedFederated {
                    issuer: there.issuer.clone(),
                    subject: there.subject.clone(),
                    audience: there.audience.clone(),
                })
                .collect(),
            managed_identity: application.managed.is_some(),
            managed_identity_id: application.managed.clone(),
        }
    }
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

impl From<&std::sync::Arc<Issuer>> for SeedIssuer {
    fn from(issuer: &std::sync::Arc<Issuer>) -> Self {
        Self {
            url: issuer.url.clone(),
            jwks: serde_json::to_string(&issuer.keys).unwrap_or_default(),
        }
    }
}

impl From<&Assignment> for SeedRoleAssignment {
    fn from(assignment: &Assignment) -> Self {
        Self {
            name: assignment.name.clone(),
            scope: assignment.scope.clone(),
            object_id: assignment.object_id.clone(),
            role: assignment.role.name().to_owned(),
        }
    }
}

impl SeedVault {
    fn of(
        azure: &Azure,
        vault: &Vault,
        deleted: Option<Timestamp>,
        with_material: bool,
    ) -> Result<Self, KeyError> {
        let keys = azure.core.keys(&names::realm(&vault.name));
        let keys = keys.iter().map(|key| {
            let key = key.export(with_material)?;
            Ok(SeedVaultKey::of(&key))
        });
        let policies = vault.policies.iter().map(|policy| SeedPolicy {
            object_id: policy.object_id.clone(),
            keys: policy.keys.clone(),
            others: policy.others.clone(),
        });
        let roles = vault.roles.iter().map(|held| SeedRole {
            object_id: held.object_id.clone(),
            role: held.role.name().to_owned(),
        });
        Ok(Self {
            name: vault.name.clone(),
            location: Some(vault.location.clone()),
            policies: policies.collect(),
            roles: roles.collect(),
            rbac: Some(vault.rbac),
            retention_days: Some(vault.retention_days),
            resource_group: Some(vault.resource_group.clone()),
            sku: Some(vault.sku.clone()),
            tags: vault.tags.clone(),
            network_acls: vault.network_acls.clone(),
            deleted,
            keys: keys.collect::<Result<_, KeyError>>()?,
        })
    }
}

impl SeedVaultKey {
    fn of(key: &PlainKey<AzureFront>) -> Self {
        let policy = key.data.rotation_policy.as_ref();
        Self {
            name: key.data.name.clone(),
            created: Some(key.created),
            versions: key.versions.iter().map(SeedVaultKeyVersion::of).collect(),
            rotation_policy: policy.map(|policy| SeedRotationPolicy {
                expiry_time: policy.expiry_time.clone(),
                lifetime_actions: policy
                    .actions
                    .iter()
                    .map(|action| {
                        let time = |name| (action.trigger == name).then(|| action.time.clone());
                        SeedLifetimeAction {
                            action: action.kind.clone(),
                            time_after_create: time("timeAfterCreate"),
                            time_before_expiry: time("timeBeforeExpiry"),
                        }
                    })
                    .collect(),
                created: Some(policy.created),
                updated: Some(policy.updated),
                next_rotation: key.rotation.next,
            }),
            scheduled_purge: match key.state {
                KeyState::PendingDeletion { at } => Some(at),
                KeyState::Enabled | KeyState::Disabled => None,
            },
        }
    }
}

impl SeedVaultKeyVersion {
    fn of(version: &PlainVersion<AzureFront>) -> Self {
        let (key_size, crv) = match version.algorithm {
            Algorithm::Aes { bits } | Algorithm::Rsa { bits } => (Some(bits), None),
            Algorithm::Ec(curve) => (None, Some(jwk::curve_name(curve).to_owned())),
            Algorithm::Hmac { .. } | Algorithm::Kem(_) => (None, None),
        };
        let tags: &BTreeMap<_, _> = &version.data.tags;
        Self {
            id: Some(names::version_name(&version.id)),
            kty: Some(version.data.kty.clone()),
            key_size,
            crv,
            key_ops: Some(version.data.key_ops.clone()),
            enabled: (version.state == VersionState::Disabled).then_some(false),
            not_before: version.not_before,
            expires: version.expires,
            created: Some(version.created),
            updated: Some(version.updated),
            tags: tags.clone(),
            material: version.material.as_ref().map(SeedMaterial::of),
        }
    }
}
