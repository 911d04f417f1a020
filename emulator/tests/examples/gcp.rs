//! Google Cloud KMS with `google-cloud-kms-v1`, as the service account that may do everything.

use google_cloud_auth::credentials::service_account;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::{CryptoKey, KeyRing};
use kmslab_emulator::Emulator;
use kmslab_emulator::well_known::GCP_TOKEN_URI;

const LOCATION: &str = "projects/example/locations/us-east1";

#[tokio::test]
async fn ciphertext_decrypts_with_the_key() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let emulator = Emulator::builder().start().await?;
    let key_file = emulator.gcp_owner();
    let key_file = serde_json::from_str(&key_file.json(GCP_TOKEN_URI))?;
    let kms = KeyManagementService::builder()
        .with_endpoint(emulator.endpoint_url())
        .with_credentials(service_account::Builder::new(key_file).build()?)
        .build()
        .await?;

    let ring = kms
        .create_key_ring()
        .set_parent(LOCATION)
        .set_key_ring_id("ring")
        .set_key_ring(KeyRing::new())
        .send()
        .await?;
    let key = kms
        .create_crypto_key()
        .set_parent(ring.name)
        .set_crypto_key_id("key")
        .set_crypto_key(CryptoKey::new().set_purpose(CryptoKeyPurpose::EncryptDecrypt))
        .send()
        .await?;
    let encrypted = kms
        .encrypt()
        .set_name(&key.name)
        .set_plaintext("hello")
        .send()
        .await?;
    let decrypted = kms
        .decrypt()
        .set_name(&key.name)
        .set_ciphertext(encrypted.ciphertext)
        .send()
        .await?;
    assert_eq!(decrypted.plaintext, "hello");
    emulator.stop().await;
    Ok(())
}
