//! How faults look in AWS KMS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_emulator_api::Wrong;
use kmslab_keycore::VersionId;
use serde_json::Value;
use zeroize::Zeroizing;

use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller, Operation, ResolvedKey, blob, catalog, names};
use crate::pipeline::faults::catalog::INJECTED;
use crate::pipeline::faults::wrong::{flip_last_bit, other_id};
use crate::pipeline::faults::{Rejection, Subject};

/// Members that name a key, the most specific first.
const KEY_MEMBERS: &[&str] = &["KeyId", "SourceKeyId", "DestinationKeyId", "TargetKeyId"];
/// Operations that use key material, and that a disabled key therefore rejects.
const USES_MATERIAL: &[&str] = &[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncrypt",
];

/// The key of a call, and the version if it uses its material.
pub(super) struct Used<'a> {
    pub(super) key: ResolvedKey<'a>,
    version: Option<VersionId>,
    /// Whether a ciphertext, and no member, names the key.
    by_ciphertext: bool,
}

impl Aws {
    /// Names of the key and the version that a call uses.
    pub(super) fn fault_subject(&self, caller: &Caller, input: &Input) -> Option<Subject> {
        let Used { key, version, .. } = self.used_key(caller, input)?;
        let realm = names::realm(&caller.account, &caller.region);
        let aliases = self.core.aliases(&realm);
        let aliases = aliases
            .iter()
            .filter(|alias| alias.target == key.key.id)
            .flat_map(|alias| [alias.name.clone(), names::alias_arn(caller, &alias.name)]);
        Some(Subject {
            key: [key.key.id.to_string(), key.arn.clone()]
                .into_iter()
                .chain(aliases)
                .collect(),
            version: version.iter().map(ToString::to_string).collect(),
        })
    }

    pub(super) fn used_key(&self, caller: &Caller, input: &Input) -> Option<Used<'_>> {
        let operation = input.operation();
        let by_ciphertext = self.key_of_ciphertext(caller, input);
        let named = KEY_MEMBERS.iter().find_map(|member| {
            let text = input.string(member, 1..=2048).ok().flatten()?;
            self.resolve_key(caller, operation.permission, text, Accept::Aliases)
                .ok()
        });
        match (named, by_ciphertext) {
            (Some(key), Some((_, version))) => Some(Used {
                key,
                version: Some(version),
                by_ciphertext: false,
            }),
            (Some(key), None) => {
                let uses_material = USES_MATERIAL.contains(&operation.name);
                let version = uses_material.then_some(key.key.primary).flatten();
                Some(Used {
                    key,
                    version,
                    by_ciphertext: false,
                })
            }
            (None, Some((key, version))) => Some(Used {
                key,
                version: Some(version),
                by_ciphertext: true,
            }),
            (None, None) => None,
        }
    }

    fn key_of_ciphertext(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Option<(ResolvedKey<'_>, VersionId)> {
        let bytes = input
            .blob("CiphertextBlob", 1..=usize::MAX)
            .ok()
            .flatten()?;
        let blob = blob::parse(&bytes)?;
        let realm = names::realm(&caller.account, &caller.region);
        let (id, version) = self.ciphertexts.find(&self.core, &realm, &blob.id)?;
        let key = self.core.key(&realm, &id).ok()?;
        let arn = names::key_arn(&caller.account, &caller.region, key.id.as_str());
        Some((ResolvedKey { key, arn }, version))
    }

    /// The error of a call that a fault rejects; `None` if the service has no such error for it.
    pub(super) fn rejected(
        &self,
        caller: &Caller,
        operation: &'static Operation,
        input: &Input,
        rejection: Rejection<'_>,
    ) -> Option<AwsError> {
        let uses_material = USES_MATERIAL.contains(&operation.name);
        Some(match rejection {
            // The service sends no Retry-After.
            Rejection::Throttled(_) => AwsError::throttled(),
            Rejection::Error(code) => AwsError {
                kind: code.to_owned(),
                message: Some(INJECTED.to_owned()),
                status: catalog::status(code)?,
            },
            Rejection::PermissionRevoked => {
                let used = self.used_key(caller, input);
                let user = names::user_arn(caller);
                match used {
                    Some(used) if used.by_ciphertext => AwsError::unknown_ciphertext_key(),
                    Some(used) => {
                        AwsError::access_denied(&user, operation.permission, &used.key.arn)
                    }
                    None => AwsError::access_denied_by_identity(&user, operation.permission),
                }
            }
            Rejection::KeyDisabled if uses_material => {
                AwsError::disabled(&self.used_key(caller, input)?.key.arn)
            }
            Rejection::KeyDisabled => return None,
            Rejection::KeyGone => match self.used_key(caller, input)? {
                used if used.by_ciphertext => AwsError::unknown_ciphertext_key(),
                used => AwsError::no_such_key(&used.key.arn),
            },
            Rejection::TokenExpired => AwsError::expired_token(),
        })
    }
}

/// Makes a response wrong. Returns whether it changed.
pub(super) fn corrupt(body: &mut Value, wrong: Wrong) -> bool {
    match wrong {
        Wrong::Bit => {
            let members = ["CiphertextBlob", "Plaintext"];
            let Some(member) = members.iter().find(|member| body.get(member).is_some()) else {
                return false;
            };
            let value = &mut body[*member];
            let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            let Some(mut bytes) = decoded.map(Zeroizing::new) else {
                return false;
            };
            let changed = flip_last_bit(&mut bytes);
            *value = STANDARD.encode(&*bytes).into();
            changed
        }
        Wrong::Version => {
            ["KeyId", "KeyMaterialId", "SourceKeyId"]
                .iter()
                .fold(false, |changed, member| {
                    let value = body.get_mut(member);
                    let other = value.as_ref().and_then(|value| other_id(value.as_str()?));
                    match (value, other) {
                        (Some(value), Some(other)) => {
                            *value = other.into();
                            true
                        }
                        _ => changed,
                    }
                })
        }
        Wrong::Checksum => false,
    }
}
