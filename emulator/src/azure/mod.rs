//! Azure Key Vault: one request to a vault in, the service's answer out, over the key core; and the
//! identity platform that its callers log in to.
//!
//! A vault is a world of its own. Tokens are verified in [`auth`] before a call gets here; access
//! policies or roles of the vault decide who may do what.

mod auth;
mod crypto;
mod deleted;
mod error;
pub mod identity;
mod jwk;
mod keys;
mod management;
pub(crate) mod names;
mod operation;
mod page;
mod rotation;
pub mod seed;
pub(crate) mod service;
pub mod vaults;
mod wire;

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use jiff::SignedDuration;
use kmslab_keycore::{Clock, Entropy, Key, KeyCore, KeyState, VersionState};
use serde_json::Value;

pub use error::AzureError;

use crate::Auth;
use crate::http_body::random_uuid;
use crate::keytable::{KeyRow, VersionRow};
use identity::Identity;
use management::Management;
use names::KeyName;
use operation::{Call, Operation};
use vaults::{AccessPolicy, Vault, Vaults};
use wire::{ApiVersion, Input};

/// The vault that is there from the start, in which the well-known application may do everything.
pub const DEFAULT_VAULT: &str = "kmslab";

/// The managed HSM that is there from the start, with the same application.
const DEFAULT_MANAGED_HSM: &str = "kmslab.managedhsm";

/// How long tokens are valid, as Entra has it for applications.
pub(crate) const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_secs(86_399);

/// The front end.
pub(crate) struct Azure {
    core: Arc<KeyCore>,
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

/// A request that may be carried out.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    vault: &'a Vault,
    call: &'a Call,
    input: &'a Input,
    query: &'a str,
    version: ApiVersion,
}

impl Asked<'_> {
    /// The key that the path names, which it does for every operation that asks.
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

    /// As at the start: the well-known application, its vault and its managed HSM. Keys are the
    /// core's.
    pub(crate) fn reset(&self) {
        self.identity.directory.clear();
        self.vaults.clear();
        self.management.clear();
        let application = identity::Directory::well_known();
        for name in [DEFAULT_VAULT, DEFAULT_MANAGED_HSM] {
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

    /// A vault that nobody made through Resource Manager, and the resource group that it is in.
    pub(crate) fn add_vault(&self, vault: Vault) {
        self.management
            .ensure_group(&vault.resource_group, &vault.location);
        self.vaults.put(vault);
    }

    /// Carries out one call whose caller is known to be allowed to.
    fn run(&self, asked: &Asked<'_>) -> Result<Value, AzureError> {
        match asked.call.operation {
            Operation::Create => keys::create(self, asked),
            Operation::Import => keys::import(self, asked),
            Operation::Get => keys::get(self, asked),
            Operation::List => keys::list(self, asked),
            Operation::ListVersions => keys::list_versions(self, asked),
            Operation::Update => keys::update(self, asked),
            Operation::Delete => deleted::delete(self, asked),
            Operation::Backup => keys::backup(self, asked),
            Operation::Restore => keys::restore(self, asked),
            Operation::GetDeleted => deleted::get_deleted(self, asked),
            Operation::ListDeleted => deleted::list_deleted(self, asked),
            Operation::Recover => deleted::recover(self, asked),
            Operation::Purge => deleted::purge(self, asked),
            Operation::Encrypt | Operation::WrapKey => crypto::protect(self, asked),
            Operation::Decrypt | Operation::UnwrapKey => crypto::open(self, asked),
            Operation::Release => keys::release(self, asked),
            Operation::Sign => crypto::sign(self, asked),
            Operation::Verify => crypto::verify(self, asked),
            Operation::Rotate => keys::rotate(self, asked),
            Operation::GetRotationPolicy => rotation::get(self, asked),
            Operation::SetRotationPolicy => rotation::put(self, asked),
            Operation::RandomBytes => crypto::random_bytes(self, asked),
        }
    }

    /// What a caller may ask for: everything of a request that its body plays no part in.
    fn admit(
        &self,
        vault: &Vault,
        who: &auth::Principal,
        parts: &Parts,
        path: &str,
    ) -> Result<(Call, ApiVersion), AzureError> {
        let version = wire::api_version(parts.uri.query().unwrap_or_default())?;
        let call = Call::parse(&parts.method, path)?;
        if self.identity.auth.is_off() {
            return Ok((call, version));
        }
        let assigned = if vault.rbac {
            self.vaults.assignments()
        } else {
            Vec::new()
        };
        vault.check(
            who,
            call.operation,
            call.key.as_ref().map(ToString::to_string).as_deref(),
            &assigned,
        )?;
        Ok((call, version))
    }

    /// A version 4 UUID.
    fn guid(&self) -> String {
        random_uuid(self.entropy.as_ref()).to_string()
    }

    /// Every key of every vault, with its versions. No material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut realms = self.core.realms();
        realms.sort();
        let keys = realms.iter().flat_map(|realm| self.core.keys(realm));
        keys.filter_map(|key| row(&key)).collect()
    }
}

fn row(key: &Key) -> Option<KeyRow> {
    let vault = names::vault_of(&key.realm)?;
    let versions = key.versions.iter().map(|version| VersionRow {
        number: version.number,
        id: names::version_name(&version.id),
        blob_id: None,
        created: version.created,
    });
    let state = match key.state {
        KeyState::PendingDeletion { .. } => "Deleted",
        _ if key
            .primary()
            .is_ok_and(|newest| newest.state == VersionState::Disabled) =>
        {
            "Disabled"
        }
        _ => "Enabled",
    };
    Some(KeyRow {
        cloud: "azure",
        key: names::key_url(vault, key),
        state,
        primary: key.primary().map_or(0, |newest| newest.number),
        versions: versions.collect(),
    })
}
