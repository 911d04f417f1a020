//! What the audit trail records of AWS KMS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_emulator_api::{AwsDetail, Detail, KeyUse};
use kmslab_keycore::VersionUse;
use serde_json::{Map, Value, json};

use super::names::SYMMETRIC_DEFAULT;
use super::wire::{Input, epoch_seconds};
use super::{Accept, Aws, AwsError, Caller, audit_export, names};
use crate::pipeline::audit::Audited;

/// Members that neither are secret nor may be long, in alphabetical order. CloudTrail omits
/// plaintexts and ciphertexts.
const PARAMETERS: &[&str] = &[
    "AliasName",
    "CustomerMasterKeySpec",
    "Description",
    "DestinationEncryptionAlgorithm",
    "DestinationEncryptionContext",
    "DestinationKeyId",
    "DryRun",
    "EncryptionAlgorithm",
    "EncryptionContext",
    "KeyId",
    "KeySpec",
    "KeyUsage",
    "Limit",
    "MultiRegion",
    "NumberOfBytes",
    "Origin",
    "PendingWindowInDays",
    "PolicyName",
    "RotationPeriodInDays",
    "SourceEncryptionAlgorithm",
    "SourceEncryptionContext",
    "SourceKeyId",
    "TargetKeyId",
];
/// Operations whose encryption algorithm is logged although it was not stated.
const WITH_ALGORITHM: &[&str] = &["Decrypt", "Encrypt"];
/// Maximum length of the parameters' JSON in bytes; what exceeds it is left out.
const MAX_PARAMETERS_LEN: usize = 2048;

impl Aws {
    /// What the audit trail has of a call.
    pub(super) fn audited(
        &self,
        caller: &Caller,
        input: &Input,
        uses: &[VersionUse],
        outcome: Option<Result<&Value, &AwsError>>,
    ) -> Audited {
        let output = outcome.and_then(Result::ok);
        let error = outcome.and_then(Result::err);
        Audited {
            keys: self.audited_keys(caller, input, uses, output),
            detail: Some(Detail::Aws(AwsDetail {
                account: caller.account.clone(),
                region: caller.region.clone(),
                parameters: parameters(input),
                message: error.and_then(|error| error.message.clone()),
            })),
        }
    }

    fn audited_keys(
        &self,
        caller: &Caller,
        input: &Input,
        uses: &[VersionUse],
        output: Option<&Value>,
    ) -> Vec<KeyUse> {
        if !uses.is_empty() {
            let mut keys: Vec<KeyUse> = uses.iter().filter_map(key_use).collect();
            let decrypted = input.get("CiphertextBlob");
            let made = output.map(|output| &output["CiphertextBlob"]);
            let blobs = decrypted
                .into_iter()
                .chain(made.filter(|made| made.is_string()));
            for (used, blob) in keys.iter_mut().zip(blobs) {
                let bytes = blob.as_str().and_then(|text| STANDARD.decode(text).ok());
                used.ciphertext = bytes.map(|bytes| KeyUse::fingerprint(&bytes));
            }
            return keys;
        }
        let created = output.and_then(|output| output["KeyMetadata"]["Arn"].as_str());
        let named = || self.used_key(caller, input).map(|used| used.key.arn);
        let key = created.map(str::to_owned).or_else(named);
        let named = |key| KeyUse {
            key,
            version: None,
            ciphertext: None,
        };
        key.map(named).into_iter().collect()
    }
}

/// The latest successful cryptographic operation of a key, from the audit trail. Tracking begins
/// with the key.
pub(super) fn get_key_last_usage(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let last = aws.audit.last_use(&resolved.arn);
    let usage = last.map_or_else(
        || json!({}),
        |last| {
            json!({
                "Operation": last.operation,
                "Timestamp": epoch_seconds(last.lab_time),
                "CloudTrailEventId": audit_export::event_id(&last.request_id),
                "KmsRequestId": last.request_id,
            })
        },
    );
    let created = epoch_seconds(resolved.key.created);
    Ok(json!({
        "KeyId": resolved.key.id.as_str(),
        "KeyLastUsage": usage,
        "KeyCreationDate": created,
        "TrackingStartDate": created,
    }))
}

fn parameters(input: &Input) -> Map<String, Value> {
    let mut left = MAX_PARAMETERS_LEN;
    let mut parameters = Map::new();
    for (name, value) in input.members() {
        if PARAMETERS.binary_search(&name).is_err() {
            continue;
        }
        if let Some(rest) = left.checked_sub(json_len(value)) {
            left = rest;
            parameters.insert(log_name(name), value.clone());
        }
    }
    if WITH_ALGORITHM.contains(&input.operation().name) {
        parameters
            .entry("encryptionAlgorithm")
            .or_insert_with(|| SYMMETRIC_DEFAULT.into());
    }
    parameters
}

/// Length of a value as JSON, or more.
fn json_len(value: &Value) -> usize {
    // `\u0000` is the longest.
    let is_escaped = |byte: &u8| *byte < b' ' || matches!(*byte, b'"' | b'\\');
    match value {
        Value::String(text) => text.len() + 2 + 5 * text.bytes().filter(is_escaped).count(),
        value => value.to_string().len(),
    }
}

/// `KeyId` is `keyId` in CloudTrail.
fn log_name(member: &str) -> String {
    let mut letters = member.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn key_use(used: &VersionUse) -> Option<KeyUse> {
    let (account, region) = names::account_and_region(&used.realm)?;
    Some(KeyUse {
        key: names::key_arn(account, region, used.key.as_str()),
        version: Some(used.version.to_string()),
        ciphertext: None,
    })
}
