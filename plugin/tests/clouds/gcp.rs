//! Google Cloud KMS: the plugin's service account has exactly the guide's role on the key,
//! `cryptoKeyEncrypterDecrypter`.

use kmslab_emulator::well_known::GCP_TOKEN_URI;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, mds, service_account};
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::{
    CryptoKeyVersionAlgorithm, CryptoKeyVersionState,
};
use google_cloud_kms_v1::model::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionTemplate, KeyRing};
use google_cloud_wkt::{FieldMask, Timestamp};
use kmslab_emulator::KeyFile;
use kmslab_emulator::seed::{GcpSeed, SeedBinding};
use kmslab_emulator::{Emulator, SeedFile};
use kmslab_kmsv2::socket::EncryptResponse;
use kmslab_plugin::kek::gcp::{GcpKek, GcpKekBuilder};
use kmslab_plugin::kek::{Kek, KekError};
use kmslab_plugin::{ANNOTATION, parse_annotation};

use crate::support::Lab;

const LOCATION: &str = "projects/p/locations/us-east1";
const RING: &str = "projects/p/locations/us-east1/keyRings/k8s-secrets";
const KEY: &str = "projects/p/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key";
const PLUGIN: &str = "k8s-kms@p.iam.gserviceaccount.com";
/// An account without permissions.
const NOBODY: &str = "nobody@p.iam.gserviceaccount.com";
const DAY: i64 = 86_400;

/// A cloud and its administrator.
pub(crate) struct Cloud {
    pub(crate) emulator: Emulator,
    admin: KeyManagementService,
    plugin: KeyFile,
    nobody: KeyFile,
}

impl Cloud {
    /// Starts with the guide's key ring and key.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (plugin, nobody) = (
            KeyFile::generate(PLUGIN).unwrap(),
            KeyFile::generate(NOBODY).unwrap(),
        );
        let binding = SeedBinding {
            resource: KEY.to_owned(),
            role: "roles/cloudkms.cryptoKeyEncrypterDecrypter".to_owned(),
            members: vec![format!("serviceAccount:{PLUGIN}")],
        };
        let gcp = GcpSeed {
            service_accounts: vec![(&plugin).into(), (&nobody).into()],
            bindings: vec![binding],
            metadata_account: Some(PLUGIN.to_owned()),
            ..GcpSeed::default()
        };
        let emulator = Emulator::builder()
            .seed(SeedFile {
                gcp,
                ..SeedFile::default()
            })
            .start()
            .await
            .unwrap();
        let admin = KeyManagementService::builder()
            .with_endpoint(format!("http://{}", emulator.http_addr()))
            .with_credentials(of_file(&emulator.gcp_owner()))
            .build()
            .await
            .unwrap();
        let ring = admin
            .create_key_ring()
            .set_parent(LOCATION)
            .set_key_ring_id("k8s-secrets");
        ring.set_key_ring(KeyRing::new()).send().await.unwrap();
        let cloud = Self {
            emulator,
            admin,
            plugin,
            nobody,
        };
        cloud
            .key("k8s-secrets-key", CryptoKeyPurpose::EncryptDecrypt)
            .await;
        cloud
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.emulator.http_addr())
    }

    async fn key(&self, id: &str, purpose: CryptoKeyPurpose) {
        let algorithm = match purpose {
            CryptoKeyPurpose::Mac => CryptoKeyVersionAlgorithm::HmacSha256,
            _ => CryptoKeyVersionAlgorithm::GoogleSymmetricEncryption,
        };
        let template = CryptoKeyVersionTemplate::new().set_algorithm(algorithm);
        let key = CryptoKey::new()
            .set_purpose(purpose)
            .set_version_template(template);
        self.admin
            .create_crypto_key()
            .set_parent(RING)
            .set_crypto_key_id(id)
            .set_crypto_key(key)
            .send()
            .await
            .unwrap();
    }

    /// Creates a version and sets it as primary.
    async fn rotate(&self) -> String {
        let created = self.admin.create_crypto_key_version().set_parent(KEY);
        let created = created
            .set_crypto_key_version(CryptoKeyVersion::new())
            .send()
            .await
            .unwrap();
        let id = created.name.rsplit('/').next().unwrap().to_owned();
        let primary = self
            .admin
            .update_crypto_key_primary_version()
            .set_name(KEY)
            .set_crypto_key_version_id(&id);
        primary.send().await.unwrap();
        id
    }

    async fn set_state(&self, number: &str, state: CryptoKeyVersionState) {
        let version = CryptoKeyVersion::new()
            .set_name(version(number))
            .set_state(state);
        let mask = FieldMask::default().set_paths(["state"]);
        let update = self
            .admin
            .update_crypto_key_version()
            .set_crypto_key_version(version)
            .set_update_mask(mask);
        update.send().await.unwrap();
    }

    pub(crate) fn kek(&self) -> GcpKekBuilder {
        self.kek_as(&self.plugin, KEY)
    }

    fn kek_as(&self, file: &KeyFile, key: &str) -> GcpKekBuilder {
        let kek = GcpKek::builder(key)
            .endpoint(Some(self.endpoint()))
            .credentials(of_file(file));
        kek.call_timeout(Duration::from_secs(10))
    }

    async fn plugin(&self) -> Lab {
        Lab::start(Arc::new(self.kek().build().await.unwrap())).await
    }

    /// Requests made by the plugin's account.
    fn plugin_requests(&self) -> u64 {
        self.emulator
            .requests()
            .rows
            .iter()
            .filter(|row| row.caller == PLUGIN)
            .map(|row| row.count)
            .sum()
    }
}

fn of_file(file: &KeyFile) -> Credentials {
    let json = serde_json::from_str(&file.json(GCP_TOKEN_URI)).unwrap();
    service_account::Builder::new(json).build().unwrap()
}

fn version(number: &str) -> String {
    format!("{KEY}/cryptoKeyVersions/{number}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dek_seed_round_trips_and_rotation_changes_the_key_id() {
    let cloud = Cloud::start().await;
    let mut lab = cloud.plugin().await;
    let seed = [7; 32];
    // The first Status already names the version that the first Encrypt uses.
    let first = lab.status().await.unwrap();
    let old = lab.encrypt(&seed).await;
    assert_eq!(old.key_id, first);
    let label = parse_annotation(&old.annotations[ANNOTATION]).unwrap();
    assert_eq!(
        (
            label.provider.as_str(),
            label.key.as_str(),
            label.version.as_str()
        ),
        ("gcp", KEY, "1")
    );
    assert_eq!(lab.decrypt(&old).await.unwrap(), seed);

    let second = cloud.rotate().await;
    lab.status_until("another key id", |answer| {
        answer.as_ref().is_ok_and(|id| *id != old.key_id)
    })
    .await
    .unwrap();
    let new = lab.encrypt(&seed).await;
    assert_ne!(new.key_id, old.key_id);
    assert_eq!(
        parse_annotation(&new.annotations[ANNOTATION])
            .unwrap()
            .version,
        second
    );
    assert_eq!(
        lab.decrypt(&old).await.unwrap(),
        seed,
        "what is older still opens"
    );
    assert_eq!(lab.decrypt(&new).await.unwrap(), seed);

    // Swapped labels: the cloud would decrypt either ciphertext under the key's name, but not with
    // the other version's additional data.
    let swapped = EncryptResponse {
        ciphertext: old.ciphertext,
        ..new
    };
    assert_eq!(
        lab.decrypt(&swapped).await.unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_rotation_period_changes_the_key_id_after_90_days() {
    let cloud = Cloud::start().await;
    let ring = cloud
        .admin
        .get_key_ring()
        .set_name(RING)
        .send()
        .await
        .unwrap();
    let next = Timestamp::clamp(ring.create_time.unwrap().seconds() + 90 * DAY, 0);
    let period = google_cloud_wkt::Duration::clamp(90 * DAY, 0);
    let key = CryptoKey::new()
        .set_name(KEY)
        .set_rotation_period(period)
        .set_next_rotation_time(next);
    let mask = FieldMask::default().set_paths(["rotation_period", "next_rotation_time"]);
    cloud
        .admin
        .update_crypto_key()
        .set_crypto_key(key)
        .set_update_mask(mask)
        .send()
        .await
        .unwrap();
    let mut lab = cloud.plugin().await;
    let mut old = vec![lab.encrypt(b"x").await];
    for _ in 0..2 {
        cloud
            .emulator
            .clock()
            .advance(Duration::from_hours(90 * 24))
            .await
            .unwrap();
        let last = old.last().unwrap().key_id.clone();
        lab.status_until("another key id", |answer| {
            answer.as_ref().is_ok_and(|id| *id != last)
        })
        .await
        .unwrap();
        old.push(lab.encrypt(b"x").await);
    }
    for created in &old {
        assert_eq!(lab.decrypt(created).await.unwrap(), b"x");
    }
    let versions = old.iter().map(|created| {
        parse_annotation(&created.annotations[ANNOTATION])
            .unwrap()
            .version
    });
    assert_eq!(versions.collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypt_with_a_known_version_is_one_google_request() {
    let cloud = Cloud::start().await;
    let kek = cloud.kek().build().await.unwrap();
    let first = kek.current().await.unwrap();
    let before = kek.usage().requests;
    let wrapped = kek.wrap(b"x", Some(&first)).await.unwrap();
    assert_eq!(
        (&wrapped.version, kek.usage().requests - before),
        (&first, 1)
    );

    // A rotation costs one more: the label in the ciphertext names its version.
    cloud.rotate().await;
    let before = kek.usage().requests;
    let wrapped = kek.wrap(b"y", Some(&first)).await.unwrap();
    assert_ne!(wrapped.version, first);
    assert_eq!(kek.usage().requests - before, 2);
    let decrypted = kek.unwrap(&wrapped.ciphertext, &wrapped.version).await;
    assert_eq!(*decrypted.unwrap(), b"y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_requests_match_the_emulators_count() {
    let cloud = Cloud::start().await;
    let kek = cloud.kek().build().await.unwrap();
    for size in [0, 1, 32, kek.max_plaintext()] {
        let plaintext = vec![3; size];
        let wrapped = kek.wrap(&plaintext, None).await.unwrap();
        assert_eq!(
            *kek.unwrap(&wrapped.ciphertext, &wrapped.version)
                .await
                .unwrap(),
            plaintext
        );
    }
    // Find the version, encrypt, decrypt.
    assert_eq!(kek.usage().requests, 3 * 4);
    assert_eq!(kek.usage().requests, cloud.plugin_requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_key_fails_status_until_it_is_restored() {
    let cloud = Cloud::start().await;
    let mut lab = cloud.plugin().await;
    let created = lab.encrypt(b"x").await;
    cloud.set_state("1", CryptoKeyVersionState::Disabled).await;
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), tonic::Code::FailedPrecondition);
    assert!(
        failed
            .message()
            .starts_with("version 1 of the key projects/")
            && failed.message().contains("is disabled: enable it again"),
        "{failed}"
    );
    assert!(
        lab.decrypt(&created)
            .await
            .unwrap_err()
            .message()
            .contains("is disabled")
    );
    cloud.set_state("1", CryptoKeyVersionState::Enabled).await;
    assert_eq!(
        lab.status_until("ok", Result::is_ok).await.unwrap(),
        created.key_id
    );

    cloud
        .admin
        .destroy_crypto_key_version()
        .set_name(version("1"))
        .send()
        .await
        .unwrap();
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert!(failed.message().contains("is pending deletion"), "{failed}");
    cloud
        .admin
        .restore_crypto_key_version()
        .set_name(version("1"))
        .send()
        .await
        .unwrap();
    cloud.set_state("1", CryptoKeyVersionState::Enabled).await;
    assert_eq!(
        lab.status_until("ok", Result::is_ok).await.unwrap(),
        created.key_id
    );
    assert_eq!(lab.decrypt(&created).await.unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_cause_and_remedy() {
    let cloud = Cloud::start().await;
    cloud.key("mac", CryptoKeyPurpose::Mac).await;
    let owner = cloud.emulator.gcp_owner();
    let thrown_away = KeyFile::generate(PLUGIN).unwrap();
    let key = |id: &str| format!("{RING}/cryptoKeys/{id}");
    let closed = cloud
        .kek()
        .endpoint(Some("http://127.0.0.1:9"))
        .call_timeout(Duration::from_secs(2));
    for (kek, kind, says) in [
        (
            cloud.kek_as(&owner, &key("none")),
            "gone",
            "cryptoKeys/none was not found",
        ),
        (
            cloud.kek_as(&owner, &key("mac")),
            "unusable",
            "give a key that encrypts and decrypts",
        ),
        (
            cloud.kek_as(&cloud.nobody, KEY),
            "denied",
            "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied",
        ),
        (
            cloud.kek_as(&thrown_away, KEY),
            "credentials",
            "invalid authentication credentials",
        ),
        (closed, "unreachable", "http://127.0.0.1:9 gave no answer"),
    ] {
        let error = kek
            .build()
            .await
            .unwrap()
            .wrap(b"x", None)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ciphertext_of_another_google_key_is_rejected_without_a_call() {
    let cloud = Cloud::start().await;
    cloud.key("other", CryptoKeyPurpose::EncryptDecrypt).await;
    let owner = cloud.emulator.gcp_owner();
    let other = cloud
        .kek_as(&owner, &format!("{RING}/cryptoKeys/other"))
        .build()
        .await
        .unwrap();
    let wrapped = other.wrap(b"x", None).await.unwrap();
    let kek = cloud.kek().build().await.unwrap();
    kek.wrap(b"x", None).await.unwrap();
    let before = kek.usage().requests;
    let rejected = kek
        .unwrap(&wrapped.ciphertext, &wrapped.version)
        .await
        .unwrap_err();
    assert!(matches!(rejected, KekError::WrongKey { .. }), "{rejected}");
    assert_eq!(kek.usage().requests, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_server_needs_no_key_file() {
    let cloud = Cloud::start().await;
    let metadata = mds::Builder::default()
        .with_endpoint(cloud.endpoint())
        .build()
        .unwrap();
    let kek = cloud.kek().credentials(metadata).build().await.unwrap();
    let wrapped = kek.wrap(b"x", None).await.unwrap();
    assert_eq!(
        *kek.unwrap(&wrapped.ciphertext, &wrapped.version)
            .await
            .unwrap(),
        b"x"
    );
}
