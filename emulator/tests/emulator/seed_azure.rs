//! Keys of Azure with fixed versions and material, and exports that are imported again.

use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_TENANT};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::azure_refusals::token;
use crate::support::{self, Answer};

const VERSION: &str = "11111111111111111111111111111111";
const ROLE: &str = "Key Vault Crypto User";

fn seed() -> Value {
    json!({ "azure": {
        "resourceGroups": [{ "name": "other", "location": "westus" }],
        "roleAssignments": [{
            "name": "6f3f4a0c-58c1-4b2b-8e7b-8f3a2f4a9d01",
            "scope": format!("/subscriptions/{AZURE_TENANT}/resourceGroups/other"),
            "objectId": "66666666-7777-4888-8999-aaaaaaaaaaaa", "role": ROLE,
        }],
        "vaults": [{
            "name": "kmslab.managedhsm",
            "policies": [{ "objectId": kmslab_emulator::well_known::AZURE_OBJECT_ID, "keys": ["all"] }],
            "keys": [{
                "name": "Wrap", "created": "2025-01-01T00:00:00Z",
                "versions": [
                    { "id": VERSION, "kty": "oct-HSM", "material": { "fromSeed": "correct horse" } },
                    {
                        "kty": "oct-HSM", "keySize": 128, "material": "AAECAwQFBgcICQoLDA0ODw==",
                        "keyOps": ["wrapKey", "unwrapKey"], "created": "2025-02-01T00:00:00Z",
                        "expires": "2999-01-01T00:00:00Z", "tags": { "team": "blue" },
                    },
                ],
                "rotationPolicy": {
                    "expiryTime": "P20Y", "lifetimeActions": [{ "action": "Rotate", "timeAfterCreate": "P10Y" }],
                    "created": "2025-03-01T00:00:00Z",
                },
            }],
        }],
    }})
}

async fn started(seed: Value) -> Emulator {
    let seed: SeedFile = serde_json::from_value(seed).unwrap();
    Emulator::builder().seed(seed).start().await.unwrap()
}

async fn ask(emulator: &Emulator, host: &str, method: &str, path: &str, body: Value) -> Answer {
    let resource = match host.split_once('.') {
        Some((_, "vault.azure.net")) => "https://vault.azure.net",
        Some((_, "managedhsm.azure.net")) => "https://managedhsm.azure.net",
        _ => "https://management.core.windows.net/",
    };
    let token = token(emulator, AZURE_CLIENT_ID, resource).await;
    let sent = (method, path);
    let answer = support::ask(emulator.http_addr(), host, Some(&token), sent, &body).await;
    assert!(answer.status < 300, "{method} {path}: {}", answer.text);
    answer
}

/// Calls an operation of a vault.
async fn vault(emulator: &Emulator, host: &str, method: &str, path: &str, body: Value) -> Value {
    let path = format!("{path}?api-version=7.6");
    ask(emulator, host, method, &path, body).await.json
}

/// The answers of all calls that read.
async fn answers(emulator: &Emulator) -> Vec<Value> {
    let mut all = Vec::new();
    for host in ["kmslab.vault.azure.net", "kmslab.managedhsm.azure.net"] {
        let get = async |path: &str| vault(emulator, host, "GET", path, Value::Null).await;
        all.push(get("/deletedkeys").await);
        let keys = get("/keys").await;
        for key in keys["value"].as_array().unwrap() {
            let (_, name) = key["kid"].as_str().unwrap().rsplit_once('/').unwrap();
            all.push(get(&format!("/keys/{name}/rotationpolicy")).await);
            let versions = get(&format!("/keys/{name}/versions")).await;
            for version in versions["value"].as_array().unwrap() {
                let (_, path) = version["kid"]
                    .as_str()
                    .unwrap()
                    .split_once("/keys/")
                    .unwrap();
                all.push(get(&format!("/keys/{path}")).await);
            }
            all.push(versions);
        }
        all.push(keys);
    }
    for path in [
        "resourcegroups?api-version=2021-04-01",
        "resources?api-version=2021-04-01",
        "providers/Microsoft.KeyVault/vaults?api-version=2024-11-01",
        "providers/Microsoft.KeyVault/deletedVaults?api-version=2024-11-01",
        "providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
    ] {
        let path = format!("/subscriptions/{AZURE_TENANT}/{path}");
        let answer = ask(emulator, "management.azure.com", "GET", &path, Value::Null).await;
        all.push(answer.json);
    }
    all
}

#[tokio::test]
async fn seeded_versions_of_a_vault_have_their_ids_dates_and_material() {
    let (one, other) = (started(seed()).await, started(seed()).await);
    let host = "kmslab.managedhsm.azure.net";
    let path = format!("/keys/wrap/{VERSION}");
    let first = vault(&one, host, "GET", &path, Value::Null).await;
    assert_eq!(
        first["key"]["kid"],
        format!("https://{host}/keys/Wrap/{VERSION}")
    );
    assert_eq!(first["attributes"]["created"], 1_735_689_600);
    let newest = vault(&one, host, "GET", "/keys/wrap", Value::Null).await;
    assert_eq!(newest["key"]["key_ops"], json!(["wrapKey", "unwrapKey"]));
    assert_eq!(newest["attributes"]["created"], 1_738_368_000);
    assert_eq!(newest["tags"], json!({ "team": "blue" }));
    assert_eq!(answers(&one).await, answers(&other).await);

    let wrap = json!({ "alg": "A256KW", "value": "AAECAwQFBgcICQoLDA0ODw" });
    let wrapped = vault(&one, host, "POST", &format!("{path}/wrapkey"), wrap).await;
    let unwrap = json!({ "alg": "A256KW", "value": wrapped["value"] });
    let unwrapped = vault(&other, host, "POST", &format!("{path}/unwrapkey"), unwrap).await;
    assert_eq!(unwrapped["value"], "AAECAwQFBgcICQoLDA0ODw");
    // RFC 3394, 4.1: a key of 128 bits wrapped with one of 128 bits, which is in the seed.
    let wrap = json!({ "alg": "A128KW", "value": "ABEiM0RVZneImaq7zN3u_w" });
    let wrapped = vault(&one, host, "POST", "/keys/wrap/wrapkey", wrap).await;
    assert_eq!(wrapped["value"], "H6aLCoEStEeu80vY-1p7gp0-hiNx0s_l");
}

#[tokio::test]
async fn import_of_an_azure_export_gives_the_same_answers() {
    let emulator = started(seed()).await;
    let host = "kmslab.vault.azure.net";
    let call = async |method: &str, path: &str, body: Value| {
        vault(&emulator, host, method, path, body).await
    };
    call(
        "POST",
        "/keys/Signs/create",
        json!({ "kty": "EC", "crv": "P-384" }),
    )
    .await;
    let tagged = json!({ "kty": "RSA", "tags": { "a": "b" }, "attributes": { "enabled": false } });
    call("POST", "/keys/rsa/create", tagged).await;
    call(
        "POST",
        "/keys/rsa/create",
        json!({ "kty": "RSA", "key_size": 3072 }),
    )
    .await;
    let policy = json!({
        "lifetimeActions": [{ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Rotate" } }],
        "attributes": { "expiryTime": "P1Y" },
    });
    call("PUT", "/keys/rsa/rotationpolicy", policy).await;
    call("POST", "/keys/rsa/rotate", Value::Null).await;
    let encrypt = json!({ "alg": "RSA-OAEP-256", "value": "c2VjcmV0" });
    let sealed = call("POST", "/keys/rsa/encrypt", encrypt).await;
    call("POST", "/keys/gone/create", json!({ "kty": "RSA" })).await;
    call("DELETE", "/keys/gone", Value::Null).await;
    let deleted = format!(
        "/subscriptions/{AZURE_TENANT}/resourceGroups/other/providers/Microsoft.KeyVault/vaults/removed?api-version=2024-11-01"
    );
    let body = json!({ "location": "westus", "tags": { "x": "y" }, "properties": {
        "tenantId": AZURE_TENANT, "sku": { "family": "A", "name": "premium" }, "enableRbacAuthorization": true,
    }});
    for (method, body) in [("PUT", body), ("DELETE", Value::Null)] {
        ask(&emulator, "management.azure.com", method, &deleted, body).await;
    }

    let exported = emulator.export(true).await.unwrap();
    let exported = serde_json::to_value(&exported).unwrap();
    let copy = started(exported.clone()).await;
    assert_eq!(answers(&copy).await, answers(&emulator).await);
    let decrypt = json!({ "alg": "RSA-OAEP-256", "value": sealed["value"] });
    let opened = vault(&copy, host, "POST", "/keys/rsa/decrypt", decrypt).await;
    assert_eq!(opened["value"], "c2VjcmV0");
    let again = serde_json::to_value(copy.export(true).await.unwrap()).unwrap();
    assert_eq!(again, exported);

    let public = serde_json::to_value(emulator.export(false).await.unwrap()).unwrap();
    let renewed = started(public.clone()).await;
    let key = vault(&renewed, host, "GET", "/keys/rsa", Value::Null).await;
    assert_eq!(
        key["key"]["kid"], sealed["kid"],
        "the same version with other material"
    );
    let public = public.to_string();
    for secret in ["material", "secrets", "AAECAwQFBgcI", "correct horse"] {
        assert!(!public.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn invalid_azure_part_of_a_seed_is_named_by_its_place() {
    let key = |key: Value| json!({ "vaults": [{ "name": "abc", "keys": [key] }] });
    let version = |version: Value| key(json!({ "name": "k", "versions": [version] }));
    for (azure, place, reason) in [
        (
            json!({ "vaults": [{ "name": "a" }] }),
            "azure.vaults[0].name",
            "3 to 24",
        ),
        (
            json!({ "vaults": [{ "name": "abc", "roles": [{ "objectId": "o", "role": "Key Vault Cripto User" }] }] }),
            "azure.vaults[0].roles[0].role",
            "did you mean Key Vault Crypto User?",
        ),
        (
            key(json!({ "name": "a_b" })),
            "azure.vaults[0].keys[0].name",
            "letters, digits and dashes",
        ),
        (
            version(json!({ "id": "ABC" })),
            "azure.vaults[0].keys[0].versions[0].id",
            "32 lower-case",
        ),
        (
            version(json!({ "kty": "DSA" })),
            "azure.vaults[0].keys[0].versions[0]",
            "kty",
        ),
        (
            version(json!({ "keyOps": ["fly"] })),
            "azure.vaults[0].keys[0].versions[0]",
            "key_ops",
        ),
        (
            version(json!({ "material": { "fromSeed": "s" } })),
            "azure.vaults[0].keys[0].versions[0].material",
            "cannot be derived",
        ),
        (
            version(json!({ "kty": "EC", "material": "AAEC" })),
            "azure.vaults[0].keys[0].versions[0].material",
            "PKCS #8 key on P256",
        ),
        (
            key(json!({ "name": "k", "rotationPolicy": { "expiryTime": "P1D" } })),
            "azure.vaults[0].keys[0].rotationPolicy",
            "at least P28D",
        ),
        (
            json!({ "applications": [{ "clientId": "x", "objectId": "y" }] }),
            "azure.applications[0].clientId",
            "not a GUID",
        ),
        (
            json!({ "issuers": [{ "url": "u", "jwks": "?" }] }),
            "azure.issuers[0].jwks",
            "JSON Web Key Set",
        ),
        (
            json!({ "roleAssignments": [{ "name": "n", "scope": "/", "objectId": "o", "role": ROLE }] }),
            "azure.roleAssignments[0].name",
            "not a GUID",
        ),
    ] {
        let seed: SeedFile = serde_json::from_value(json!({ "azure": azure })).unwrap();
        let error = Emulator::builder().seed(seed).start().await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("{place}: ")), "{azure}: {error}");
        assert!(error.contains(reason), "{azure}: {error}");
    }
}

#[tokio::test]
async fn seeded_deletion_may_be_at_either_end_of_time() {
    let seed = json!({ "azure": { "vaults": [
        { "name": "last", "deleted": "9999-12-30T00:00:00Z" },
        {
            "name": "kmslab", "keys": [{ "name": "k", "scheduledPurge": "9999-12-30T00:00:00Z" }],
            "policies": [{ "objectId": kmslab_emulator::well_known::AZURE_OBJECT_ID, "keys": ["all"] }],
        },
    ]}});
    let emulator = started(seed).await;
    let path = format!(
        "/subscriptions/{AZURE_TENANT}/providers/Microsoft.KeyVault/deletedVaults?api-version=2024-11-01"
    );
    let listed = ask(&emulator, "management.azure.com", "GET", &path, Value::Null).await;
    let deleted = &listed.json["value"][0]["properties"];
    assert_eq!(deleted["deletionDate"], "9999-12-30T00:00:00Z");
    let host = "kmslab.vault.azure.net";
    let keys = vault(&emulator, host, "GET", "/deletedkeys", Value::Null).await;
    assert_eq!(keys["value"].as_array().unwrap().len(), 1);
}
