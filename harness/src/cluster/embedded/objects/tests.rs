//! Stored bytes compared with Kubernetes' own marshaller.

use serde_json::json;

use super::*;

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// Written by hand from the marshaller's rules: all scalars are present, even empty ones, and maps
/// are sorted.
#[test]
fn stored_secret_matches_kubernetes() {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"b": "", "a": "AQI="},
        "metadata": {"name": "s", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"k": ""}}
    });
    // 1767225600 s, 0 ns.
    let time = [0x08, 0x80, 0xf2, 0xd6, 0xca, 0x06, 0x10, 0x00];
    let metadata = [
        field(0x0a, b"s"),
        field(0x12, b""),
        field(0x1a, b"ns"),
        field(0x22, b""),
        field(0x2a, b"u"),
        field(0x32, b""),
        vec![0x38, 0],
        field(0x42, &time),
        field(0x5a, &[field(0x0a, b"k"), field(0x12, b"")].concat()),
    ]
    .concat();
    let secret = [
        field(0x0a, &metadata),
        field(0x12, &[field(0x0a, b"a"), field(0x12, &[1, 2])].concat()),
        field(0x12, &[field(0x0a, b"b"), field(0x12, b"")].concat()),
        field(0x1a, b"Opaque"),
    ]
    .concat();
    let type_meta = field(0x0a, &[field(0x0a, b"v1"), field(0x12, b"Secret")].concat());
    let expected = [
        b"k8s\0".to_vec(),
        type_meta,
        field(0x12, &secret),
        field(0x1a, b""),
        field(0x22, b""),
    ]
    .concat();
    let stored = encode(&Resource::secrets(), &object).unwrap();
    assert_eq!(hex::encode(&stored), hex::encode(&expected));
    assert_eq!(decode(&stored).unwrap(), object);
}

/// Bytes that Kubernetes' marshaller wrote; the fixture says how.
#[test]
fn stored_bytes_match_kubernetes_marshaller() {
    let file: Value = serde_json::from_str(include_str!("testdata/marshalled.json")).unwrap();
    for value in file["values"].as_array().unwrap() {
        let object = &value["object"];
        let all = [
            Resource::secrets(),
            Resource::config_maps(),
            Resource::namespaces(),
        ];
        let resource = all
            .into_iter()
            .find(|resource| object["kind"] == resource.kind.as_str())
            .unwrap();
        let stored = encode(&resource, object).unwrap();
        assert_eq!(hex::encode(&stored), value["stored"]);
        assert_eq!(decode(&stored).unwrap(), *object);
    }
}

#[test]
fn config_maps_namespaces_and_managed_fields_round_trip() {
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "x"}, "binaryData": {"bytes": "AAE="}, "immutable": false,
        "metadata": {
            "name": "c", "namespace": "ns", "finalizers": ["example.com/f"], "annotations": {"a.b/c": "d"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "u", "controller": true}],
            "managedFields": [{
                "manager": "kubectl", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:text": {}}}
            }]
        }
    });
    assert_eq!(
        decode(&encode(&Resource::config_maps(), &config_map).unwrap()).unwrap(),
        config_map
    );
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}
    });
    assert_eq!(
        decode(&encode(&Resource::namespaces(), &namespace).unwrap()).unwrap(),
        namespace
    );
}

#[test]
fn normalising_drops_unknown_fields_of_typed_objects_only() {
    let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"x": [1, null]}});
    assert_eq!(decode(&encode(&widgets, &widget).unwrap()).unwrap(), widget);
    let requested = json!({"metadata": {"name": "s", "odd": 1}, "data": null, "more": {}});
    assert_eq!(
        normalise(&Resource::secrets(), &requested).unwrap(),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    );
    let err = normalise(
        &Resource::secrets(),
        &json!({"data": {"a": "no base64: hunter2"}}),
    )
    .unwrap_err();
    assert!(
        err.contains("illegal base64 data") && !err.contains("hunter2"),
        "{err}"
    );
}

#[test]
fn bytes_that_are_not_an_object_are_an_error() {
    for bytes in [
        &b""[..],
        b"k8s\0",
        b"k8s\0\xff\xff",
        b"[]",
        b"7",
        b"{",
        b"k8s:enc:kms:v2:p:x",
    ] {
        decode(bytes).unwrap_err();
    }
}
