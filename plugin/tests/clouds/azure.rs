//! Azure Key Vault: the plugin has the permissions of the guide, `encrypt` and `decrypt`, and needs
//! no others.

use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID};
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, KeyAttributes, KeyClientUpdateKeyPropertiesOptions, KeyRotationPolicy,
    KeyRotationPolicyAction, KeyRotationPolicyAttributes, KeyType, LifetimeAction,
    LifetimeActionTrigger, LifetimeActionType, UpdateKeyPropertiesParameters,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, ResourceExt as _};
use jiff::SignedDuration;
use kmslab_emulator::seed::{AzureSeed, SeedApplication, SeedPolicy, SeedRole, SeedVault};
use kmslab_emulator::{Emulator, SeedFile};
use kmslab_kmsv2::socket::EncryptResponse;
use kmslab_plugin::kek::azure::{AuthMethod, AzureKek, AzureKekBuilder, Vault};
use kmslab_plugin::kek::{Kek, KekError};
use kmslab_plugin::{ANNOTATION, parse_annotation};

use crate::support::Lab;

/// The plugin's application, which has only the permissions that its vault grants.
const PLUGIN: &str = "11111111-2222-4333-8444-555555555555";
const PLUGIN_OBJECT: &str = "66666666-7777-4888-8999-aaaaaaaaaaaa";
const SECRET: &str = "the-plugins-secret";
/// A vault with the guide's access policy, and one in which the plugin has a role.
pub(crate) const BY_POLICY: &str = "by-policy";
const BY_ROLE: &str = "by-role";

/// A cloud and its administrator.
pub(crate) struct Cloud {
    pub(crate) emulator: Emulator,
}

fn seed() -> SeedFile {
    let policy = |object: &str, keys: &[&str]| SeedPolicy::new(object, keys.iter().copied());
    let role = |object: &str, role: &str| SeedRole {
        object_id: object.into(),
        role: role.into(),
    };
    let vault = |name: &str| SeedVault::new(name);
    let application = SeedApplication {
        secret: Some(SECRET.into()),
        ..SeedApplication::new(PLUGIN, PLUGIN_OBJECT)
    };
    let policies = vec![
        policy(AZURE_OBJECT_ID, &["all"]),
        policy(PLUGIN_OBJECT, &["encrypt", "decrypt"]),
    ];
    let roles = vec![
        role(AZURE_OBJECT_ID, "Key Vault Administrator"),
        role(PLUGIN_OBJECT, "Key Vault Crypto Service Encryption User"),
    ];
    let vaults = vec![
        SeedVault {
            policies,
            ..vault(BY_POLICY)
        },
        SeedVault {
            roles,
            ..vault(BY_ROLE)
        },
    ];
    let azure = AzureSeed {
        applications: vec![application],
        vaults,
        ..AzureSeed::default()
    };
    SeedFile {
        azure,
        ..SeedFile::default()
    }
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with_tokens_for(SignedDuration::from_hours(24)).await
    }

    async fn with_tokens_for(lifetime: SignedDuration) -> Self {
        let emulator = Emulator::builder()
            .proxy_listen(Some("127.0.0.1:0".parse().unwrap()))
            .azure_token_lifetime(lifetime)
            .seed(seed())
            .start()
            .await
            .unwrap();
        Self { emulator }
    }

    fn proxy(&self) -> String {
        format!("http://{}", self.emulator.proxy_addr().unwrap())
    }

    fn admin(&self, vault: &str) -> KeyClient {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca =
            reqwest::Certificate::from_pem(self.emulator.ca_pem().unwrap().as_bytes()).unwrap();
        let proxy = reqwest::Proxy::all(self.proxy()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .proxy(proxy)
            .build()
            .unwrap();
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(http))),
            ..ClientOptions::default()
        };
        let credential = ClientSecretCredential::new(
            &self.emulator.azure_tenant(),
            AZURE_CLIENT_ID.to_owned(),
            Secret::new(AZURE_CLIENT_SECRET),
            Some(ClientSecretCredentialOptions {
                client_options: options.clone(),
            }),
        );
        let options = KeyClientOptions {
            client_options: options,
            ..KeyClientOptions::default()
        };
        KeyClient::new(
            &format!("https://{vault}.vault.azure.net"),
            credential.unwrap(),
            Some(options),
        )
        .unwrap()
    }

    /// Creates a key and returns its newest version.
    pub(crate) async fn key(&self, vault: &str, name: &str, kty: KeyType) -> String {
        let parameters = CreateKeyParameters {
            kty: Some(kty),
            ..CreateKeyParameters::default()
        };
        let created = self
            .admin(vault)
            .create_key(name, parameters.try_into().unwrap(), None)
            .await
            .unwrap();
        created
            .into_model()
            .unwrap()
            .resource_id()
            .unwrap()
            .version
            .unwrap()
    }

    async fn rotate(&self, vault: &str, name: &str) -> String {
        let rotated = self
            .admin(vault)
            .rotate_key(name, None)
            .await
            .unwrap()
            .into_model()
            .unwrap();
        rotated.resource_id().unwrap().version.unwrap()
    }

    async fn enable(&self, vault: &str, name: &str, version: &str, enabled: bool) {
        let key_attributes = Some(KeyAttributes {
            enabled: Some(enabled),
            ..KeyAttributes::default()
        });
        let parameters = UpdateKeyPropertiesParameters {
            key_attributes,
            ..UpdateKeyPropertiesParameters::default()
        };
        let options = KeyClientUpdateKeyPropertiesOptions {
            key_version: Some(version.into()),
            ..Default::default()
        };
        let admin = self.admin(vault);
        admin
            .update_key_properties(name, parameters.try_into().unwrap(), Some(options))
            .await
            .unwrap();
    }

    pub(crate) fn kek(&self, vault: &str, key: &str) -> AzureKekBuilder {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        AzureKek::builder(Vault::Name(vault.into()), key)
            .client_secret(&self.emulator.azure_tenant(), PLUGIN, SECRET)
            .proxy(Some(self.proxy()))
            .ca_file(self.emulator.ca_path())
            .call_timeout(Duration::from_secs(10))
    }

    async fn plugin(&self, vault: &str, key: &str) -> Lab {
        Lab::start(Arc::new(self.kek(vault, key).build().await.unwrap())).await
    }

    /// Requests made by the plugin's application.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dek_seed_round_trips_and_rotation_changes_the_key_id() {
    let cloud = Cloud::start().await;
    let first = cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let mut lab = cloud.plugin(BY_POLICY, "k").await;
    let seed = [7; 32];
    let old = lab.encrypt(&seed).await;
    assert_eq!(old.key_id, lab.status().await.unwrap());
    let label = parse_annotation(&old.annotations[ANNOTATION]).unwrap();
    let key = format!("https://{BY_POLICY}.vault.azure.net/keys/k");
    assert_eq!(
        (label.provider.as_str(), label.key, label.version),
        ("azure", key, first)
    );
    assert_eq!(lab.decrypt(&old).await.unwrap(), seed);

    let second = cloud.rotate(BY_POLICY, "k").await;
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

    // Swapped labels: each is consistent, but the other version does not decrypt the ciphertext.
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
async fn azure_rotation_policy_changes_the_key_id_after_90_days() {
    let cloud = Cloud::start().await;
    cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let policy = KeyRotationPolicy {
        attributes: Some(KeyRotationPolicyAttributes {
            expiry_time: Some("P1Y".into()),
            ..Default::default()
        }),
        lifetime_actions: Some(vec![LifetimeAction {
            action: Some(LifetimeActionType {
                type_prop: Some(KeyRotationPolicyAction::Rotate),
            }),
            trigger: Some(LifetimeActionTrigger {
                time_after_create: Some("P90D".into()),
                ..Default::default()
            }),
        }]),
        ..KeyRotationPolicy::default()
    };
    let admin = cloud.admin(BY_POLICY);
    admin
        .update_key_rotation_policy("k", policy.try_into().unwrap(), None)
        .await
        .unwrap();
    let mut lab = cloud.plugin(BY_POLICY, "k").await;
    let old = lab.encrypt(b"x").await;
    cloud
        .emulator
        .clock()
        .advance(Duration::from_hours(90 * 24))
        .await
        .unwrap();
    lab.status_until("another key id", |answer| {
        answer.as_ref().is_ok_and(|id| *id != old.key_id)
    })
    .await
    .unwrap();
    assert_eq!(lab.decrypt(&old).await.unwrap(), b"x");
    let new = lab.encrypt(b"y").await;
    assert_eq!(lab.decrypt(&new).await.unwrap(), b"y");
    // A year later the version has expired: it does not encrypt, but still decrypts.
    admin
        .update_key_rotation_policy("k", KeyRotationPolicy::default().try_into().unwrap(), None)
        .await
        .unwrap();
    cloud
        .emulator
        .clock()
        .advance(Duration::from_hours(366 * 24))
        .await
        .unwrap();
    let ended = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert!(ended.message().contains("KeyExpired"), "{ended}");
    assert_eq!(lab.decrypt(&new).await.unwrap(), b"y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_requests_match_the_emulators_count_and_wrap_is_detected() {
    for (vault, denied) in [(BY_POLICY, 0), (BY_ROLE, 1)] {
        let cloud = Cloud::start().await;
        cloud.key(vault, "k", KeyType::Rsa).await;
        let kek = cloud.kek(vault, "k").build().await.unwrap();
        for size in [1, 32, kek.max_plaintext()] {
            let plaintext = vec![3; size];
            let wrapped = kek.wrap(&plaintext, None).await.unwrap();
            assert_eq!(
                *kek.unwrap(&wrapped.ciphertext, &wrapped.version)
                    .await
                    .unwrap(),
                plaintext
            );
        }
        // A token, and two calls for each size; one more to find out that only wrapKey is allowed.
        assert_eq!(kek.usage().requests, 1 + 3 * 2 + denied);
        assert_eq!(kek.usage().requests, cloud.plugin_requests());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_key_fails_status_until_it_is_restored() {
    let cloud = Cloud::start().await;
    let version = cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let mut lab = cloud.plugin(BY_POLICY, "k").await;
    let created = lab.encrypt(b"x").await;
    cloud.enable(BY_POLICY, "k", &version, false).await;
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), tonic::Code::FailedPrecondition);
    assert!(
        failed
            .message()
            .contains("/keys/k is disabled: enable it again"),
        "{failed}"
    );
    assert!(
        lab.decrypt(&created)
            .await
            .unwrap_err()
            .message()
            .contains("is disabled")
    );
    cloud.enable(BY_POLICY, "k", &version, true).await;
    assert_eq!(
        lab.status_until("ok", Result::is_ok).await.unwrap(),
        created.key_id
    );

    cloud.admin(BY_POLICY).delete_key("k", None).await.unwrap();
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert!(
        failed.message().contains("was not found") && failed.message().contains("recover it"),
        "{failed}"
    );
    cloud
        .admin(BY_POLICY)
        .recover_deleted_key("k", None)
        .await
        .unwrap();
    assert_eq!(
        lab.status_until("ok", Result::is_ok).await.unwrap(),
        created.key_id
    );
    assert_eq!(lab.decrypt(&created).await.unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_cause_and_remedy() {
    let cloud = Cloud::start().await;
    cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    cloud.key(BY_POLICY, "ec", KeyType::Ec).await;
    let wrong_secret = cloud.kek(BY_POLICY, "k").client_secret(
        &cloud.emulator.azure_tenant(),
        PLUGIN,
        "wrong-secret",
    );
    let closed = cloud
        .kek(BY_POLICY, "k")
        .proxy(Some("http://127.0.0.1:9"))
        .call_timeout(Duration::from_secs(2));
    let other_ca = Cloud::start().await;
    let untrusted = cloud
        .kek(BY_POLICY, "k")
        .ca_file(other_ca.emulator.ca_path());
    for (kek, kind, says) in [
        (
            cloud.kek(BY_POLICY, "none"),
            "gone",
            "keys/none was not found",
        ),
        (
            cloud.kek(BY_POLICY, "ec"),
            "denied",
            "Operation encrypt is not permitted on this key.",
        ),
        (
            cloud.kek("kmslab", "k"),
            "denied",
            "does not have keys encrypt permission on key vault 'kmslab",
        ),
        (
            wrong_secret,
            "credentials",
            "AADSTS7000215: Invalid client secret provided.",
        ),
        (
            closed,
            "unreachable",
            "https://by-policy.vault.azure.net gave no answer",
        ),
        (untrusted, "certificate", "--ca-file"),
    ] {
        let error = kek
            .build()
            .await
            .unwrap()
            .wrap(b"x", None)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(says) && !text.contains("wrong-secret") && !text.contains("Trace ID"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ciphertext_of_another_vault_is_rejected_without_a_call() {
    let cloud = Cloud::start().await;
    cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    cloud.key(BY_POLICY, "other", KeyType::Rsa).await;
    let wrapped = cloud
        .kek(BY_POLICY, "other")
        .build()
        .await
        .unwrap()
        .wrap(b"x", None)
        .await
        .unwrap();
    let kek = cloud.kek(BY_POLICY, "k").build().await.unwrap();
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
async fn pinned_version_does_not_follow_rotations() {
    let cloud = Cloud::start().await;
    let first = cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let second = cloud.rotate(BY_POLICY, "k").await;
    let pinned = cloud
        .kek(BY_POLICY, "k")
        .version(Some(&first))
        .build()
        .await
        .unwrap();
    assert_eq!(pinned.current().await.unwrap().version, first);
    let free = cloud.kek(BY_POLICY, "k").build().await.unwrap();
    assert_eq!(free.current().await.unwrap().version, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_token_is_used_while_renewal_fails() {
    // A lifetime for which the SDK would request a token for every call.
    let cloud = Cloud::with_tokens_for(SignedDuration::from_mins(4)).await;
    cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let kek = cloud.kek(BY_POLICY, "k").build().await.unwrap();
    for _ in 0..5 {
        kek.wrap(b"x", None).await.unwrap();
    }
    let logins = |cloud: &Cloud| {
        let rows = cloud.emulator.requests().rows;
        rows.iter()
            .filter(|row| row.caller == PLUGIN && row.operation == "IdentityToken")
            .map(|row| row.count)
            .sum::<u64>()
    };
    assert_eq!(logins(&cloud), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_json_of_a_node_logs_in() {
    let cloud = Cloud::start().await;
    cloud.key(BY_POLICY, "k", KeyType::Rsa).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("azure.json");
    let kek = || {
        AzureKek::builder(Vault::Name(BY_POLICY.into()), "k")
            .config_file(Some(&file))
            .proxy(Some(cloud.proxy()))
            .ca_file(cloud.emulator.ca_path())
            .call_timeout(Duration::from_secs(10))
            .build()
    };
    let tenant = cloud.emulator.azure_tenant();
    let text = format!(
        r#"{{"tenantId":"{tenant}","aadClientId":"{PLUGIN}","aadClientSecret":"{SECRET}","vmType":"vmss"}}"#
    );
    std::fs::write(&file, &text).unwrap();
    kek().await.unwrap().wrap(b"x", None).await.unwrap();
    // As an editor on Windows writes it.
    std::fs::write(&file, format!("\u{feff}{}\r\n", text.replace(',', ",\r\n"))).unwrap();
    kek().await.unwrap().wrap(b"x", None).await.unwrap();
    let certificate = r#"{"cloud":"AzurePublicCloud","tenantId":"t","aadClientId":"c","aadClientCertPath":"/x.pfx"}"#;
    for (text, says) in [
        (
            text.replace("aadClientSecret", "aadClientSekret"),
            "it says no way to log in",
        ),
        (text.replace('}', ""), "line 1: not a JSON object"),
        (certificate.to_owned(), "aadClientCertPath is not supported"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = kek().await.unwrap_err().to_string();
        assert!(
            error.contains(says) && error.contains("azure.json") && !error.contains(SECRET),
            "{error}"
        );
    }
}

#[tokio::test]
async fn cloud_of_azure_json_determines_the_vault_host() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("azure.json");
    let ids = r#""tenantId":"11111111-2222-3333-4444-555555555555","aadClientId":"66666666-7777-8888-9999-000000000000""#;
    for (cloud, vault) in [
        (
            "AzureUSGovernmentCloud",
            "CONNECT k8s.vault.usgovcloudapi.net:443 ",
        ),
        ("AzureChinaCloud", "CONNECT k8s.vault.azure.cn:443 "),
        ("AzurePublicCloud", "CONNECT k8s.vault.azure.net:443 "),
    ] {
        std::fs::write(
            &file,
            format!(r#"{{"cloud":"{cloud}",{ids},"aadClientSecret":"x"}}"#),
        )
        .unwrap();
        let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kek = AzureKek::builder(Vault::Name("k8s".into()), "k")
            .config_file(Some(&file))
            .proxy(Some(format!("http://{}", proxy.local_addr().unwrap())))
            .build()
            .await
            .unwrap();
        let requested = async {
            let mut first = [0; 64];
            let read =
                tokio::io::AsyncReadExt::read(&mut proxy.accept().await.unwrap().0, &mut first)
                    .await
                    .unwrap();
            String::from_utf8_lossy(&first[..read]).into_owned()
        };
        let requested = tokio::select! {
            requested = requested => requested,
            wrapped = kek.wrap(b"x", None) => panic!("{}", wrapped.is_ok()),
        };
        assert!(requested.starts_with(vault), "{cloud}: {requested}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managed_identity_needs_no_secret() {
    let cloud = Cloud::start().await;
    cloud.key("kmslab", "k", KeyType::Rsa).await;
    let kek = AzureKek::builder(Vault::Name("kmslab".into()), "k")
        .auth(AuthMethod::ManagedIdentity)
        .proxy(Some(cloud.proxy()))
        .ca_file(cloud.emulator.ca_path())
        .call_timeout(Duration::from_secs(10))
        .build()
        .await
        .unwrap();
    let wrapped = kek.wrap(b"x", None).await.unwrap();
    assert_eq!(
        *kek.unwrap(&wrapped.ciphertext, &wrapped.version)
            .await
            .unwrap(),
        b"x"
    );
}
