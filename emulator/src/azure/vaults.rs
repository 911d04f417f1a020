//! Vaults, and the access policies and roles that decide what a caller may do in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde_json::Value;

use super::AzureError;
use super::auth::Principal;
use super::management::Assignment;
use super::names;
use super::operation::Operation;

/// A vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vault {
    /// First label of the host name.
    pub name: String,
    /// Location, such as `eastus`.
    pub location: String,
    /// Name of the resource group.
    pub resource_group: String,
    /// Whether roles decide instead of access policies.
    pub rbac: bool,
    /// Access policies, used if `rbac` is false.
    pub policies: Vec<AccessPolicy>,
    /// Role assignments on this vault, used if `rbac` is true.
    pub roles: Vec<RoleAssignment>,
    /// Retention period of deleted keys, 7 to 90 days.
    pub retention_days: u32,
    /// `standard` or `premium`.
    pub sku: String,
    /// Tags as they were set.
    pub tags: Value,
    /// Network rules as they were set; not enforced.
    pub network_acls: Value,
}

/// Permissions of a principal on keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessPolicy {
    /// Object id of the principal.
    pub object_id: String,
    /// Permissions, such as `encrypt`, or `all`, compared without regard to case.
    pub keys: BTreeSet<String>,
    /// Permissions on secrets and certificates as they were set; not used.
    pub others: Value,
}

/// A role of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleAssignment {
    /// Object id of the principal.
    pub object_id: String,
    /// The role.
    pub role: Role,
}

/// The built-in roles that concern keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Administrator,
    CryptoOfficer,
    CryptoUser,
    CryptoServiceEncryptionUser,
    Reader,
}

/// Name, id and data actions of each role, from Microsoft's list of built-in roles.
const ROLES: &[(Role, &str, &str, &[&str])] = &[
    (
        Role::Administrator,
        "Key Vault Administrator",
        "00482a5a-887f-4fb3-b363-3b7fe8e74483",
        &["Microsoft.KeyVault/vaults/*"],
    ),
    (
        Role::CryptoOfficer,
        "Key Vault Crypto Officer",
        "14b46e9e-c2b7-41b4-b07b-48a6ebf60603",
        &[
            "Microsoft.KeyVault/vaults/keys/*",
            "Microsoft.KeyVault/vaults/keyrotationpolicies/*",
        ],
    ),
    (
        Role::CryptoUser,
        "Key Vault Crypto User",
        "12338af0-0e69-4776-bea7-57ae8d297424",
        &[
            "Microsoft.KeyVault/vaults/keys/read",
            "Microsoft.KeyVault/vaults/keys/update/action",
            "Microsoft.KeyVault/vaults/keys/backup/action",
            "Microsoft.KeyVault/vaults/keys/encrypt/action",
            "Microsoft.KeyVault/vaults/keys/decrypt/action",
            "Microsoft.KeyVault/vaults/keys/wrap/action",
            "Microsoft.KeyVault/vaults/keys/unwrap/action",
            "Microsoft.KeyVault/vaults/keys/sign/action",
            "Microsoft.KeyVault/vaults/keys/verify/action",
        ],
    ),
    (
        Role::CryptoServiceEncryptionUser,
        "Key Vault Crypto Service Encryption User",
        "e147488a-f6f5-4113-8e2d-b22465e65bf6",
        &[
            "Microsoft.KeyVault/vaults/keys/read",
            "Microsoft.KeyVault/vaults/keys/wrap/action",
            "Microsoft.KeyVault/vaults/keys/unwrap/action",
        ],
    ),
    (
        Role::Reader,
        "Key Vault Reader",
        "21090545-7ca7-4776-b22c-e363652d74d2",
        &["Microsoft.KeyVault/vaults/*/read"],
    ),
];

impl Role {
    /// All roles.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        ROLES.iter().map(|(role, ..)| *role)
    }

    fn row(self) -> (&'static str, &'static str, &'static [&'static str]) {
        let row = ROLES.iter().find(|(role, ..)| *role == self);
        row.map_or(("", "", &[]), |(_, name, id, actions)| (name, id, actions))
    }

    /// Display name.
    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    /// Id of the role definition.
    pub(crate) fn id(self) -> &'static str {
        self.row().1
    }

    /// Finds a role by its name or id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::all().find(|role| {
            role.name().eq_ignore_ascii_case(text) || role.id().eq_ignore_ascii_case(text)
        })
    }

    fn allows(self, action: &str) -> bool {
        self.row()
            .2
            .iter()
            .any(|pattern| match pattern.split_once('*') {
                Some((start, end)) => action.starts_with(start) && action.ends_with(end),
                None => *pattern == action,
            })
    }
}

impl Vault {
    /// A vault with access policies but without any permission.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            location: "eastus".to_owned(),
            resource_group: "kmslab".to_owned(),
            rbac: false,
            policies: Vec::new(),
            roles: Vec::new(),
            retention_days: 90,
            sku: "standard".to_owned(),
            tags: Value::Null,
            network_acls: Value::Null,
        }
    }

    /// Fails if the principal may not run the operation. `key` is the key concerned; `assigned` are
    /// roles on this vault and on what contains it.
    pub(super) fn check(
        &self,
        caller: &Principal,
        operation: Operation,
        key: Option<&str>,
        assigned: &[Assignment],
    ) -> Result<(), AzureError> {
        if self.rbac {
            let action = operation.action();
            let allowed = |object_id: &str, role: Role| {
                object_id.eq_ignore_ascii_case(&caller.object_id) && role.allows(action)
            };
            let id = self.resource_id(key);
            if self
                .roles
                .iter()
                .any(|held| allowed(&held.object_id, held.role))
                || assigned
                    .iter()
                    .any(|held| held.holds_for(&id) && allowed(&held.object_id, held.role))
            {
                return Ok(());
            }
            return Err(self.forbidden_by_rbac(caller, operation, &id));
        }
        let Some(permission) = operation.permission() else {
            return Ok(());
        };
        let allowed = |policy: &AccessPolicy| {
            policy.object_id.eq_ignore_ascii_case(&caller.object_id)
                && policy
                    .keys
                    .iter()
                    .any(|held| held == "all" || held.eq_ignore_ascii_case(permission))
        };
        if self.policies.iter().any(allowed) {
            return Ok(());
        }
        Err(self.access_denied(caller, permission))
    }

    /// The error of a caller who may not call an operation; `None` if everybody may.
    pub(super) fn denied(
        &self,
        caller: &Principal,
        operation: Operation,
        key: Option<&str>,
    ) -> Option<AzureError> {
        if self.rbac {
            return Some(self.forbidden_by_rbac(caller, operation, &self.resource_id(key)));
        }
        let permission = operation.permission()?;
        Some(self.access_denied(caller, permission))
    }

    /// Resource id of the vault, or of a key in it.
    fn resource_id(&self, key: Option<&str>) -> String {
        key.map_or_else(|| self.id(), |key| format!("{}/keys/{key}", self.id()))
    }

    fn forbidden_by_rbac(
        &self,
        caller: &Principal,
        operation: Operation,
        resource: &str,
    ) -> AzureError {
        AzureError::forbidden_by_rbac(
            &caller.display_name(),
            operation.action(),
            &resource.to_ascii_lowercase(),
            &self.name,
            &self.location,
        )
    }

    fn access_denied(&self, caller: &Principal, permission: &str) -> AzureError {
        AzureError::access_denied(
            &caller.display_name(),
            permission,
            &self.name,
            &self.location,
        )
    }
}

/// All vaults by name, without regard to case; the deleted vaults; and the role assignments.
#[derive(Debug, Default)]
pub(crate) struct Vaults(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    vaults: BTreeMap<String, Arc<Vault>>,
    deleted: BTreeMap<String, (Arc<Vault>, Timestamp)>,
    assignments: Vec<Assignment>,
}

impl Vaults {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Vault>> {
        self.read().vaults.get(&name.to_ascii_lowercase()).cloned()
    }

    /// All vaults and managed HSMs.
    pub(crate) fn all(&self) -> Vec<Arc<Vault>> {
        self.read().vaults.values().cloned().collect()
    }

    /// The vaults that Resource Manager lists as vaults. Managed HSMs are another resource type.
    pub(crate) fn managed(&self) -> Vec<Arc<Vault>> {
        self.read()
            .vaults
            .values()
            .filter(|vault| !names::is_managed_hsm(&vault.name))
            .cloned()
            .collect()
    }

    /// Adds a vault or replaces the one with the same name.
    pub(crate) fn put(&self, vault: Vault) {
        self.write()
            .vaults
            .insert(vault.name.to_ascii_lowercase(), Arc::new(vault));
    }

    /// Marks a vault as deleted; its keys stay.
    pub(crate) fn delete(&self, name: &str, at: Timestamp) {
        let (mut state, name) = (self.write(), name.to_ascii_lowercase());
        if let Some(vault) = state.vaults.remove(&name) {
            state.deleted.insert(name, (vault, at));
        }
    }

    pub(crate) fn deleted(&self, name: &str) -> Option<(Arc<Vault>, Timestamp)> {
        self.read().deleted.get(&name.to_ascii_lowercase()).cloned()
    }

    pub(crate) fn all_deleted(&self) -> Vec<(Arc<Vault>, Timestamp)> {
        self.read().deleted.values().cloned().collect()
    }

    pub(crate) fn recover(&self, name: &str) {
        let (mut state, name) = (self.write(), name.to_ascii_lowercase());
        if let Some((vault, _)) = state.deleted.remove(&name) {
            state.vaults.insert(name, vault);
        }
    }

    pub(crate) fn purge(&self, name: &str) {
        self.write().deleted.remove(&name.to_ascii_lowercase());
    }

    /// Adds a role assignment. Returns false if the principal already has that role there.
    pub(crate) fn add_assignment(&self, created: Assignment) -> bool {
        let mut state = self.write();
        let is_new = !state
            .assignments
            .iter()
            .any(|there| there.grants_the_same_as(&created));
        if is_new {
            state.assignments.push(created);
        }
        is_new
    }

    pub(crate) fn remove_assignment(&self, name: &str) -> Option<Assignment> {
        let mut state = self.write();
        let at = state
            .assignments
            .iter()
            .position(|there| there.has_name(name))?;
        Some(state.assignments.remove(at))
    }

    pub(crate) fn assignments(&self) -> Vec<Assignment> {
        self.read().assignments.clone()
    }

    pub(crate) fn clear(&self) {
        *self.write() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn principal(object_id: &str) -> Principal {
        Principal {
            client_id: "app".into(),
            object_id: object_id.into(),
            issuer: "iss".into(),
        }
    }

    #[test]
    fn access_policy_allows_only_its_principal_and_permissions() {
        let mut vault = Vault::new("abc");
        let keys = ["encrypt", "decrypt"].map(str::to_owned).into();
        vault.policies.push(AccessPolicy {
            object_id: "A".into(),
            keys,
            others: Value::Null,
        });
        assert_eq!(
            vault.check(&principal("a"), Operation::Encrypt, Some("k"), &[]),
            Ok(())
        );
        for (caller, operation, permission) in [
            ("a", Operation::WrapKey, "wrapKey"),
            ("a", Operation::Get, "get"),
            ("b", Operation::Encrypt, "encrypt"),
        ] {
            let refused = vault
                .check(&principal(caller), operation, Some("k"), &[])
                .unwrap_err();
            assert_eq!(
                (refused.status, refused.inner),
                (StatusCode::FORBIDDEN, Some("AccessDenied"))
            );
            let value = format!(
                "'appid=app;oid={caller};iss=iss' does not have keys {permission} permission on key vault 'abc"
            );
            assert!(
                refused
                    .message
                    .to_lowercase()
                    .contains(&value.to_lowercase()),
                "{}",
                refused.message
            );
        }
    }

    #[test]
    fn roles_allow_the_actions_of_their_definitions() {
        let allowed = |role: Role, operation: Operation| role.allows(operation.action());
        for operation in Operation::ALL {
            assert!(allowed(Role::Administrator, *operation), "{operation:?}");
            assert!(allowed(Role::CryptoOfficer, *operation), "{operation:?}");
        }
        assert!(
            allowed(Role::CryptoUser, Operation::Encrypt)
                && !allowed(Role::CryptoUser, Operation::Create)
        );
        assert!(allowed(
            Role::CryptoServiceEncryptionUser,
            Operation::WrapKey
        ));
        assert!(!allowed(
            Role::CryptoServiceEncryptionUser,
            Operation::Encrypt
        ));
        assert!(
            allowed(Role::Reader, Operation::Get) && !allowed(Role::Reader, Operation::Decrypt)
        );
        assert_eq!(Role::parse("key vault crypto user"), Some(Role::CryptoUser));
        assert_eq!(
            Role::parse("14b46e9e-c2b7-41b4-b07b-48a6ebf60603"),
            Some(Role::CryptoOfficer)
        );
    }
}
