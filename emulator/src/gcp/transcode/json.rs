//! Conversion of messages from and to JSON by their descriptors, with the service's errors for
//! invalid JSON.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use kmslab_googleapis::descriptors;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::gcp::GcpError;

/// Prefix of types whose JSON is special; their fields are not checked.
const WELL_KNOWN: &str = "google.protobuf.";

/// Converts a message to JSON with the field names of the proto, without unset fields.
pub(crate) fn to_json<M: Message + Name>(message: &M) -> Result<Value, GcpError> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    serialized(descriptor_of::<M>()?, &message.encode_to_vec(), &options)
}

/// Converts a message to JSON as REST responses have it, with names in lower camel case.
pub(super) fn to_rest_json<M: Message + Name>(message: &M) -> Result<Value, GcpError> {
    response_json(descriptor_of::<M>()?, &message.encode_to_vec(), false)
}

fn descriptor_of<M: Name>() -> Result<MessageDescriptor, GcpError> {
    let descriptor = descriptors().get_message_by_name(&M::full_name());
    descriptor.ok_or_else(|| GcpError::internal("a message without a descriptor"))
}

/// The JSON of a response, with enums as numbers on request.
pub(super) fn response_json(
    descriptor: MessageDescriptor,
    bytes: &[u8],
    enums_as_numbers: bool,
) -> Result<Value, GcpError> {
    serialized(
        descriptor,
        bytes,
        &SerializeOptions::new().use_enum_numbers(enums_as_numbers),
    )
}

fn serialized(
    descriptor: MessageDescriptor,
    bytes: &[u8],
    options: &SerializeOptions,
) -> Result<Value, GcpError> {
    let message = DynamicMessage::decode(descriptor, bytes).map_err(GcpError::internal)?;
    message
        .serialize_with_options(serde_json::value::Serializer, options)
        .map_err(GcpError::internal)
}

/// Parses a message.
pub(super) fn parse_message(
    descriptor: &MessageDescriptor,
    value: Value,
) -> Result<DynamicMessage, GcpError> {
    check_message(descriptor, &value, "")?;
    DynamicMessage::deserialize(descriptor.clone(), value)
        .map_err(|error| invalid_json("", error.to_string()))
}

fn invalid_json(path: &str, what: impl std::fmt::Display) -> GcpError {
    let what = format!("Invalid JSON payload received. {what}");
    if path.is_empty() {
        GcpError::invalid(what)
    } else {
        GcpError::bad_field(path, what)
    }
}

fn unknown(name: &str, path: &str) -> GcpError {
    let at = if path.is_empty() {
        String::new()
    } else {
        format!(" at '{path}'")
    };
    invalid_json(
        path,
        format!("Unknown name \"{name}\"{at}: Cannot find field."),
    )
}

/// A value that the field at `path` cannot have; `kind` is the service's name of the field's type.
fn invalid(path: &str, kind: &str, value: &Value) -> GcpError {
    GcpError::bad_field(path, format!("Invalid value at '{path}' ({kind}), {value}"))
}

fn join_path(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Finds a field by its proto name or its JSON name.
pub(super) fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor
        .get_field_by_name(name)
        .or_else(|| descriptor.get_field_by_json_name(name))
}

fn check_message(
    descriptor: &MessageDescriptor,
    value: &Value,
    path: &str,
) -> Result<(), GcpError> {
    if descriptor.full_name().starts_with(WELL_KNOWN) {
        return Ok(());
    }
    let Value::Object(fields) = value else {
        return Err(if path.is_empty() {
            invalid_json("", "Unknown name \"\": Root element must be a message.")
        } else {
            invalid(
                path,
                &format!("type.googleapis.com/{}", descriptor.full_name()),
                value,
            )
        });
    };
    for (name, value) in fields {
        let field = field(descriptor, name).ok_or_else(|| unknown(name, path))?;
        let path = join_path(path, field.name());
        match value {
            Value::Null => {}
            Value::Array(items) if field.is_list() => {
                for (at, item) in items.iter().enumerate() {
                    check_value(&field.kind(), item, &format!("{path}[{at}]"))?;
                }
            }
            Value::Object(entries) if field.is_map() => {
                let of_entry = field
                    .kind()
                    .as_message()
                    .map(MessageDescriptor::map_entry_value_field);
                for (key, value) in entries {
                    if let Some(entry) = &of_entry {
                        check_value(&entry.kind(), value, &format!("{path}[{key}]"))?;
                    }
                }
            }
            value => check_value(&field.kind(), value, &path)?,
        }
    }
    Ok(())
}

fn check_value(kind: &Kind, value: &Value, path: &str) -> Result<(), GcpError> {
    let (fits, name) = match kind {
        Kind::Message(message) => return check_message(message, value, path),
        Kind::Enum(known) => {
            let fits = match value {
                Value::String(name) => {
                    known.get_value_by_name(name).is_some() || name.parse::<i32>().is_ok()
                }
                value => value
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok()),
            };
            (fits, format!("type.googleapis.com/{}", known.full_name()))
        }
        Kind::Bytes => {
            let decodes = |text: &str| {
                let text = text.trim_end_matches('=');
                let (standard, url) = (
                    STANDARD.decode(pad_base64(text)),
                    URL_SAFE.decode(pad_base64(text)),
                );
                standard.is_ok() || url.is_ok()
            };
            let fits = value.as_str().is_some_and(decodes);
            if let (false, Value::String(_)) = (fits, value) {
                let message = format!(
                    "Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for {value}"
                );
                return Err(GcpError::bad_field(path, message));
            }
            (fits, "TYPE_BYTES".to_owned())
        }
        Kind::String => (value.is_string(), "TYPE_STRING".to_owned()),
        Kind::Bool => (value.is_boolean(), "TYPE_BOOL".to_owned()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => (
            integer(value).is_some_and(|number| i32::try_from(number).is_ok()),
            "TYPE_INT32".to_owned(),
        ),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => (
            integer(value).is_some_and(|number| i64::try_from(number).is_ok()),
            "TYPE_INT64".to_owned(),
        ),
        // Messages of requests have no other map values.
        _ => return Ok(()),
    };
    if fits {
        Ok(())
    } else {
        Err(invalid(path, &name, value))
    }
}

fn pad_base64(text: &str) -> String {
    format!("{text}{}", "=".repeat(text.len().wrapping_neg() % 4))
}

/// Parses an integer, which may be a JSON string.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from)),
    }
}
