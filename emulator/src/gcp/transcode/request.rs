//! Builds the message of a REST request from path variables, query parameters and body.

use http::HeaderValue;
use http::request::Parts;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::json;
use super::rules::{Rule, Variables};
use crate::gcp::GcpError;

/// Parameters of all calls that are not fields of messages.
const SYSTEM_PARAMETERS: &[&str] = &[
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "passHeader",
    "prettyPrint",
    "quotaUser",
    "requestId",
    "uploadType",
    "upload_protocol",
];

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// Whether enums are requested as numbers: `$alt=json;enum-encoding=int`, which Google's own
/// clients send.
pub(super) fn wants_enum_numbers(parts: &Parts) -> bool {
    let requested = |(name, value): (String, String)| {
        matches!(name.as_str(), "$alt" | "alt")
            && value
                .split(';')
                .any(|part| part.trim() == "enum-encoding=int")
    };
    pairs(parts.uri.query().unwrap_or_default()).any(requested)
}

/// The access token in the query, where that is allowed.
pub(super) fn access_token(parts: &Parts) -> Option<HeaderValue> {
    let query = parts.uri.query()?;
    let (_, token) =
        pairs(query).find(|(name, _)| name == "access_token" || name == "oauth_token")?;
    HeaderValue::from_str(&format!("Bearer {token}")).ok()
}

/// Builds the message of a request.
pub(super) fn to_message(
    rule: &Rule,
    variables: Variables,
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage, GcpError> {
    let input = rule.call.input();
    let mut fields = match (rule.body.as_str(), parse_body(body)?) {
        (_, None) => Map::new(),
        ("", Some(_)) => {
            return Err(GcpError::invalid(
                "Invalid JSON payload received. A body is not allowed for this call.",
            ));
        }
        ("*", Some(Value::Object(fields))) => fields,
        ("*", Some(other)) => return json::parse_message(&input, other),
        (field, Some(value)) => Map::from_iter([(field.to_owned(), value)]),
    };
    for (path, value) in variables {
        set_field(&input, &mut fields, &path, Value::String(value))?;
    }
    for (name, value) in pairs(query) {
        if name.starts_with('$') || SYSTEM_PARAMETERS.contains(&name.as_str()) {
            continue;
        }
        set_field(&input, &mut fields, &name, Value::String(value))?;
    }
    json::parse_message(&input, Value::Object(fields))
}

/// Parses the body as JSON; `None` if it is empty.
fn parse_body(body: &[u8]) -> Result<Option<Value>, GcpError> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| {
        GcpError::invalid(format!(
            "Invalid JSON payload received. Unable to parse: line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

/// Sets the field at a path such as `crypto_key.name`, replacing the value from the body.
fn set_field(
    descriptor: &MessageDescriptor,
    fields: &mut Map<String, Value>,
    path: &str,
    value: Value,
) -> Result<(), GcpError> {
    let cannot_bind = || {
        GcpError::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{path}\": Cannot bind query parameter. Field '{path}' could not be found in \
             request message."
        ))
    };
    let (first, rest) = path
        .split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = json::field(descriptor, first).ok_or_else(cannot_bind)?;
    // The body may use either spelling.
    let said = fields
        .remove(field.json_name())
        .or_else(|| fields.remove(field.name()));
    let value = match (rest, field.kind()) {
        (Some(rest), Kind::Message(message)) => {
            let mut inner = match said {
                Some(Value::Object(inner)) => inner,
                _ => Map::new(),
            };
            set_field(&message, &mut inner, rest, value)?;
            Value::Object(inner)
        }
        (Some(_), _) => return Err(cannot_bind()),
        (None, kind) => {
            let value = match (&kind, &value) {
                (Kind::Bool, Value::String(text)) if text == "true" || text == "false" => {
                    Value::Bool(text == "true")
                }
                // Numbers in paths and queries are text; for enums that would be a name.
                (Kind::Enum(_), Value::String(text)) => {
                    text.parse::<i32>().map_or(value, Value::from)
                }
                _ => value,
            };
            match said {
                Some(Value::Array(mut items)) if field.is_list() => {
                    items.push(value);
                    Value::Array(items)
                }
                _ if field.is_list() => Value::Array(vec![value]),
                _ => value,
            }
        }
    };
    fields.insert(field.name().to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;
    use prost_reflect::SerializeOptions;

    use super::*;

    const RING: &str = "/v1/projects/p/locations/l/keyRings/r";

    fn read(method: Method, path: &str, query: &str, body: &str) -> Result<Value, String> {
        let (rule, variables) = super::super::rules::find(&method, path).unwrap();
        let message =
            to_message(rule, variables, query, body.as_bytes()).map_err(|error| error.message)?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        Ok(message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap())
    }

    #[test]
    fn path_query_and_body_form_one_message() {
        let created = read(
            Method::POST,
            &format!("{RING}/cryptoKeys"),
            "cryptoKeyId=k&skipInitialVersionCreation=true&%24alt=json%3Benum-encoding%3Dint",
            r#"{"purpose":1,"rotationPeriod":"7776000s","labels":{"a":"b"}}"#,
        );
        let requested = serde_json::json!({
            "parent": "projects/p/locations/l/keyRings/r",
            "crypto_key_id": "k",
            "skip_initial_version_creation": true,
            "crypto_key": { "purpose": "ENCRYPT_DECRYPT", "rotation_period": "7776000s", "labels": { "a": "b" } },
        });
        assert_eq!(created, Ok(requested));
        let patch = read(
            Method::PATCH,
            &format!("{RING}/cryptoKeys/k"),
            "updateMask=labels,rotationPeriod",
            r#"{"name":"other"}"#,
        );
        assert_eq!(
            patch.as_ref().unwrap()["crypto_key"]["name"],
            "projects/p/locations/l/keyRings/r/cryptoKeys/k"
        );
        assert_eq!(patch.unwrap()["update_mask"], "labels,rotationPeriod");
        // Both base64 alphabets, with and without padding.
        let encrypted = read(
            Method::POST,
            &format!("{RING}/cryptoKeys/k:encrypt"),
            "",
            r#"{"plaintext":"-_8","plaintextCrc32c":"5"}"#,
        );
        assert_eq!(encrypted.unwrap()["plaintext"], "+/8=");
    }

    #[test]
    fn invalid_requests_get_the_services_errors() {
        let encrypt = format!("{RING}/cryptoKeys/k:encrypt");
        for (query, body, words) in [
            (
                "",
                r#"{"plain":"AAAA"}"#,
                "Invalid JSON payload received. Unknown name \"plain\": Cannot find field.",
            ),
            (
                "x=1",
                "",
                "Invalid JSON payload received. Unknown name \"x\": Cannot bind query parameter. Field 'x' could not be found in request message.",
            ),
            (
                "",
                r#"{"plaintext":"%"}"#,
                "Invalid value at 'plaintext' (TYPE_BYTES), Base64 decoding failed for \"%\"",
            ),
            (
                "",
                r#"{"plaintext":5}"#,
                "Invalid value at 'plaintext' (TYPE_BYTES), 5",
            ),
            (
                "",
                "[]",
                "Invalid JSON payload received. Unknown name \"\": Root element must be a message.",
            ),
        ] {
            assert_eq!(
                read(Method::POST, &encrypt, query, body).unwrap_err(),
                words
            );
        }
        let purpose = read(
            Method::POST,
            &format!("{RING}/cryptoKeys"),
            "",
            r#"{"purpose":"FOO"}"#,
        )
        .unwrap_err();
        assert_eq!(
            purpose,
            "Invalid value at 'crypto_key.purpose' (type.googleapis.com/google.cloud.kms.v1.CryptoKey.CryptoKeyPurpose), \"FOO\""
        );
        assert!(
            read(Method::POST, &encrypt, "", "{")
                .unwrap_err()
                .starts_with("Invalid JSON payload received.")
        );
        assert!(read(Method::GET, RING, "", "{}").is_err());
    }

    proptest! {
        #[test]
        fn parsing_requests_never_panics(query: String, body: String, field in "[a-z_]{1,12}", value: String) {
            let path = format!("{RING}/cryptoKeys");
            let _ = read(Method::POST, &path, &query, &body);
            let _ = read(Method::POST, &path, &query, &serde_json::json!({ field: value }).to_string());
        }
    }
}
