//! Bodies that are too large or cannot be read get an error in the format of the endpoint.

use kmslab_emulator::{Auth, Emulator};
use serde_json::{Value, json};

use crate::support::{Answer, raw};

const TOKEN: &str = "/token";
const ACCOUNTS: &str = "/v1/projects/p/serviceAccounts";
const METADATA: &str = "/computeMetadata/v1/project/project-id";

async fn post(emulator: &Emulator, host: &str, path: &str, rest: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nmetadata-flavor: Google\r\nconnection: close\r\n"
    );
    raw(emulator.http_addr(), format!("{head}{rest}").as_bytes()).await
}

#[tokio::test]
async fn too_large_body_gets_the_error_of_googles_endpoint() {
    let emulator = Emulator::builder().auth(Auth::Off).start().await.unwrap();
    let message = "Request payload size exceeds the limit: 65536 bytes.";
    let length = 64 * 1024 + 1;
    let body = format!("content-length: {length}\r\n\r\n{}", "x".repeat(length));

    let answer = post(&emulator, "x", ACCOUNTS, &body).await;
    assert_eq!((answer.status, &answer.json), (400, &invalid(message)));
    let answer = post(&emulator, "x", TOKEN, &body).await;
    let expected = json!({ "error": "invalid_request", "error_description": message });
    assert_eq!((answer.status, &answer.json), (400, &expected));
    let answer = post(&emulator, "x", METADATA, &body).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, message));

    let counts = emulator.requests();
    assert_eq!(
        counts.outcome("CreateServiceAccount", "INVALID_ARGUMENT"),
        1
    );
    assert_eq!(counts.outcome("Token", "400"), 1);
    assert_eq!(counts.outcome("Metadata", "400"), 1);
}

#[tokio::test]
async fn broken_body_gets_the_error_of_its_endpoint() {
    let emulator = Emulator::builder().auth(Auth::Off).start().await.unwrap();
    let message = "The request body ended too early.";
    // The size of a chunk is not a number.
    let body = "transfer-encoding: chunked\r\n\r\nsize\r\n";
    for (host, path, expected) in [
        ("x", ACCOUNTS, invalid(message)),
        (
            "x",
            TOKEN,
            json!({ "error": "invalid_request", "error_description": message }),
        ),
        (
            "cloudkms.googleapis.com",
            "/v1/projects/p/locations/l/keyRings",
            invalid(message),
        ),
        (
            "login.microsoftonline.com",
            "/t/oauth2/v2.0/token",
            json!({ "error": { "code": "BadParameter", "message": message } }),
        ),
        (
            "management.azure.com",
            "/subscriptions",
            json!({ "error": { "code": "BadRequest", "message": message } }),
        ),
        (
            "kmslab.vault.azure.net",
            "/keys/k/create?api-version=7.4",
            json!({ "error": { "code": "BadParameter", "message": message } }),
        ),
    ] {
        let answer = post(&emulator, host, path, body).await;
        assert_eq!(
            (answer.status, &answer.json),
            (400, &expected),
            "{path}: {}",
            answer.text
        );
    }
    let answer = post(&emulator, "x", METADATA, body).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, message));
}

/// An error of a Google API.
fn invalid(message: &str) -> Value {
    json!({ "error": { "code": 400, "message": message, "status": "INVALID_ARGUMENT" } })
}
