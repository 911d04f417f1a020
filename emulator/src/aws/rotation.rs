//! Rotation: on demand, by schedule, and its history.

use kmslab_keycore::{Cause, KeyState, Period, RotationPolicy, Trigger};
use serde_json::{Value, json};

use super::data::Version;
use super::page::page;
use super::wire::{Input, epoch_seconds};
use super::{Accept, Aws, AwsError, Caller};

const DEFAULT_PERIOD_DAYS: u32 = 365;
/// Maximum number of on-demand rotations of a key.
const ON_DEMAND_LIMIT: u32 = 25;
const ALL_KEY_MATERIAL: &str = "ALL_KEY_MATERIAL";

pub(super) fn enable_key_rotation(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let days = period_input(input)?;
    set(
        aws,
        caller,
        input,
        Some(days.unwrap_or(DEFAULT_PERIOD_DAYS)),
    )
}

/// The rotation period that a request states.
pub(super) fn period_input(input: &Input) -> Result<Option<u32>, AwsError> {
    let days = input.integer("RotationPeriodInDays", 90..=2560)?;
    Ok(days.and_then(|days| u32::try_from(days).ok()))
}

pub(super) fn disable_key_rotation(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    set(aws, caller, input, None)
}

fn set(aws: &Aws, caller: &Caller, input: &Input, days: Option<u32>) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let trigger = days.map(|days| Trigger::Every(Period::days(days)));
    let policy = RotationPolicy {
        trigger,
        ..RotationPolicy::default()
    };
    resolved
        .key
        .set_rotation(policy)
        .map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn get_key_rotation_status(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let pending = matches!(resolved.key.state, KeyState::PendingDeletion { .. });
    let period = match resolved.key.rotation.trigger {
        Some(Trigger::Every(period)) if !pending => period.as_days(),
        _ => None,
    };
    let mut answer = json!({ "KeyId": resolved.arn, "KeyRotationEnabled": period.is_some() });
    if let Some(days) = period {
        answer["RotationPeriodInDays"] = days.into();
        if let Some(next) = resolved.key.rotation.next {
            answer["NextRotationDate"] = epoch_seconds(next);
        }
    }
    Ok(answer)
}

pub(super) fn rotate_key_on_demand(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let rotated = resolved.key.rotate_now(Some(ON_DEMAND_LIMIT));
    rotated.map_err(|error| resolved.key_error(error))?;
    Ok(json!({ "KeyId": resolved.arn }))
}

/// Oldest first. The key's first material is listed only with `ALL_KEY_MATERIAL`, since no rotation
/// made it.
pub(super) fn list_key_rotations(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    let include = input.one_of("IncludeKeyMaterial", &[ALL_KEY_MATERIAL, "ROTATIONS_ONLY"])?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let listed =
        |version: &&Version| include == Some(ALL_KEY_MATERIAL) || version.cause != Cause::Created;
    let versions: Vec<&Version> = resolved.key.versions.iter().filter(listed).collect();
    let entry = |version: &&Version| {
        let state = if Some(version.id) == resolved.key.primary {
            "CURRENT"
        } else {
            "NON_CURRENT"
        };
        let mut entry = json!({ "KeyId": resolved.arn, "KeyMaterialId": version.id.to_string(), "KeyMaterialState": state });
        let kind = match version.cause {
            Cause::Created => return entry,
            Cause::Automatic => "AUTOMATIC",
            Cause::OnDemand => "ON_DEMAND",
        };
        entry["RotationType"] = kind.into();
        entry["RotationDate"] = epoch_seconds(version.created);
        entry
    };
    page(
        input,
        "Rotations",
        (100, 1000),
        &versions,
        |version| format!("{:010}", version.number),
        entry,
    )
}
