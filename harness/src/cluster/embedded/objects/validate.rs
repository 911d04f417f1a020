//! Validation of the modelled kinds, with the messages of k8s.io/kubernetes v1.36.3
//! `pkg/apis/core/validation`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::super::Resource;
use super::json::meta;

/// Maximum total size in bytes of the values of a Secret or ConfigMap.
pub(crate) const MAX_DATA_BYTES: usize = 1024 * 1024;
/// Maximum lengths in bytes of a DNS name and of its labels (RFC 1123).
const MAX_DNS_NAME: usize = 253;
const MAX_DNS_LABEL: usize = 63;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
    with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
    alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DATA_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
    'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Validates a new object; returns upstream's messages.
pub(crate) fn create(resource: &Resource, object: &Value) -> Vec<String> {
    let mut faults = name(resource, meta(object, "name"));
    match resource.kind.as_str() {
        "Secret" if resource.group.is_empty() => {
            let size = data_size(object, "data", true, &mut faults);
            if size > MAX_DATA_BYTES {
                faults.push(too_long("data"));
            }
        }
        "ConfigMap" if resource.group.is_empty() => {
            let size = data_size(object, "data", false, &mut faults)
                + data_size(object, "binaryData", true, &mut faults);
            if size > MAX_DATA_BYTES {
                // Go prints the empty path, which means the whole object, as brackets.
                faults.push(too_long("[]"));
            }
        }
        "CustomResourceDefinition" => faults.extend(definition(object)),
        _ => {}
    }
    faults
}

/// Validates a CustomResourceDefinition, as far as serving its objects requires.
fn definition(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let mut faults = Vec::new();
    let required = [
        ("spec.group", &spec["group"]),
        ("spec.names.plural", &spec["names"]["plural"]),
        ("spec.names.kind", &spec["names"]["kind"]),
    ];
    for (path, value) in required {
        if value.as_str().unwrap_or_default().is_empty() {
            faults.push(format!("{path}: Required value"));
        }
    }
    let scope = spec["scope"].as_str().unwrap_or_default();
    if !["Cluster", "Namespaced"].contains(&scope) {
        faults.push(format!("spec.scope: Unsupported value: {scope:?}: supported values: \"Cluster\", \"Namespaced\""));
    }
    let versions = spec["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if versions
        .iter()
        .filter(|version| version["storage"] == true && version["name"].is_string())
        .count()
        != 1
    {
        faults.push(
            "spec.versions: Invalid value: must have exactly one version marked as storage version"
                .to_owned(),
        );
    }
    for (index, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            faults.push(format!("spec.versions[{index}].schema.openAPIV3Schema: Required value: schemas are required"));
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = meta(object, "name");
    if name
        != format!(
            "{}.{}",
            text(&spec["names"]["plural"]),
            text(&spec["group"])
        )
    {
        faults.push(format!(
            "metadata.name: Invalid value: {name:?}: must be spec.names.plural+\".\"+spec.group"
        ));
    }
    faults
}

/// Validates an update; returns upstream's messages.
pub(crate) fn update(resource: &Resource, object: &Value, old: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if resource.group.is_empty() && resource.kind == "Secret" && object["type"] != old["type"] {
        let new = object["type"].as_str().unwrap_or_default();
        faults.push(format!("type: Invalid value: {new:?}: field is immutable"));
    }
    if resource.group.is_empty() && old["immutable"] == true {
        let mut fixed = |field: &str, changed: bool| {
            if changed {
                faults.push(format!(
                    "{field}: Forbidden: field is immutable when `immutable` is set"
                ));
            }
        };
        fixed("immutable", object["immutable"] != true);
        fixed("data", object["data"] != old["data"]);
        fixed("binaryData", object["binaryData"] != old["binaryData"]);
    }
    faults.extend(create(resource, object));
    faults
}

fn too_long(path: &str) -> String {
    format!("{path}: Too long: may not be more than {MAX_DATA_BYTES} bytes")
}

/// Checks the keys in `field` and returns the total size of the values.
fn data_size(object: &Value, field: &str, base64: bool, faults: &mut Vec<String>) -> usize {
    let Some(data) = object[field].as_object() else {
        return 0;
    };
    for key in data.keys() {
        faults.extend(
            data_key(key)
                .into_iter()
                .map(|fault| format!("{field}[{key}]: Invalid value: {key:?}: {fault}")),
        );
    }
    let texts = data.values().filter_map(Value::as_str);
    if base64 {
        texts
            .map(|text| STANDARD.decode(text).map_or(0, |b| b.len()))
            .sum()
    } else {
        texts.map(str::len).sum()
    }
}

fn data_key(key: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if key.len() > MAX_DNS_NAME {
        faults.push(format!("must be no more than {MAX_DNS_NAME} characters"));
    }
    if key.is_empty()
        || !key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    {
        faults.push(DATA_KEY.to_owned());
    }
    match key {
        "." | ".." => faults.push(format!("must not be '{key}'")),
        key if key.starts_with("..") => faults.push("must not start with '..'".to_owned()),
        _ => {}
    }
    faults
}

fn name(resource: &Resource, name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["metadata.name: Required value: name or generateName is required".to_owned()];
    }
    let namespace = resource.group.is_empty() && resource.kind == "Namespace";
    let (limit, well_formed, words) = if namespace {
        (MAX_DNS_LABEL, is_label(name), LABEL)
    } else {
        (MAX_DNS_NAME, name.split('.').all(is_label), SUBDOMAIN)
    };
    let mut faults = Vec::new();
    if name.len() > limit {
        faults.push(format!(
            "metadata.name: Invalid value: {name:?}: must be no more than {limit} characters"
        ));
    }
    if !well_formed {
        faults.push(format!("metadata.name: Invalid value: {name:?}: {words}"));
    }
    faults
}

/// Matches `[a-z0-9]([-a-z0-9]*[a-z0-9])?`.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if inner(*first) && inner(*last))
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(data: Value) -> Value {
        json!({"metadata": {"name": "s"}, "type": "Opaque", "data": data})
    }

    #[test]
    fn secret_data_is_limited_to_one_mebibyte() {
        let fits = secret(json!({"a": STANDARD.encode(vec![0; MAX_DATA_BYTES])}));
        assert_eq!(create(&Resource::secrets(), &fits), Vec::<String>::new());
        let over = secret(
            json!({"a": STANDARD.encode(vec![0; MAX_DATA_BYTES]), "b": STANDARD.encode([0])}),
        );
        assert_eq!(
            create(&Resource::secrets(), &over),
            ["data: Too long: may not be more than 1048576 bytes"]
        );
        let text =
            json!({"metadata": {"name": "c"}, "data": {"a": "x".repeat(MAX_DATA_BYTES + 1)}});
        assert_eq!(
            create(&Resource::config_maps(), &text),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn object_names_and_data_keys_are_validated() {
        let faults =
            |name: &str| create(&Resource::secrets(), &json!({"metadata": {"name": name}}));
        assert!(faults("a.b-c.1").is_empty());
        assert!(faults("Upper")[0].starts_with(
            "metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain"
        ));
        assert_eq!(
            faults(""),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert!(
            create(
                &Resource::namespaces(),
                &json!({"metadata": {"name": "a.b"}})
            )[0]
            .contains("RFC 1123 label")
        );
        assert_eq!(
            create(
                &Resource::secrets(),
                &secret(json!({"tls.crt": "", "A_b-1": ""}))
            ),
            Vec::<String>::new()
        );
        assert!(
            create(&Resource::secrets(), &secret(json!({"a/b": ""})))[0]
                .starts_with("data[a/b]: Invalid value: \"a/b\": ")
        );
        assert_eq!(
            create(&Resource::secrets(), &secret(json!({"..a": ""}))),
            ["data[..a]: Invalid value: \"..a\": must not start with '..'"]
        );
    }

    #[test]
    fn immutable_objects_cannot_change() {
        let mut old = secret(json!({"a": "YQ=="}));
        old["immutable"] = true.into();
        assert!(update(&Resource::secrets(), &old, &old).is_empty());
        let mut new = secret(json!({"a": "Yg=="}));
        new["type"] = "other".into();
        assert_eq!(
            update(&Resource::secrets(), &new, &old),
            [
                "type: Invalid value: \"other\": field is immutable",
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
    }
}
