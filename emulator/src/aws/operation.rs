//! The operations of AWS KMS: name, IAM action and handler of each.

use std::fmt;

use serde_json::Value;

use super::wire::Input;
use super::{Aws, AwsError, Caller};
use super::{aliases, audit, crypto, keys, other_usages, policy, rotation, tags};

/// An operation of the API.
pub(crate) struct Operation {
    /// Name, as in the header `X-Amz-Target`.
    pub(crate) name: &'static str,
    /// IAM action that a policy must allow for the key of the request.
    pub(crate) permission: &'static str,
    handler: fn(&Aws, &Caller, &Input) -> Result<Value, AwsError>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Operation {
    /// Finds an operation by its name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        let index = OPERATIONS.binary_search_by_key(&name, |operation| operation.name);
        Some(&OPERATIONS[index.ok()?])
    }

    /// Names of all operations.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        OPERATIONS.iter().map(|operation| operation.name)
    }

    /// Runs the operation.
    pub(crate) fn run(&self, aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
        (self.handler)(aws, caller, input)
    }
}

macro_rules! operations {
    ($($name:ident $(needs $permission:ident)? => $handler:path,)*) => {
        &[$(Operation {
            name: stringify!($name),
            permission: operations!(@permission $name $($permission)?),
            handler: $handler,
        }),*]
    };
    (@permission $name:ident) => {
        concat!("kms:", stringify!($name))
    };
    (@permission $name:ident $permission:ident) => {
        concat!("kms:", stringify!($permission))
    };
}

/// All operations, sorted by name.
static OPERATIONS: &[Operation] = operations! {
    CancelKeyDeletion => keys::cancel_key_deletion,
    ConnectCustomKeyStore => other_usages::not_implemented,
    CreateAlias => aliases::create_alias,
    CreateCustomKeyStore => other_usages::not_implemented,
    CreateGrant => other_usages::not_implemented,
    CreateKey => keys::create_key,
    Decapsulate => other_usages::wrong_usage,
    Decrypt => crypto::decrypt,
    DeleteAlias => aliases::delete_alias,
    DeleteCustomKeyStore => other_usages::not_implemented,
    DeleteImportedKeyMaterial => other_usages::not_implemented,
    DeriveSharedSecret => other_usages::wrong_usage,
    DescribeCustomKeyStores => other_usages::not_implemented,
    DescribeKey => keys::describe_key,
    DisableKey => keys::disable_key,
    DisableKeyRotation => rotation::disable_key_rotation,
    DisconnectCustomKeyStore => other_usages::not_implemented,
    EnableKey => keys::enable_key,
    EnableKeyRotation => rotation::enable_key_rotation,
    Encapsulate => other_usages::wrong_usage,
    Encrypt => crypto::encrypt,
    GenerateDataKey => crypto::generate_data_key,
    GenerateDataKeyPair => other_usages::not_implemented,
    GenerateDataKeyPairWithoutPlaintext => other_usages::not_implemented,
    GenerateDataKeyWithoutPlaintext => crypto::generate_data_key_without_plaintext,
    GenerateMac => other_usages::wrong_usage,
    GenerateRandom => crypto::generate_random,
    GetKeyLastUsage => audit::get_key_last_usage,
    GetKeyPolicy => policy::get_key_policy,
    GetKeyRotationStatus => rotation::get_key_rotation_status,
    GetParametersForImport => other_usages::not_implemented,
    GetPublicKey => other_usages::get_public_key,
    ImportKeyMaterial => other_usages::not_implemented,
    ListAliases => aliases::list_aliases,
    ListGrants => other_usages::list_grants,
    ListKeyPolicies => policy::list_key_policies,
    ListKeyRotations => rotation::list_key_rotations,
    ListKeys => keys::list_keys,
    ListResourceTags => tags::list_resource_tags,
    ListRetirableGrants => other_usages::list_retirable_grants,
    PutKeyPolicy => policy::put_key_policy,
    ReEncrypt needs ReEncryptFrom => crypto::re_encrypt,
    ReplicateKey => other_usages::not_implemented,
    RetireGrant => other_usages::not_implemented,
    RevokeGrant => other_usages::not_implemented,
    RotateKeyOnDemand => rotation::rotate_key_on_demand,
    ScheduleKeyDeletion => keys::schedule_key_deletion,
    Sign => other_usages::wrong_usage,
    TagResource => tags::tag_resource,
    UntagResource => tags::untag_resource,
    UpdateAlias => aliases::update_alias,
    UpdateCustomKeyStore => other_usages::not_implemented,
    UpdateKeyDescription => keys::update_key_description,
    UpdatePrimaryRegion => other_usages::not_implemented,
    Verify => other_usages::wrong_usage,
    VerifyMac => other_usages::wrong_usage,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_name_only() {
        assert!(OPERATIONS.is_sorted_by_key(|operation| operation.name));
        for operation in OPERATIONS {
            let found = Operation::find(operation.name).unwrap();
            assert_eq!(found.name, operation.name);
        }
        assert!(Operation::find("encrypt").is_none());
        assert!(Operation::find("").is_none());
    }

    #[test]
    fn permission_is_the_iam_action_of_the_operation() {
        for (operation, permission) in [
            ("Encrypt", "kms:Encrypt"),
            ("ReEncrypt", "kms:ReEncryptFrom"),
        ] {
            assert_eq!(Operation::find(operation).unwrap().permission, permission);
        }
    }
}
