//! Azure Key Vault over the key core, with the identity platform that its callers log in to.
//!
//! Each vault is a realm. `auth` verifies tokens before an operation is called; the vault's
//! access policies or roles decide what a caller may do.

mod audit;
pub(crate) mod audit_export;
mod auth;
pub(crate) mod catalog;
mod crypto;
mod data;
mod deleted;
mod error;
mod faults;
pub(crate) mod identity;
mod jwk;
mod keys;
mod management;
pub(crate) mod names;
mod operation;
mod page;
mod rotation;
pub(crate) mod route;
pub(crate) mod seed;
pub(crate) mod service;
pub(crate) mod vaults;
mod wire;

use crate::well_known::AZURE_VAULT;
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use kmslab_emulator_api::{KeyRow, VersionRow};
use kmslab_keycore::{Clock, Entropy, KeyState, VersionState};
use serde_json::Value;

pub(crate) use error::AzureError;

use crate::Auth;
use crate::ids::random_uuid;
use data::{Key, KeyCore};
use identity::Identity;
use management::Management;
use names::KeyName;
use operation::{Call, Operation};
use vaults::{AccessPolicy, Vault, Vaults};
use wire::{ApiVersion, Input};

/// The managed HSM that exists from the start, with the same permissions.
const DEFAULT_MANAGED_HSM: &str = "kmslab.managedhsm";

/// Lifetime of access tokens, as in Entra for applications.
pub(crate) const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_secs(86_399);

/// The Key Vault front end.
pub(crate) struct Azure {
    pub(crate) core: Arc<KeyCore>,
    pub(crate) identity: Identity,
    pub(crate) vaults: Vaults,
    management: Management,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("identity", &self.identity)
            .field("vaults", &self.vaults)
            .finish_non_exhaustive()
    }
}

/// An authorized request.
#[derive(Debug)]
pub(super) struct RequestContext<'a> {
    vault: &'a Vault,
    call: &'a Call,
    input: &'a Input,
    query: &'a str,
    version: ApiVersion,
}

impl RequestContext<'_> {
    /// The key of the path. Operations that call this always have one.
    fn key(&self) -> Result<&KeyName, AzureError> {
        self.call.key.as_ref().ok_or_else(AzureError::no_such_path)
    }
}

impl Azure {
    pub(crate) fn new(
        core: Arc<KeyCore>,
        tenant: &str,
        token_lifetime: SignedDuration,
        wall: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        auth: Auth,
    ) -> Self {
        let identity = Identity::new(tenant, token_lifetime, wall, Arc::clone(&entropy), auth);
        let (vaults, management) = (Vaults::default(), Management::default());
        let azure = Self {
            core,
            identity,
            vaults,
            management,
            entropy,
        };
        azure.reset();
        azure
    }

    /// Restores the initial state: the well-known application, its vault and its managed HSM. The
    /// core removes the keys.
    pub(crate) fn reset(&self) {
        self.clear();
        let application = identity::Directory::well_known();
        for name in [AZURE_VAULT, DEFAULT_MANAGED_HSM] {
            let mut vault = Vault::new(name);
            let keys = std::iter::once("all".to_owned()).collect();
            vault.policies.push(AccessPolicy {
                object_id: application.object_id.clone(),
                keys,
                others: Value::Null,
            });
            self.add_vault(vault);
        }
        self.identity.directory.add(application);
    }

    /// Removes everything but the keys.
    pub(crate) fn clear(&self) {
        self.identity.directory.clear();
        self.vaults.clear();
        self.management.clear();
    }

    /// Adds a vault together with its resource group, as if it had been created through Resource
    /// Manager.
    pub(crate) fn add_vault(&self, vault: Vault) {
        self.management
            .ensure_group(&vault.resource_group, &vault.location);
        self.vaults.put(vault);
    }

    /// Runs an operation of an authorized caller.
    fn run(&self, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
        match ctx.call.operation {
            Operation::Create => keys::create(self, ctx),
            Operation::Import => keys::import(self, ctx),
            Operation::Get => keys::get(self, ctx),
            Operation::List => keys::list(self, ctx),
            Operation::ListVersions => keys::list_versions(self, ctx),
            Operation::Update => keys::update(self, ctx),
            Operation::Delete => deleted::delete(self, ctx),
            Operation::Backup => keys::backup(self, ctx),
            Operation::Restore => keys::restore(self, ctx),
            Operation::GetDeleted => deleted::get_deleted(self, ctx),
            Operation::ListDeleted => deleted::list_deleted(self, ctx),
            Operation::Recover => deleted::recover(self, ctx),
            Operation::Purge => deleted::purge(self, ctx),
            Operation::Encrypt | Operation::WrapKey => crypto::encrypt(self, ctx),
            Operation::Decrypt | Operation::UnwrapKey => crypto::decrypt(self, ctx),
            Operation::Release => keys::release(self, ctx),
            Operation::Sign => crypto::sign(self, ctx),
            Operation::Verify => crypto::verify(self, ctx),
            Operation::Rotate => keys::rotate(self, ctx),
            Operation::GetRotationPolicy => rotation::get(self, ctx),
            Operation::SetRotationPolicy => rotation::put(self, ctx),
            Operation::RandomBytes => crypto::random_bytes(self, ctx),
        }
    }

    /// Fails unless the caller may call an operation of a vault.
    fn authorize(
        &self,
        vault: &Vault,
        caller: &auth::Principal,
        call: &Call,
    ) -> Result<(), AzureError> {
        if self.identity.auth.is_off() {
            return Ok(());
        }
        let assigned = if vault.rbac {
            self.vaults.assignments()
        } else {
            Vec::new()
        };
        vault.check(
            caller,
            call.operation,
            call.key.as_ref().map(ToString::to_string).as_deref(),
            &assigned,
        )
    }

    /// A version 4 UUID.
    fn guid(&self) -> String {
        random_uuid(self.entropy.as_ref()).to_string()
    }

    /// Lists all keys with their versions, without key material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut realms = self.core.realms();
        realms.sort();
        let keys = realms.iter().flat_map(|realm| self.core.keys(realm));
        keys.filter_map(|key| key_row(&key)).collect()
    }
}

fn key_row(key: &Key) -> Option<KeyRow> {
    let vault = names::vault_name(&key.realm)?;
    let versions = key.versions.iter().map(|version| VersionRow {
        number: version.number,
        id: names::version_name(&version.id),
        blob_id: None,
        created: Some(version.created),
    });
    let state = match key.state {
        KeyState::PendingDeletion { .. } => "Deleted",
        _ if key
            .primary_version()
            .is_ok_and(|newest| newest.state == VersionState::Disabled) =>
        {
            "Disabled"
        }
        _ => "Enabled",
    };
    Some(KeyRow {
        cloud: "azure".to_owned(),
        key: names::key_url(vault, key),
        state: state.to_owned(),
        primary: key.primary_version().map_or(0, |newest| newest.number),
        versions: versions.collect(),
    })
}
