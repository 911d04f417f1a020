//! How faults look in Key Vault.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_emulator_api::Wrong;
use serde_json::Value;

use super::auth::Principal;
use super::data::VersionRef;
use super::operation::{Call, Operation};
use super::vaults::Vault;
use super::{Azure, AzureError, catalog, names};
use crate::pipeline::faults::wrong::{flip_last_bit, other_id};
use crate::pipeline::faults::{Rejection, Subject};

impl Azure {
    /// Names of the key and the version that a call uses.
    pub(super) fn fault_subject(&self, vault: &Vault, call: &Call) -> Option<Subject> {
        let name = call.key.as_ref()?;
        let key = self.core.key(&names::realm(&vault.name), &name.id()).ok()?;
        let version = self.used_version(vault, call);
        Some(Subject {
            key: vec![
                name.to_string(),
                format!("{}/{name}", vault.name),
                names::key_url(&vault.name, &key),
            ],
            version: version
                .iter()
                .flat_map(|version| {
                    [
                        names::version_name(&version.id),
                        names::kid(&vault.name, &key, &version.id),
                    ]
                })
                .collect(),
        })
    }

    /// The version that a call names, or the newest.
    fn used_version(&self, vault: &Vault, call: &Call) -> Option<VersionRef<'_>> {
        let name = call.key.as_ref()?;
        let key = self.core.key(&names::realm(&vault.name), &name.id()).ok()?;
        let version = match call.version.as_deref() {
            Some(named) => key.version_where(|version| names::is_version_name(&version.id, named)),
            None => key.primary(),
        };
        version.ok()
    }

    /// The error of a call that a fault rejects; `None` if the service has no such error for it.
    pub(super) fn rejected(
        &self,
        vault: &Vault,
        caller: &Principal,
        call: &Call,
        rejection: Rejection<'_>,
    ) -> Option<AzureError> {
        let name = call.key.as_ref();
        Some(match rejection {
            Rejection::Throttled(retry_after) => AzureError::throttled(retry_after),
            Rejection::Error(code) => {
                let (code, status) = catalog::find(code)?;
                AzureError::injected(status, code)
            }
            Rejection::PermissionRevoked => {
                let name = name.map(ToString::to_string);
                vault.denied(caller, call.operation, name.as_deref())?
            }
            Rejection::KeyDisabled if uses_material(call.operation) => {
                self.used_version(vault, call)?;
                AzureError::disabled(call.operation.permission().unwrap_or_default())
            }
            Rejection::KeyDisabled => return None,
            Rejection::KeyGone => {
                self.used_version(vault, call)?;
                AzureError::not_found(name?, call.version.as_deref())
            }
            Rejection::TokenExpired => AzureError::token_expired(),
        })
    }
}

/// Operations that a disabled key rejects.
fn uses_material(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Encrypt
            | Operation::Decrypt
            | Operation::WrapKey
            | Operation::UnwrapKey
            | Operation::Sign
            | Operation::Verify
    )
}

/// Makes a response wrong. Returns whether it changed.
pub(super) fn corrupt(body: &mut Value, wrong: Wrong) -> bool {
    let (member, change): (&str, fn(&str) -> Option<String>) = match wrong {
        Wrong::Bit => ("value", flipped),
        Wrong::Version => ("kid", other_id),
        Wrong::Checksum => return false,
    };
    let Some(value) = body.get_mut(member) else {
        return false;
    };
    match value.as_str().and_then(change) {
        Some(changed) => {
            *value = changed.into();
            true
        }
        None => false,
    }
}

/// Flips the last bit of base64url bytes.
fn flipped(text: &str) -> Option<String> {
    let mut bytes = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    flip_last_bit(&mut bytes).then(|| URL_SAFE_NO_PAD.encode(&*bytes))
}
