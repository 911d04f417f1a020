//! Key policies: checked to be JSON objects, kept, given back; not evaluated.

use serde_json::{Map, Value, json};

use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller, names};

/// The one name that a key policy can have.
const DEFAULT: &str = "default";

pub(super) fn get_key_policy(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let name = policy_name(input)?;
    let found = aws.find(caller, input, "KeyId", Accept::Keys)?;
    let policy = found.key.policy.clone().unwrap_or_else(|| default_policy(caller));
    Ok(json!({ "Policy": policy, "PolicyName": name }))
}

pub(super) fn put_key_policy(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    policy_name(input)?;
    input.flag("BypassPolicyLockoutSafetyCheck")?;
    let policy = given(input)?.ok_or_else(|| input.missing("Policy"))?;
    let found = aws.find(caller, input, "KeyId", Accept::Keys)?;
    found.not_pending_deletion()?;
    let changed = aws.core.update(found.realm(), found.id(), |fields| *fields.policy = Some(policy.clone()));
    changed.map_err(|error| found.refused(error))?;
    Ok(json!({}))
}

pub(super) fn list_key_policies(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=1000)?;
    aws.find(caller, input, "KeyId", Accept::Keys)?;
    Ok(json!({ "PolicyNames": [DEFAULT], "Truncated": false }))
}

/// The policy in a request's `Policy`, as it was written.
pub(super) fn given(input: &Input) -> Result<Option<String>, AwsError> {
    let Some(text) = input.text("Policy", 1..=131_072)? else { return Ok(None) };
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(_) => Err(AwsError::bare("MalformedPolicyDocumentException")),
    }
}

fn policy_name(input: &Input) -> Result<&str, AwsError> {
    match input.text("PolicyName", 1..=128)?.unwrap_or(DEFAULT) {
        DEFAULT => Ok(DEFAULT),
        _ => Err(AwsError::new("NotFoundException", "No such policy exists")),
    }
}

/// What a key has when none was given with it: the account may do everything.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>
fn default_policy(caller: &Caller) -> String {
    let root = names::root_arn(caller);
    let lines = [
        "{",
        "  \"Version\" : \"2012-10-17\",",
        "  \"Id\" : \"key-default-1\",",
        "  \"Statement\" : [ {",
        "    \"Sid\" : \"Enable IAM User Permissions\",",
        "    \"Effect\" : \"Allow\",",
        "    \"Principal\" : {",
        &format!("      \"AWS\" : \"{root}\""),
        "    },",
        "    \"Action\" : \"kms:*\",",
        "    \"Resource\" : \"*\"",
        "  } ]",
        "}",
    ];
    lines.join("\n")
}
