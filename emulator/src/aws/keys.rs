//! Key operations: create, describe, list, enable, disable, and delete after a waiting period.

use std::time::Duration;

use kmslab_keycore::{Algorithm, KeyState, NewKey, NewVersion, Purpose};
use serde_json::{Map, Value, json};

use super::data::{AwsFront, Key, KeyData};
use super::names::{self, KEY_SPECS, KEY_USAGES, ORIGINS};
use super::page::page;
use super::wire::{Input, epoch_seconds};
use super::{Accept, Aws, AwsError, Caller, policy, tags};

const DAY: Duration = Duration::from_hours(24);
const DEFAULT_WINDOW_DAYS: i64 = 30;

pub(super) fn create_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let key = aws
        .core
        .create(
            &names::realm(&caller.account, &caller.region),
            new_key(aws, input)?,
        )
        .map_err(AwsError::internal)?;
    Ok(json!({ "KeyMetadata": metadata(caller, &key) }))
}

/// The key that a request of CreateKey describes, with a random id.
pub(super) fn new_key(aws: &Aws, input: &Input) -> Result<NewKey<AwsFront>, AwsError> {
    input.boolean("BypassPolicyLockoutSafetyCheck")?;
    let legacy = input.one_of("CustomerMasterKeySpec", KEY_SPECS)?;
    let spec = input
        .one_of("KeySpec", KEY_SPECS)?
        .or(legacy)
        .unwrap_or(names::SYMMETRIC_DEFAULT);
    let usage = input.one_of("KeyUsage", KEY_USAGES)?;
    let origin = input.one_of("Origin", ORIGINS)?.unwrap_or(names::AWS_KMS);
    let description = input
        .string("Description", 0..=8192)?
        .unwrap_or_default()
        .to_owned();
    let policy = policy::policy_input(input)?;
    let tags = tags::tags_input(input)?;
    let multi_region = input.boolean("MultiRegion")?.unwrap_or(false);
    match usage {
        Some(usage) if !names::allowed_usages(spec).contains(&usage) => {
            return Err(AwsError::validation(format!(
                "KeyUsage {usage} is not compatible with KeySpec {spec}"
            )));
        }
        None if spec != names::SYMMETRIC_DEFAULT => {
            return Err(AwsError::validation(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            ));
        }
        _ => {}
    }
    if spec != names::SYMMETRIC_DEFAULT || origin != names::AWS_KMS || input.has("CustomKeyStoreId")
    {
        return Err(AwsError::unsupported());
    }
    Ok(NewKey {
        id: names::new_key_id(crate::ids::random_uuid(aws.entropy.as_ref()), multi_region),
        algorithm: Algorithm::AES_256,
        first: Some(NewVersion::new(Algorithm::AES_256)),
        purpose: Purpose::EncryptDecrypt,
        data: KeyData {
            description,
            tags,
            policy,
        },
    })
}

pub(super) fn describe_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.strings("GrantTokens", 10)?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
    Ok(json!({ "KeyMetadata": metadata(caller, &resolved.key) }))
}

pub(super) fn list_keys(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let mut keys = aws
        .core
        .keys(&names::realm(&caller.account, &caller.region));
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let entry = |id: &str| json!({ "KeyId": id, "KeyArn": names::key_arn(&caller.account, &caller.region, id) });
    page(
        input,
        "Keys",
        (100, 1000),
        &keys,
        |key| key.id.to_string(),
        |key| entry(key.id.as_str()),
    )
}

pub(super) fn enable_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved
        .key
        .enable()
        .map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn disable_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved
        .key
        .disable()
        .map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn schedule_key_deletion(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let days = input
        .integer("PendingWindowInDays", 1..=365)?
        .unwrap_or(DEFAULT_WINDOW_DAYS);
    if !(7..=30).contains(&days) {
        return Err(AwsError::validation(
            "PendingWindowInDays must be between 7 and 30",
        ));
    }
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let window = DAY * u32::try_from(days).map_err(AwsError::internal)?;
    let key = resolved
        .key
        .schedule_deletion(window)
        .map_err(|error| resolved.key_error(error))?;
    let mut answer = json!({ "KeyId": resolved.arn, "KeyState": state_name(key.state), "PendingWindowInDays": days });
    if let KeyState::PendingDeletion { at } = key.state {
        answer["DeletionDate"] = epoch_seconds(at);
    }
    Ok(answer)
}

pub(super) fn cancel_key_deletion(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved
        .key
        .cancel_deletion(KeyState::Disabled)
        .map_err(|error| resolved.key_error(error))?;
    Ok(json!({ "KeyId": resolved.arn }))
}

pub(super) fn update_key_description(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let description = input.required_string("Description", 0..=8192)?.to_owned();
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved.ensure_not_pending_deletion()?;
    let changed = resolved
        .key
        .update(|data| data.description.clone_from(&description));
    changed.map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

/// The `KeyState` of a key.
pub(super) fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Enabled => "Enabled",
        KeyState::Disabled => "Disabled",
        KeyState::PendingDeletion { .. } => "PendingDeletion",
    }
}

/// `KeyMetadata` of a symmetric key with origin AWS_KMS.
fn metadata(caller: &Caller, key: &Key) -> Value {
    let arn = names::key_arn(&caller.account, &caller.region, key.id.as_str());
    let multi_region = names::is_multi_region(&key.id);
    let mut metadata = Map::new();
    let mut put = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    put("AWSAccountId", caller.account.as_str().into());
    put("KeyId", key.id.as_str().into());
    put("Arn", arn.as_str().into());
    put("CreationDate", epoch_seconds(key.created));
    put("Enabled", (key.state == KeyState::Enabled).into());
    put("Description", key.data.description.as_str().into());
    put("KeyUsage", names::ENCRYPT_DECRYPT.into());
    put("KeyState", state_name(key.state).into());
    put("Origin", names::AWS_KMS.into());
    put("KeyManager", "CUSTOMER".into());
    put("CustomerMasterKeySpec", names::SYMMETRIC_DEFAULT.into());
    put("KeySpec", names::SYMMETRIC_DEFAULT.into());
    put("EncryptionAlgorithms", json!([names::SYMMETRIC_DEFAULT]));
    put(
        "CurrentKeyMaterialId",
        key.primary.map(|id| id.to_string()).into(),
    );
    put("MultiRegion", multi_region.into());
    if let KeyState::PendingDeletion { at } = key.state {
        put("DeletionDate", epoch_seconds(at));
    }
    if multi_region {
        let primary = json!({ "Arn": arn, "Region": caller.region });
        let configuration =
            json!({ "MultiRegionKeyType": "PRIMARY", "PrimaryKey": primary, "ReplicaKeys": [] });
        put("MultiRegionConfiguration", configuration);
    }
    metadata.into()
}
