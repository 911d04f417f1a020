//! Google Cloud KMS with Google's own Rust client: REST, and tokens that service accounts sign
//! themselves.

use kmslab_emulator::well_known::GCP_TOKEN_URI;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, mds, service_account};
use google_cloud_gax::error::rpc::{Code, StatusDetails};
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::{
    CryptoKeyVersionAlgorithm, CryptoKeyVersionState,
};
use kmslab_emulator::KeyFile;
use kmslab_emulator::seed::{GcpSeed, SeedBinding};
use kmslab_emulator::{Emulator, SeedFile};

use crate::gcp_rest::crc;
use crate::support::{admin, free_port};

const LOCATION: &str = "projects/p/locations/us-east1";
const RING: &str = "projects/p/locations/us-east1/keyRings/k8s-secrets";
const KEY: &str = "projects/p/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key";
const PLUGIN: &str = "k8s-kms@p.iam.gserviceaccount.com";

pub(crate) fn of_file(file: &KeyFile) -> Credentials {
    let json = serde_json::from_str(&file.json(GCP_TOKEN_URI)).unwrap();
    service_account::Builder::new(json).build().unwrap()
}

pub(crate) async fn client(emulator: &Emulator, credentials: Credentials) -> KeyManagementService {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let endpoint = format!("http://{}", emulator.http_addr());
    KeyManagementService::builder()
        .with_endpoint(endpoint)
        .with_credentials(credentials)
        .build()
        .await
        .unwrap()
}

pub(crate) async fn owner(emulator: &Emulator) -> KeyManagementService {
    client(emulator, of_file(&emulator.gcp_owner())).await
}

async fn ring(client: &KeyManagementService) {
    let ring = model::KeyRing::new();
    client
        .create_key_ring()
        .set_parent(LOCATION)
        .set_key_ring_id("k8s-secrets")
        .set_key_ring(ring)
        .send()
        .await
        .unwrap();
}

async fn key(client: &KeyManagementService) -> model::CryptoKey {
    let key = model::CryptoKey::new().set_purpose(CryptoKeyPurpose::EncryptDecrypt);
    let created = client
        .create_crypto_key()
        .set_parent(RING)
        .set_crypto_key_id("k8s-secrets-key")
        .set_crypto_key(key);
    created.send().await.unwrap()
}

async fn encrypt(
    client: &KeyManagementService,
    name: &str,
    plaintext: &[u8],
) -> google_cloud_kms_v1::Result<model::EncryptResponse> {
    client
        .encrypt()
        .set_name(name)
        .set_plaintext(plaintext.to_vec())
        .send()
        .await
}

async fn decrypt(
    client: &KeyManagementService,
    ciphertext: &[u8],
) -> google_cloud_kms_v1::Result<model::DecryptResponse> {
    client
        .decrypt()
        .set_name(KEY)
        .set_ciphertext(ciphertext.to_vec())
        .send()
        .await
}

fn refused<T: std::fmt::Debug>(outcome: google_cloud_kms_v1::Result<T>) -> (Code, String) {
    let error = outcome.unwrap_err();
    let status = error.status().unwrap_or_else(|| panic!("{error:?}"));
    (status.code, status.message.clone())
}

async fn set_state(client: &KeyManagementService, version: &str, state: CryptoKeyVersionState) {
    let version = model::CryptoKeyVersion::new()
        .set_name(version)
        .set_state(state);
    let mask = google_cloud_wkt::FieldMask::default().set_paths(["state"]);
    client
        .update_crypto_key_version()
        .set_crypto_key_version(version)
        .set_update_mask(mask)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn key_lifecycle_works_with_the_google_sdk() {
    let emulator = Emulator::builder()
        .admin_listen(free_port())
        .start()
        .await
        .unwrap();
    let client = owner(&emulator).await;
    ring(&client).await;
    let created = key(&client).await;
    let first = format!("{KEY}/cryptoKeyVersions/1");
    assert_eq!(
        (
            created.name.as_str(),
            created.primary.unwrap().name.as_str()
        ),
        (KEY, first.as_str())
    );

    let encrypted = encrypt(&client, KEY, b"secret").await.unwrap();
    assert_eq!(encrypted.name, first);
    assert_eq!(
        encrypted.ciphertext_crc32c,
        Some(i64::from(crc(&encrypted.ciphertext)))
    );
    let decrypted = decrypt(&client, &encrypted.ciphertext).await.unwrap();
    assert_eq!(
        (&decrypted.plaintext[..], decrypted.used_primary),
        (&b"secret"[..], true)
    );

    // Manual rotation: a version is created and set as primary; ciphertexts of the old one still
    // decrypt.
    let second = client
        .create_crypto_key_version()
        .set_parent(KEY)
        .set_crypto_key_version(model::CryptoKeyVersion::new());
    let second = second.send().await.unwrap();
    assert_eq!(
        encrypt(&client, KEY, b"x").await.unwrap().name,
        first,
        "a new version is not the primary yet"
    );
    client
        .update_crypto_key_primary_version()
        .set_name(KEY)
        .set_crypto_key_version_id("2")
        .send()
        .await
        .unwrap();
    assert_eq!(encrypt(&client, KEY, b"x").await.unwrap().name, second.name);
    assert!(
        !decrypt(&client, &encrypted.ciphertext)
            .await
            .unwrap()
            .used_primary
    );

    set_state(&client, &first, CryptoKeyVersionState::Disabled).await;
    let outcome = decrypt(&client, &encrypted.ciphertext).await;
    let details = outcome
        .as_ref()
        .unwrap_err()
        .status()
        .unwrap()
        .details
        .clone();
    let words = format!("{first} is not enabled, current state is: DISABLED.");
    assert_eq!(refused(outcome), (Code::FailedPrecondition, words.clone()));
    let [StatusDetails::PreconditionFailure(failure)] = &details[..] else {
        panic!("{details:?}")
    };
    assert_eq!(
        (
            failure.violations[0].r#type.as_str(),
            failure.violations[0].subject.as_str()
        ),
        ("KEY_DISABLED", first.as_str())
    );
    set_state(&client, &first, CryptoKeyVersionState::Enabled).await;
    assert!(decrypt(&client, &encrypted.ciphertext).await.is_ok());

    let removed = client
        .destroy_crypto_key_version()
        .set_name(&first)
        .send()
        .await
        .unwrap();
    assert_eq!(removed.state, CryptoKeyVersionState::DestroyScheduled);
    let (code, words) = refused(decrypt(&client, &encrypted.ciphertext).await);
    assert_eq!(
        (code, words.contains("DESTROY_SCHEDULED")),
        (Code::FailedPrecondition, true)
    );
    let back = client
        .restore_crypto_key_version()
        .set_name(&first)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (back.state, back.destroy_time),
        (CryptoKeyVersionState::Disabled, None)
    );
    client
        .destroy_crypto_key_version()
        .set_name(&first)
        .send()
        .await
        .unwrap();
    admin(&emulator, "/clock", Some(r#"{"advance":"30d"}"#)).await;
    let removed = client
        .get_crypto_key_version()
        .set_name(&first)
        .send()
        .await
        .unwrap();
    assert_eq!(removed.state, CryptoKeyVersionState::Destroyed);
    assert!(removed.destroy_event_time.is_some());
    assert_eq!(
        refused(
            client
                .restore_crypto_key_version()
                .set_name(&first)
                .send()
                .await
        )
        .0,
        Code::FailedPrecondition
    );

    let mut versions = client
        .list_crypto_key_versions()
        .set_parent(KEY)
        .set_page_size(1)
        .by_item();
    let mut states = Vec::new();
    while let Some(version) = versions.next().await {
        states.push(version.unwrap().state);
    }
    assert_eq!(
        states,
        [
            CryptoKeyVersionState::Destroyed,
            CryptoKeyVersionState::Enabled
        ]
    );
}

#[tokio::test]
async fn rotation_schedule_follows_the_lab_clock() {
    let emulator = Emulator::builder()
        .admin_listen(free_port())
        .start()
        .await
        .unwrap();
    let client = owner(&emulator).await;
    ring(&client).await;
    key(&client).await;
    let day = 86_400;
    let now = time_now(&emulator).await;
    let next = google_cloud_wkt::Timestamp::clamp(now + 90 * day, 0);
    let scheduled = model::CryptoKey::new()
        .set_name(KEY)
        .set_rotation_period(google_cloud_wkt::Duration::clamp(90 * day, 0))
        .set_next_rotation_time(next);
    let mask =
        google_cloud_wkt::FieldMask::default().set_paths(["rotation_period", "next_rotation_time"]);
    client
        .update_crypto_key()
        .set_crypto_key(scheduled)
        .set_update_mask(mask)
        .send()
        .await
        .unwrap();
    assert!(
        encrypt(&client, KEY, b"x")
            .await
            .unwrap()
            .name
            .ends_with("/1")
    );
    admin(&emulator, "/clock", Some(r#"{"advance":"90d"}"#)).await;
    let encrypted = encrypt(&client, KEY, b"x").await.unwrap();
    assert!(encrypted.name.ends_with("/2"));
    let displayed = client.get_crypto_key().set_name(KEY).send().await.unwrap();
    assert_eq!(displayed.primary.unwrap().name, encrypted.name);
    assert_eq!(
        displayed.next_rotation_time.unwrap().seconds(),
        now + 180 * day
    );
}

async fn time_now(emulator: &Emulator) -> i64 {
    let client = owner(emulator).await;
    let ring = client.get_key_ring().set_name(RING).send().await.unwrap();
    ring.create_time.unwrap().seconds()
}

#[tokio::test]
async fn encrypter_decrypter_role_is_necessary_and_sufficient() {
    let (plugin, other) = (
        KeyFile::generate(PLUGIN).unwrap(),
        KeyFile::generate("other@p.iam.gserviceaccount.com").unwrap(),
    );
    let binding = SeedBinding {
        resource: KEY.to_owned(),
        role: "roles/cloudkms.cryptoKeyEncrypterDecrypter".to_owned(),
        members: vec![format!("serviceAccount:{PLUGIN}")],
    };
    let gcp = GcpSeed {
        service_accounts: vec![(&plugin).into(), (&other).into()],
        bindings: vec![binding],
        metadata_account: Some(PLUGIN.to_owned()),
        ..GcpSeed::default()
    };
    let seed = SeedFile {
        gcp,
        ..SeedFile::default()
    };
    let emulator = Emulator::builder()
        .admin_listen(free_port())
        .seed(seed)
        .start()
        .await
        .unwrap();
    let owner = owner(&emulator).await;
    ring(&owner).await;
    key(&owner).await;

    let by_file = client(&emulator, of_file(&plugin)).await;
    let metadata = mds::Builder::default()
        .with_endpoint(format!("http://{}", emulator.http_addr()))
        .build()
        .unwrap();
    for allowed in [by_file, client(&emulator, metadata).await] {
        let encrypted = encrypt(&allowed, KEY, b"secret").await.unwrap();
        assert_eq!(
            decrypt(&allowed, &encrypted.ciphertext)
                .await
                .unwrap()
                .plaintext,
            &b"secret"[..]
        );
        let (code, words) = refused(allowed.get_crypto_key().set_name(KEY).send().await);
        let expected = format!(
            "Permission 'cloudkms.cryptoKeys.get' denied on resource '{KEY}' (or it may not exist)."
        );
        assert_eq!((code, words), (Code::PermissionDenied, expected));
    }
    let nobody = client(&emulator, of_file(&other)).await;
    let (code, words) = refused(encrypt(&nobody, KEY, b"x").await);
    let expected = format!(
        "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource '{KEY}' (or it may not exist)."
    );
    assert_eq!((code, words), (Code::PermissionDenied, expected));
    // A key that the account deleted or never had.
    let foreign = client(&emulator, of_file(&KeyFile::generate(PLUGIN).unwrap())).await;
    assert_eq!(
        refused(encrypt(&foreign, KEY, b"x").await).0,
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn asymmetric_versions_are_generated_in_the_background_and_sign() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = owner(&emulator).await;
    ring(&client).await;
    let template = model::CryptoKeyVersionTemplate::new()
        .set_algorithm(CryptoKeyVersionAlgorithm::EcSignP256Sha256);
    let key = model::CryptoKey::new()
        .set_purpose(CryptoKeyPurpose::AsymmetricSign)
        .set_version_template(template);
    let created = client
        .create_crypto_key()
        .set_parent(RING)
        .set_crypto_key_id("signs")
        .set_crypto_key(key)
        .send()
        .await
        .unwrap();
    assert!(created.primary.is_none());
    let version = format!("{}/cryptoKeyVersions/1", created.name);
    let public = async {
        loop {
            match client.get_public_key().set_name(&version).send().await {
                Ok(public) => break public,
                Err(error) => {
                    let status = error.status().unwrap();
                    assert!(status.message.contains("PENDING_GENERATION"), "{status:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    let public = tokio::time::timeout(Duration::from_secs(60), public)
        .await
        .unwrap();
    assert_eq!(
        public.pem_crc32c,
        Some(i64::from(crc(public.pem.as_bytes())))
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"message");
    let digest = model::Digest::new().set_sha256(digest.as_ref().to_vec());
    let signed = client
        .asymmetric_sign()
        .set_name(&version)
        .set_digest(digest)
        .send()
        .await
        .unwrap();
    let (_, der) = x509_parser::pem::parse_x509_pem(public.pem.as_bytes()).unwrap();
    let (_, spki) =
        <x509_parser::x509::SubjectPublicKeyInfo as x509_parser::prelude::FromDer<_>>::from_der(
            &der.contents,
        )
        .unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
        spki.subject_public_key.data.as_ref(),
    );
    key.verify(b"message", &signed.signature).unwrap();
    let wrong = client
        .encrypt()
        .set_name(&created.name)
        .set_plaintext(b"x".to_vec())
        .send()
        .await;
    assert_eq!(refused(wrong).0, Code::FailedPrecondition);
}
