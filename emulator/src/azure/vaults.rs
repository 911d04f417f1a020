//! Vaults, and who may do what in each: by access policies or by roles, as the vault was made.

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
pub struct Vault {
    /// The first label of its host name.
    pub name: String,
    /// Such as `eastus`.
    pub location: String,
    /// The resource group's name.
    pub resource_group: String,
    /// Whether roles decide, and not access policies.
    pub rbac: bool,
    /// Access policies; looked at where `rbac` is off.
    pub policies: Vec<AccessPolicy>,
    /// Role assignments on this vault; looked at where `rbac` is on.
    pub roles: Vec<RoleAssignment>,
    /// How long deleted keys can be recovered: 7 to 90.
    pub retention_days: u32,
    /// `standard` or `premium`.
    pub sku: String,
    /// As they were put.
    pub tags: Value,
    /// As they were put; not enforced.
    pub network_acls: Value,
}

/// What one principal may do with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    /// The principal's object id.
    pub object_id: String,
    /// Permissions, such as `encrypt`, or `all`; case plays no part.
    pub keys: BTreeSet<String>,
    /// Permissions on secrets and certificates, as they were put.
    pub others: Value,
}

/// A role that one principal has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleAssignment {
    /// The principal's object id.
    pub object_id: String,
    /// The role.
    pub role: Role,
}

/// The built-in roles that are about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Administrator,
    CryptoOfficer,
    CryptoUser,
    CryptoServiceEncryptionUser,
    Reader,
}

/// Name, id and data actions of each role, as Microsoft's list of built-in roles has them.
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
    /// Every role.
    pub fn all() -> impl Iterator<Item = Self> {
        ROLES.iter().map(|(role, ..)| *role)
    }

    fn row(self) -> (&'static str, &'static str, &'static [&'static str]) {
        let row = ROLES.iter().find(|(role, ..)| *role == self);
        row.map_or(("", "", &[]), |(_, name, id, actions)| (name, id, actions))
    }

    /// As the portal shows it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The id of its definition.
    pub fn id(self) -> &'static str {
        self.row().1
    }

    /// By name or id.
    pub fn parse(text: &str) -> Option<Self> {
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
    /// One that nobody may do anything in yet, with access policies.
    pub fn new(name: &str) -> Self {
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

    /// Whether the principal may do that; `key` names the one that it is about. `assigned` are
    /// roles on this vault and above it.
    pub(super) fn check(
        &self,
        who: &Principal,
        operation: Operation,
        key: Option<&str>,
        assigned: &[Assignment],
    ) -> Result<(), AzureError> {
        if self.rbac {
            let action = operation.action();
            let allowed = |object_id: &str, role: Role| {
                object_id.eq_ignore_ascii_case(&who.object_id) && role.allows(action)
            };
            let id = key.map_or_else(|| self.id(), |key| format!("{}/keys/{key}", self.id()));
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
            return Err(AzureError::forbidden_by_rbac(
                &who.shown(),
                action,
                &id.to_ascii_lowercase(),
                &self.name,
                &self.location,
            ));
        }
        let Some(permission) = operation.permission() else {
            return Ok(());
        };
        let allowed = |policy: &AccessPolicy| {
            policy.object_id.eq_ignore_ascii_case(&who.object_id)
                && policy
                    .keys
                    .iter()
                    .any(|held| held == "all" || held.eq_ignore_ascii_case(permission))
        };
        if self.policies.iter().any(allowed) {
            return Ok(());
        }
        Err(AzureError::access_denied(
            &who.shown(),
            permission,
            &self.name,
            &self.location,
        ))
    }
}

/// All vaults, by name without regard to case; those that were deleted; and who has which role on
/// what.
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

    /// Those that Resource Manager has as vaults: not the managed HSMs, another type of resource.
    pub(crate) fn managed(&self) -> Vec<Arc<Vault>> {
        self.read()
            .vaults
            .values()
            .filter(|vault| !names::is_managed_hsm(&vault.name))
            .cloned()
            .collect()
    }

    /// Adds a vault, or puts it in the place of the one with its name.
    pub(crate) fn put(&self, vault: Vault) {
        self.write()
            .vaults
            .insert(vault.name.to_ascii_lowercase(), Arc::new(vault));
    }

    /// Takes a vault away, to be recovered; its keys stay where they are.
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

    /// Gives a role; false where the principal has it there already.
    pub(crate) fn assign(&self, made: Assignment) -> bool {
        let mut state = self.write();
        let is_new = !state
            .assignments
            .iter()
            .any(|there| there.is_the_same_as(&made));
        if is_new {
            state.assignments.push(made);
        }
        is_new
    }

    pub(crate) fn unassign(&self, name: &str) -> Option<Assignment> {
        let mut state = self.write();
        let at = state
            .assignments
            .iter()
            .position(|there| there.is_called(name))?;
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
    fn a_policy_lets_its_principal_do_what_it_names_and_nobody_else() {
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
        for (who, operation, permission) in [
            ("a", Operation::WrapKey, "wrapKey"),
            ("a", Operation::Get, "get"),
            ("b", Operation::Encrypt, "encrypt"),
        ] {
            let refused = vault
                .check(&principal(who), operation, Some("k"), &[])
                .unwrap_err();
            assert_eq!(
                (refused.status, refused.inner),
                (StatusCode::FORBIDDEN, Some("AccessDenied"))
            );
            let said = format!(
                "'appid=app;oid={who};iss=iss' does not have keys {permission} permission on key vault 'abc"
            );
            assert!(
                refused
                    .message
                    .to_lowercase()
                    .contains(&said.to_lowercase()),
                "{}",
                refused.message
            );
        }
    }

    #[test]
    fn roles_allow_what_their_definitions_say() {
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
