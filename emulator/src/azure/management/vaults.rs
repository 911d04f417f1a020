//! Vaults as resources: created, read, updated, deleted and recovered. The data plane enforces what
//! is set here.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    ArmError, ManagementResponse, Outcome, Request, SUBSCRIPTION, body, method_not_allowed,
};
use crate::azure::Azure;
use crate::azure::names::{is_vault_name, vault_url};
use crate::azure::vaults::{AccessPolicy, Vault};
use crate::azure::wire::query_parameter;

const KIND: &str = "Microsoft.KeyVault/vaults";
const MAX_POLICIES: usize = 1024;

impl Vault {
    /// Its resource id.
    pub(crate) fn id(&self) -> String {
        let (group, name) = (&self.resource_group, &self.name);
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{KIND}/{name}")
    }

    fn to_json(&self, tenant: &str) -> Value {
        let policies = self.policies.iter().map(|policy| {
            let mut permissions = policy.others.clone();
            if !permissions.is_object() {
                permissions = json!({});
            }
            permissions["keys"] = policy.keys.iter().cloned().collect();
            json!({ "tenantId": tenant, "objectId": policy.object_id, "permissions": permissions })
        });
        let mut properties = json!({
            "sku": { "family": "A", "name": self.sku },
            "tenantId": tenant,
            "accessPolicies": policies.collect::<Vec<_>>(),
            "enabledForDeployment": false,
            "enableSoftDelete": true,
            "softDeleteRetentionInDays": self.retention_days,
            "enableRbacAuthorization": self.rbac,
            "vaultUri": format!("{}/", vault_url(&self.name)),
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
        });
        if !self.network_acls.is_null() {
            properties["networkAcls"] = self.network_acls.clone();
        }
        json!({
            "id": self.id(),
            "name": self.name,
            "type": KIND,
            "location": self.location,
            "tags": if self.tags.is_object() { self.tags.clone() } else { json!({}) },
            "properties": properties,
        })
    }

    /// When the vault is purged if it is deleted at `deleted`.
    fn scheduled_purge(&self, deleted: Timestamp) -> Timestamp {
        let kept = SignedDuration::from_hours(24 * i64::from(self.retention_days));
        deleted.checked_add(kept).unwrap_or(Timestamp::MAX)
    }

    /// The vault as a deleted vault.
    fn deleted_to_json(&self, deleted: Timestamp) -> Value {
        let id = format!(
            "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.KeyVault/locations/{}/deletedVaults/{}",
            self.location, self.name
        );
        let purge = self.scheduled_purge(deleted);
        json!({
            "id": id,
            "name": self.name,
            "type": "Microsoft.KeyVault/deletedVaults",
            "properties": {
                "vaultId": self.id(),
                "location": self.location,
                "tags": if self.tags.is_object() { self.tags.clone() } else { json!({}) },
                "deletionDate": deleted.to_string(),
                "scheduledPurgeDate": purge.to_string(),
                "purgeProtectionEnabled": false,
            },
        })
    }
}

impl Azure {
    pub(super) fn vault(&self, request: Request<'_>, group: &str, name: &str) -> Outcome {
        let there = self
            .vaults
            .get(name)
            .filter(|_| is_vault_name(name))
            .filter(|vault| vault.resource_group.eq_ignore_ascii_case(group));
        let not_found = || ArmError::no_resource(KIND, name, group);
        match *request.method {
            Method::GET => Ok(ManagementResponse::ok(
                there.ok_or_else(not_found)?.to_json(self.tenant()),
            )),
            Method::PUT => self.put_vault(request, group, name),
            Method::PATCH => {
                let there = there.ok_or_else(not_found)?;
                let vault = apply_patch((*there).clone(), self.tenant(), group, &body(request)?)?;
                let listed = vault.to_json(self.tenant());
                self.vaults.put(vault);
                Ok(ManagementResponse::ok(listed))
            }
            Method::DELETE => {
                if there.is_none() {
                    return Ok(ManagementResponse::empty(StatusCode::NO_CONTENT));
                }
                self.delete_vault(name);
                Ok(ManagementResponse::empty(StatusCode::OK))
            }
            _ => method_not_allowed(request),
        }
    }

    fn put_vault(&self, request: Request<'_>, group: &str, name: &str) -> Outcome {
        self.group_location(group)?;
        if !is_vault_name(name) {
            let message = format!(
                "The vault name '{name}' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with \
                 a letter, end with a letter or digit, and not contain consecutive hyphens. Follow this link for more information: \
                 https://go.microsoft.com/fwlink/?linkid=2147742"
            );
            return Err(ArmError::new(
                StatusCode::BAD_REQUEST,
                "VaultNameNotValid",
                message,
            ));
        }
        let body = body(request)?;
        let properties = &body["properties"];
        let there = self.vaults.get(name);
        if there
            .as_ref()
            .is_some_and(|vault| !vault.resource_group.eq_ignore_ascii_case(group))
        {
            let message = format!(
                "The vault name '{name}' is already in use. Vault names are globally unique so it is possible that the name is already taken."
            );
            return Err(ArmError::conflict("VaultAlreadyExists", message));
        }
        if self.vaults.deleted(name).is_some() {
            if properties["createMode"] != "recover" {
                return Err(ArmError::conflict(
                    "ConflictError",
                    "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. \
                     Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.",
                ));
            }
            self.vaults.recover(name);
            let vault = self
                .vaults
                .get(name)
                .ok_or_else(|| ArmError::no_resource(KIND, name, group))?;
            return Ok(ManagementResponse::ok(vault.to_json(self.tenant())));
        }
        let is_new = there.is_none();
        let new = || Vault {
            rbac: rbac_is_default(request.query),
            ..Vault::new(name)
        };
        let old = there.map_or_else(new, |vault| (*vault).clone());
        let vault = apply_put(old, self.tenant(), group, &body)?;
        let listed = vault.to_json(self.tenant());
        self.vaults.put(vault);
        Ok(ManagementResponse::created(listed, is_new))
    }

    pub(super) fn delete_vault(&self, name: &str) {
        self.vaults.delete(name, self.core.now());
    }

    /// Removes deleted vaults whose retention period has passed on the lab clock, with their keys.
    pub(super) fn purge_due(&self) {
        let now = self.core.now();
        for (vault, deleted) in self.vaults.all_deleted() {
            if vault.scheduled_purge(deleted) <= now {
                // A vault whose keys cannot be removed now is purged later.
                let keys = crate::azure::names::realm(&vault.name);
                if self.core.remove_realm(&keys).is_ok() {
                    self.vaults.purge(&vault.name);
                }
            }
        }
    }

    pub(super) fn list_vaults(&self, group: Option<&str>) -> Outcome {
        let vaults = self.vaults.managed();
        let of_group = |vault: &Vault| {
            group.is_none_or(|group| vault.resource_group.eq_ignore_ascii_case(group))
        };
        let listed: Vec<Value> = vaults
            .iter()
            .filter(|vault| of_group(vault))
            .map(|vault| vault.to_json(self.tenant()))
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }

    pub(super) fn list_deleted_vaults(&self) -> Outcome {
        let listed: Vec<Value> = self
            .vaults
            .all_deleted()
            .iter()
            .map(|(vault, deleted)| vault.deleted_to_json(*deleted))
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }

    pub(super) fn deleted_vault(&self, name: &str) -> Outcome {
        let (vault, deleted) = self.vaults.deleted(name).ok_or_else(|| no_deleted(name))?;
        Ok(ManagementResponse::ok(vault.deleted_to_json(deleted)))
    }

    pub(super) fn purge_vault(&self, name: &str) -> Outcome {
        self.vaults.deleted(name).ok_or_else(|| no_deleted(name))?;
        let keys = crate::azure::names::realm(name);
        self.core
            .remove_realm(&keys)
            .map_err(|_| ArmError::internal())?;
        self.vaults.purge(name);
        Ok(ManagementResponse::empty(StatusCode::OK))
    }
}

fn no_deleted(name: &str) -> ArmError {
    let message = format!("The specified deleted vault '{name}' does not exist.");
    ArmError::new(StatusCode::NOT_FOUND, "DeletedVaultNotFound", message)
}

/// From this API version on, new vaults use roles unless the request says otherwise; existing
/// vaults keep their setting.
/// <https://learn.microsoft.com/azure/key-vault/general/access-control-default>
const RBAC_BY_DEFAULT_FROM: &str = "2026-02-01";

fn rbac_is_default(query_string: &str) -> bool {
    query_parameter(query_string, "api-version")
        .is_some_and(|version| version.as_str() >= RBAC_BY_DEFAULT_FROM)
}

/// Applies a PATCH; members that are absent keep their values.
fn apply_patch(old: Vault, tenant: &str, group: &str, body: &Value) -> Result<Vault, ArmError> {
    if !body.is_object() || !(body["properties"].is_object() || body["properties"].is_null()) {
        return Err(invalid("properties"));
    }
    let mut whole = body.clone();
    let kept = [("tags", &old.tags), ("location", &Value::Null)];
    for (name, value) in kept {
        if whole[name].is_null() {
            whole[name] = value.clone();
        }
    }
    let properties = &mut whole["properties"];
    if properties["tenantId"].is_null() {
        properties["tenantId"] = tenant.into();
    }
    if properties["networkAcls"].is_null() {
        properties["networkAcls"] = old.network_acls.clone();
    }
    apply_put(old, tenant, group, &whole)
}

/// Applies a PUT.
fn apply_put(old: Vault, tenant: &str, group: &str, body: &Value) -> Result<Vault, ArmError> {
    let properties = &body["properties"];
    if !properties["tenantId"]
        .as_str()
        .is_some_and(|given| given.eq_ignore_ascii_case(tenant))
    {
        return Err(ArmError::bad_request(format!(
            "The tenant ID in the request is not the tenant of this subscription, {tenant}."
        )));
    }
    let retention = &properties["softDeleteRetentionInDays"];
    let retention_days = match retention.as_u64().and_then(|days| u32::try_from(days).ok()) {
        Some(days) if (7..=90).contains(&days) => days,
        None if retention.is_null() => old.retention_days,
        _ => {
            return Err(ArmError::bad_request(
                "The property \"softDeleteRetentionInDays\" must be from 7 to 90.",
            ));
        }
    };
    let policies = match &properties["accessPolicies"] {
        Value::Null => old.policies.clone(),
        Value::Array(list) if list.len() > MAX_POLICIES => {
            return Err(ArmError::bad_request(format!(
                "At most {MAX_POLICIES} access policies are allowed."
            )));
        }
        Value::Array(list) => list.iter().map(policy).collect::<Result<_, _>>()?,
        _ => return Err(invalid("accessPolicies")),
    };
    let text = |value: &Value| {
        value
            .as_str()
            .map(|text| text.replace(' ', "").to_ascii_lowercase())
    };
    Ok(Vault {
        location: text(&body["location"])
            .filter(|location| !location.is_empty())
            .unwrap_or(old.location.clone()),
        resource_group: group.to_owned(),
        rbac: properties["enableRbacAuthorization"]
            .as_bool()
            .unwrap_or(old.rbac),
        sku: text(&properties["sku"]["name"]).unwrap_or(old.sku.clone()),
        policies,
        retention_days,
        tags: body["tags"].clone(),
        network_acls: properties["networkAcls"].clone(),
        ..old
    })
}

fn policy(policy: &Value) -> Result<AccessPolicy, ArmError> {
    let object_id = policy["objectId"]
        .as_str()
        .ok_or_else(|| invalid("accessPolicies.objectId"))?;
    let mut others = policy["permissions"].clone();
    let keys = match others
        .as_object_mut()
        .and_then(|others| others.remove("keys"))
    {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(keys) => {
            let keys: Vec<String> = serde_json::from_value(keys)
                .map_err(|_| invalid("accessPolicies.permissions.keys"))?;
            keys.into_iter().collect()
        }
    };
    Ok(AccessPolicy {
        object_id: object_id.to_owned(),
        keys,
        others,
    })
}

fn invalid(property: &str) -> ArmError {
    ArmError::bad_request(format!("An invalid value was provided for '{property}'."))
}
