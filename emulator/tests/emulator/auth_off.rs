//! `--auth off`: every cloud allows every request, and the SDKs still work with any credentials.

use azure_security_keyvault_keys::models::{
    CreateKeyParameters, EncryptionAlgorithm, KeyClientEncryptOptions, KeyOperationParameters,
    KeyType,
};
use google_cloud_auth::credentials::service_account;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::KeyRing;
use http::Method;
use kmslab_emulator::KeyFile;
use kmslab_emulator::{Auth, Emulator};
use serde_json::json;

use crate::azure_sdk::{VAULT, create, keys_with, secret};
use crate::support::{Answer, free_port, sdk_as, send};

const RINGS: &str = "/v1/projects/p/locations/global/keyRings";

async fn open() -> Emulator {
    Emulator::builder()
        .auth(Auth::Off)
        .admin_listen(free_port())
        .proxy_listen(free_port())
        .start()
        .await
        .unwrap()
}

/// A request without credentials.
async fn plain(emulator: &Emulator, method: Method, path: &str, body: &str) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    let request = request
        .header("content-type", "application/json")
        .body(body.to_owned())
        .unwrap();
    send(emulator.http_addr(), &request).await
}

#[tokio::test]
async fn auth_off_allows_requests_without_credentials() {
    let emulator = open().await;
    let ring = plain(
        &emulator,
        Method::POST,
        &format!("{RINGS}?keyRingId=r"),
        "{}",
    )
    .await;
    assert_eq!(ring.status, 200, "{}", ring.text);
    assert_eq!(plain(&emulator, Method::GET, RINGS, "").await.status, 200);
    let accounts = plain(&emulator, Method::GET, "/v1/projects/p/serviceAccounts", "").await;
    assert_eq!(accounts.status, 200, "{}", accounts.text);

    let rsa = json!({ "kty": "RSA", "key_size": 2048 }).to_string();
    let key = plain(
        &emulator,
        Method::POST,
        "/kmslab/keys/k/create?api-version=7.6",
        &rsa,
    )
    .await;
    assert_eq!(key.status, 200, "{}", key.text);
    assert_eq!(
        plain(&emulator, Method::GET, "/kmslab/keys?api-version=7.6", "")
            .await
            .status,
        200
    );

    let target = http::Request::post("/")
        .header("host", "localhost")
        .header("x-amz-target", "TrentService.ListKeys");
    assert_eq!(
        send(emulator.http_addr(), &target.body("{}".into()).unwrap())
            .await
            .status,
        200
    );

    let closed = Emulator::builder().start().await.unwrap();
    assert_eq!(plain(&closed, Method::GET, RINGS, "").await.status, 401);
    assert_eq!(
        plain(&closed, Method::GET, "/kmslab/keys?api-version=7.6", "")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn auth_off_accepts_unknown_credentials_from_every_sdk() {
    let emulator = open().await;
    // AWS: any access key.
    sdk_as(&emulator, "AKIAANYBODY", "anything", "us-east-1")
        .create_key()
        .send()
        .await
        .unwrap();

    // Azure: any application. The SDK's first request has neither token nor body and must get the
    // challenge.
    let client = keys_with(
        &emulator,
        VAULT,
        secret(
            &emulator,
            "00000000-1111-2222-3333-444444444444",
            "anything",
        ),
    );
    let rsa = CreateKeyParameters {
        kty: Some(KeyType::Rsa),
        key_size: Some(2048),
        ..CreateKeyParameters::default()
    };
    create(&client, "k", rsa).await;
    let parameters = KeyOperationParameters {
        algorithm: Some(EncryptionAlgorithm::RsaOaep256),
        value: Some(b"text".to_vec()),
        ..KeyOperationParameters::default()
    };
    let encrypted = client
        .encrypt(
            "k",
            parameters.try_into().unwrap(),
            None::<KeyClientEncryptOptions<'_>>,
        )
        .await;
    assert!(encrypted.unwrap().into_model().unwrap().result.is_some());

    // Google: a key file of an account that does not exist.
    let file = KeyFile::generate("nobody@elsewhere.iam.gserviceaccount.com").unwrap();
    let file = file.json("http://127.0.0.1:1/token");
    let credentials = service_account::Builder::new(serde_json::from_str(&file).unwrap())
        .build()
        .unwrap();
    let endpoint = format!("http://{}", emulator.http_addr());
    let kms = KeyManagementService::builder()
        .with_endpoint(endpoint)
        .with_credentials(credentials)
        .build();
    let ring = kms
        .await
        .unwrap()
        .create_key_ring()
        .set_parent("projects/p/locations/global")
        .set_key_ring_id("sdk");
    ring.set_key_ring(KeyRing::new()).send().await.unwrap();
}

#[tokio::test]
async fn auth_off_token_endpoints_issue_tokens_for_every_request() {
    let emulator = open().await;
    let form = |path: &str, body: &str| {
        let request = http::Request::post(path).header("host", "localhost");
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
            .unwrap()
    };
    let assertion = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=nonsense";
    let google = send(emulator.http_addr(), &form("/token", assertion)).await;
    assert!(
        google.status == 200 && google.json["access_token"].is_string(),
        "{}",
        google.text
    );
    let login = "grant_type=client_credentials&client_id=x&client_secret=y&scope=https://vault.azure.net/.default";
    let azure = send(
        emulator.http_addr(),
        &form("/any-tenant/oauth2/v2.0/token", login),
    )
    .await;
    assert!(
        azure.status == 200 && azure.json["access_token"].is_string(),
        "{}",
        azure.text
    );
}
