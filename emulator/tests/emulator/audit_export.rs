//! The audit trail in the vendors' shapes: a key that three callers use in three ways.

use std::sync::Arc;

use kmslab_emulator::api::AuditQuery;
use kmslab_emulator::{AuditFormat, Emulator, KeyFile, SeedFile, export_audit};
use kmslab_keycore::{LabClock, ManualClock, SeededEntropy};
use serde_json::{Value, json};

use crate::azure_refusals::token;
use crate::gcp_iam::signed;
use crate::support::{Answer, Call, admin, ask, free_port};

const NOW: &str = "2026-11-26T12:00:00Z";
const VAULT: &str = "kmslab.vault.azure.net";
const RING: &str = "/v1/projects/p/locations/us-east1/keyRings";
const KEY: &str = "/v1/projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";

/// An emulator whose times and ids are the same in each run.
async fn emulator(seed: Value) -> Emulator {
    let clock = ManualClock::at(NOW.parse().unwrap());
    Emulator::builder()
        .wall_clock(Arc::new(clock.clone()))
        .lab_clock(Arc::new(LabClock::new(Arc::new(clock))))
        .entropy(Arc::new(SeededEntropy::new(28)))
        .seed(serde_json::from_value::<SeedFile>(seed).unwrap())
        .admin_listen(free_port())
        .start()
        .await
        .unwrap()
}

/// The events, without what depends on the machine, and their export.
async fn trail(emulator: &Emulator, cloud: &str, format: AuditFormat) -> (Value, Value) {
    let query: AuditQuery = serde_json::from_value(json!({ "cloud": cloud })).unwrap();
    let mut events = Vec::new();
    let mut exported = Vec::new();
    let mut ciphertexts = Vec::new();
    for mut event in emulator.audit(&query).events {
        assert!(event.address.unwrap().starts_with("127.0.0.1:"));
        event.address = Some("127.0.0.1:50000".to_owned());
        event.duration_us = 1500;
        // RSA makes another ciphertext each time.
        for used in &mut event.keys {
            let Some(fingerprint) = &mut used.ciphertext else {
                continue;
            };
            assert_eq!(fingerprint.len(), 32);
            let known = ciphertexts.iter().position(|known| known == fingerprint);
            let number = known.unwrap_or_else(|| {
                ciphertexts.push(fingerprint.clone());
                ciphertexts.len() - 1
            });
            *fingerprint = format!("ciphertext {}", number + 1);
        }
        exported.extend(export_audit(&event, format));
        events.push(serde_json::to_value(event).unwrap());
    }
    // The admin port returns the same.
    let path = format!("/audit/{format}?cloud={cloud}");
    let page = admin(emulator, &path, None).await;
    assert_eq!(
        page.json["records"].as_array().unwrap().len(),
        exported.len()
    );
    (events.into(), exported.into())
}

/// Fails if one of the texts is in the events or their export.
fn assert_absent(trail: &(Value, Value), secrets: &[&str]) {
    let text = format!("{}{}", trail.0, trail.1);
    for secret in secrets {
        assert!(secret.len() > 7 && !text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn aws_events_and_cloudtrail_records_match_their_snapshots() {
    let credential =
        |id: &str, account: &str| json!({ "id": id, "secret": "secret", "account": account });
    let emulator = emulator(json!({ "credentials": [
        credential("READER", "123456789012"),
        credential("STRANGER", "210987654321"),
    ]}))
    .await;
    let call = async |id: &'static str, operation: &'static str, body: Value| {
        let mut call = Call::new(operation, body.to_string());
        call.time = NOW.parse().unwrap();
        if id != "test" {
            (call.id, call.secret) = (id, "secret");
        }
        call.send(emulator.http_addr()).await
    };
    let created = call("test", "CreateKey", json!({ "Description": "k8s" })).await;
    let arn = &created.json["KeyMetadata"]["Arn"];
    let context = json!({ "cluster": "c1" });
    let plaintext = json!({ "KeyId": arn, "Plaintext": "Y2FuYXJ5LXBsYWludGV4dA==", "EncryptionContext": context });
    let sealed = call("test", "Encrypt", plaintext).await;
    let blob = sealed.json["CiphertextBlob"].as_str().unwrap();
    let opened = call(
        "READER",
        "Decrypt",
        json!({ "CiphertextBlob": blob, "EncryptionContext": context }),
    )
    .await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let denied = call(
        "STRANGER",
        "Encrypt",
        json!({ "KeyId": arn, "Plaintext": "Y2FuYXJ5" }),
    )
    .await;
    assert_eq!(denied.code(), "AccessDeniedException");
    call(
        "test",
        "DisableKey",
        json!({ "KeyId": created.json["KeyMetadata"]["KeyId"] }),
    )
    .await;

    let trail = trail(&emulator, "aws", AuditFormat::CloudTrail).await;
    assert_absent(
        &trail,
        &["Y2FuYXJ5LXBsYWludGV4dA==", "canary-plaintext", blob],
    );
    insta::assert_json_snapshot!("aws_events", trail.0);
    insta::assert_json_snapshot!("aws_cloudtrail", trail.1);
}

#[tokio::test]
async fn azure_events_and_diagnostic_records_match_their_snapshots() {
    let application = |n: u8| {
        json!({
            "clientId": format!("00000000-0000-4000-8000-00000000000{n}"),
            "objectId": format!("00000000-0000-4000-9000-00000000000{n}"),
            "secret": "test",
        })
    };
    let policy = |n: u8, keys: &[&str]| {
        json!({
            "objectId": format!("00000000-0000-4000-9000-00000000000{n}"), "keys": keys,
        })
    };
    let emulator = emulator(json!({ "azure": {
        "applications": [application(1), application(2), application(3)],
        "vaults": [{ "name": "kmslab", "policies": [policy(1, &["all"]), policy(2, &["decrypt"])] }],
    }}))
    .await;
    let mut tokens = Vec::new();
    for n in 1..=3 {
        let client = format!("00000000-0000-4000-8000-00000000000{n}");
        tokens.push(token(&emulator, &client, "https://vault.azure.net").await);
    }
    let call = async |caller: usize, path: &str, body: Value| -> Answer {
        let path = format!("/keys/k{path}?api-version=7.6");
        let token = Some(tokens[caller - 1].as_str());
        ask(emulator.http_addr(), VAULT, token, ("POST", &path), &body).await
    };
    let created = call(1, "/create", json!({ "kty": "RSA" })).await;
    assert_eq!(created.status, 200, "{created:?}");
    let value = json!({ "alg": "RSA-OAEP-256", "value": "Y2FuYXJ5LXBsYWludGV4dA" });
    let sealed = call(1, "/encrypt", value).await;
    let blob = sealed.json["value"].as_str().unwrap();
    let version = sealed.json["kid"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let body = json!({ "alg": "RSA-OAEP-256", "value": blob });
    let opened = call(2, &format!("/{version}/decrypt"), body.clone()).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    assert_eq!(call(3, "/decrypt", body).await.status, 403);

    let trail = trail(&emulator, "azure", AuditFormat::Azure).await;
    let signature = tokens[0].rsplit('.').next().unwrap();
    assert_absent(
        &trail,
        &[
            "Y2FuYXJ5LXBsYWludGV4dA",
            "canary-plaintext",
            blob,
            signature,
        ],
    );
    insta::assert_json_snapshot!("azure_events", trail.0);
    insta::assert_json_snapshot!("azure_diagnostic", trail.1);
}

#[tokio::test]
async fn google_events_and_log_entries_match_their_snapshots() {
    let names = ["owner", "reader", "stranger"];
    let files: Vec<KeyFile> = names
        .iter()
        .map(|name| KeyFile::generate(&format!("{name}@p.iam.gserviceaccount.com")).unwrap())
        .collect();
    let accounts: Vec<Value> = files
        .iter()
        .map(|file| serde_json::from_str(&file.json("x")).unwrap())
        .collect();
    let member = |name: &str| vec![format!("serviceAccount:{name}@p.iam.gserviceaccount.com")];
    let mut seed = SeedFile::default();
    seed.gcp.service_accounts = files.iter().map(Into::into).collect();
    let clock = ManualClock::at(NOW.parse().unwrap());
    let bindings = json!([
        { "resource": "projects/p", "role": "roles/cloudkms.admin", "members": member("owner") },
        { "resource": "projects/p", "role": "roles/cloudkms.cryptoKeyEncrypter", "members": member("owner") },
        { "resource": KEY.trim_start_matches("/v1/"), "role": "roles/cloudkms.cryptoKeyDecrypter", "members": member("reader") },
    ]);
    seed.gcp.bindings = serde_json::from_value(bindings).unwrap();
    let emulator = Emulator::builder()
        .wall_clock(Arc::new(clock.clone()))
        .lab_clock(Arc::new(LabClock::new(Arc::new(clock))))
        .entropy(Arc::new(SeededEntropy::new(28)))
        .seed(seed)
        .admin_listen(free_port())
        .start()
        .await
        .unwrap();
    let call = async |caller: usize, path: &str, body: Value| -> Answer {
        let account = &accounts[caller];
        let (iat, email) = (1_795_694_400, account["client_email"].as_str().unwrap());
        let claims = json!({ "iss": email, "sub": email, "aud": "https://cloudkms.googleapis.com/", "iat": iat, "exp": iat + 3600 });
        let token = signed(
            account["private_key"].as_str().unwrap(),
            account["private_key_id"].as_str().unwrap(),
            &claims,
        );
        let host = "cloudkms.googleapis.com";
        ask(
            emulator.http_addr(),
            host,
            Some(&token),
            ("POST", path),
            &body,
        )
        .await
    };
    let created = call(0, &format!("{RING}?keyRingId=r"), json!({})).await;
    assert_eq!(created.status, 200, "{created:?}");
    let path = format!("{RING}/r/cryptoKeys?cryptoKeyId=k");
    let created = call(0, &path, json!({ "purpose": "ENCRYPT_DECRYPT" })).await;
    assert_eq!(created.status, 200, "{created:?}");
    let plaintext = json!({ "plaintext": "Y2FuYXJ5LXBsYWludGV4dA==" });
    let sealed = call(0, &format!("{KEY}:encrypt"), plaintext).await;
    let blob = sealed.json["ciphertext"].as_str().unwrap();
    let body = json!({ "ciphertext": blob });
    let opened = call(1, &format!("{KEY}:decrypt"), body.clone()).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    assert_eq!(call(2, &format!("{KEY}:decrypt"), body).await.status, 403);

    let trail = trail(&emulator, "gcp", AuditFormat::Google).await;
    assert_absent(
        &trail,
        &["Y2FuYXJ5LXBsYWludGV4dA==", "canary-plaintext", blob],
    );
    insta::assert_json_snapshot!("google_events", trail.0);
    insta::assert_json_snapshot!("google_log_entries", trail.1);
}
