//! How faults look in Cloud KMS.

use std::any::Any;

use kmslab_emulator_api::Wrong;
use kmslab_googleapis::google::iam::v1 as iam;
use kmslab_googleapis::kms;
use kmslab_keycore::VersionState;
use tonic::Code;

use super::auth::Caller;
use super::names::{KeyName, VersionName};
use super::{Gcp, GcpError, blob, transcode, wire};
use crate::pipeline::faults::catalog::INJECTED;
use crate::pipeline::faults::wrong::flip_last_bit;
use crate::pipeline::faults::{Rejection, Subject};

/// Messages that name the key, the version or their parent in the field that is given.
macro_rules! resource {
    ($message:expr, $($request:ty: $($field:ident).+;)*) => {
        $(if let Some(request) = $message.downcast_ref::<$request>() {
            return Some(request.$($field).+.as_str());
        })*
    };
}

/// The resource that a request is about; `None` for requests about no key.
pub(super) fn resource(message: &dyn Any) -> Option<&str> {
    if let Some(request) = message.downcast_ref::<kms::UpdateCryptoKeyRequest>() {
        return request.crypto_key.as_ref().map(|key| key.name.as_str());
    }
    if let Some(request) = message.downcast_ref::<kms::UpdateCryptoKeyVersionRequest>() {
        let version = request.crypto_key_version.as_ref();
        return version.map(|version| version.name.as_str());
    }
    resource!(message,
        kms::EncryptRequest: name;
        kms::DecryptRequest: name;
        kms::RawEncryptRequest: name;
        kms::RawDecryptRequest: name;
        kms::AsymmetricSignRequest: name;
        kms::AsymmetricDecryptRequest: name;
        kms::MacSignRequest: name;
        kms::MacVerifyRequest: name;
        kms::DecapsulateRequest: name;
        kms::GetPublicKeyRequest: name;
        kms::GetCryptoKeyRequest: name;
        kms::ListCryptoKeyVersionsRequest: parent;
        kms::GetCryptoKeyVersionRequest: name;
        kms::CreateCryptoKeyVersionRequest: parent;
        kms::ImportCryptoKeyVersionRequest: parent;
        kms::UpdateCryptoKeyPrimaryVersionRequest: name;
        kms::DestroyCryptoKeyVersionRequest: name;
        kms::RestoreCryptoKeyVersionRequest: name;
        kms::DeleteCryptoKeyRequest: name;
        kms::DeleteCryptoKeyVersionRequest: name;
        iam::SetIamPolicyRequest: resource;
        iam::GetIamPolicyRequest: resource;
        iam::TestIamPermissionsRequest: resource;
    );
    None
}

/// Whether a version that is not enabled rejects the request.
fn uses_material(message: &dyn Any) -> bool {
    message.is::<kms::EncryptRequest>()
        || message.is::<kms::DecryptRequest>()
        || message.is::<kms::RawEncryptRequest>()
        || message.is::<kms::RawDecryptRequest>()
        || message.is::<kms::AsymmetricSignRequest>()
        || message.is::<kms::AsymmetricDecryptRequest>()
        || message.is::<kms::MacSignRequest>()
        || message.is::<kms::MacVerifyRequest>()
        || message.is::<kms::DecapsulateRequest>()
        || message.is::<kms::GetPublicKeyRequest>()
}

impl Gcp {
    /// Names of the key and the version that a call uses.
    pub(super) fn fault_subject(&self, message: &dyn Any) -> Option<Subject> {
        let resource = resource(message)?;
        let version = self.used_version(message);
        let key = match &version {
            Some(version) => version.key.clone(),
            None => VersionName::parse(resource)
                .map(|version| version.key)
                .or_else(|| KeyName::parse(resource))?,
        };
        Some(Subject {
            version: version
                .iter()
                .flat_map(|version| [version.number.to_string(), version.to_string()])
                .collect(),
            key: vec![key.key.clone(), key.to_string()],
        })
    }

    /// The version that a call names, or uses without naming it.
    fn used_version(&self, message: &dyn Any) -> Option<VersionName> {
        let resource = resource(message)?;
        if let Some(version) = VersionName::parse(resource) {
            return Some(version);
        }
        let name = KeyName::parse(resource)?;
        let key = self.key(&name).ok()?;
        let number = if let Some(request) = message.downcast_ref::<kms::DecryptRequest>() {
            let blob = blob::parse(&request.ciphertext)?;
            let version = key.version_where(|version| blob::blob_id(&version.id) == blob.id);
            version.ok()?.number
        } else if message.is::<kms::EncryptRequest>() {
            key.primary().ok()?.number
        } else {
            return None;
        };
        Some(name.version(number))
    }

    /// The error of a call that a fault rejects; `None` if the service has no such error for it.
    /// `call` is its name. `run_as` runs it, which changes nothing for a caller without
    /// permissions.
    pub(super) fn rejected(
        &self,
        caller: &Caller,
        call: &str,
        message: &dyn Any,
        rejection: Rejection<'_>,
        run_as: impl FnOnce(&Caller) -> Option<GcpError>,
    ) -> Option<GcpError> {
        let not_enabled = |state| {
            let version = uses_material(message).then(|| self.used_version(message));
            Some(GcpError::not_enabled(&version.flatten()?, state))
        };
        match rejection {
            Rejection::Throttled(retry_after) => {
                let quota = match () {
                    () if uses_material(message) => "Cryptographic requests",
                    () if is_read(call) => "Read requests",
                    () => "Write requests",
                };
                let project = resource(message).and_then(|name| name.split('/').nth(1));
                Some(GcpError::quota_exceeded(
                    quota,
                    project.unwrap_or_default(),
                    retry_after,
                ))
            }
            Rejection::Error(code) => {
                let code = transcode::code(code)?;
                Some(GcpError::new(code, INJECTED))
            }
            Rejection::PermissionRevoked => {
                let denied = run_as(&caller.without_permissions())?;
                (denied.code == Code::PermissionDenied).then_some(denied)
            }
            Rejection::KeyDisabled => not_enabled(VersionState::Disabled),
            Rejection::KeyGone => not_enabled(VersionState::Destroyed),
            Rejection::TokenExpired => {
                Some(GcpError::bad_credentials("ACCESS_TOKEN_EXPIRED", call))
            }
        }
    }
}

fn is_read(call: &str) -> bool {
    let name = call.rsplit('.').next().unwrap_or_default();
    name.starts_with("Get") || name.starts_with("List")
}

/// Responses with bytes, their checksum, and the name of the version that was used.
macro_rules! corrupt {
    ($output:expr, $wrong:expr, $($response:ty: $bytes:ident, $checksum:ident $(, $name:ident)?;)*) => {
        $(if let Some(response) = $output.downcast_mut::<$response>() {
            return match $wrong {
                Wrong::Bit => {
                    let changed = flip_last_bit(&mut response.$bytes);
                    response.$checksum = Some(wire::crc32c(&response.$bytes));
                    changed
                }
                Wrong::Checksum => match &mut response.$checksum {
                    Some(checksum) => {
                        *checksum ^= 1;
                        true
                    }
                    None => false,
                },
                Wrong::Version => {
                    $(if let Some(other) = other_version(&response.$name) {
                        response.$name = other;
                        return true;
                    })?
                    false
                }
            };
        })*
    };
}

/// Makes a response wrong. Returns whether it changed.
pub(super) fn corrupt(output: &mut dyn Any, wrong: Wrong) -> bool {
    corrupt!(output, wrong,
        kms::EncryptResponse: ciphertext, ciphertext_crc32c, name;
        kms::DecryptResponse: plaintext, plaintext_crc32c;
        kms::RawEncryptResponse: ciphertext, ciphertext_crc32c, name;
        kms::RawDecryptResponse: plaintext, plaintext_crc32c;
        kms::AsymmetricSignResponse: signature, signature_crc32c, name;
        kms::AsymmetricDecryptResponse: plaintext, plaintext_crc32c;
        kms::MacSignResponse: mac, mac_crc32c, name;
    );
    false
}

/// The name of the version before, or of the second for the first.
fn other_version(name: &str) -> Option<String> {
    let mut version = VersionName::parse(name)?;
    version.number = if version.number > 1 {
        version.number - 1
    } else {
        2
    };
    Some(version.to_string())
}
