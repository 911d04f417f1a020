//! Keys of AWS with fixed ids and material, and exports that are imported again.

use std::fs;

use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::support::{Call, admin, free_port};

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const MATERIAL_ID: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const SEED: &str = r"
keys:
- id: 1234abcd-12ab-34cd-56ef-1234567890ab
  aliases: [alias/fixed]
  created: 2025-01-01T00:00:00Z
  versions:
  - id: '1111111111111111111111111111111111111111111111111111111111111111'
    material: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
  - created: 2025-06-01T00:00:00Z
    rotation: AUTOMATIC
    material: {file: second.key}
  - created: 2025-07-01T00:00:00Z
    material: {fromSeed: correct horse}
- id: mrk-1234abcd12ab34cd56ef1234567890ab
  material: {fromSeed: correct horse}
  state: Disabled
- aliases:
  - {name: alias/dated, created: 2020-01-01T00:00:00Z}
  state: PendingDeletion
  deletionDate: 2999-01-01T00:00:00Z
";

fn seed(text: &str) -> Result<SeedFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.yaml");
    fs::write(&path, text).unwrap();
    fs::write(dir.path().join("second.key"), [7; 32]).unwrap();
    SeedFile::read(&path).map_err(|error| error.to_string())
}

async fn started(seed: SeedFile) -> Emulator {
    let builder = Emulator::builder().admin_listen(free_port()).seed(seed);
    builder.start().await.unwrap()
}

async fn call(emulator: &Emulator, operation: &'static str, body: Value) -> Value {
    let answer = Call::new(operation, body.to_string())
        .send(emulator.http_addr())
        .await;
    assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
    answer.json
}

async fn encrypt(emulator: &Emulator, key: &str) -> Value {
    let request = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    call(emulator, "Encrypt", request).await["CiphertextBlob"].clone()
}

/// The answers of all calls that read, for every key and alias.
async fn answers(emulator: &Emulator) -> Vec<Value> {
    let keys = call(emulator, "ListKeys", json!({})).await;
    let mut all = vec![keys.clone(), call(emulator, "ListAliases", json!({})).await];
    for key in keys["Keys"].as_array().unwrap() {
        let named = json!({ "KeyId": key["KeyId"] });
        for operation in ["DescribeKey", "GetKeyRotationStatus", "ListResourceTags"] {
            all.push(call(emulator, operation, named.clone()).await);
        }
        let policy = json!({ "KeyId": key["KeyId"], "PolicyName": "default" });
        all.push(call(emulator, "GetKeyPolicy", policy).await);
        let rotations = json!({ "KeyId": key["KeyId"], "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        all.push(call(emulator, "ListKeyRotations", rotations).await);
    }
    all
}

#[tokio::test]
async fn seeded_versions_have_their_ids_dates_and_material() {
    let (one, other) = (
        started(seed(SEED).unwrap()).await,
        started(seed(SEED).unwrap()).await,
    );
    let request = json!({ "KeyId": ID, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
    let rotations = call(&one, "ListKeyRotations", request).await["Rotations"].clone();
    assert_eq!(rotations[0]["KeyMaterialId"], MATERIAL_ID);
    assert_eq!(rotations[1]["RotationType"], "AUTOMATIC");
    assert_eq!(rotations[1]["RotationDate"], 1_748_736_000.0);
    assert_eq!(rotations[2]["RotationType"], "ON_DEMAND");
    let described = call(&one, "DescribeKey", json!({ "KeyId": "alias/fixed" })).await;
    assert_eq!(described["KeyMetadata"]["KeyId"], ID);
    assert_eq!(described["KeyMetadata"]["CreationDate"], 1_735_689_600.0);
    let aliases = call(&one, "ListAliases", json!({})).await;
    assert_eq!(aliases["Aliases"][0]["CreationDate"], 1_577_836_800.0);

    // Two emulators with the same seed are the same to their callers.
    let sealed = encrypt(&one, ID).await;
    let opened = call(&other, "Decrypt", json!({ "CiphertextBlob": sealed })).await;
    assert_eq!(opened["Plaintext"], "c2VjcmV0");
    assert_eq!(opened["KeyMaterialId"], rotations[2]["KeyMaterialId"]);

    // Another secret is other material under the same ids.
    let changed = SEED.replacen("correct horse", "battery staple", 1);
    let changed = started(seed(&changed).unwrap()).await;
    let request = json!({ "CiphertextBlob": sealed }).to_string();
    let refused = Call::new("Decrypt", request)
        .send(changed.http_addr())
        .await;
    assert_eq!(refused.code(), "InvalidCiphertextException");
}

#[tokio::test]
async fn import_of_an_export_gives_the_same_answers() {
    let emulator = started(seed(SEED).unwrap()).await;
    let policy = json!({ "Version": "2012-10-17", "Statement": [] }).to_string();
    let create = json!({
        "Description": "made by a call", "Policy": policy, "MultiRegion": true,
        "Tags": [{ "TagKey": "team", "TagValue": "blue" }],
    });
    let made = call(&emulator, "CreateKey", create).await["KeyMetadata"]["KeyId"].clone();
    let alias = json!({ "AliasName": "alias/made", "TargetKeyId": made });
    call(&emulator, "CreateAlias", alias.clone()).await;
    let old = encrypt(&emulator, "alias/made").await;
    let rotation = json!({ "KeyId": made, "RotationPeriodInDays": 90 });
    call(&emulator, "EnableKeyRotation", rotation).await;
    let day = std::time::Duration::from_hours(24);
    emulator.clock().advance(91 * day).await.unwrap();
    call(&emulator, "RotateKeyOnDemand", json!({ "KeyId": made })).await;
    call(&emulator, "UpdateAlias", alias).await;
    let new = encrypt(&emulator, "alias/made").await;
    call(&emulator, "DisableKey", json!({ "KeyId": ID })).await;
    let sealed_by = |sealed: &Value| json!({ "CiphertextBlob": sealed });

    let exported = admin(&emulator, "/export?with-material=true", None).await;
    assert_eq!(exported.status, 200, "{}", exported.text);
    let copy: SeedFile = serde_json::from_value(exported.json.clone()).unwrap();
    let copy = started(copy).await;
    assert_eq!(answers(&copy).await, answers(&emulator).await);
    for sealed in [&old, &new] {
        let opened = call(&copy, "Decrypt", sealed_by(sealed)).await;
        assert_eq!(opened["Plaintext"], "c2VjcmV0");
    }
    // The schedule and the count of rotations go on.
    copy.clock().advance(182 * day).await.unwrap();
    let rotations = call(&copy, "ListKeyRotations", json!({ "KeyId": made })).await;
    assert_eq!(rotations["Rotations"].as_array().unwrap().len(), 3);
    let again = admin(&copy, "/export?with-material=true", None).await;
    assert_eq!(again.json["keys"][0], exported.json["keys"][0]);
}

#[tokio::test]
async fn export_has_secrets_only_if_they_are_asked_for() {
    let emulator = started(seed(SEED).unwrap()).await;
    let exported = admin(&emulator, "/export", None).await;
    assert_eq!(exported.json["keys"][0]["versions"][0]["id"], MATERIAL_ID);
    for secret in ["material", "secret", "AAECAwQFBgcI"] {
        assert!(!exported.text.contains(secret), "{secret}");
    }
    let whole = admin(&emulator, "/export?with-material=true", None).await;
    assert!(whole.text.contains("AAECAwQFBgcI"));
    assert_eq!(whole.json["credentials"][0]["secret"], "test");
    let unknown = admin(&emulator, "/export?with-secrets=true", None).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text.contains("with-material"), "{}", unknown.text);
}

#[tokio::test]
async fn invalid_key_of_a_seed_is_named_by_its_place() {
    for (text, place, reason) in [
        ("{id: ABC}", "keys[0].id", "not a key id"),
        ("{account: '1'}", "keys[0].account", "12 digits"),
        (
            "{id: mrk-1234abcd12ab34cd56ef1234567890ab, multiRegion: false}",
            "keys[0].multiRegion",
            "start with mrk-",
        ),
        ("{state: PendingDeletion}", "keys[0].state", "deletionDate"),
        (
            "{deletionDate: 2030-01-01T00:00:00Z}",
            "keys[0].deletionDate",
            "PendingDeletion",
        ),
        (
            "{nextRotation: 2030-01-01T00:00:00Z}",
            "keys[0].nextRotation",
            "rotationPeriodInDays",
        ),
        ("{rotationPeriodInDays: 5}", "keys[0]", "EnableKeyRotation"),
        (
            "{material: AAEC}",
            "keys[0].material",
            "AES key of 256 bits",
        ),
        (
            "{material: '?'}",
            "keys[0].material",
            "neither base64 nor PEM",
        ),
        (
            "{material: {fromSeed: s}}",
            "keys[0].material",
            "the key needs one",
        ),
        (
            "{material: AAEC, versions: [{}]}",
            "keys[0].material",
            "a key with versions",
        ),
        (
            "{versions: [{id: abc}]}",
            "keys[0].versions[0].id",
            "64 lower-case hex digits",
        ),
        (
            "{aliases: [alias/a, alias/a]}",
            "keys[0].aliases[1]",
            "already exists",
        ),
    ] {
        let seed = seed(&format!("keys: [{text}]")).unwrap();
        let error = Emulator::builder().seed(seed).start().await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(&format!("{place}:")) || error.contains(&format!("{place} (")),
            "{text}: {error}"
        );
        assert!(error.contains(reason), "{text}: {error}");
    }
    let same_id = format!("keys: [{{id: {ID}}}, {{id: {ID}}}]");
    let same_version = format!(
        "keys: [{{versions: [{{id: '{MATERIAL_ID}'}}]}}, {{versions: [{{id: '{MATERIAL_ID}'}}]}}]"
    );
    for (text, reason) in [(same_id, "already exists"), (same_version, "another key")] {
        let seed = seed(&text).unwrap();
        let error = Emulator::builder().seed(seed).start().await.unwrap_err();
        assert!(error.to_string().contains("keys[1]"), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let missing = seed("keys: [{material: {file: nowhere.key}}]").unwrap_err();
    assert!(missing.contains("nowhere.key"), "{missing}");
}
