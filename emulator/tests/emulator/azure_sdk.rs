//! Azure Key Vault with Microsoft's own Rust SDK: real host names through the proxy, tokens from
//! the real endpoints' paths.

use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET};
use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions,
};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, EncryptionAlgorithm, Key, KeyAttributes,
    KeyClientEncryptOptions, KeyOperationParameters, KeyRotationPolicy, KeyRotationPolicyAction,
    KeyRotationPolicyAttributes, KeyType, LifetimeAction, LifetimeActionTrigger,
    LifetimeActionType, SignParameters, SignatureAlgorithm, UpdateKeyPropertiesParameters,
    VerifyParameters,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, ResourceExt as _};
use futures::TryStreamExt as _;
use kmslab_emulator::Emulator;

use crate::support::{admin, free_port};

pub(crate) const VAULT: &str = "https://kmslab.vault.azure.net";

pub(crate) async fn started() -> Emulator {
    Emulator::builder()
        .admin_listen(free_port())
        .proxy_listen(free_port())
        .start()
        .await
        .unwrap()
}

/// Options of an Azure client for the emulator: a proxy and a CA.
pub(crate) fn client_options(emulator: &Emulator) -> ClientOptions {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(emulator.ca_pem().unwrap().as_bytes()).unwrap();
    let proxy = reqwest::Proxy::all(format!("http://{}", emulator.proxy_addr().unwrap())).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .proxy(proxy)
        .build()
        .unwrap();
    let mut options = ClientOptions {
        transport: Some(Transport::new(Arc::new(client))),
        ..ClientOptions::default()
    };
    options.retry = azure_core::http::RetryOptions::none();
    options
}

pub(crate) fn secret(
    emulator: &Emulator,
    client_id: &str,
    secret: &str,
) -> Arc<dyn TokenCredential> {
    let options = ClientSecretCredentialOptions {
        client_options: client_options(emulator),
    };
    let (tenant, secret) = (emulator.azure_tenant(), Secret::new(secret.to_owned()));
    ClientSecretCredential::new(&tenant, client_id.to_owned(), secret, Some(options)).unwrap()
}

pub(crate) fn keys_with(
    emulator: &Emulator,
    vault: &str,
    credential: Arc<dyn TokenCredential>,
) -> KeyClient {
    let options = KeyClientOptions {
        client_options: client_options(emulator),
        ..KeyClientOptions::default()
    };
    KeyClient::new(vault, credential, Some(options)).unwrap()
}

pub(crate) fn keys(emulator: &Emulator) -> KeyClient {
    keys_with(
        emulator,
        VAULT,
        secret(emulator, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET),
    )
}

fn rsa() -> CreateKeyParameters {
    CreateKeyParameters {
        kty: Some(KeyType::Rsa),
        key_size: Some(2048),
        ..CreateKeyParameters::default()
    }
}

pub(crate) async fn create(client: &KeyClient, name: &str, parameters: CreateKeyParameters) -> Key {
    client
        .create_key(name, parameters.try_into().unwrap(), None)
        .await
        .unwrap()
        .into_model()
        .unwrap()
}

pub(crate) fn operation(algorithm: EncryptionAlgorithm, value: &[u8]) -> KeyOperationParameters {
    KeyOperationParameters {
        algorithm: Some(algorithm),
        value: Some(value.to_vec()),
        ..KeyOperationParameters::default()
    }
}

fn enabled(enabled: bool) -> UpdateKeyPropertiesParameters {
    let key_attributes = Some(KeyAttributes {
        enabled: Some(enabled),
        ..KeyAttributes::default()
    });
    UpdateKeyPropertiesParameters {
        key_attributes,
        ..UpdateKeyPropertiesParameters::default()
    }
}

/// Status and `error.code` of an SDK error.
pub(crate) fn refusal(error: &azure_core::Error) -> (u16, String) {
    match error.kind() {
        azure_core::error::ErrorKind::HttpResponse {
            status, error_code, ..
        } => (u16::from(*status), error_code.clone().unwrap_or_default()),
        _ => panic!("no refusal of the service's: {error:?}"),
    }
}

/// Error message of the service.
pub(crate) fn error_message(error: &azure_core::Error) -> String {
    match error.kind() {
        azure_core::error::ErrorKind::HttpResponse {
            raw_response: Some(raw),
            ..
        } => String::from_utf8_lossy(raw.body().as_ref()).into_owned(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn key_lifecycle_works_with_the_azure_sdk() {
    let emulator = started().await;
    let client = keys(&emulator);
    let first = create(&client, "k8s-secrets", rsa()).await;
    let id = first.resource_id().unwrap();
    assert_eq!(
        (id.vault_url.as_str(), id.name.as_str()),
        (VAULT, "k8s-secrets")
    );
    let first_version = id.version.unwrap();
    assert_eq!(first_version.len(), 32);

    // Without a version the newest is used, and the response names it.
    let oaep = EncryptionAlgorithm::RsaOaep256;
    let wrapped = client
        .wrap_key(
            "k8s-secrets",
            operation(oaep.clone(), b"seed").try_into().unwrap(),
            None,
        )
        .await;
    let wrapped = wrapped.unwrap().into_model().unwrap();
    assert!(wrapped.kid.as_ref().unwrap().ends_with(&first_version));
    let unwrap = |version: String, body: Vec<u8>| {
        let (client, parameters) = (&client, operation(EncryptionAlgorithm::RsaOaep256, &body));
        async move {
            let answer = client
                .unwrap_key(
                    "k8s-secrets",
                    &version,
                    parameters.try_into().unwrap(),
                    None,
                )
                .await?;
            Ok::<_, azure_core::Error>(answer.into_model()?.result.unwrap())
        }
    };
    let body = wrapped.result.unwrap();
    assert_eq!(
        unwrap(first_version.clone(), body.clone()).await.unwrap(),
        b"seed"
    );

    // After a rotation the old version still decrypts its own ciphertexts only.
    let rotated = client
        .rotate_key("k8s-secrets", None)
        .await
        .unwrap()
        .into_model()
        .unwrap();
    let second_version = rotated.resource_id().unwrap().version.unwrap();
    assert_ne!(first_version, second_version);
    assert_eq!(
        unwrap(first_version.clone(), body.clone()).await.unwrap(),
        b"seed"
    );
    let wrong = unwrap(second_version.clone(), body.clone())
        .await
        .unwrap_err();
    assert_eq!(refusal(&wrong), (400, "BadParameter".into()));

    // A disabled version is unusable until it is enabled.
    let version = azure_security_keyvault_keys::models::KeyClientUpdateKeyPropertiesOptions {
        key_version: Some(first_version.clone()),
        ..Default::default()
    };
    let update = |to| {
        client.update_key_properties(
            "k8s-secrets",
            enabled(to).try_into().unwrap(),
            Some(version.clone()),
        )
    };
    update(false).await.unwrap();
    let disabled = unwrap(first_version.clone(), body.clone())
        .await
        .unwrap_err();
    assert_eq!(refusal(&disabled), (403, "Forbidden".into()));
    assert!(
        error_message(&disabled).contains(r#"{"code":"KeyDisabled"}"#),
        "{}",
        error_message(&disabled)
    );
    update(true).await.unwrap();
    assert_eq!(
        unwrap(first_version.clone(), body.clone()).await.unwrap(),
        b"seed"
    );

    // A deleted key is hidden, a recovered one is unchanged, a purged one is gone.
    let deleted = client
        .delete_key("k8s-secrets", None)
        .await
        .unwrap()
        .into_model()
        .unwrap();
    assert_eq!(
        deleted.recovery_id.unwrap(),
        format!("{VAULT}/deletedkeys/k8s-secrets")
    );
    assert_eq!(
        refusal(
            &unwrap(first_version.clone(), body.clone())
                .await
                .unwrap_err()
        ),
        (404, "KeyNotFound".into())
    );
    let taken = client
        .create_key("k8s-secrets", rsa().try_into().unwrap(), None)
        .await
        .unwrap_err();
    assert_eq!(refusal(&taken), (409, "Conflict".into()));
    client
        .recover_deleted_key("k8s-secrets", None)
        .await
        .unwrap();
    assert_eq!(
        unwrap(first_version.clone(), body.clone()).await.unwrap(),
        b"seed"
    );
    client.delete_key("k8s-secrets", None).await.unwrap();
    client.purge_deleted_key("k8s-secrets", None).await.unwrap();
    let purged = client
        .get_deleted_key("k8s-secrets", None)
        .await
        .unwrap_err();
    assert_eq!(refusal(&purged), (404, "KeyNotFound".into()));
    create(&client, "k8s-secrets", rsa()).await;
}

#[tokio::test]
async fn every_key_type_supports_its_algorithms() {
    let emulator = started().await;
    let client = keys(&emulator);
    create(&client, "rsa", rsa()).await;
    for algorithm in [
        EncryptionAlgorithm::Rsa1_5,
        EncryptionAlgorithm::RsaOaep,
        EncryptionAlgorithm::RsaOaep256,
    ] {
        let encrypted = client
            .encrypt(
                "rsa",
                operation(algorithm.clone(), b"m").try_into().unwrap(),
                None,
            )
            .await
            .unwrap();
        let encrypted = encrypted.into_model().unwrap();
        let version = encrypted
            .kid
            .unwrap()
            .rsplit_once('/')
            .unwrap()
            .1
            .to_owned();
        let encrypted = operation(algorithm, &encrypted.result.unwrap())
            .try_into()
            .unwrap();
        let decrypted = client
            .decrypt("rsa", &version, encrypted, None)
            .await
            .unwrap()
            .into_model()
            .unwrap();
        assert_eq!(decrypted.result.unwrap(), b"m");
    }
    let curves = [
        (CurveName::P256, SignatureAlgorithm::Es256, 32),
        (CurveName::P384, SignatureAlgorithm::Es384, 48),
        (CurveName::P521, SignatureAlgorithm::Es512, 64),
        (CurveName::P256K, SignatureAlgorithm::Es256K, 32),
    ];
    for (number, (curve, algorithm, digest)) in curves.into_iter().enumerate() {
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::Ec),
            curve: Some(curve.clone()),
            ..CreateKeyParameters::default()
        };
        let name = format!("ec-{number}");
        let key = create(&client, &name, parameters).await;
        assert_eq!(key.key.as_ref().unwrap().crv, Some(curve));
        let version = key.resource_id().unwrap().version.unwrap();
        let digest = vec![7; digest];
        let sign = SignParameters {
            algorithm: Some(algorithm.clone()),
            value: Some(digest.clone()),
        };
        let signed = client
            .sign(&name, sign.try_into().unwrap(), None)
            .await
            .unwrap()
            .into_model()
            .unwrap();
        for (digest, holds) in [(digest.clone(), true), (vec![8; digest.len()], false)] {
            let verify = VerifyParameters {
                algorithm: Some(algorithm.clone()),
                digest: Some(digest),
                signature: signed.result.clone(),
            };
            let verified = client
                .verify(&name, &version, verify.try_into().unwrap(), None)
                .await
                .unwrap();
            assert_eq!(verified.into_model().unwrap().value, Some(holds));
        }
        let encrypt = operation(EncryptionAlgorithm::RsaOaep256, b"m")
            .try_into()
            .unwrap();
        let rejected = client.encrypt(&name, encrypt, None).await.unwrap_err();
        assert!(
            error_message(&rejected).contains("KeyOperationForbidden"),
            "{}",
            error_message(&rejected)
        );
    }
    let parameters = CreateKeyParameters {
        kty: Some(KeyType::OctHsm),
        key_size: Some(256),
        ..CreateKeyParameters::default()
    };
    let key = create(&client, "oct", parameters).await;
    let version = key.resource_id().unwrap().version.unwrap();
    let gcm = KeyOperationParameters {
        additional_authenticated_data: Some(b"aad".to_vec()),
        ..operation(EncryptionAlgorithm::A256Gcm, b"m")
    };
    let encrypted = client
        .encrypt("oct", gcm.try_into().unwrap(), None)
        .await
        .unwrap()
        .into_model()
        .unwrap();
    let open = |aad: &[u8]| KeyOperationParameters {
        additional_authenticated_data: Some(aad.to_vec()),
        iv: encrypted.iv.clone(),
        authentication_tag: encrypted.authentication_tag.clone(),
        ..operation(
            EncryptionAlgorithm::A256Gcm,
            encrypted.result.as_ref().unwrap(),
        )
    };
    let decrypted = client
        .decrypt("oct", &version, open(b"aad").try_into().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(decrypted.into_model().unwrap().result.unwrap(), b"m");
    let tampered = client
        .decrypt("oct", &version, open(b"other").try_into().unwrap(), None)
        .await
        .unwrap_err();
    assert_eq!(refusal(&tampered), (400, "BadParameter".into()));
}

#[tokio::test]
async fn lists_are_paginated_with_full_names() {
    let emulator = started().await;
    let client = keys(&emulator);
    let ec = || CreateKeyParameters {
        kty: Some(KeyType::Ec),
        ..CreateKeyParameters::default()
    };
    for n in 0..27 {
        create(&client, &format!("k{n:02}"), ec()).await;
    }
    for _ in 0..26 {
        create(&client, "k00", ec()).await;
    }
    let listed: Vec<_> = client
        .list_key_properties(None)
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|item| item.resource_id().unwrap().name)
        .collect();
    assert_eq!(
        (names.len(), names[0].as_str(), names[26].as_str()),
        (27, "k00", "k26")
    );
    let versions = client.list_key_properties_versions("k00", None).unwrap();
    let versions: Vec<_> = versions.try_collect().await.unwrap();
    assert_eq!(versions.len(), 27);
    assert!(
        versions
            .iter()
            .all(|item| item.resource_id().unwrap().version.is_some())
    );
}

#[tokio::test]
async fn guide_policy_creates_a_version_after_90_days() {
    let emulator = started().await;
    let client = keys(&emulator);
    let first = create(&client, "k", rsa())
        .await
        .resource_id()
        .unwrap()
        .version
        .unwrap();
    let policy = KeyRotationPolicy {
        attributes: Some(KeyRotationPolicyAttributes {
            expiry_time: Some("P1Y".into()),
            ..KeyRotationPolicyAttributes::default()
        }),
        lifetime_actions: Some(vec![LifetimeAction {
            action: Some(LifetimeActionType {
                type_prop: Some(KeyRotationPolicyAction::Rotate),
            }),
            trigger: Some(LifetimeActionTrigger {
                time_after_create: Some("P90D".into()),
                ..LifetimeActionTrigger::default()
            }),
        }]),
        ..KeyRotationPolicy::default()
    };
    let put = client
        .update_key_rotation_policy("k", policy.try_into().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(
        put.into_model().unwrap().id.unwrap(),
        format!("{VAULT}/keys/k/rotationpolicy")
    );
    assert_eq!(
        admin(&emulator, "/clock", Some(r#"{"advance":"90d"}"#))
            .await
            .status,
        200
    );
    // The token stays valid because it lives by the wall clock.
    let encrypted = client
        .wrap_key(
            "k",
            operation(EncryptionAlgorithm::RsaOaep256, b"m")
                .try_into()
                .unwrap(),
            None,
        )
        .await;
    let kid = encrypted.unwrap().into_model().unwrap().kid.unwrap();
    assert!(!kid.ends_with(&first), "{kid}");
    let now = client
        .get_key("k", None)
        .await
        .unwrap()
        .into_model()
        .unwrap();
    let attributes = now.attributes.unwrap();
    assert_eq!(
        (attributes.expires.unwrap() - attributes.created.unwrap()).whole_days(),
        365
    );
}

#[tokio::test]
async fn managed_identity_gets_a_token_from_instance_metadata() {
    let emulator = started().await;
    let options = ManagedIdentityCredentialOptions {
        client_options: client_options(&emulator),
        ..Default::default()
    };
    let client = keys_with(
        &emulator,
        VAULT,
        ManagedIdentityCredential::new(Some(options)).unwrap(),
    );
    create(&client, "k", rsa()).await;
    let pinned = KeyClientEncryptOptions::default();
    let encrypted = operation(EncryptionAlgorithm::RsaOaep256, b"m")
        .try_into()
        .unwrap();
    client.encrypt("k", encrypted, Some(pinned)).await.unwrap();
}
