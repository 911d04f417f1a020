//! Seed files as files: errors with their position, the schema, exports of the command.

use std::fs;
use std::path::Path;

use kmslab_emulator::SeedFile;
use serde_json::{Value, json};

use crate::command::{Running, command, ended};
use crate::support::Call;

fn read(text: &str) -> Result<SeedFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.yaml");
    fs::write(&path, text).unwrap();
    SeedFile::read(&path).map_err(|error| error.to_string())
}

#[test]
fn unknown_field_is_named_with_its_position_and_the_nearest_one() {
    let error = read("keys:\n- aliases: [alias/a]\n  rotationPeriodDays: 90\n").unwrap_err();
    assert!(error.contains("line 3"), "{error}");
    assert!(
        error.contains("did you mean rotationPeriodInDays?"),
        "{error}"
    );
    let error = read("gcp:\n  keyRing: []\n").unwrap_err();
    assert!(error.contains("did you mean keyRings?"), "{error}");
    let error = read("keys: [{state: Disable}]").unwrap_err();
    assert!(error.contains("did you mean Disabled?"), "{error}");
    let error = read("keys: [{material: {fromSeeds: x}}]").unwrap_err();
    assert!(error.contains("did you mean fromSeed?"), "{error}");
    // The value may be a secret.
    let error = read("keys: [{material: [hunter2]}]").unwrap_err();
    assert!(
        error.contains("base64, or a map") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn value_that_cannot_be_used_is_named_with_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.yaml");
    let text = "azure:\n  vaults:\n  - name: abc\n    roles:\n    - objectId: o\n      role: Key Vault Crypto Usr\n";
    fs::write(&path, text).unwrap();
    let (code, stderr) = ended(&["--no-tls", "--seed", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("seed.yaml:6:13: "), "{stderr}");
    assert!(
        stderr.contains("did you mean Key Vault Crypto User?"),
        "{stderr}"
    );
}

#[test]
fn published_schema_is_the_one_that_the_command_prints() {
    let printed = command(&["--print-seed-schema"]).output().unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seed-schema.json");
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        printed == published,
        "run: kmslab emulator --print-seed-schema > emulator/seed-schema.json"
    );
    let schema: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let undescribed = undescribed(&schema, "");
    assert!(undescribed.is_empty(), "{undescribed:?}");
}

/// Properties of a schema that have no description.
fn undescribed(schema: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Value::Object(members) = schema {
        for (name, member) in members {
            let at = format!("{at}/{name}");
            if let (true, Some(properties)) = (name == "properties", member.as_object()) {
                let without = properties.iter().filter(|(_, property)| {
                    property.get("description").is_none() && property.get("$ref").is_none()
                });
                found.extend(without.map(|(name, _)| format!("{at}/{name}")));
            }
            found.extend(undescribed(member, &at));
        }
    }
    found
}

#[test]
fn seed_file_is_written_as_yaml_and_as_json() {
    let seed = read("keys: [{id: 1234abcd-12ab-34cd-56ef-1234567890ab, material: {fromSeed: 'a: #b'}, tags: {'1': 'yes'}}]").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["seed.yaml", "seed.yml", "seed.json", "seed"] {
        let path = dir.path().join(name);
        seed.write(&path).unwrap();
        let again = serde_json::to_value(SeedFile::read(&path).unwrap()).unwrap();
        assert_eq!(again, serde_json::to_value(&seed).unwrap(), "{name}");
        let is_json = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).is_ok();
        assert_eq!(is_json, !name.contains('y'), "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn emulator_goes_on_from_the_export_of_the_last_one() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.yaml");
    let state = path.to_str().unwrap();
    let export = [
        "--no-tls",
        "--format",
        "json",
        "--export",
        state,
        "--with-material",
    ];
    let start = |flags: &[&str]| {
        let mut running = Running(command(flags).spawn().unwrap());
        let ready: Value = serde_json::from_str(&running.first_line()).unwrap();
        let http = ready["http"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        (running, http.parse().unwrap())
    };
    let (running, address) = start(&export);
    let created = Call::new("CreateKey", "{}").send(address).await.json;
    let id = created["KeyMetadata"]["KeyId"].clone();
    let encrypt = json!({ "KeyId": id, "Plaintext": "c2VjcmV0" }).to_string();
    let sealed = Call::new("Encrypt", encrypt).send(address).await.json;
    assert_eq!(running.signalled("-TERM"), Some(0));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (running, address) = start(&[&export[..], &["--seed", state]].concat());
    let decrypt = json!({ "CiphertextBlob": sealed["CiphertextBlob"] }).to_string();
    let opened = Call::new("Decrypt", decrypt).send(address).await;
    assert_eq!(opened.json["Plaintext"], "c2VjcmV0", "{}", opened.text);
    assert_eq!(running.signalled("-TERM"), Some(0));
}

#[test]
fn export_that_cannot_be_written_is_rejected_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/state.yaml");
    let (code, stderr) = ended(&["--no-tls", "--export", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("missing/state.yaml: cannot write"),
        "{stderr}"
    );
}

#[tokio::test]
async fn seed_without_the_well_known_callers_has_none() {
    let seed = read("wellKnown: false\ncredentials: [{id: AKIAOTHER, secret: s}]").unwrap();
    let emulator = kmslab_emulator::Emulator::builder().seed(seed);
    let emulator = emulator.start().await.unwrap();
    let unknown = Call::new("ListKeys", "{}").send(emulator.http_addr()).await;
    assert_eq!(
        unknown.code(),
        "UnrecognizedClientException",
        "{}",
        unknown.text
    );
    let known = Call {
        id: "AKIAOTHER",
        secret: "s",
        ..Call::new("ListKeys", "{}")
    };
    assert_eq!(known.send(emulator.http_addr()).await.status, 200);
    let exported = serde_json::to_value(emulator.export(true).await.unwrap()).unwrap();
    assert_eq!(exported["wellKnown"], false);
    assert_eq!(exported["azure"], json!({}));
}

#[tokio::test]
async fn export_leaves_out_what_belongs_to_one_run() {
    let emulator = crate::support::started().await;
    let address = emulator.http_addr();
    let created = Call::new("CreateKey", "{}").send(address).await.json;
    let key = json!({ "KeyId": created["KeyMetadata"]["KeyId"] });
    let encrypt = json!({ "KeyId": key["KeyId"], "Plaintext": "c2VjcmV0" });
    let sealed = Call::new("Encrypt", encrypt.to_string())
        .send(address)
        .await;
    assert_eq!(sealed.status, 200);
    emulator
        .clock()
        .advance(std::time::Duration::from_hours(24))
        .await
        .unwrap();
    let resource = "https://vault.azure.net";
    let token = crate::azure_refusals::token(
        &emulator,
        kmslab_emulator::well_known::AZURE_CLIENT_ID,
        resource,
    )
    .await;

    let seed = emulator.export(true).await.unwrap();
    let copy = kmslab_emulator::Emulator::builder().seed(seed);
    let copy = copy.start().await.unwrap();
    let last_usage = async |address| {
        let call = Call::new("GetKeyLastUsage", key.to_string());
        call.send(address).await.json["KeyLastUsage"].clone()
    };
    assert_eq!(last_usage(address).await["Operation"], "Encrypt");
    assert_eq!(last_usage(copy.http_addr()).await, json!({}));
    assert!(copy.clock().now() < emulator.clock().now());
    let keys = ("GET", "/keys?api-version=7.6");
    let host = "kmslab.vault.azure.net";
    let asked = crate::support::ask(copy.http_addr(), host, Some(&token), keys, &Value::Null);
    assert_eq!(asked.await.status, 401, "a token of the other emulator");
}
