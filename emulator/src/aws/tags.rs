//! Tags of keys: stored and listed. They do not affect permissions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::page::page;
use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller};

const MAX_TAGS: usize = 50;

pub(super) fn tag_resource(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    if !input.has("Tags") {
        return Err(input.missing("Tags"));
    }
    let tags = tags_input(input)?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved.ensure_not_pending_deletion()?;
    let mut merged = resolved.key.data.tags.clone();
    merged.extend(tags.clone());
    if merged.len() > MAX_TAGS {
        return Err(too_many());
    }
    let changed = resolved.key.update(|data| data.tags.extend(tags.clone()));
    changed.map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn untag_resource(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let keys = input
        .strings("TagKeys", MAX_TAGS)?
        .ok_or_else(|| input.missing("TagKeys"))?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved.ensure_not_pending_deletion()?;
    let changed = resolved
        .key
        .update(|data| data.tags.retain(|key, _| !keys.contains(&key.as_str())));
    changed.map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn list_resource_tags(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let tags: Vec<_> = resolved.key.data.tags.iter().collect();
    let entry = |(key, value): &(&String, &String)| json!({ "TagKey": key, "TagValue": value });
    page(
        input,
        "Tags",
        (MAX_TAGS, 50),
        &tags,
        |(key, _)| (*key).clone(),
        entry,
    )
}

/// Returns the request's `Tags`; empty if absent.
pub(super) fn tags_input(input: &Input) -> Result<BTreeMap<String, String>, AwsError> {
    let mut tags = BTreeMap::new();
    for tag in input.structures("Tags")?.unwrap_or_default() {
        let key = tag.required_string("TagKey", 1..=128)?;
        let value = tag.required_string("TagValue", 0..=256)?;
        if key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
        {
            return Err(AwsError::new(
                "TagException",
                "Tags beginning with aws: are reserved",
            ));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(AwsError::new("TagException", "Duplicate tag keys"));
        }
    }
    if tags.len() > MAX_TAGS {
        Err(too_many())
    } else {
        Ok(tags)
    }
}

fn too_many() -> AwsError {
    AwsError::new("TagException", "Too many tags")
}
