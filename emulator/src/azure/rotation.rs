//! Rotation policies: when a key rotates, and how long rotated versions are valid.

use jiff::{Span, Timestamp};
use kmslab_keycore::{Period, Trigger};
use serde_json::{Map, Value, json};

use super::data::{Key, LifetimeAction, RotationPolicy};
use super::wire::{Input, epoch_seconds, invalid, missing};
use super::{Azure, AzureError, RequestContext, keys, names};

/// Minimum lifetime of a version, and minimum time of a trigger after creation or before expiry, in
/// days.
const MIN_LIFETIME_DAYS: i64 = 28;
const MIN_TRIGGER_DAYS: i64 = 7;

pub(super) fn get(azure: &Azure, asked: &RequestContext<'_>) -> Result<Value, AzureError> {
    Ok(to_json(asked, keys::find(azure, asked)?.key()))
}

pub(super) fn put(azure: &Azure, asked: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let version = keys::find(azure, asked)?;
    let policy = PolicyRequest::from_request(asked.input)?;
    let refused = |error| AzureError::from_key_error(name, None, "setrotationpolicy", error);
    let when = kmslab_keycore::RotationPolicy {
        trigger: policy.trigger,
        lifetime: policy.lifetime,
        ..kmslab_keycore::RotationPolicy::default()
    };
    let key = version.key().set_rotation(when).map_err(refused)?;
    let now = azure.core.now();
    let put = key.update(|data| {
        let created = data.rotation_policy.as_ref().map(|before| before.created);
        data.rotation_policy = Some(RotationPolicy {
            actions: policy.actions.clone(),
            expiry_time: policy.expiry_time.clone(),
            created: created.unwrap_or(now),
            updated: now,
        });
    });
    let key = put.map_err(refused)?;
    Ok(to_json(asked, &key))
}

/// The policy as responses show it. A key without one has the service's default, which only
/// notifies.
fn to_json(asked: &RequestContext<'_>, key: &Key) -> Value {
    let mut policy = match &key.data.rotation_policy {
        Some(policy) => {
            let mut attributes = json!({});
            if let Some(expiry) = &policy.expiry_time {
                attributes["expiryTime"] = expiry.as_str().into();
            }
            attributes["created"] = epoch_seconds(policy.created);
            attributes["updated"] = epoch_seconds(policy.updated);
            let actions = policy.actions.iter().map(action_to_json);
            json!({ "lifetimeActions": actions.collect::<Value>(), "attributes": attributes })
        }
        None => json!({
            "lifetimeActions": [{ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } }],
            "attributes": {},
        }),
    };
    let base = names::key_url(&asked.vault.name, key);
    policy["id"] = format!("{base}/rotationpolicy").into();
    policy
}

fn action_to_json(action: &LifetimeAction) -> Value {
    let trigger = Map::from_iter([(action.trigger.clone(), action.time.as_str().into())]);
    json!({ "trigger": trigger, "action": { "type": action.kind } })
}

/// A policy of a request.
pub(super) struct PolicyRequest {
    pub(super) trigger: Option<Trigger>,
    pub(super) lifetime: Option<Period>,
    pub(super) actions: Vec<LifetimeAction>,
    pub(super) expiry_time: Option<String>,
}

impl PolicyRequest {
    pub(super) fn from_request(input: &Input) -> Result<Self, AzureError> {
        let attributes = input.object("attributes")?.unwrap_or_default();
        let expiry = attributes
            .string("expiryTime")?
            .map(|text| Ok((text, parse_duration("expiryTime", text)?)))
            .transpose()?;
        if let Some((_, life)) = expiry
            && approximate_days(life) < MIN_LIFETIME_DAYS
        {
            return Err(AzureError::bad_parameter(format!(
                "Property expiryTime must be at least P{MIN_LIFETIME_DAYS}D"
            )));
        }
        let mut trigger = None;
        let mut actions = Vec::new();
        for action in input.get("lifetimeActions").map_or(Ok(&[][..]), |value| {
            value
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| invalid("lifetimeActions"))
        })? {
            let (when, action) = lifetime_action(action, expiry.map(|(_, life)| life))?;
            if action.kind == "Rotate" {
                if trigger.is_some() {
                    return Err(AzureError::bad_parameter(
                        "At most one lifetime action of type Rotate is allowed",
                    ));
                }
                trigger = Some(when);
            }
            actions.push(action);
        }
        Ok(Self {
            trigger,
            lifetime: expiry.map(|(_, life)| life),
            actions,
            expiry_time: expiry.map(|(text, _)| text.to_owned()),
        })
    }
}

/// Parses a lifetime action: when it comes, and the action as the service spells it.
fn lifetime_action(
    action: &Value,
    life: Option<Period>,
) -> Result<(Trigger, LifetimeAction), AzureError> {
    let kind = action["action"]["type"]
        .as_str()
        .ok_or_else(|| missing("lifetimeActions.action.type"))?;
    let kind = ["Rotate", "Notify"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind));
    let kind = kind.ok_or_else(|| invalid("lifetimeActions.action.type"))?;
    let time = |name: &str| match &action["trigger"][name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some((text.clone(), parse_duration(name, text)?))),
        _ => Err(invalid(name)),
    };
    let parsed = |when, trigger: &str, time| {
        let action = LifetimeAction {
            kind: kind.to_owned(),
            trigger: trigger.to_owned(),
            time,
        };
        (when, action)
    };
    let (when, action) = match (time("timeAfterCreate")?, time("timeBeforeExpiry")?) {
        (Some((text, after)), None) => {
            if life.is_some_and(|life| {
                approximate_days(after) > approximate_days(life) - MIN_TRIGGER_DAYS
            }) {
                return Err(AzureError::bad_parameter(format!(
                    "Property timeAfterCreate must be at least P{MIN_TRIGGER_DAYS}D shorter than expiryTime"
                )));
            }
            parsed(Trigger::AfterCreation(after), "timeAfterCreate", text)
        }
        (None, Some((text, before))) => {
            let Some(life) = life.filter(|_| kind == "Rotate") else {
                // A notification may refer to an expiry date that the version has by itself.
                if kind == "Rotate" {
                    return Err(AzureError::bad_parameter(
                        "Property timeBeforeExpiry needs an expiryTime",
                    ));
                }
                return Ok(parsed(
                    Trigger::BeforeExpiry(before),
                    "timeBeforeExpiry",
                    text,
                ));
            };
            if approximate_days(before) > approximate_days(life) - MIN_TRIGGER_DAYS {
                return Err(AzureError::bad_parameter(format!(
                    "Property timeBeforeExpiry must be at least P{MIN_TRIGGER_DAYS}D shorter than expiryTime"
                )));
            }
            parsed(Trigger::BeforeExpiry(before), "timeBeforeExpiry", text)
        }
        _ => {
            return Err(AzureError::bad_parameter(
                "Exactly one of timeAfterCreate and timeBeforeExpiry must be given in a trigger",
            ));
        }
    };
    if approximate_days(trigger_period(when)) < MIN_TRIGGER_DAYS {
        return Err(AzureError::bad_parameter(format!(
            "A trigger's time must be at least P{MIN_TRIGGER_DAYS}D"
        )));
    }
    Ok((when, action))
}

fn trigger_period(trigger: Trigger) -> Period {
    match trigger {
        Trigger::Every(period) | Trigger::AfterCreation(period) | Trigger::BeforeExpiry(period) => {
            period
        }
    }
}

/// Parses an ISO 8601 duration such as `P90D`, `P1Y` or `P18M`.
fn parse_duration(name: &str, text: &str) -> Result<Period, AzureError> {
    let span = text
        .starts_with('P')
        .then(|| text.parse::<Span>().ok())
        .flatten();
    span.and_then(Period::from_span)
        .ok_or_else(|| invalid(name))
}

/// Approximate number of days, for the minimum lengths.
fn approximate_days(period: Period) -> i64 {
    period
        .after(Timestamp::UNIX_EPOCH)
        .map_or(i64::MAX, |at| at.as_second() / 86_400)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Result<PolicyRequest, AzureError> {
        PolicyRequest::from_request(&Input::parse(text.as_bytes())?)
    }

    #[test]
    fn guide_policy_rotates_after_90_days_and_expires_after_a_year() {
        let policy = asked(
            r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"rotate"}},
                {"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{"expiryTime":"P1Y"}}"#,
        )
        .unwrap();
        assert_eq!(
            policy.trigger,
            Some(Trigger::AfterCreation(Period::days(90)))
        );
        assert_eq!(policy.lifetime, Period::from_span(Span::new().years(1)));
        let kinds: Vec<_> = policy.actions.iter().map(|action| &action.kind).collect();
        assert_eq!(kinds, ["Rotate", "Notify"]);
        assert_eq!(policy.expiry_time.as_deref(), Some("P1Y"));
        let only_notifies = asked(
            r#"{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{}}"#,
        );
        assert_eq!(only_notifies.unwrap().trigger, None);
    }

    #[test]
    fn policies_that_the_service_rejects_are_rejected() {
        let with = |trigger: &str, expiry: &str| {
            format!(
                r#"{{"lifetimeActions":[{{"trigger":{trigger},"action":{{"type":"Rotate"}}}}],"attributes":{expiry}}}"#
            )
        };
        for (trigger, expiry) in [
            (r#"{"timeAfterCreate":"P6D"}"#, "{}"),
            (r#"{"timeAfterCreate":"P90D"}"#, r#"{"expiryTime":"P27D"}"#),
            (r#"{"timeAfterCreate":"P90D"}"#, r#"{"expiryTime":"P93D"}"#),
            (r#"{"timeBeforeExpiry":"P30D"}"#, "{}"),
            (r#"{"timeBeforeExpiry":"P30D"}"#, r#"{"expiryTime":"P30D"}"#),
            (
                r#"{"timeBeforeExpiry":"P30D","timeAfterCreate":"P30D"}"#,
                r#"{"expiryTime":"P1Y"}"#,
            ),
            ("{}", "{}"),
            (r#"{"timeAfterCreate":"-P90D"}"#, "{}"),
            (r#"{"timeAfterCreate":"90 days"}"#, "{}"),
            (r#"{"timeAfterCreate":90}"#, "{}"),
        ] {
            let refused = asked(&with(trigger, expiry)).err().map(|error| error.code);
            assert_eq!(refused, Some("BadParameter"), "{trigger} {expiry}");
        }
        assert!(asked(r#"{"lifetimeActions":{}}"#).is_err());
        assert!(asked(r#"{"lifetimeActions":[{"action":{"type":"Dance"}}]}"#).is_err());
    }

    proptest! {
        #[test]
        fn parsing_durations_never_panics(text: String, years in 0..100_000_u32) {
            let _ = parse_duration("x", &text).map(approximate_days);
            let _ = parse_duration("x", &format!("P{years}Y")).map(approximate_days);
        }
    }
}
