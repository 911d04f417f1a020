//! The objects that scenarios write: Secrets, ConfigMaps and custom resources, each with its own
//! canary.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Canary;
use crate::cluster::{ObjectRef, Resource};
use crate::environment::Environment;

/// The API server's limit on the data of a Secret or ConfigMap, in bytes.
pub const MAX_DATA_BYTES: usize = 1 << 20;
/// Sizes in bytes of Secrets' data in the scenario `encrypt`: the smallest, around an AES block,
/// usual ones, the largest.
pub const SIZES: &[usize] = &[1, 15, 16, 17, 256, 4096, 100_000, MAX_DATA_BYTES];
/// Annotation that contains the canary, besides the data.
const ANNOTATION: &str = "kmslab.example.com/canary";

/// An object that was written, and the canary that must not be found.
#[derive(Debug, Clone)]
pub struct TestObject {
    /// Reference to the object.
    pub at: ObjectRef,
    /// In its data and in an annotation.
    pub canary: Canary,
    /// The API's response to its creation.
    pub created: Value,
}

/// The custom resource of kind-config/.
pub fn widgets() -> Resource {
    let [.., widgets] = Environment::resources();
    widgets
}

/// Its definition.
pub fn widget_definition() -> Value {
    let widgets = widgets();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": widgets.group_resource() },
        "spec": {
            "group": widgets.group,
            "scope": "Namespaced",
            "names": { "plural": widgets.plural, "singular": "widget", "kind": widgets.kind, "listKind": "WidgetList" },
            "versions": [{
                "name": widgets.version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "properties": { "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                } },
            }],
        },
    })
}

/// A namespace; its annotation is stored in plaintext and contains the canary that a search must
/// find.
pub fn namespace(name: &str, canary: &Canary) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "annotations": { ANNOTATION: canary.text() } },
    })
}

/// A Secret with one value of `size` bytes.
pub fn secret(namespace: &str, name: &str, size: usize, canary: &Canary) -> Value {
    let value = STANDARD.encode(fill(size, canary));
    object(
        &Resource::secrets(),
        namespace,
        name,
        canary,
        json!({ "type": "Opaque", "data": { "value": value } }),
    )
}

/// A ConfigMap with about `size` bytes of text.
pub fn config_map(namespace: &str, name: &str, size: usize, canary: &Canary) -> Value {
    let text = canary.text().repeat(size / canary.text().len() + 1);
    object(
        &Resource::config_maps(),
        namespace,
        name,
        canary,
        json!({ "data": { "value": text } }),
    )
}

/// A custom object.
pub fn widget(namespace: &str, name: &str, canary: &Canary) -> Value {
    object(
        &widgets(),
        namespace,
        name,
        canary,
        json!({ "spec": { "token": canary.text(), "replicas": 3 } }),
    )
}

fn object(resource: &Resource, namespace: &str, name: &str, canary: &Canary, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind,
        "metadata": { "name": name, "namespace": namespace, "annotations": { ANNOTATION: canary.text() } },
    });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

/// `size` bytes that repeat the canary.
fn fill(size: usize, canary: &Canary) -> Vec<u8> {
    canary.bytes().iter().copied().cycle().take(size).collect()
}

/// The content of an object that writes do not change: data, spec, type, labels and annotations,
/// byte for byte.
pub fn content(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for changing in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(changing);
        }
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_sizes_are_exact_and_within_the_api_limit() {
        let canary = Canary::new([7; 24]);
        for size in [1, 24, 100] {
            let secret = secret("n", "s", size, &canary);
            assert_eq!(
                STANDARD
                    .decode(secret["data"]["value"].as_str().unwrap())
                    .unwrap()
                    .len(),
                size
            );
        }
        assert_eq!(SIZES.last(), Some(&MAX_DATA_BYTES));
    }

    #[test]
    fn content_ignores_only_what_writes_change() {
        let mut object = json!({"metadata": {"name": "a", "resourceVersion": "1", "uid": "u"}, "data": {"k": "v"}});
        let before = content(&object);
        object["metadata"]["resourceVersion"] = "2".into();
        assert_eq!(content(&object), before);
        object["data"]["k"] = "w".into();
        assert_ne!(content(&object), before);
    }
}
