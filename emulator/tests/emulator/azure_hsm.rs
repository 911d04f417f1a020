//! A managed HSM, and key attributes by API version.
//!
//! Expected responses are Microsoft's recordings for its JavaScript SDK
//! (sdk/keyvault/keyvault-keys/recordings of azure-sdk-for-js in 2021).

use kmslab_emulator::seed::{AzureSeed, SeedVault};
use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_TENANT};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::azure_refusals::token;
use crate::support::{self, Answer};

const HSM: &str = "kmslab.managedhsm.azure.net";
const VAULT: &str = "kmslab.vault.azure.net";

async fn ask(
    emulator: &Emulator,
    host: &str,
    token: Option<&str>,
    path: &str,
    body: Value,
) -> Answer {
    let method = if body.is_null() { "GET" } else { "POST" };
    support::ask(emulator.http_addr(), host, token, (method, path), &body).await
}

#[tokio::test]
async fn managed_hsm_has_its_own_tokens_and_key_types() {
    let emulator = Emulator::builder().start().await.unwrap();
    let rejected = ask(&emulator, HSM, None, "/keys?api-version=7.6", Value::Null).await;
    let challenge = format!(
        "www-authenticate: bearer authorization=\"https://login.microsoftonline.com/{AZURE_TENANT}\", \
         resource=\"https://managedhsm.azure.net\""
    );
    assert!(
        rejected.status == 401 && rejected.text.is_empty() && rejected.head.contains(&challenge),
        "{rejected:?}"
    );

    let of_hsm = token(&emulator, AZURE_CLIENT_ID, "https://managedhsm.azure.net").await;
    let of_vault = token(&emulator, AZURE_CLIENT_ID, "https://vault.azure.net").await;
    for (host, wrong) in [(HSM, &of_vault), (VAULT, &of_hsm)] {
        let rejected = ask(
            &emulator,
            host,
            Some(wrong),
            "/keys?api-version=7.6",
            Value::Null,
        )
        .await;
        assert!(
            rejected.status == 401 && rejected.text.contains("AKV10022"),
            "{rejected:?}"
        );
    }

    for (kty, kept) in [
        ("oct", "oct-HSM"),
        ("oct-HSM", "oct-HSM"),
        ("RSA", "RSA-HSM"),
        ("EC-HSM", "EC-HSM"),
    ] {
        let path = format!("/keys/{kty}/create?api-version=7.6");
        let created = ask(&emulator, HSM, Some(&of_hsm), &path, json!({ "kty": kty })).await;
        assert_eq!(
            (created.status, &created.json["key"]["kty"]),
            (200, &json!(kept)),
            "{}",
            created.text
        );
        let kid = created.json["key"]["kid"].as_str().unwrap();
        assert!(
            kid.starts_with(&format!("https://{HSM}/keys/{kty}/")),
            "{kid}"
        );
        assert_eq!(created.json["attributes"]["exportable"], false);
    }
    let rejected = ask(
        &emulator,
        VAULT,
        Some(&of_vault),
        "/keys/k/create?api-version=7.6",
        json!({ "kty": "oct" }),
    )
    .await;
    assert_eq!(
        (rejected.status, &rejected.json["error"]["code"]),
        (400, &json!("BadParameter")),
        "{}",
        rejected.text
    );
    let there = ask(
        &emulator,
        VAULT,
        Some(&of_vault),
        "/keys?api-version=7.6",
        Value::Null,
    )
    .await;
    assert_eq!(there.json["value"], json!([]));
}

#[tokio::test]
async fn managed_hsms_are_seeded_and_not_listed_by_resource_manager() {
    let seed = AzureSeed {
        vaults: vec![SeedVault::new("second.managedhsm")],
        ..AzureSeed::default()
    };
    let seed = SeedFile {
        azure: seed,
        ..SeedFile::default()
    };
    let emulator = Emulator::builder().seed(seed).start().await.unwrap();
    let arm = token(&emulator, AZURE_CLIENT_ID, "https://management.azure.com").await;
    let subscription = format!("/subscriptions/{AZURE_TENANT}");
    for path in [
        "providers/Microsoft.KeyVault/vaults",
        "resourceGroups/kmslab/resources",
        "resources",
    ] {
        let path = format!("{subscription}/{path}?api-version=2024-11-01");
        let listed = ask(
            &emulator,
            "management.azure.com",
            Some(&arm),
            &path,
            Value::Null,
        )
        .await;
        assert!(
            !listed.text.contains("managedhsm"),
            "{path}: {}",
            listed.text
        );
    }
    let path = "resourceGroups/kmslab/providers/Microsoft.KeyVault/vaults/kmslab.managedhsm";
    let path = format!("{subscription}/{path}?api-version=2024-11-01");
    assert_eq!(
        ask(
            &emulator,
            "management.azure.com",
            Some(&arm),
            &path,
            Value::Null
        )
        .await
        .status,
        404
    );

    let of_hsm = token(&emulator, AZURE_CLIENT_ID, "https://managedhsm.azure.net").await;
    // It exists, but nobody has permissions in it.
    let second = ask(
        &emulator,
        "second.managedhsm.azure.net",
        Some(&of_hsm),
        "/keys?api-version=7.6",
        Value::Null,
    )
    .await;
    assert_eq!(second.status, 403, "{}", second.text);
}

#[tokio::test]
async fn attributes_depend_on_the_api_version() {
    let emulator = Emulator::builder().start().await.unwrap();
    let token = token(&emulator, AZURE_CLIENT_ID, "https://vault.azure.net").await;
    for (name, kty) in [("rsa", "RSA"), ("aes", "oct-HSM")] {
        let path = format!("/keys/{name}/create?api-version=7.6");
        assert_eq!(
            ask(&emulator, VAULT, Some(&token), &path, json!({ "kty": kty }))
                .await
                .status,
            200
        );
    }
    for (version, name, members) in [
        ("7.2", "rsa", json!([null, null, null])),
        ("7.4", "rsa", json!([false, null, null])),
        ("7.6", "rsa", json!([false, "0", null])),
        ("7.6", "aes", json!([false, "2", null])),
        ("2026-04-01", "rsa", json!([false, "0", null])),
        ("2026-04-01", "aes", json!([false, "2", 256])),
    ] {
        let path = format!("/keys/{name}?api-version={version}");
        let attributes = ask(&emulator, VAULT, Some(&token), &path, Value::Null)
            .await
            .json["attributes"]
            .clone();
        let displayed = json!([
            attributes["exportable"],
            attributes["hsmPlatform"],
            attributes["key_size"]
        ]);
        assert_eq!(displayed, members, "{version} {name}");
    }
}
