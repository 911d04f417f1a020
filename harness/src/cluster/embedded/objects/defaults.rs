//! What the API server adds to an object: system metadata, defaults, status.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::super::Resource;
use super::json::{meta, metadata_mut};

/// Label on every namespace with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Fields of `metadata` that clients cannot set.
const SYSTEM_FIELDS: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "resourceVersion",
];

/// Whether the API server counts changes of `spec` in `metadata.generation`.
fn has_generation(resource: &Resource) -> bool {
    !resource.group.is_empty()
}

/// A new object as it is stored.
pub(crate) fn create(resource: &Resource, mut object: Value, uid: String, now: String) -> Value {
    let metadata = metadata_mut(&mut object);
    for field in SYSTEM_FIELDS {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), now.clone().into());
    if has_generation(resource) {
        metadata.insert("generation".into(), 1.into());
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Secret") => secret(&mut object),
        ("", "Namespace") => namespace(&mut object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&mut object, &now),
        _ => {}
    }
    object
}

/// An updated object as it is stored; fields that clients cannot change come from the old one.
pub(crate) fn update(resource: &Resource, mut object: Value, old: &Value) -> Value {
    let old_metadata = old["metadata"].as_object().cloned().unwrap_or_default();
    let metadata = metadata_mut(&mut object);
    let kept = |metadata: &mut Map<String, Value>, field: &str| match old_metadata.get(field) {
        Some(value) => metadata.insert(field.into(), value.clone()),
        None => metadata.remove(field),
    };
    for field in SYSTEM_FIELDS {
        kept(metadata, field);
    }
    // A client that sends none leaves them unchanged.
    for field in ["managedFields", "generateName"] {
        if !metadata.contains_key(field) {
            kept(metadata, field);
        }
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Secret") => secret(&mut object),
        ("", "Namespace") => {
            object["spec"] = old["spec"].clone();
            object["status"] = old["status"].clone();
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            object["status"] = old["status"].clone()
        }
        _ => {}
    }
    if has_generation(resource) && object["spec"] != old["spec"] {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        metadata_mut(&mut object).insert("generation".into(), generation.saturating_add(1).into());
    }
    object
}

/// Merges `stringData` into `data`; the default type is Opaque.
fn secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        for (key, text) in texts {
            data[key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
        }
    }
    let kind = map.entry("type").or_insert_with(|| "".into());
    if *kind == "" {
        *kind = "Opaque".into();
    }
}

fn namespace(object: &mut Value) {
    let name = meta(object, "name").to_owned();
    object["metadata"]["labels"][NAME_LABEL] = name.into();
    object["spec"] = json!({"finalizers": ["kubernetes"]});
    object["status"] = json!({"phase": "Active"});
}

/// Optional names, and the status that the definition's controllers would set a moment later.
fn definition(object: &mut Value, now: &str) {
    let spec = &mut object["spec"];
    let kind = spec["names"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for (field, value) in [
        ("singular", kind.to_lowercase()),
        ("listKind", format!("{kind}List")),
    ] {
        if spec["names"][field].is_null() && spec["names"].is_object() {
            spec["names"][field] = value.into();
        }
    }
    if spec["conversion"].is_null() && spec.is_object() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    object["status"] = json!({
        "acceptedNames": object["spec"]["names"],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": storage_version(object).map(|version| vec![version]),
    });
}

/// The version in which a CustomResourceDefinition's objects are stored.
pub(crate) fn storage_version(definition: &Value) -> Option<&str> {
    let versions = definition["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["storage"] == true)?["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_secret_has_a_type_and_no_string_data() {
        let requested = json!({"metadata": {"name": "s", "uid": "mine"}, "data": {"a": "YQ=="}, "stringData": {"a": "b", "c": "d"}});
        let created = create(
            &Resource::secrets(),
            requested,
            "u".into(),
            "2026-01-01T00:00:00Z".into(),
        );
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="},
            "metadata": {"name": "s", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
        });
        assert_eq!(created, expected);
    }

    #[test]
    fn update_keeps_system_fields() {
        let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
        let old = create(
            &widgets,
            json!({"metadata": {"name": "w"}, "spec": {"a": 1}}),
            "u".into(),
            "2026-01-01T00:00:00Z".into(),
        );
        let same = update(
            &widgets,
            json!({"metadata": {"name": "w", "resourceVersion": "7"}, "spec": {"a": 1}}),
            &old,
        );
        assert_eq!(same, old);
        let changed = update(
            &widgets,
            json!({"metadata": {"name": "w", "uid": "u2"}, "spec": {"a": 2}}),
            &old,
        );
        assert_eq!(
            (
                &changed["metadata"]["generation"],
                &changed["metadata"]["uid"]
            ),
            (&json!(2), &json!("u"))
        );
    }

    #[test]
    fn arbitrary_definitions_never_panic() {
        for spec in [
            json!(null),
            json!("text"),
            json!({"names": 7, "versions": {}}),
            json!({"names": {"kind": 1}}),
        ] {
            create(
                &Resource::crds(),
                json!({"metadata": {"name": "x"}, "spec": spec}),
                String::new(),
                String::new(),
            );
        }
    }
}
