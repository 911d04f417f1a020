//! What the audit trail records of Key Vault.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
use kmslab_emulator_api::{AzureDetail, Detail, KeyUse};
use kmslab_keycore::VersionUse;
use serde_json::Value;

use super::auth::Principal;
use super::management::SUBSCRIPTION;
use super::operation::{Call, Operation};
use super::vaults::Vault;
use super::wire::{self, Input};
use super::{Azure, AzureError, names};
use crate::pipeline::audit::Audited;

/// A request to a vault whose caller is known.
pub(super) struct AuditedRequest<'a> {
    pub(super) vault: &'a Vault,
    pub(super) caller: &'a Principal,
    pub(super) call: &'a Call,
    pub(super) uri: &'a Uri,
    /// `None` if the body was not read.
    pub(super) input: Option<&'a Input>,
}

impl Azure {
    /// What the audit trail has of a request.
    pub(super) fn audited(
        &self,
        request: &AuditedRequest<'_>,
        uses: &[VersionUse],
        outcome: Result<(StatusCode, Option<&Value>), &AzureError>,
    ) -> Audited {
        let AuditedRequest {
            vault,
            caller,
            call,
            uri,
            input,
        } = *request;
        let (status, output) = outcome.unwrap_or_else(|error| (error.status, None));
        let mut keys = self.audited_keys(vault, call, uses);
        if let [used] = &mut keys[..] {
            used.ciphertext = ciphertext(call.operation, input, output);
        }
        Audited {
            keys,
            detail: Some(Detail::Azure(AzureDetail {
                resource_id: resource_id(vault),
                rbac: vault.rbac,
                object_id: caller.object_id.clone(),
                uri: request_url(vault, uri),
                api_version: api_version(uri),
                algorithm: input.and_then(algorithm),
                status: status.as_u16(),
                message: outcome.err().map(|error| error.message.clone()),
            })),
        }
    }

    fn audited_keys(&self, vault: &Vault, call: &Call, uses: &[VersionUse]) -> Vec<KeyUse> {
        let Some(name) = &call.key else {
            return Vec::new();
        };
        let key = self.core.key(&names::realm(&vault.name), &name.id());
        let key = match key {
            Ok(key) => names::key_url(&vault.name, &key),
            Err(_) => names::key_url_of(&vault.name, name),
        };
        if uses.is_empty() {
            let version = call.version.as_deref().map(str::to_ascii_lowercase);
            return vec![KeyUse {
                key,
                version,
                ciphertext: None,
            }];
        }
        let used = |used: &VersionUse| KeyUse {
            key: key.clone(),
            version: Some(names::version_name(&used.version)),
            ciphertext: None,
        };
        uses.iter().map(used).collect()
    }
}

/// The fingerprint of the ciphertext that an operation made or decrypted.
fn ciphertext(
    operation: Operation,
    input: Option<&Input>,
    output: Option<&Value>,
) -> Option<String> {
    let bytes = match operation {
        Operation::Encrypt | Operation::WrapKey => URL_SAFE_NO_PAD
            .decode(output?.get("value")?.as_str()?)
            .ok()?,
        Operation::Decrypt | Operation::UnwrapKey => input?.required_bytes("value").ok()?,
        _ => return None,
    };
    Some(KeyUse::fingerprint(&bytes))
}

/// Resource Manager's id of a vault.
fn resource_id(vault: &Vault) -> String {
    let kind = match names::is_managed_hsm(&vault.name) {
        true => "managedHSMs",
        false => "vaults",
    };
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{}/providers/Microsoft.KeyVault/{kind}/{}",
        vault.resource_group, vault.name
    )
}

/// The URL of a request by the vault's own name.
fn request_url(vault: &Vault, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    format!("{}{path}", names::vault_url(&vault.name))
}

/// `api-version` as the request states it, which is valid.
fn api_version(uri: &Uri) -> String {
    wire::query_parameter(uri.query().unwrap_or_default(), "api-version").unwrap_or_default()
}

/// The algorithm of a cryptographic operation.
fn algorithm(input: &Input) -> Option<String> {
    input.required_string("alg").ok().map(str::to_owned)
}
