//! Faults, as clients of each cloud see them.

mod connections;
mod responses;
mod selection;
mod tokens;

use kmslab_emulator::api::{Fault, FaultFile};
use kmslab_emulator::{Auth, Emulator};
use serde_json::{Value, json};

use crate::support::{Answer, Call, ask};

pub(super) const VAULT_HOST: &str = "kmslab.vault.azure.net";
pub(super) const KEY_PATH: &str = "/keys/k?api-version=7.6";
pub(super) const WRAP_PATH: &str = "/keys/k/wrapkey?api-version=7.6";
pub(crate) const RING: &str = "/v1/projects/p/locations/global/keyRings";
pub(super) const GOOGLE_HOST: &str = "cloudkms.googleapis.com";

pub(super) fn fault(effect: &str) -> Fault {
    Fault::new(effect.parse().unwrap())
}

pub(super) fn file(faults: Vec<Fault>) -> FaultFile {
    FaultFile { seed: None, faults }
}

pub(super) fn hits(emulator: &Emulator) -> Vec<u64> {
    let table = emulator.faults();
    table.faults.iter().map(|status| status.hits).collect()
}

pub(super) async fn aws_key(emulator: &Emulator) -> String {
    let created = Call::new("CreateKey", "{}")
        .send(emulator.http_addr())
        .await;
    created.json["KeyMetadata"]["Arn"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(super) fn aws_encrypt(key: &str) -> Call {
    let body = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    Call::new("Encrypt", body.to_string())
}

/// An emulator that accepts requests of Azure and Google without tokens, with a key of each.
pub(crate) async fn without_auth() -> Emulator {
    let emulator = Emulator::builder().auth(Auth::Off).start().await.unwrap();
    let created = azure(
        &emulator,
        "/keys/k/create?api-version=7.6",
        json!({ "kty": "RSA" }),
    )
    .await;
    assert_eq!(created.status, 200, "{created:?}");
    google(&emulator, &format!("{RING}?keyRingId=r"), json!({})).await;
    let path = format!("{RING}/r/cryptoKeys?cryptoKeyId=k");
    let created = google(&emulator, &path, json!({ "purpose": "ENCRYPT_DECRYPT" })).await;
    assert_eq!(created.status, 200, "{created:?}");
    emulator
}

pub(crate) async fn azure(emulator: &Emulator, path: &str, body: Value) -> Answer {
    let method = if body.is_null() { "GET" } else { "POST" };
    ask(
        emulator.http_addr(),
        VAULT_HOST,
        Some("none"),
        (method, path),
        &body,
    )
    .await
}

pub(crate) async fn google(emulator: &Emulator, path: &str, body: Value) -> Answer {
    ask(
        emulator.http_addr(),
        GOOGLE_HOST,
        None,
        ("POST", path),
        &body,
    )
    .await
}

pub(super) fn wrap() -> Value {
    json!({ "alg": "RSA-OAEP-256", "value": "c2VjcmV0" })
}
