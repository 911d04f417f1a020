//! The API apart from encryption: which requests are rejected, and how.

use proptest::prelude::*;

use super::*;

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]
        }
    })
}

#[tokio::test]
async fn secret_is_created_updated_and_deleted() {
    let lab = Lab::new().await;
    let created = lab.create("s").await.unwrap();
    assert_eq!(
        (&created["type"], &created["data"]["password"]),
        (&json!("Opaque"), &json!("Y2FuYXJ5LTdmM2E="))
    );
    assert_eq!(
        created["metadata"]["creationTimestamp"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(created["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert_eq!(lab.api().get(&at("s")).await.unwrap(), created);
    assert_eq!(
        lab.api()
            .list(&Resource::secrets(), Some("default"))
            .await
            .unwrap(),
        vec![created.clone()]
    );
    assert_eq!(
        lab.api()
            .list(&Resource::secrets(), Some("kube-system"))
            .await
            .unwrap(),
        Vec::<Value>::new()
    );

    let err = lab.create("s").await.unwrap_err();
    assert_eq!(
        (err.status, err.reason.as_str(), err.message.as_str()),
        (409, "AlreadyExists", "secrets \"s\" already exists")
    );

    let mut changed = created.clone();
    changed["data"]["more"] = "AA==".into();
    let changed = lab.api().replace(&changed).await.unwrap();
    assert_eq!(changed["metadata"]["uid"], created["metadata"]["uid"]);
    let err = lab.api().replace(&created).await.unwrap_err();
    assert_eq!((err.status, err.reason.as_str()), (409, "Conflict"));
    // Without a resourceVersion the last write wins.
    lab.api().replace(&secret("s")).await.unwrap();
    let mut other = secret("s");
    other["metadata"]["uid"] = "other".into();
    assert!(
        lab.api()
            .replace(&other)
            .await
            .unwrap_err()
            .message
            .contains("Precondition failed: UID in precondition: other")
    );

    lab.api().delete(&at("s")).await.unwrap();
    for err in [
        lab.api().get(&at("s")).await.unwrap_err(),
        lab.api().delete(&at("s")).await.unwrap_err(),
    ] {
        assert_eq!(
            (err.status, err.reason.as_str(), err.message.as_str()),
            (404, "NotFound", "secrets \"s\" not found")
        );
    }
    assert_eq!(
        lab.api().replace(&secret("s")).await.unwrap_err().status,
        404
    );
}

#[tokio::test]
async fn invalid_objects_are_rejected() {
    let lab = Lab::new().await;
    let mut big = secret("big");
    big["stringData"]["password"] = "x".repeat(1024 * 1024 + 1).into();
    let err = lab.api().create(&big).await.unwrap_err();
    let expected = "Secret \"big\" is invalid: data: Too long: may not be more than 1048576 bytes";
    assert_eq!(
        (err.status, err.reason.as_str(), err.message.as_str()),
        (422, "Invalid", expected)
    );
    big["stringData"]["password"] = "x".repeat(3 * 1024 * 1024).into();
    assert_eq!(
        lab.api().create(&big).await.unwrap_err().message,
        "Request entity too large: limit is 3145728"
    );
    assert_eq!(lab.create("Upper").await.unwrap_err().status, 422);

    let mut lost = secret("s");
    lost["metadata"]["namespace"] = "nowhere".into();
    assert_eq!(
        lab.api().create(&lost).await.unwrap_err().message,
        "namespaces \"nowhere\" not found"
    );
    lost["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("namespace");
    assert_eq!(lab.api().create(&lost).await.unwrap_err().status, 405);
    let mut versioned = secret("s");
    versioned["metadata"]["resourceVersion"] = "7".into();
    assert_eq!(
        lab.api().create(&versioned).await.unwrap_err().message,
        "resourceVersion should not be set on objects to be created"
    );
    let mut no_base64 = secret("s");
    no_base64["data"] = json!({"a": "?"});
    assert_eq!(lab.api().create(&no_base64).await.unwrap_err().status, 400);
    for odd in [
        json!(null),
        json!([]),
        json!({"kind": "Secret"}),
        json!({"apiVersion": "v1", "kind": "Pod"}),
    ] {
        assert_eq!(lab.api().create(&odd).await.unwrap_err().status, 404);
    }
    for odd in [
        json!({"metadata": 7}),
        json!({"metadata": {"labels": []}}),
        json!({"data": "x"}),
    ] {
        let mut object = odd;
        object["apiVersion"] = "v1".into();
        object["kind"] = "Secret".into();
        assert_eq!(lab.api().create(&object).await.unwrap_err().status, 400);
    }
}

#[tokio::test]
async fn names_are_generated_and_immutable_is_enforced() {
    let lab = Lab::new().await;
    let mut object = secret("");
    object["metadata"]["generateName"] = "s-".into();
    object["immutable"] = true.into();
    let mut created = lab.api().create(&object).await.unwrap();
    let name = created["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("s-") && name.len() == 7);
    created["data"]["password"] = "AA==".into();
    let err = lab.api().replace(&created).await.unwrap_err();
    assert_eq!(
        err.message,
        format!(
            "Secret \"{name}\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
        )
    );
}

#[tokio::test]
async fn terminating_namespace_rejects_new_objects() {
    let lab = Lab::new().await;
    let namespace = |name: &str| ObjectRef::new(Resource::namespaces(), None, name);
    let created = lab
        .api()
        .create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}))
        .await
        .unwrap();
    assert_eq!(
        created["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "team"})
    );
    assert_eq!(
        (&created["spec"], &created["status"]),
        (
            &json!({"finalizers": ["kubernetes"]}),
            &json!({"phase": "Active"})
        )
    );
    lab.api().delete(&namespace("team")).await.unwrap();
    assert_eq!(
        lab.api().get(&namespace("team")).await.unwrap()["status"]["phase"],
        "Terminating"
    );
    assert_eq!(
        lab.api()
            .delete(&namespace("team"))
            .await
            .unwrap_err()
            .status,
        409
    );
    let mut late = secret("s");
    late["metadata"]["namespace"] = "team".into();
    let err = lab.api().create(&late).await.unwrap_err();
    let expected = "secrets \"s\" is forbidden: unable to create new content in namespace team because it is being terminated";
    assert_eq!((err.status, err.message.as_str()), (403, expected));
    let err = lab.api().delete(&namespace("default")).await.unwrap_err();
    assert_eq!(
        err.message,
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test]
async fn finalizer_delays_deletion() {
    let lab = Lab::new().await;
    let mut object = secret("s");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    lab.api().create(&object).await.unwrap();
    lab.api().delete(&at("s")).await.unwrap();
    let mut held = lab.api().get(&at("s")).await.unwrap();
    assert_eq!(
        held["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:00Z"
    );
    held["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("finalizers");
    lab.api().replace(&held).await.unwrap();
    assert_eq!(lab.api().get(&at("s")).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn custom_resources_are_served_and_encrypted_as_json() {
    let lab =
        Lab::with(|config| config.encryption.resources = vec!["widgets.example.com".into()]).await;
    let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}, "spec": {"text": "canary-<9>"}
    });
    assert_eq!(
        lab.api().create(&widget).await.unwrap_err().message,
        "the server could not find the requested resource"
    );
    assert_eq!(
        lab.api().list(&widgets, None).await.unwrap_err().status,
        404
    );
    let created = lab.api().create(&definition()).await.unwrap();
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    let mut other = definition();
    other["metadata"]["name"] = "gadgets.example.com".into();
    assert!(
        lab.api()
            .create(&other)
            .await
            .unwrap_err()
            .message
            .contains("must be spec.names.plural+\".\"+spec.group")
    );

    let created = lab.api().create(&widget).await.unwrap();
    assert_eq!(created["metadata"]["generation"], 1);
    let at = ObjectRef::from_object(&widgets, &created).unwrap();
    assert_eq!(at.etcd_key(), "/registry/example.com/widgets/default/w");
    let plaintext = String::from_utf8(lab.plaintext(&at).await).unwrap();
    assert!(
        plaintext.starts_with(r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"#),
        "{plaintext}"
    );
    assert!(
        plaintext.ends_with("\"spec\":{\"text\":\"canary-\\u003c9\\u003e\"}}\n"),
        "{plaintext}"
    );
    assert!(!has(&lab.etcd().database().await.unwrap(), "canary"));

    let mut changed = created.clone();
    changed["spec"]["text"] = "other".into();
    let changed = lab.api().replace(&changed).await.unwrap();
    assert_eq!(changed["metadata"]["generation"], 2);
    let mut unconditional = widget.clone();
    unconditional["spec"]["text"] = "third".into();
    assert!(
        lab.api()
            .replace(&unconditional)
            .await
            .unwrap_err()
            .message
            .contains("must be specified for an update")
    );
    assert_eq!(lab.api().touch(&at).await.unwrap(), revision(&changed));
    lab.api()
        .delete(&ObjectRef::new(
            Resource::crds(),
            None,
            "widgets.example.com",
        ))
        .await
        .unwrap();
    assert!(lab.etcd().get(&at.etcd_key()).await.unwrap().is_none());
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "metadata",
        "name",
        "finalizers",
        "labels",
        "spec",
        "status",
        "names",
        "versions",
        "group",
        "kind",
        "data",
        "type",
        "Secret",
        "v1",
        "apiVersion",
        "uid",
        "immutable",
        "deletionTimestamp",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        word.clone().prop_map(Into::into)
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let map = prop::collection::vec((word.clone(), inner.clone()), 0..5);
        let map = map.prop_map(|entries| {
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()
        });
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::Array),
            map.prop_map(Value::Object)
        ]
    })
}

/// Any request gets a response, whatever another writer left in etcd.
#[test]
fn parsing_arbitrary_input_never_panics() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lab = runtime.block_on(async {
        let lab = Lab::new().await;
        lab.api().create(&definition()).await.unwrap();
        lab
    });
    let resources = vec![
        Resource::secrets(),
        Resource::namespaces(),
        Resource::crds(),
        Resource::new("example.com", "v1", "widgets", "Widget", true),
    ];
    let cases = (
        prop::sample::select(resources),
        any_json(),
        prop::collection::vec(any::<u8>(), 0..64),
        0..3_u8,
    );
    proptest!(|((resource, mut object, bytes, form) in cases)| runtime.block_on(async {
        let at = ObjectRef::new(resource.clone(), resource.namespaced.then_some("default"), "x");
        let stored = match form {
            0 => bytes,
            1 => [b"k8s\0".to_vec(), bytes].concat(),
            _ => object.to_string().into_bytes(),
        };
        lab.etcd().put(&at.etcd_key(), &stored).await.unwrap();
        let _ = lab.api().list(&resource, None).await;
        let _ = lab.api().touch(&at).await;
        if let Ok(got) = lab.api().get(&at).await {
            let _ = lab.api().replace(&got).await;
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".into(), resource.api_version().into());
            map.insert("kind".into(), resource.kind.clone().into());
        }
        let _ = lab.api().replace(&object).await;
        let _ = lab.api().create(&object).await;
        let _ = lab.api().delete(&at).await;
        lab.etcd().delete(&at.etcd_key()).await.unwrap();
    }));
}
