//! Rotation policies: when a key rotates, and how long rotated versions are valid.

use std::collections::BTreeMap;

use jiff::{Span, Timestamp};
use kmslab_keycore::{Key, Period, Trigger};
use serde_json::{Value, json};

use super::wire::{Input, epoch_seconds, invalid, missing};
use super::{Azure, AzureError, RequestContext, keys, names};

/// Key attributes: the policy as it was set, and when it was created and last updated.
const POLICY: &str = "rotation_policy";
const CREATED: &str = "rotation_policy_created";
const UPDATED: &str = "rotation_policy_updated";
/// Minimum lifetime of a version, and minimum time of a trigger after creation or before expiry, in
/// days.
const MIN_LIFETIME_DAYS: i64 = 28;
const MIN_TRIGGER_DAYS: i64 = 7;

pub(super) fn get(azure: &Azure, asked: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (key, _) = keys::find(azure, asked)?;
    Ok(to_json(asked, &key))
}

pub(super) fn put(azure: &Azure, asked: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let (key, _) = keys::find(azure, asked)?;
    let policy = PolicyRequest::from_request(asked.input)?;
    let refused = |error| AzureError::from_key_error(name, None, "setrotationpolicy", error);
    azure
        .core
        .set_rotation(&key.realm, &key.id, policy.trigger, None, policy.lifetime)
        .map_err(refused)?;
    let (now, text) = (
        azure.core.now().as_second().to_string(),
        policy.stored.to_string(),
    );
    let put = azure.core.update(&key.realm, &key.id, |fields| {
        let attributes: &mut BTreeMap<String, String> = fields.attributes;
        attributes.insert(POLICY.to_owned(), text.clone());
        attributes
            .entry(CREATED.to_owned())
            .or_insert_with(|| now.clone());
        attributes.insert(UPDATED.to_owned(), now.clone());
    });
    Ok(to_json(asked, &*put.map_err(refused)?))
}

/// The policy as responses show it. A key without one has the service's default, which only
/// notifies.
fn to_json(asked: &RequestContext<'_>, key: &Key) -> Value {
    let kept = key
        .attributes
        .get(POLICY)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut policy = kept.unwrap_or_else(|| {
        json!({
            "lifetimeActions": [{ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } }],
            "attributes": {},
        })
    });
    let base = names::key_url(&asked.vault.name, key);
    policy["id"] = format!("{base}/rotationpolicy").into();
    for (attribute, name) in [(CREATED, "created"), (UPDATED, "updated")] {
        let at = key
            .attributes
            .get(attribute)
            .and_then(|text| text.parse().ok());
        if let Some(at) = at.and_then(|at| Timestamp::from_second(at).ok()) {
            policy["attributes"][name] = epoch_seconds(at);
        }
    }
    policy
}

/// A policy of a request.
struct PolicyRequest {
    trigger: Option<Trigger>,
    lifetime: Option<Period>,
    /// The policy as it is stored and returned.
    stored: Value,
}

impl PolicyRequest {
    fn from_request(input: &Input) -> Result<Self, AzureError> {
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
            let (kind, when) = lifetime_action(action, expiry.map(|(_, life)| life))?;
            if kind == "Rotate" {
                if trigger.is_some() {
                    return Err(AzureError::bad_parameter(
                        "At most one lifetime action of type Rotate is allowed",
                    ));
                }
                trigger = Some(when.0);
            }
            actions.push(json!({ "trigger": when.1, "action": { "type": kind } }));
        }
        let mut attributes = json!({});
        if let Some((text, _)) = expiry {
            attributes["expiryTime"] = text.into();
        }
        let kept = json!({ "lifetimeActions": actions, "attributes": attributes });
        Ok(Self {
            trigger,
            lifetime: expiry.map(|(_, life)| life),
            stored: kept,
        })
    }
}

/// A lifetime action: its type as the service spells it, and its trigger.
fn lifetime_action(
    action: &Value,
    life: Option<Period>,
) -> Result<(&'static str, (Trigger, Value)), AzureError> {
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
    let when = match (time("timeAfterCreate")?, time("timeBeforeExpiry")?) {
        (Some((text, after)), None) => {
            if life.is_some_and(|life| {
                approximate_days(after) > approximate_days(life) - MIN_TRIGGER_DAYS
            }) {
                return Err(AzureError::bad_parameter(format!(
                    "Property timeAfterCreate must be at least P{MIN_TRIGGER_DAYS}D shorter than expiryTime"
                )));
            }
            (
                Trigger::AfterCreation(after),
                json!({ "timeAfterCreate": text }),
            )
        }
        (None, Some((text, before))) => {
            let Some(life) = life.filter(|_| kind == "Rotate") else {
                // A notification may refer to an expiry date that the version has by itself.
                if kind == "Rotate" {
                    return Err(AzureError::bad_parameter(
                        "Property timeBeforeExpiry needs an expiryTime",
                    ));
                }
                return Ok((
                    kind,
                    (
                        Trigger::BeforeExpiry(before),
                        json!({ "timeBeforeExpiry": text }),
                    ),
                ));
            };
            if approximate_days(before) > approximate_days(life) - MIN_TRIGGER_DAYS {
                return Err(AzureError::bad_parameter(format!(
                    "Property timeBeforeExpiry must be at least P{MIN_TRIGGER_DAYS}D shorter than expiryTime"
                )));
            }
            (
                Trigger::BeforeExpiry(before),
                json!({ "timeBeforeExpiry": text }),
            )
        }
        _ => {
            return Err(AzureError::bad_parameter(
                "Exactly one of timeAfterCreate and timeBeforeExpiry must be given in a trigger",
            ));
        }
    };
    if approximate_days(trigger_period(when.0)) < MIN_TRIGGER_DAYS {
        return Err(AzureError::bad_parameter(format!(
            "A trigger's time must be at least P{MIN_TRIGGER_DAYS}D"
        )));
    }
    Ok((kind, when))
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
        assert_eq!(
            policy.stored["lifetimeActions"][0]["action"]["type"],
            "Rotate"
        );
        assert_eq!(policy.stored["attributes"]["expiryTime"], "P1Y");
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
