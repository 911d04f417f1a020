//! AWS KMS with `aws-sdk-kms`.

use std::time::Duration;

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::{Client, Config};
use kmslab_emulator::Emulator;

const YEAR: Duration = Duration::from_hours(366 * 24);

#[tokio::test]
async fn ciphertext_decrypts_after_a_yearly_rotation() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::builder().start().await?;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "example"))
        .endpoint_url(emulator.endpoint_url());
    let kms = Client::from_conf(config.build());

    let key = kms.create_key().send().await?.key_metadata.unwrap();
    let encrypted = kms
        .encrypt()
        .key_id(&key.key_id)
        .plaintext(Blob::new("hello"))
        .send()
        .await?;
    kms.enable_key_rotation().key_id(&key.key_id).send().await?;
    let moved = emulator.clock().advance(YEAR).await?;
    assert_eq!(moved.rotated, 1);
    let decrypted = kms
        .decrypt()
        .set_ciphertext_blob(encrypted.ciphertext_blob)
        .send()
        .await?;
    assert_eq!(decrypted.plaintext, Some(Blob::new("hello")));

    emulator.reset().await?;
    assert!(emulator.keys().await.rows.is_empty());
    emulator.stop().await;
    Ok(())
}
