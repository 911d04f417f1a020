//! Key policies: validated, stored and returned, but not evaluated.

use serde_json::{Map, Value, json};

use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller, names};

/// The only name of a key policy.
const POLICY_NAME: &str = "default";
/// Maximum length of a policy in bytes (quota "Key policy document size").
const MAX_POLICY_LEN: usize = 32_768;

pub(super) fn get_key_policy(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let name = policy_name(input)?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    let policy = resolved
        .key
        .data
        .policy
        .clone()
        .unwrap_or_else(|| default_policy(caller));
    Ok(json!({ "Policy": policy, "PolicyName": name }))
}

pub(super) fn put_key_policy(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    policy_name(input)?;
    input.boolean("BypassPolicyLockoutSafetyCheck")?;
    let policy = policy_input(input)?.ok_or_else(|| input.missing("Policy"))?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    resolved.ensure_not_pending_deletion()?;
    let changed = resolved
        .key
        .update(|data| data.policy = Some(policy.clone()));
    changed.map_err(|error| resolved.key_error(error))?;
    Ok(json!({}))
}

pub(super) fn list_key_policies(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    input.integer("Limit", 1..=1000)?;
    aws.resolve_member(caller, input, "KeyId", Accept::Keys)?;
    Ok(json!({ "PolicyNames": [POLICY_NAME], "Truncated": false }))
}

/// Returns the request's `Policy` unchanged.
///
/// Length and characters follow the API reference of PutKeyPolicy; elements follow the policy
/// grammar:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.
pub(super) fn policy_input(input: &Input) -> Result<Option<String>, AwsError> {
    let Some(text) = input.string("Policy", 1..=131_072)? else {
        return Ok(None);
    };
    if !text
        .chars()
        .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
    {
        let rule = "Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+";
        return Err(AwsError::constraint(&format!("'{text}'"), "policy", rule));
    }
    if text.len() > MAX_POLICY_LEN {
        return Err(AwsError::bare("LimitExceededException"));
    }
    let policy = serde_json::from_str::<Map<String, Value>>(text);
    if policy.is_ok_and(|policy| is_key_policy(&policy)) {
        return Ok(Some(text.to_owned()));
    }
    Err(AwsError::bare("MalformedPolicyDocumentException"))
}

/// Checks the elements against the grammar. Action and Resource may be absent and lists may be
/// empty: Access Analyzer reports both as suggestions, not as errors.
/// (access-analyzer-reference-policy-checks.html in the same guide)
fn is_key_policy(policy: &Map<String, Value>) -> bool {
    let known = policy.iter().all(|(name, value)| match name.as_str() {
        "Version" => value == "2012-10-17" || value == "2008-10-17",
        "Id" => value.is_string(),
        "Statement" => true,
        _ => false,
    });
    known
        && match policy.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().all(is_statement),
            Some(one) => is_statement(one),
            None => false,
        }
}

fn is_statement(statement: &Value) -> bool {
    let Some(elements) = statement.as_object() else {
        return false;
    };
    let has = |name: &str| elements.contains_key(name);
    let known = elements.iter().all(|(name, value)| match name.as_str() {
        "Sid" => value.is_string(),
        "Effect" => value == "Allow" || value == "Deny",
        "Principal" | "NotPrincipal" => {
            value == "*"
                || value
                    .as_object()
                    .is_some_and(|kinds| kinds.values().all(is_string_or_strings))
        }
        "Action" | "NotAction" | "Resource" | "NotResource" => is_string_or_strings(value),
        "Condition" => value.is_object(),
        _ => false,
    });
    // At most one element of each pair. A principal is required, since a key policy is not attached
    // to an identity.
    known
        && has("Effect")
        && has("Principal") != has("NotPrincipal")
        && !(has("Action") && has("NotAction"))
        && !(has("Resource") && has("NotResource"))
}

fn is_string_or_strings(value: &Value) -> bool {
    value.is_string()
        || value
            .as_array()
            .is_some_and(|all| all.iter().all(Value::is_string))
}

fn policy_name(input: &Input) -> Result<&str, AwsError> {
    match input.string("PolicyName", 1..=128)?.unwrap_or(POLICY_NAME) {
        POLICY_NAME => Ok(POLICY_NAME),
        _ => Err(AwsError::new("NotFoundException", "No such policy exists")),
    }
}

/// The policy of a key that was created without one: the account may do everything.
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

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::*;

    fn refused(policy: &Value) -> Option<String> {
        let body =
            json!({ "Policy": policy.as_str().map_or_else(|| policy.to_string(), str::to_owned) });
        policy_input(
            &Input::parse(
                Operation::find("PutKeyPolicy").unwrap(),
                body.to_string().as_bytes(),
            )
            .unwrap(),
        )
        .err()
        .map(|error| error.kind)
    }

    #[test]
    fn policy_must_follow_the_policy_grammar() {
        let statement = json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": ["kms:*"], "Resource": "*" });
        let with = |name: &str, value: Value| {
            let mut changed = statement.clone();
            changed[name] = value;
            json!({ "Statement": [changed] })
        };
        for good in [
            json!({ "Version": "2012-10-17", "Id": "i", "Statement": statement }),
            json!({ "Statement": [{ "Effect": "Deny", "Principal": "*" }] }),
            json!({ "Statement": [] }),
            with("Action", json!([])),
            with(
                "Condition",
                json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } }),
            ),
        ] {
            assert_eq!(refused(&good), None, "{good}");
        }
        for bad in [
            json!({}),
            json!([]),
            json!("no JSON"),
            json!({ "Version": "2012-10-18", "Statement": statement }),
            json!({ "Statement": [{ "Effect": "Allow", "Action": "kms:*" }] }),
            json!({ "Statement": statement, "Other": 1 }),
            with("Effect", json!("allow")),
            with("NotPrincipal", json!("*")),
            with("NotAction", json!("kms:*")),
            with("Action", json!([1])),
            with("Principals", json!("*")),
        ] {
            assert_eq!(
                refused(&bad).as_deref(),
                Some("MalformedPolicyDocumentException"),
                "{bad}"
            );
        }
    }

    #[test]
    fn policy_is_at_most_32_kib_of_latin_1() {
        let of = |length: usize| {
            let empty = json!({ "Id": "", "Statement": { "Effect": "Allow", "Principal": "*" } })
                .to_string()
                .len();
            json!({ "Id": "x".repeat(length - empty), "Statement": { "Effect": "Allow", "Principal": "*" } })
        };
        assert_eq!(refused(&of(32_768)), None);
        assert_eq!(
            refused(&of(32_769)).as_deref(),
            Some("LimitExceededException")
        );
        assert_eq!(
            refused(&of(131_073)).as_deref(),
            Some("ValidationException")
        );
        assert_eq!(
            refused(&json!({ "Id": "\u{0100}", "Statement": [] })).as_deref(),
            Some("ValidationException")
        );
    }
}
