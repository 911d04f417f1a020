//! Deletion in Cloud KMS: destroyed versions, then empty keys, whose names stay in use.

use kmslab_emulator::Emulator;
use serde_json::{Value, json};

use crate::gcp_rest::{RING, rest, with_key};
use crate::support::admin;

async fn call(
    emulator: &Emulator,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let answer = rest(emulator, Some(token), method, &format!("/v1/{path}"), body).await;
    (answer.status, answer.json)
}

#[tokio::test]
async fn key_without_versions_is_deleted_and_its_name_is_retired() {
    let (emulator, token) = with_key().await;
    let key = format!("{RING}/cryptoKeys/k");
    let version = |number: u32| format!("{key}/cryptoKeyVersions/{number}");
    let go = async |method: &str, path: &str, body: Value| {
        call(&emulator, &token, method, path, body).await
    };

    let (status, rejected) = go("DELETE", &version(1), Value::Null).await;
    assert_eq!(
        (status, &rejected["error"]["status"]),
        (400, &json!("FAILED_PRECONDITION"))
    );
    assert!(
        rejected["error"]["message"]
            .as_str()
            .unwrap()
            .contains("current state is: ENABLED"),
        "{rejected}"
    );
    let (status, rejected) = go("DELETE", &key, Value::Null).await;
    assert_eq!(
        (status, &rejected["error"]["status"]),
        (400, &json!("FAILED_PRECONDITION"))
    );

    assert_eq!(
        go("POST", &format!("{}:destroy", version(1)), json!({}))
            .await
            .0,
        200
    );
    admin(&emulator, "/clock", Some(r#"{"advance":"744h"}"#)).await;
    let (status, done) = go("DELETE", &version(1), Value::Null).await;
    assert_eq!((status, &done["done"]), (200, &json!(true)), "{done}");
    assert_eq!(
        done["response"]["@type"],
        "type.googleapis.com/google.protobuf.Empty"
    );
    assert_eq!(
        done["metadata"]["@type"],
        "type.googleapis.com/google.cloud.kms.v1.DeleteCryptoKeyVersionMetadata"
    );
    assert_eq!(
        go("GET", done["name"].as_str().unwrap(), Value::Null).await,
        (200, done)
    );
    assert_eq!(go("GET", &version(1), Value::Null).await.0, 404);
    // Its number is not given out again.
    let (_, created) = go("POST", &format!("{key}/cryptoKeyVersions"), json!({})).await;
    assert_eq!(created["name"], version(2));
    assert_eq!(go("GET", &key, Value::Null).await.1.get("primary"), None);

    assert_eq!(
        go("POST", &format!("{}:destroy", version(2)), json!({}))
            .await
            .0,
        200
    );
    admin(&emulator, "/clock", Some(r#"{"advance":"744h"}"#)).await;
    assert_eq!(go("DELETE", &version(2), Value::Null).await.0, 200);
    let (status, done) = go("DELETE", &key, Value::Null).await;
    assert_eq!((status, &done["done"]), (200, &json!(true)), "{done}");
    assert_eq!(go("GET", &key, Value::Null).await.0, 404);

    let record = done["metadata"]["retiredResource"].as_str().unwrap();
    assert!(
        record.starts_with("projects/p/locations/us-east1/retiredResources/"),
        "{record}"
    );
    let (_, displayed) = go("GET", record, Value::Null).await;
    assert_eq!(
        (&displayed["originalResource"], &displayed["resourceType"]),
        (&json!(key), &json!("cloudkms.googleapis.com/CryptoKey"))
    );
    let (_, all) = go(
        "GET",
        "projects/p/locations/us-east1/retiredResources",
        Value::Null,
    )
    .await;
    assert_eq!(
        all,
        json!({ "retiredResources": [displayed], "totalSize": "1" })
    );
    let (_, none) = go(
        "GET",
        "projects/p/locations/us-east4/retiredResources",
        Value::Null,
    )
    .await;
    assert_eq!(none.get("retiredResources"), None);

    let again = format!("{RING}/cryptoKeys?cryptoKeyId=k");
    let (status, taken) = go("POST", &again, json!({ "purpose": "ENCRYPT_DECRYPT" })).await;
    assert_eq!(
        (status, &taken["error"]["status"]),
        (409, &json!("ALREADY_EXISTS"))
    );
}
