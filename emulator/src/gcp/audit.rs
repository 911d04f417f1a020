//! What the audit trail records of Cloud KMS.

use std::any::Any;

use kmslab_emulator_api::{GcpDetail, KeyUse};
use kmslab_googleapis::kms;
use kmslab_keycore::VersionUse;

use super::auth::Caller;
use super::names::{KeyName, RingName, VersionName};
use super::{GcpError, faults};

/// The key or version that a message is about, if it is well-formed.
pub(super) fn named_key(message: &dyn Any) -> Option<KeyUse> {
    if let Some(request) = message.downcast_ref::<kms::CreateCryptoKeyRequest>() {
        let (ring, id) = (&request.parent, &request.crypto_key_id);
        return key(&format!("{ring}/cryptoKeys/{id}"));
    }
    let resource = faults::resource(message)?;
    match VersionName::parse(resource) {
        Some(version) => Some(KeyUse {
            key: version.key.to_string(),
            version: Some(version.number.to_string()),
            ciphertext: None,
        }),
        None => key(resource),
    }
}

fn key(name: &str) -> Option<KeyUse> {
    let key = KeyName::parse(name)?.to_string();
    Some(KeyUse {
        key,
        version: None,
        ciphertext: None,
    })
}

/// The fingerprint of a message's ciphertext: that of a request to decrypt, or of a response of
/// Encrypt.
pub(super) fn ciphertext(message: &dyn Any) -> Option<String> {
    if let Some(request) = message.downcast_ref::<kms::DecryptRequest>() {
        return Some(KeyUse::fingerprint(&request.ciphertext));
    }
    let response = message.downcast_ref::<kms::EncryptResponse>()?;
    Some(KeyUse::fingerprint(&response.ciphertext))
}

/// The key and version of a use.
pub(super) fn key_use(used: &VersionUse) -> Option<KeyUse> {
    Some(KeyUse {
        key: format!("{}/cryptoKeys/{}", RingName::of(&used.realm)?, used.key),
        version: Some(used.number.to_string()),
        ciphertext: None,
    })
}

/// What Cloud Audit Logs have of a call.
pub(super) fn detail(caller: &Caller, error: Option<&GcpError>) -> GcpDetail {
    let checked = caller.first_check();
    GcpDetail {
        permission: checked.map(|check| check.permission.clone()),
        resource: checked.map(|check| check.resource.clone()),
        granted: checked.is_some_and(|check| check.granted),
        status: error.map_or(0, |error| i32::from(error.code)),
        message: error.map(|error| error.message.clone()),
    }
}
