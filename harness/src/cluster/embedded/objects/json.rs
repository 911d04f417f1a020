//! JSON as the API server stores it: Go's encoding with sorted keys and HTML escapes.

use serde_json::{Map, Value};

/// The stored form of an object: compact, sorted keys, trailing newline.
pub(crate) fn stored(object: &Value) -> Vec<u8> {
    let mut out = compact(object);
    out.push(b'\n');
    out
}

/// Go's `json.Marshal` of a map.
pub(crate) fn compact(value: &Value) -> Vec<u8> {
    // Outside of strings, JSON contains none of these characters.
    let text = sorted(value).to_string();
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes())
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

/// The value with sorted keys, whichever map serde_json uses.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Go treats `null` as an absent field.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, value)| (k.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// `metadata` as a map, created if absent.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    section_mut(object, "metadata")
}

/// A field of an object as a map; any other value is replaced.
pub(crate) fn section_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    as_map(as_map(object).entry(field).or_insert(Value::Null))
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// A string in `metadata`, empty if absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stored_json_matches_go() {
        let object = json!({"spec": {"z": "<a&b>\u{2028}", "a": 1}, "apiVersion": "example.com/v1", "kind": "Widget"});
        let expected = "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Widget\",\"spec\":{\"a\":1,\"z\":\"\\u003ca\\u0026b\\u003e\\u2028\"}}\n";
        assert_eq!(String::from_utf8(stored(&object)).unwrap(), expected);
        assert_eq!(
            serde_json::from_slice::<Value>(&stored(&object)).unwrap(),
            object
        );
    }

    #[test]
    fn nulls_count_as_absent_fields() {
        assert_eq!(
            without_nulls(&json!({"a": null, "b": {"c": null, "d": [null]}})),
            json!({"b": {"d": [null]}})
        );
    }
}
