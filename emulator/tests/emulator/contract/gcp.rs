//! Google Cloud KMS: keys of one key ring, whose versions are enabled and destroyed one by one.

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::CryptoKeyVersionState as State;
use google_cloud_kms_v1::model::{CryptoKey, CryptoKeyVersion, KeyRing};
use kmslab_emulator::Emulator;

use super::{Front, Refusal, Sealed};
use crate::gcp_sdk::owner;

const LOCATION: &str = "projects/p/locations/global";
const RING: &str = "contract";

struct Gcp(KeyManagementService);

pub(super) fn connect(emulator: &Emulator) -> BoxFuture<'_, Box<dyn Front>> {
    async {
        let client = owner(emulator).await;
        let ring = client
            .create_key_ring()
            .set_parent(LOCATION)
            .set_key_ring_id(RING)
            .set_key_ring(KeyRing::new());
        ring.send().await.unwrap();
        Box::new(Gcp(client)) as Box<dyn Front>
    }
    .boxed()
}

fn ring() -> String {
    format!("{LOCATION}/keyRings/{RING}")
}

fn key(name: &str) -> String {
    format!("{}/cryptoKeys/{name}", ring())
}

fn meaning(error: &google_cloud_gax::error::Error) -> Refusal {
    let status = error.status().unwrap_or_else(|| panic!("{error:?}"));
    match status.code {
        Code::FailedPrecondition if status.message.contains("DISABLED") => Refusal::Disabled,
        Code::FailedPrecondition if status.message.contains("DESTROY") => Refusal::Gone,
        Code::InvalidArgument => Refusal::Corrupt,
        _ => panic!("{error:?}"),
    }
}

impl Gcp {
    async fn versions(&self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut versions = self
            .0
            .list_crypto_key_versions()
            .set_parent(key(name))
            .by_item();
        while let Some(version) = versions.next().await {
            all.push(version.unwrap().name);
        }
        all
    }

    async fn set(&self, version: &str, state: State) {
        let changed = CryptoKeyVersion::new().set_name(version).set_state(state);
        let mask = google_cloud_wkt::FieldMask::default().set_paths(["state"]);
        self.0
            .update_crypto_key_version()
            .set_crypto_key_version(changed)
            .set_update_mask(mask)
            .send()
            .await
            .unwrap();
    }
}

#[async_trait]
impl Front for Gcp {
    async fn create(&self, name: &str) {
        let created = CryptoKey::new().set_purpose(CryptoKeyPurpose::EncryptDecrypt);
        let create = self
            .0
            .create_crypto_key()
            .set_parent(ring())
            .set_crypto_key_id(name)
            .set_crypto_key(created);
        create.send().await.unwrap();
    }

    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Result<Sealed, Refusal> {
        let encrypted = self
            .0
            .encrypt()
            .set_name(key(name))
            .set_plaintext(plaintext.to_vec())
            .send()
            .await;
        let encrypted = encrypted.map_err(|error| meaning(&error))?;
        Ok(Sealed {
            ciphertext: encrypted.ciphertext.to_vec(),
            version: encrypted.name,
        })
    }

    async fn decrypt(&self, name: &str, encrypted: &Sealed) -> Result<Vec<u8>, Refusal> {
        let decrypted = self
            .0
            .decrypt()
            .set_name(key(name))
            .set_ciphertext(encrypted.ciphertext.clone())
            .send()
            .await;
        Ok(decrypted
            .map_err(|error| meaning(&error))?
            .plaintext
            .to_vec())
    }

    async fn rotate(&self, name: &str) {
        let created = self.0.create_crypto_key_version().set_parent(key(name));
        let created = created
            .set_crypto_key_version(CryptoKeyVersion::new())
            .send()
            .await
            .unwrap()
            .name;
        let number = created.rsplit('/').next().unwrap();
        let primary = self
            .0
            .update_crypto_key_primary_version()
            .set_name(key(name))
            .set_crypto_key_version_id(number);
        primary.send().await.unwrap();
    }

    async fn enable(&self, name: &str, enabled: bool) {
        for version in self.versions(name).await {
            self.set(
                &version,
                if enabled {
                    State::Enabled
                } else {
                    State::Disabled
                },
            )
            .await;
        }
    }

    async fn destroy(&self, name: &str) {
        for version in self.versions(name).await {
            self.0
                .destroy_crypto_key_version()
                .set_name(version)
                .send()
                .await
                .unwrap();
        }
    }

    /// A restored version is disabled.
    async fn restore(&self, name: &str) -> bool {
        for version in self.versions(name).await {
            if self
                .0
                .restore_crypto_key_version()
                .set_name(&version)
                .send()
                .await
                .is_err()
            {
                return false;
            }
            self.set(&version, State::Enabled).await;
        }
        true
    }
}
