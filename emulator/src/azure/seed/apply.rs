//! Applies the `azure` part of a seed file, with the checks of the operations that create the same.

use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use kmslab_keycore::{
    Cause, KeyState, PlainKey, PlainVersion, Purpose, Rotation, RotationPolicy as Schedule,
    VersionId, VersionState,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    AzureSeed, SeedApplication, SeedRoleAssignment, SeedRotationPolicy, SeedVault, SeedVaultKey,
    SeedVaultKeyVersion,
};
use crate::azure::data::{AzureFront, KeyData, RotationPolicy, VersionData};
use crate::azure::identity::{Application, Federated, Issuer, managed_identity_id};
use crate::azure::jwk::KeyType;
use crate::azure::keys::{VersionUpdate, parse_operations};
use crate::azure::management::Assignment;
use crate::azure::names::{self, HSM, KeyName, is_vault_name};
use crate::azure::rotation::PolicyRequest;
use crate::azure::vaults::{AccessPolicy, Role, RoleAssignment, Vault};
use crate::azure::wire::Input;
use crate::azure::{Azure, AzureError};
use crate::seed::error::SeedError;
use crate::seed::version_id::version_id;

impl AzureSeed {
    /// Creates what this part of the file has.
    pub(crate) fn apply(&self, azure: &Azure) -> Result<(), SeedError> {
        for (index, application) in self.applications.iter().enumerate() {
            let path = format!("azure.applications[{index}]");
            azure.identity.directory.add(application.made(&path)?);
        }
        for (index, issuer) in self.issuers.iter().enumerate() {
            let keys: JwkSet = serde_json::from_str(&issuer.jwks).map_err(|error| {
                SeedError::invalid(
                    &format!("azure.issuers[{index}].jwks"),
                    format!("not a JSON Web Key Set: {error}"),
                )
            })?;
            azure.identity.directory.trust(Issuer {
                url: issuer.url.clone(),
                keys,
            });
        }
        for group in &self.resource_groups {
            azure.put_group(&group.name, &group.location, group.tags.clone());
        }
        for (index, vault) in self.vaults.iter().enumerate() {
            vault.apply(azure, &format!("azure.vaults[{index}]"))?;
        }
        for (index, assignment) in self.role_assignments.iter().enumerate() {
            let path = format!("azure.roleAssignments[{index}]");
            if !azure.vaults.add_assignment(assignment.made(&path)?) {
                let reason = "the principal has that role there already".to_owned();
                return Err(SeedError::invalid(&path, reason));
            }
        }
        Ok(())
    }
}

impl SeedApplication {
    fn made(&self, path: &str) -> Result<Application, SeedError> {
        for (field, id) in [("clientId", &self.client_id), ("objectId", &self.object_id)] {
            uuid::Uuid::parse_str(id).map_err(|_| {
                SeedError::invalid(&format!("{path}.{field}"), format!("{id} is not a GUID"))
            })?;
        }
        let pems = self.certificate.iter().chain(&self.certificates);
        let certificates = pems.map(|pem| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            der.map(|der| der.to_vec()).map_err(|_| {
                SeedError::invalid(
                    &format!("{path}.certificate"),
                    "there is no PEM block CERTIFICATE".to_owned(),
                )
            })
        });
        let name = self.name.as_ref().unwrap_or(&self.client_id);
        let federated = self.federated.iter().map(|there| Federated {
            issuer: there.issuer.clone(),
            subject: there.subject.clone(),
            audience: there.audience.clone(),
        });
        let id = self.managed_identity_id.clone();
        let managed = id.or_else(|| {
            self.managed_identity
                .then(|| managed_identity_id("kmslab", name))
        });
        Ok(Application {
            client_id: self.client_id.clone(),
            object_id: self.object_id.clone(),
            name: name.clone(),
            secrets: self
                .secret
                .iter()
                .chain(&self.secrets)
                .map(|secret| Zeroizing::new(secret.clone()))
                .collect(),
            certificates: certificates.collect::<Result<_, _>>()?,
            federated: federated.collect(),
            managed,
        })
    }
}

/// A role by its name or id.
fn role(text: &str, path: &str) -> Result<Role, SeedError> {
    Role::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Role::all().map(Role::name).collect();
        SeedError::unknown(path, "role", text, &known)
    })
}

impl SeedRoleAssignment {
    fn made(&self, path: &str) -> Result<Assignment, SeedError> {
        if uuid::Uuid::parse_str(&self.name).is_err() {
            let reason = format!("{} is not a GUID", self.name);
            return Err(SeedError::invalid(&format!("{path}.name"), reason));
        }
        Ok(Assignment {
            name: self.name.clone(),
            scope: self.scope.to_ascii_lowercase(),
            object_id: self.object_id.clone(),
            role: role(&self.role, &format!("{path}.role"))?,
        })
    }
}

impl SeedVault {
    fn apply(&self, azure: &Azure, path: &str) -> Result<(), SeedError> {
        azure.add_vault(self.made(path)?);
        for (index, key) in self.keys.iter().enumerate() {
            let path = format!("{path}.keys[{index}]");
            let key = key.plain(azure, &self.name, &path)?;
            azure.core.import(key).map_err(|error| {
                SeedError::invalid(&path, format!("the key cannot be created: {error}"))
            })?;
        }
        if let Some(at) = self.deleted {
            azure.vaults.delete(&self.name, at);
        }
        Ok(())
    }

    fn made(&self, path: &str) -> Result<Vault, SeedError> {
        let invalid = |field: &str, reason: String| {
            Err(SeedError::invalid(&format!("{path}.{field}"), reason))
        };
        let name = &self.name;
        if !is_vault_name(name.strip_suffix(HSM).unwrap_or(name)) {
            return invalid(
                "name",
                format!(
                    "{name} is not a vault's name, which has 3 to 24 letters, digits and dashes, a letter first, no two dashes together"
                ),
            );
        }
        let retention_days = self.retention_days.unwrap_or(90);
        if !(7..=90).contains(&retention_days) {
            return invalid("retentionDays", "must be from 7 to 90".to_owned());
        }
        let roles = self.roles.iter().enumerate().map(|(index, there)| {
            Ok(RoleAssignment {
                object_id: there.object_id.clone(),
                role: role(&there.role, &format!("{path}.roles[{index}].role"))?,
            })
        });
        let roles = roles.collect::<Result<Vec<_>, SeedError>>()?;
        let default = Vault::new(name);
        let policies = self.policies.iter().map(|policy| AccessPolicy {
            object_id: policy.object_id.clone(),
            keys: policy.keys.clone(),
            others: policy.others.clone(),
        });
        Ok(Vault {
            rbac: self.rbac.unwrap_or(!roles.is_empty()),
            roles,
            policies: policies.collect(),
            retention_days,
            location: self.location.clone().unwrap_or(default.location),
            resource_group: self
                .resource_group
                .clone()
                .unwrap_or(default.resource_group),
            sku: self.sku.clone().unwrap_or(default.sku),
            tags: self.tags.clone(),
            network_acls: self.network_acls.clone(),
            name: default.name,
        })
    }
}

impl SeedVaultKey {
    /// The key as the core takes it in.
    fn plain(
        &self,
        azure: &Azure,
        vault: &str,
        path: &str,
    ) -> Result<PlainKey<AzureFront>, SeedError> {
        let Some(name) = KeyName::parse(&self.name) else {
            let reason = format!(
                "{} is not a key's name, which has 1 to 127 letters, digits and dashes",
                self.name
            );
            return Err(SeedError::invalid(&format!("{path}.name"), reason));
        };
        let created = self.created.unwrap_or_else(|| azure.core.now());
        let only = [SeedVaultKeyVersion::default()];
        let given = match self.versions.as_slice() {
            [] => &only,
            versions => versions,
        };
        let url = names::key_url_of(vault, &name);
        let versions = given.iter().zip(1..).map(|(version, number)| {
            let path = format!("{path}.versions[{}]", number - 1);
            version.plain(vault, &format!("{url}/{number}"), number, created, &path)
        });
        let versions = versions.collect::<Result<Vec<_>, SeedError>>()?;
        // There is at least one.
        let newest = versions.last().map(|newest| (newest.id, newest.algorithm));
        let (primary, algorithm) = newest.ok_or(SeedError::Stopped)?;
        let (rotation, rotation_policy) =
            self.rotation(azure, &versions, &format!("{path}.rotationPolicy"))?;
        Ok(PlainKey {
            realm: names::realm(vault),
            id: name.id(),
            purpose: Purpose::Any,
            state: self
                .scheduled_purge
                .map_or(KeyState::Enabled, |at| KeyState::PendingDeletion { at }),
            created,
            algorithm,
            last_number: versions.last().map_or(0, |newest| newest.number),
            primary: Some(primary),
            versions,
            rotation,
            data: KeyData {
                name: self.name.clone(),
                rotation_policy,
            },
        })
    }

    fn rotation(
        &self,
        azure: &Azure,
        versions: &[PlainVersion<AzureFront>],
        path: &str,
    ) -> Result<(Rotation, Option<RotationPolicy>), SeedError> {
        let Some(policy) = &self.rotation_policy else {
            return Ok((Rotation::default(), None));
        };
        let request =
            parse(&policy.request()).and_then(|input| PolicyRequest::from_request(&input));
        let request = request.map_err(|error| refused(path, error))?;
        let schedule = Schedule {
            trigger: request.trigger,
            lifetime: request.lifetime,
            first: None,
        };
        let now = azure.core.now();
        let newest = versions
            .last()
            .map(|newest| (newest.created, newest.expires));
        let (made, expires) = newest.unwrap_or((now, None));
        let mut rotation = schedule.rotation(now, made, expires);
        rotation.next = policy.next_rotation.or(rotation.next);
        let created = policy.created.unwrap_or(now);
        let policy = RotationPolicy {
            actions: request.actions,
            expiry_time: request.expiry_time,
            created,
            updated: policy.updated.unwrap_or(created),
        };
        Ok((rotation, Some(policy)))
    }
}

impl SeedRotationPolicy {
    /// The body of the request that sets such a policy.
    fn request(&self) -> Value {
        let actions = self.lifetime_actions.iter().map(|action| {
            let mut trigger = Map::new();
            for (name, time) in [
                ("timeAfterCreate", &action.time_after_create),
                ("timeBeforeExpiry", &action.time_before_expiry),
            ] {
                if let Some(time) = time {
                    trigger.insert(name.to_owned(), time.as_str().into());
                }
            }
            json!({ "trigger": trigger, "action": { "type": action.action } })
        });
        let mut request = json!({ "lifetimeActions": actions.collect::<Value>() });
        if let Some(expiry) = &self.expiry_time {
            request["attributes"] = json!({ "expiryTime": expiry });
        }
        request
    }
}

impl SeedVaultKeyVersion {
    /// The version as the core takes it in. `name` is what an absent id and derived material depend
    /// on.
    fn plain(
        &self,
        vault: &str,
        name: &str,
        number: u32,
        created: Timestamp,
        path: &str,
    ) -> Result<PlainVersion<AzureFront>, SeedError> {
        let invalid =
            |field: &str, reason: String| SeedError::invalid(&format!("{path}.{field}"), reason);
        let input = parse(&self.request()).map_err(|error| refused(path, error))?;
        let kind = KeyType::from_request(&input, names::is_managed_hsm(vault))
            .map_err(|error| refused(path, error))?;
        let changes = VersionUpdate::from_request(&input).map_err(|error| refused(path, error))?;
        let key_ops = match &self.key_ops {
            Some(operations) => {
                parse_operations(operations.clone()).map_err(|error| refused(path, error))?
            }
            None => kind
                .operations()
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
        };
        let material = self.material.as_ref().map(|material| {
            let loaded = material.load(kind.algorithm, name);
            loaded.map_err(|reason| invalid("material", format!("the material {reason}")))
        });
        let id = match &self.id {
            Some(id) => named_id(id).ok_or_else(|| {
                invalid(
                    "id",
                    format!("{id} is not a version of 32 lower-case hex digits"),
                )
            })?,
            None => version_id(name),
        };
        let created = self.created.unwrap_or(created);
        Ok(PlainVersion {
            id,
            number,
            state: match self.enabled {
                Some(false) => VersionState::Disabled,
                _ => VersionState::Enabled,
            },
            created,
            updated: self.updated.unwrap_or(created),
            cause: Cause::Created,
            algorithm: kind.algorithm,
            not_before: self.not_before,
            expires: self.expires,
            data: VersionData {
                kty: kind.kty.to_owned(),
                key_ops,
                tags: changes.tags.unwrap_or_default(),
            },
            material: material.transpose()?,
        })
    }

    /// The request of CreateKey that makes such a version, as far as it is checked.
    fn request(&self) -> Value {
        let mut request = json!({ "kty": self.kty.as_deref().unwrap_or("RSA") });
        let attributes = [("nbf", self.not_before), ("exp", self.expires)];
        let attributes: Map<String, Value> = attributes
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), at?.as_second().into())))
            .collect();
        for (name, value) in [
            ("key_size", self.key_size.map(Value::from)),
            ("crv", self.crv.clone().map(Value::from)),
            ("attributes", Some(attributes.into())),
            ("tags", Some(json!(self.tags))),
        ] {
            if let Some(value) = value {
                request[name] = value;
            }
        }
        request
    }
}

/// The id of a version whose name has these 32 digits: the digits, and a hash of them.
fn named_id(name: &str) -> Option<VersionId> {
    let digits = name.len() == 32
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut id = *version_id(&format!("azure {name}")).as_bytes();
    hex::decode_to_slice(name.as_bytes().get(..32).filter(|_| digits)?, &mut id[..16]).ok()?;
    Some(VersionId::from_bytes(id))
}

fn parse(request: &Value) -> Result<Input, AzureError> {
    Input::parse(request.to_string().as_bytes())
}

fn refused(path: &str, error: AzureError) -> SeedError {
    SeedError::invalid(path, error.message)
}
