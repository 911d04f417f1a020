//! The vendor's SDK over HTTP and HTTPS, across moves of the lab clock, and as several callers.

use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use kmslab_emulator::Emulator;
use serde_json::json;

use crate::support::{admin, free_port, sdk, sdk_as, sdk_over_tls, started};

async fn new_key(client: &Client) -> String {
    client
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap()
}

async fn encrypted(client: &Client, key: &str) -> Blob {
    client
        .encrypt()
        .key_id(key)
        .plaintext(Blob::new("secret"))
        .send()
        .await
        .unwrap()
        .ciphertext_blob
        .unwrap()
}

async fn decrypted(client: &Client, blob: Blob) -> Vec<u8> {
    client
        .decrypt()
        .ciphertext_blob(blob)
        .send()
        .await
        .unwrap()
        .plaintext
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn ciphertext_made_over_http_decrypts_over_https() {
    let emulator = Emulator::builder()
        .tls_listen(free_port())
        .start()
        .await
        .unwrap();
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    let blob = encrypted(&client, &key).await;
    let ca = emulator.ca_pem().unwrap();
    assert_eq!(
        std::fs::read_to_string(emulator.ca_path().unwrap()).unwrap(),
        ca
    );
    assert_eq!(
        decrypted(&sdk_over_tls(&emulator, &ca), blob.clone()).await,
        b"secret"
    );
    assert_eq!(emulator.requests().outcome("Decrypt", "OK"), 1);

    let unknown_caller = Emulator::builder()
        .tls_listen(free_port())
        .start()
        .await
        .unwrap();
    let wrong_ca = sdk_over_tls(&emulator, &unknown_caller.ca_pem().unwrap());
    assert!(
        wrong_ca
            .decrypt()
            .ciphertext_blob(blob)
            .send()
            .await
            .is_err()
    );
    assert_eq!(emulator.requests().operation("Decrypt"), 1);
}

#[tokio::test]
async fn moving_the_lab_clock_keeps_clients_authenticated() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    client
        .enable_key_rotation()
        .key_id(&key)
        .rotation_period_in_days(90)
        .send()
        .await
        .unwrap();
    let blob = encrypted(&client, &key).await;
    let moved = admin(&emulator, "/clock", Some(r#"{"advance":"365d"}"#)).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(moved.json["rotated"], json!(4), "{}", moved.text);
    assert_eq!(decrypted(&client, blob).await, b"secret");
    let fresh = encrypted(&client, &key).await;
    assert_eq!(decrypted(&client, fresh).await, b"secret");
    assert_eq!(emulator.keys().await.rows.len(), 1);
}

#[tokio::test]
async fn key_is_deleted_after_its_waiting_period() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    let blob = encrypted(&client, &key).await;
    client
        .schedule_key_deletion()
        .key_id(&key)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    let days = |n: u64| Duration::from_secs(n * 86_400);
    emulator.clock().advance(days(6)).await.unwrap();
    assert!(client.describe_key().key_id(&key).send().await.is_ok());
    let moved = admin(&emulator, "/clock", Some(r#"{"advance":"2d"}"#)).await;
    assert_eq!(moved.json["deleted"], json!(1), "{}", moved.text);
    let error = client
        .describe_key()
        .key_id(&key)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_not_found_exception(), "{error:?}");
    assert!(client.decrypt().ciphertext_blob(blob).send().await.is_err());
    assert!(emulator.keys().await.rows.is_empty());
}

#[tokio::test]
async fn accounts_and_regions_are_isolated() {
    let emulator = Emulator::builder()
        .credential("AKIAOTHER", "secret/with+chars:", "111122223333")
        .start()
        .await
        .unwrap();
    let here = sdk(&emulator);
    let key = new_key(&here).await;
    let blob = encrypted(&here, &key).await;
    for elsewhere in [
        sdk_as(&emulator, "AKIAOTHER", "secret/with+chars:", "us-east-1"),
        sdk_as(&emulator, "test", "test", "eu-central-1"),
    ] {
        assert!(
            elsewhere
                .list_keys()
                .send()
                .await
                .unwrap()
                .keys()
                .is_empty()
        );
        assert!(
            elsewhere
                .decrypt()
                .ciphertext_blob(blob.clone())
                .send()
                .await
                .is_err()
        );
        new_key(&elsewhere).await;
        assert_eq!(elsewhere.list_keys().send().await.unwrap().keys().len(), 1);
    }
    assert_eq!(here.list_keys().send().await.unwrap().keys().len(), 1);
}
