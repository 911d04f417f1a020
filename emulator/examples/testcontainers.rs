//! Starts the emulator in a container, as a test of a KMS client does. Needs `kmslab assets image`
//! once; then `cargo run -p kmslab-emulator --features testcontainers --example testcontainers`.

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::primitives::Blob;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = kmslab_emulator::testcontainers::start().await?;
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "example"))
        .endpoint_url(emulator.endpoint_url());
    let kms = aws_sdk_kms::Client::from_conf(config.build());

    let key = kms.create_key().send().await?;
    let key = key
        .key_metadata()
        .map(|key| key.key_id())
        .ok_or("CreateKey named no key")?
        .to_owned();
    let sealed = kms
        .encrypt()
        .key_id(&key)
        .plaintext(Blob::new("hello"))
        .send()
        .await?;
    let opened = kms
        .decrypt()
        .set_ciphertext_blob(sealed.ciphertext_blob)
        .send()
        .await?;
    assert_eq!(opened.plaintext().map(AsRef::as_ref), Some(&b"hello"[..]));
    println!(
        "encrypted and decrypted with {key} at {}",
        emulator.endpoint_url()
    );
    Ok(())
}
