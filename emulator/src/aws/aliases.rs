//! Alias operations. Aliases are scoped to an account and region.

use kmslab_keycore::{Alias, KeyError, KeyId};
use serde_json::{Value, json};

use super::page::page;
use super::wire::{Input, epoch_seconds};
use super::{Accept, Aws, AwsError, Caller, ResolvedKey, names};

const PREFIX: &str = "alias/";
/// Prefix of the aliases of AWS managed keys.
const RESERVED: &str = "alias/aws/";

pub(super) fn create_alias(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let name = alias_name(input)?;
    let target = target_key(aws, caller, input)?;
    target.ensure_not_pending_deletion()?;
    match target.key.create_alias(name) {
        Ok(_) => Ok(json!({})),
        Err(KeyError::AliasExists { .. }) => {
            Err(AwsError::alias_exists(names::alias_arn(caller, name)))
        }
        Err(error) => Err(target.key_error(error)),
    }
}

pub(super) fn update_alias(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let name = alias_name(input)?;
    let target = target_key(aws, caller, input)?;
    target.ensure_not_pending_deletion()?;
    match target.key.update_alias(name) {
        Ok(_) => Ok(json!({})),
        Err(KeyError::AliasNotFound { .. }) => {
            Err(AwsError::no_such_alias(names::alias_arn(caller, name)))
        }
        Err(error) => Err(target.key_error(error)),
    }
}

pub(super) fn delete_alias(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let name = alias_name(input)?;
    let deleted = aws
        .core
        .delete_alias(&names::realm(&caller.account, &caller.region), name);
    deleted.map_err(|_| AwsError::no_such_alias(names::alias_arn(caller, name)))?;
    Ok(json!({}))
}

pub(super) fn list_aliases(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let of = match input.string("KeyId", 1..=2048)? {
        Some(_) => Some(
            aws.resolve_member(caller, input, "KeyId", Accept::Keys)?
                .key
                .id
                .clone(),
        ),
        None => None,
    };
    let listed = |alias: &Alias| of.as_ref().is_none_or(|key: &KeyId| alias.target == *key);
    let mut aliases = aws
        .core
        .aliases(&names::realm(&caller.account, &caller.region));
    aliases.retain(listed);
    let entry = |alias: &Alias| {
        json!({
            "AliasName": alias.name,
            "AliasArn": names::alias_arn(caller, &alias.name),
            "TargetKeyId": alias.target.as_str(),
            "CreationDate": epoch_seconds(alias.created),
            "LastUpdatedDate": epoch_seconds(alias.updated),
        })
    };
    page(
        input,
        "Aliases",
        (50, 100),
        &aliases,
        |alias| alias.name.clone(),
        entry,
    )
}

/// Resolves `TargetKeyId`.
fn target_key<'a>(
    aws: &'a Aws,
    caller: &Caller,
    input: &Input,
) -> Result<ResolvedKey<'a>, AwsError> {
    let named = input.required_string("TargetKeyId", 1..=2048)?;
    // An alias name or an alias ARN.
    if named.starts_with(PREFIX)
        || named
            .splitn(6, ':')
            .nth(5)
            .is_some_and(|resource| resource.starts_with(PREFIX))
    {
        return Err(AwsError::validation(
            "Aliases must refer to keys. Not aliases",
        ));
    }
    aws.resolve_member(caller, input, "TargetKeyId", Accept::Keys)
}

/// Returns `AliasName`, checked to be one that can be created or deleted.
/// The name of an alias to create or change.
pub(super) fn alias_name(input: &Input) -> Result<&str, AwsError> {
    let name = input.required_string("AliasName", 1..=256)?;
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
    {
        let rule = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$";
        return Err(AwsError::constraint(
            &format!("'{name}'"),
            "aliasName",
            rule,
        ));
    }
    if name.len() <= PREFIX.len() || !name.starts_with(PREFIX) {
        return Err(AwsError::validation(
            "Alias must start with the prefix \"alias/\". Please see \
             https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
        ));
    }
    if name.contains(':') {
        return Err(AwsError::validation(format!(
            "{name} contains invalid characters for an alias"
        )));
    }
    if name.starts_with(RESERVED) {
        Err(AwsError::bare("NotAuthorizedException"))
    } else {
        Ok(name)
    }
}
