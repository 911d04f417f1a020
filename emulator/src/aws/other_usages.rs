//! Operations for keys of another usage than ENCRYPT_DECRYPT, and operations that are not
//! implemented.
//!
//! All keys are symmetric encryption keys, so the former fail as they do in the service.

use serde_json::{Value, json};

use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller};

/// Sign, GenerateMac, DeriveSharedSecret and similar operations.
pub(super) fn wrong_usage(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.dry_run()?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
    Err(AwsError::wrong_usage(&resolved.arn, input.operation().name))
}

/// GetPublicKey: a symmetric key has none. The service's message is not recorded.
pub(super) fn get_public_key(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.strings("GrantTokens", 10)?;
    aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
    Err(AwsError::unsupported())
}

/// ListGrants: always empty, because grants cannot be created.
pub(super) fn list_grants(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=100)?;
    input.string("Marker", 1..=1024)?;
    aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    Ok(no_grants())
}

/// ListRetirableGrants: always empty.
pub(super) fn list_retirable_grants(_: &Aws, _: &Caller, input: &Input) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=100)?;
    input.string("Marker", 1..=1024)?;
    input.required_string("RetiringPrincipal", 1..=256)?;
    Ok(no_grants())
}

fn no_grants() -> Value {
    json!({ "Grants": [], "Truncated": false })
}

/// Operations of the API that the emulator does not have. The message is the emulator's own.
pub(super) fn not_implemented(_: &Aws, _: &Caller, input: &Input) -> Result<Value, AwsError> {
    let message = format!(
        "The kmslab emulator does not implement {}.",
        input.operation().name
    );
    Err(AwsError::new("UnsupportedOperationException", message))
}
