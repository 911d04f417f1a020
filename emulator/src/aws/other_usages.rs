//! Operations that are for keys of another usage than ENCRYPT_DECRYPT, or for what the emulator
//! does not have.
//!
//! Every key here is a symmetric encryption key, so the first kind is refused as the service
//! refuses it for such a key.

use serde_json::{Value, json};

use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller};

/// Sign, GenerateMac, DeriveSharedSecret and their like.
pub(super) fn wrong_usage(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.dry_run()?;
    let found = aws.find(caller, input, "KeyId", Accept::Aliases)?;
    Err(AwsError::wrong_usage(&found.arn, input.operation()))
}

/// GetPublicKey: a symmetric key has none. The message is not on record.
pub(super) fn get_public_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.texts("GrantTokens", 10)?;
    aws.find(caller, input, "KeyId", Accept::Aliases)?;
    Err(AwsError::unsupported())
}

/// ListGrants: no grant can be made here.
pub(super) fn list_grants(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=100)?;
    input.text("Marker", 1..=1024)?;
    aws.find(caller, input, "KeyId", Accept::Keys)?;
    Ok(no_grants())
}

/// ListRetirableGrants.
pub(super) fn list_retirable_grants(_: &Aws, _: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=100)?;
    input.text("Marker", 1..=1024)?;
    input.required_text("RetiringPrincipal", 1..=256)?;
    Ok(no_grants())
}

fn no_grants() -> Value {
    json!({ "Grants": [], "Truncated": false })
}

/// What the API has and the emulator does not. The words are the emulator's own.
pub(super) fn not_implemented(_: &Aws, _: &Caller, input: &Input) -> Result<Value, AwsError> {
    let message = format!(
        "The kmslab emulator does not implement {}.",
        input.operation()
    );
    Err(AwsError::new("UnsupportedOperationException", message))
}
