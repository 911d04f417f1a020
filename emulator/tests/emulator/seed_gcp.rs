//! Keys of Google with fixed versions and material, and exports that are imported again.

use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::gcp_rest::{rest, token};

const RING: &str = "projects/p/locations/us-east1/keyRings/r";
const KEY: &str = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";
const OTHER: &str = "other@p.iam.gserviceaccount.com";

fn seed() -> Value {
    json!({ "gcp": {
        "serviceAccounts": [{ "email": OTHER, "displayName": "Other" }],
        "policies": [{ "resource": RING, "revision": 3, "bindings": [{
            "role": "roles/cloudkms.viewer", "members": [format!("serviceAccount:{OTHER}")],
            "condition": { "expression": "false", "title": "never" },
        }]}],
        "keyRings": [{
            "name": RING, "createTime": "2024-01-01T00:00:00Z",
            "keys": [{
                "id": "k", "labels": { "team": "blue" }, "createTime": "2025-01-01T00:00:00Z", "primary": 3,
                "rotationPeriodSeconds": 7_776_000, "nextRotationTime": "2999-01-01T00:00:00Z",
                "versions": [
                    { "state": "DESTROYED", "destroyEventTime": "2025-02-01T00:00:00Z" },
                    { "state": "DESTROY_SCHEDULED", "destroyTime": "2998-01-01T00:00:00Z", "scheduled": true },
                    { "material": { "fromSeed": "correct horse" } },
                    { "number": 7, "state": "DISABLED", "material": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" },
                ],
            }, {
                "id": "sign", "purpose": "ASYMMETRIC_SIGN", "algorithm": "EC_SIGN_P256_SHA256",
                "versions": [{ "material": { "fromSeed": "correct horse" } }],
            }],
            "importJobs": [{ "id": "job", "importMethod": "RSA_OAEP_3072_SHA256" }],
        }],
        "retiredKeys": [{
            "key": format!("{RING}/cryptoKeys/gone"), "id": "0123", "deleteTime": "2025-01-01T00:00:00Z",
        }],
    }})
}

async fn started(seed: Value) -> (Emulator, String) {
    let seed: SeedFile = serde_json::from_value(seed).unwrap();
    let emulator = Emulator::builder().seed(seed).start().await.unwrap();
    let token = token(&emulator).await;
    (emulator, token)
}

async fn call(of: &(Emulator, String), method: &str, path: &str, body: Value) -> Value {
    let answer = rest(&of.0, Some(&of.1), method, &format!("/v1/{path}"), body).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
    answer.json
}

/// The answers of all calls that read.
async fn answers(of: &(Emulator, String)) -> Vec<Value> {
    let get = async |path: &str| call(of, "GET", path, Value::Null).await;
    let mut all = vec![
        get("projects/p/locations/us-east1/keyRings").await,
        get("projects/p/locations/us-east1/retiredResources").await,
        get(&format!("{RING}/importJobs")).await,
    ];
    let keys = get(&format!("{RING}/cryptoKeys")).await;
    for key in keys["cryptoKeys"].as_array().unwrap() {
        let name = key["name"].as_str().unwrap();
        all.push(get(&format!("{name}:getIamPolicy")).await);
        let versions = get(&format!("{name}/cryptoKeyVersions")).await;
        for version in versions["cryptoKeyVersions"].as_array().unwrap() {
            let is_signing = version["algorithm"].as_str().unwrap().contains("SIGN");
            if is_signing && version["state"] == "ENABLED" {
                let name = version["name"].as_str().unwrap();
                all.push(get(&format!("{name}/publicKey")).await);
            }
        }
        all.push(versions);
    }
    for resource in [RING, &format!("{RING}/importJobs/job")] {
        all.push(get(&format!("{resource}:getIamPolicy")).await);
    }
    all.push(get("projects/p/serviceAccounts").await);
    all.push(get(&format!("projects/p/serviceAccounts/{OTHER}/keys")).await);
    all.push(keys);
    all
}

#[tokio::test]
async fn seeded_versions_of_a_key_ring_have_their_states_dates_and_material() {
    let (one, other) = (started(seed()).await, started(seed()).await);
    let key = call(&one, "GET", KEY, Value::Null).await;
    assert_eq!(key["createTime"], "2025-01-01T00:00:00Z");
    assert_eq!(key["nextRotationTime"], "2999-01-01T00:00:00Z");
    assert_eq!(key["primary"]["name"], format!("{KEY}/cryptoKeyVersions/3"));
    let versions = call(
        &one,
        "GET",
        &format!("{KEY}/cryptoKeyVersions"),
        Value::Null,
    )
    .await;
    let versions = &versions["cryptoKeyVersions"];
    assert_eq!(versions[0]["destroyEventTime"], "2025-02-01T00:00:00Z");
    assert_eq!(versions[1]["destroyTime"], "2998-01-01T00:00:00Z");
    assert_eq!(versions[3]["name"], format!("{KEY}/cryptoKeyVersions/7"));
    assert_eq!(versions[3]["state"], "DISABLED");

    let encrypt = json!({ "plaintext": "c2VjcmV0" });
    let sealed = call(&one, "POST", &format!("{KEY}:encrypt"), encrypt).await;
    let decrypt = json!({ "ciphertext": sealed["ciphertext"] });
    let opened = call(&other, "POST", &format!("{KEY}:decrypt"), decrypt).await;
    assert_eq!(opened["plaintext"], "c2VjcmV0");
    let created = call(&one, "POST", &format!("{KEY}/cryptoKeyVersions"), json!({})).await;
    assert_eq!(created["name"], format!("{KEY}/cryptoKeyVersions/8"));
}

#[tokio::test]
async fn import_of_a_google_export_gives_the_same_answers() {
    let of = started(seed()).await;
    let create = json!({ "purpose": "MAC", "versionTemplate": { "algorithm": "HMAC_SHA256", "protectionLevel": "SOFTWARE" } });
    let mac = format!("{RING}/cryptoKeys/mac");
    call(
        &of,
        "POST",
        &format!("{RING}/cryptoKeys?cryptoKeyId=mac"),
        create,
    )
    .await;
    let sign = json!({ "data": "c2VjcmV0" });
    let path = format!("{mac}/cryptoKeyVersions/1:macSign");
    let tag = call(&of, "POST", &path, sign).await["mac"].clone();
    let policy = json!({ "policy": { "bindings": [{
        "role": "roles/cloudkms.admin", "members": [format!("serviceAccount:{OTHER}")],
    }]}});
    call(&of, "POST", &format!("{mac}:setIamPolicy"), policy).await;
    call(
        &of,
        "POST",
        &format!("{KEY}/cryptoKeyVersions/3:destroy"),
        json!({}),
    )
    .await;
    let private = call(
        &of,
        "POST",
        &format!("projects/p/serviceAccounts/{OTHER}/keys"),
        json!({}),
    )
    .await;
    let day = std::time::Duration::from_hours(24);
    of.0.clock().advance(31 * day).await.unwrap();

    let exported = serde_json::to_value(of.0.export(true).await.unwrap()).unwrap();
    let copy = started(exported.clone()).await;
    copy.0.clock().advance(31 * day).await.unwrap();
    assert_eq!(answers(&copy).await, answers(&of).await);
    let verify = json!({ "data": "c2VjcmV0", "mac": tag });
    let path = format!("{mac}/cryptoKeyVersions/1:macVerify");
    assert_eq!(call(&copy, "POST", &path, verify).await["success"], true);
    let again = serde_json::to_value(copy.0.export(true).await.unwrap()).unwrap();
    assert_eq!(again, exported);
    assert!(private["privateKeyData"].is_string());

    let public = serde_json::to_string(&of.0.export(false).await.unwrap()).unwrap();
    for secret in ["material", "AAECAwQFBgcI", "correct horse", "PRIVATE"] {
        assert!(!public.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn invalid_google_part_of_a_seed_is_named_by_its_place() {
    let key = |key: Value| json!({ "keyRings": [{ "name": RING, "keys": [key] }] });
    let version = |version: Value| key(json!({ "id": "k", "versions": [version] }));
    let place = "gcp.keyRings[0].keys[0]";
    let of_version = "gcp.keyRings[0].keys[0].versions[0]";
    for (gcp, place, reason) in [
        (
            json!({ "keyRings": [{ "name": "r" }] }),
            "gcp.keyRings[0].name",
            "projects/P",
        ),
        (
            key(json!({ "id": "a b" })),
            &format!("{place}.id")[..],
            "1 to 63",
        ),
        (
            key(json!({ "id": "k", "purpose": "ENCRYPT" })),
            &format!("{place}.purpose"),
            "did you mean ENCRYPT_DECRYPT?",
        ),
        (
            key(json!({ "id": "k", "algorithm": "GOOGLE_SYMETRIC_ENCRYPTION" })),
            &format!("{place}.algorithm"),
            "did you mean GOOGLE_SYMMETRIC_ENCRYPTION?",
        ),
        (
            key(json!({ "id": "k", "purpose": "MAC", "algorithm": "EC_SIGN_P256_SHA256" })),
            place,
            "is not for keys of purpose MAC",
        ),
        (
            key(json!({ "id": "k", "rotationPeriodSeconds": 5 })),
            place,
            "24 hours",
        ),
        (
            key(json!({ "id": "k", "nextRotationTime": "2999-01-01T00:00:00Z" })),
            &format!("{place}.nextRotationTime"),
            "rotationPeriodSeconds",
        ),
        (
            key(json!({ "id": "k", "primary": 2 })),
            &format!("{place}.primary"),
            "no version 2",
        ),
        (
            key(json!({ "id": "k", "labels": { "A": "b" } })),
            place,
            "Invalid label",
        ),
        (
            key(json!({ "id": "k", "versions": [{ "number": 2 }, { "number": 1 }] })),
            place,
            "higher number",
        ),
        (
            key(json!({ "id": "k", "versions": [{ "number": u32::MAX }, {}] })),
            place,
            "higher number",
        ),
        (
            version(json!({ "algorithm": "HMAC_SHA256" })),
            &format!("{of_version}.algorithm"),
            "not for keys of purpose ENCRYPT_DECRYPT",
        ),
        (
            version(json!({ "state": "DISABLD" })),
            &format!("{of_version}.state"),
            "did you mean DISABLED?",
        ),
        (
            version(json!({ "state": "DESTROY_SCHEDULED" })),
            &format!("{of_version}.state"),
            "destroyTime",
        ),
        (
            version(json!({ "destroyTime": "2999-01-01T00:00:00Z" })),
            &format!("{of_version}.destroyTime"),
            "DESTROY_SCHEDULED",
        ),
        (
            version(json!({ "id": "A" })),
            &format!("{of_version}.id"),
            "64 lower-case",
        ),
        (
            version(json!({ "material": "AAEC" })),
            &format!("{of_version}.material"),
            "AES key of 256 bits",
        ),
        (
            json!({ "keyRings": [{ "name": RING, "importJobs": [{ "id": "j", "importMethod": "RSA" }] }] }),
            "gcp.keyRings[0].importJobs[0].importMethod",
            "RSA_OAEP_3072_SHA256",
        ),
        (
            json!({ "bindings": [{ "resource": "projects/p", "role": "roles/none", "members": ["allUsers"] }] }),
            "gcp.bindings[0]",
            "roles/none",
        ),
        (
            json!({ "serviceAccounts": [{ "email": "x" }] }),
            "gcp.serviceAccounts[0].email",
            "email",
        ),
        (
            json!({ "serviceAccounts": [{ "email": "x@y", "keyFile": "{}" }] }),
            "gcp.serviceAccounts[0].keyFile",
            "private_key",
        ),
        (
            json!({ "serviceAccounts": [{ "email": "x@y", "publicKeys": [{ "id": "1", "n": "AAEC", "e": "AQAB" }] }] }),
            "gcp.serviceAccounts[0].publicKeys[0]",
            "RSA key",
        ),
        (
            json!({ "metadataAccount": "x@y" }),
            "gcp.metadataAccount",
            "no service account",
        ),
    ] {
        let seed: SeedFile = serde_json::from_value(json!({ "gcp": gcp })).unwrap();
        let error = Emulator::builder().seed(seed).start().await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("{place}: ")), "{gcp}: {error}");
        assert!(error.contains(reason), "{gcp}: {error}");
    }
}

#[tokio::test]
async fn seeded_import_job_may_be_created_at_the_end_of_time() {
    let ring = json!([{ "name": RING, "importJobs": [
        { "id": "job", "importMethod": "RSA_OAEP_3072_SHA256", "createTime": "9999-12-30T00:00:00Z" },
    ]}]);
    let of = started(json!({ "gcp": { "keyRings": ring } })).await;
    let path = format!("{RING}/importJobs/job");
    let job = call(&of, "GET", &path, Value::Null).await;
    assert_eq!(job["state"], "ACTIVE");
}
