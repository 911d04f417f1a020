//! The AWS client with a scripted server: retries, timeouts, and inconsistent responses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kmslab_plugin::kek::aws::AwsKek;
use kmslab_plugin::kek::{Deadline, Kek, KekError, KeyVersion};
use serde_json::{Value, json};

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Responds in order, and not at all once the responses are used up.
#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, String)>,
    /// The operations that were called.
    asked: Vec<String>,
}

struct Cloud {
    script: Arc<Mutex<Script>>,
    url: String,
}

impl Cloud {
    async fn answering(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let answers = answers.into_iter().map(|(code, body)| {
            (
                code,
                body.as_str()
                    .map_or_else(|| body.to_string(), str::to_owned),
            )
        });
        let script = Arc::new(Mutex::new(Script {
            answers: answers.collect(),
            asked: Vec::new(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { script, url }
    }

    fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }

    async fn kek(&self, key: &str) -> Deadline<AwsKek> {
        AwsKek::builder(key)
            .region(Some("us-east-1"))
            .endpoint_url(Some(&self.url))
            .credentials("test", "test")
            .call_timeout(Duration::from_secs(4))
            .build()
            .await
            .unwrap()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let next = {
        let mut script = script.lock().unwrap();
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok())
            .unwrap_or_default();
        script
            .asked
            .push(target.trim_start_matches("TrentService.").to_owned());
        script.answers.pop_front()
    };
    match next {
        Some((code, body)) => (StatusCode::from_u16(code).unwrap(), body),
        None => std::future::pending().await,
    }
}

fn error(code: &str) -> Value {
    json!({ "__type": code, "message": "m" })
}

fn described() -> Value {
    json!({ "KeyMetadata": {
        "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": ARN, "KeyState": "Enabled", "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT", "CurrentKeyMaterialId": "m1"
    }})
}

fn sealed() -> Value {
    json!({ "KeyId": ARN, "CiphertextBlob": "Y2lwaGVy" })
}

fn opened(plaintext: &str, material: &str) -> Value {
    json!({ "KeyId": ARN, "Plaintext": plaintext, "KeyMaterialId": material })
}

/// `seed`, base64
const SEED: &str = "c2VlZA==";

fn version(material: &str) -> KeyVersion {
    KeyVersion {
        key: ARN.into(),
        version: material.into(),
    }
}

#[tokio::test]
async fn retries_are_counted_as_requests() {
    let throttled = (400, error("ThrottlingException"));
    let cloud = Cloud::answering([
        throttled,
        (500, error("KMSInternalException")),
        (200, described()),
    ])
    .await;
    let kek = cloud.kek(ARN).await;
    assert_eq!(kek.current().await, Ok(version("m1")));
    assert_eq!((kek.usage().requests, cloud.asked().len()), (3, 3));
}

#[tokio::test]
async fn retries_are_bounded_and_the_last_error_is_returned() {
    let cloud = Cloud::answering(vec![(500, error("KMSInternalException")); 9]).await;
    let kek = cloud.kek(ARN).await;
    assert!(matches!(
        kek.wrap(b"seed", None).await,
        Err(KekError::ServiceError { .. })
    ));
    assert_eq!((kek.usage().requests, cloud.asked().len()), (4, 4));
    // Errors that the cloud has decided on are not retried.
    let cloud = Cloud::answering([(400, error("DisabledException"))]).await;
    let kek = cloud.kek(ARN).await;
    assert_eq!(
        kek.wrap(b"seed", None).await,
        Err(KekError::Disabled { key: ARN.into() })
    );
    assert_eq!(kek.usage().requests, 1);
}

#[tokio::test]
async fn unanswered_call_ends_at_its_timeout() {
    let cloud = Cloud::answering([]).await;
    let kek = AwsKek::builder(ARN)
        .endpoint_url(Some(&cloud.url))
        .credentials("test", "test")
        .call_timeout(Duration::from_millis(300))
        .build()
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = kek.current().await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "kube-apiserver waits no longer"
    );
    assert!(
        matches!(&error, KekError::Unreachable { endpoint, .. } if *endpoint == cloud.url),
        "{error}"
    );
    assert_eq!(kek.usage().requests, cloud.asked().len() as u64);
}

#[tokio::test]
async fn ciphertext_is_labelled_with_the_version_that_decrypted_it() {
    let cloud = Cloud::answering([(200, sealed()), (200, opened(SEED, "m2"))]).await;
    let wrapped = cloud
        .kek("alias/k")
        .await
        .wrap(b"seed", None)
        .await
        .unwrap();
    assert_eq!(
        (wrapped.ciphertext.as_slice(), wrapped.version),
        (b"cipher".as_slice(), version("m2"))
    );
    assert_eq!(cloud.asked(), ["Encrypt", "Decrypt"]);
}

#[tokio::test]
async fn inconsistent_responses_are_rejected() {
    let no_material = json!({ "KeyId": ARN, "Plaintext": SEED });
    for (answer, says) in [
        (opened("b3RoZXI=", "m1"), "other bytes than were encrypted"),
        (no_material, "without KeyMaterialId"),
    ] {
        let cloud = Cloud::answering([(200, sealed()), (200, answer)]).await;
        let error = cloud.kek(ARN).await.wrap(b"seed", None).await.unwrap_err();
        assert!(
            matches!(error, KekError::Unexpected { .. }) && error.to_string().contains(says),
            "{error}"
        );
    }
    let cloud = Cloud::answering([(200, opened(SEED, "m2"))]).await;
    let error = cloud
        .kek(ARN)
        .await
        .unwrap(b"cipher", &version("m1"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("labelled with key material m1, opened by m2"),
        "{error}"
    );
}

#[tokio::test]
async fn foreign_key_is_never_requested() {
    let cloud = Cloud::answering([(200, described())]).await;
    let foreign = KeyVersion {
        key: "arn:aws:kms:us-east-1:999999999999:key/x".into(),
        version: "m1".into(),
    };
    for (key, asked) in [(ARN, 0), ("alias/k", 1)] {
        let error = cloud
            .kek(key)
            .await
            .unwrap(b"cipher", &foreign)
            .await
            .unwrap_err();
        assert!(matches!(error, KekError::WrongKey { .. }), "{error}");
        assert_eq!(
            cloud.asked().len(),
            asked,
            "an alias is looked up, nothing else"
        );
    }
    assert_eq!(cloud.asked(), ["DescribeKey"]);
}

#[tokio::test]
async fn non_kms_endpoint_is_named() {
    for (code, body, says) in [
        (404, json!("<html>not here</html>"), "HTTP 404"),
        (200, json!("<html>welcome</html>"), "HTTP 200"),
        (200, json!({}), "without KeyMetadata"),
    ] {
        let cloud = Cloud::answering([(code, body)]).await;
        let error = cloud.kek(ARN).await.current().await.unwrap_err();
        assert!(
            matches!(error, KekError::Unexpected { .. }) && error.to_string().contains(says),
            "{error}"
        );
    }
    let cloud = Cloud::answering(vec![(502, json!("<html>bad gateway</html>")); 4]).await;
    let error = cloud.kek(ARN).await.current().await.unwrap_err();
    assert!(
        matches!(error, KekError::ServiceError { .. }) && error.to_string().contains("HTTP 502"),
        "{error}"
    );
}

#[tokio::test]
async fn unusable_key_kinds_and_states_are_distinguished() {
    let with = |field: &str, value: &str| {
        let mut answer = described();
        answer["KeyMetadata"][field] = json!(value);
        answer
    };
    let mut dying = with("KeyState", "PendingDeletion");
    dying["KeyMetadata"]["DeletionDate"] = json!(1_800_000_000);
    for (answer, says) in [
        (with("KeySpec", "RSA_2048"), "its KeySpec is RSA_2048"),
        (
            with("KeyUsage", "GENERATE_VERIFY_MAC"),
            "its KeyUsage GENERATE_VERIFY_MAC",
        ),
        (with("KeyState", "PendingImport"), "waits for the import"),
        (with("KeyState", "Disabled"), "is disabled: enable it again"),
        (dying, "pending deletion on 2027-01-15"),
    ] {
        let cloud = Cloud::answering([(200, answer)]).await;
        let error = cloud.kek(ARN).await.current().await.unwrap_err();
        assert!(
            error.is_dead_key() && error.to_string().contains(says),
            "{error}"
        );
    }
}
