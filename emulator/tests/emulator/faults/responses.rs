//! Rejections and wrong answers.

use serde_json::{Value, json};

use super::{
    GOOGLE_HOST, KEY_PATH, RING, WRAP_PATH, aws_encrypt, aws_key, azure, fault, google, hits,
    without_auth, wrap,
};
use crate::support::{Answer, Call, ask, started};

#[tokio::test]
async fn aws_rejections_are_those_of_the_service() {
    let emulator = started().await;
    let key = aws_key(&emulator).await;
    for (effect, status, code, message) in [
        (
            "throttle",
            400,
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS.",
        ),
        (
            "error=KMSInternalException",
            500,
            "KMSInternalException",
            "Injected by a fault",
        ),
        (
            "error=DisabledException",
            400,
            "DisabledException",
            "Injected by a fault",
        ),
        (
            "permission-revoked",
            400,
            "AccessDeniedException",
            "is not authorized to perform: kms:Encrypt on resource: arn:aws:kms",
        ),
        ("key-disabled", 400, "DisabledException", "is disabled."),
        ("key-gone", 400, "NotFoundException", "does not exist"),
        (
            "token-expired",
            400,
            "ExpiredTokenException",
            "security token included in the request is expired",
        ),
    ] {
        emulator.add_fault(fault(effect)).unwrap();
        let answer = aws_encrypt(&key).send(emulator.http_addr()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{effect}");
        assert!(answer.message().contains(message), "{effect}: {answer:?}");
        assert_eq!(hits(&emulator), [1], "{effect}");
        assert!(emulator.requests().outcome("Encrypt", code) > 0, "{effect}");
        assert_eq!(emulator.clear_faults(), 1);
    }
    let answer = aws_encrypt(&key).send(emulator.http_addr()).await;
    assert_eq!(answer.status, 200, "without faults");
}

#[tokio::test]
async fn disabled_key_is_a_fault_of_cryptographic_operations_only() {
    let emulator = started().await;
    let key = aws_key(&emulator).await;
    emulator.add_fault(fault("key-disabled")).unwrap();
    let named = json!({ "KeyId": key }).to_string();
    for (operation, body) in [("DescribeKey", named.as_str()), ("ListKeys", "{}")] {
        let answer = Call::new(operation, body).send(emulator.http_addr()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let status = &emulator.faults().faults[0];
    assert_eq!((status.selected, status.hits), (0, 0));
}

#[tokio::test]
async fn caller_without_permission_is_denied_operations_on_no_key() {
    let emulator = started().await;
    emulator.add_fault(fault("permission-revoked")).unwrap();
    let answer = Call::new("ListKeys", "{}").send(emulator.http_addr()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "AccessDeniedException")
    );
    let message = "is not authorized to perform: kms:ListKeys because no identity-based policy";
    assert!(answer.message().contains(message), "{answer:?}");
}

#[tokio::test]
async fn azure_rejections_are_those_of_the_service() {
    let emulator = without_auth().await;
    for (effect, status, code, inner, message) in [
        (
            "throttle=7s",
            429,
            "Throttled",
            Value::Null,
            "Reason: VaultRequestTypeLimitReached",
        ),
        (
            "error=ServiceUnavailable",
            503,
            "ServiceUnavailable",
            Value::Null,
            "Injected by a fault",
        ),
        (
            "permission-revoked",
            403,
            "Forbidden",
            json!("AccessDenied"),
            "does not have keys wrapKey permission on key vault 'kmslab",
        ),
        (
            "key-disabled",
            403,
            "Forbidden",
            json!("KeyDisabled"),
            "Operation wrapKey is not allowed on a disabled key.",
        ),
        (
            "key-gone",
            404,
            "KeyNotFound",
            Value::Null,
            "A key with (name/id) k was not found",
        ),
        (
            "token-expired",
            401,
            "Unauthorized",
            Value::Null,
            "[TokenExpired]",
        ),
    ] {
        emulator.add_fault(fault(effect)).unwrap();
        let answer = azure(&emulator, WRAP_PATH, wrap()).await;
        let error = &answer.json["error"];
        assert_eq!(
            (answer.status, error["code"].as_str()),
            (status, Some(code)),
            "{effect}"
        );
        assert_eq!(error["innererror"]["code"], inner, "{effect}");
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{effect}: {answer:?}"
        );
        assert_eq!(
            answer.head.contains("retry-after: 7"),
            effect == "throttle=7s",
            "{effect}"
        );
        assert_eq!(
            answer.head.contains("www-authenticate: "),
            status == 401,
            "{effect}"
        );
        assert_eq!(hits(&emulator), [1], "{effect}");
        emulator.clear_faults();
    }
}

#[tokio::test]
async fn google_rejections_are_those_of_the_service() {
    let emulator = without_auth().await;
    let path = format!("{RING}/r/cryptoKeys/k:encrypt");
    for (effect, status, code, message) in [
        (
            "throttle=7s",
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Cryptographic requests'",
        ),
        (
            "error=UNAVAILABLE",
            503,
            "UNAVAILABLE",
            "Injected by a fault",
        ),
        (
            "permission-revoked",
            403,
            "PERMISSION_DENIED",
            "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource",
        ),
        (
            "key-disabled",
            400,
            "FAILED_PRECONDITION",
            "cryptoKeyVersions/1 is not enabled, current state is: DISABLED.",
        ),
        (
            "key-gone",
            400,
            "FAILED_PRECONDITION",
            "cryptoKeyVersions/1 is not enabled, current state is: DESTROYED.",
        ),
        (
            "token-expired",
            401,
            "UNAUTHENTICATED",
            "invalid authentication credentials",
        ),
    ] {
        emulator.add_fault(fault(effect)).unwrap();
        let answer = google(&emulator, &path, json!({ "plaintext": "c2VjcmV0" })).await;
        let error = &answer.json["error"];
        assert_eq!(
            (answer.status, error["status"].as_str()),
            (status, Some(code)),
            "{effect}: {answer:?}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{effect}: {answer:?}"
        );
        assert_eq!(
            answer.text.contains("\"retryDelay\": \"7s\""),
            effect == "throttle=7s",
            "{answer:?}"
        );
        assert_eq!(hits(&emulator), [1], "{effect}");
        emulator.clear_faults();
    }
    let listed = ask(
        emulator.http_addr(),
        GOOGLE_HOST,
        None,
        ("GET", RING),
        &Value::Null,
    )
    .await;
    assert_eq!(listed.status, 200);
}

#[tokio::test]
async fn wrong_answers_are_those_that_clients_must_notice() {
    let emulator = without_auth().await;
    let encrypt = format!("{RING}/r/cryptoKeys/k:encrypt");
    let plaintext = json!({ "plaintext": "c2VjcmV0" });
    let good = google(&emulator, &encrypt, plaintext.clone()).await;
    let name = |answer: &Answer| answer.json["name"].as_str().unwrap().to_owned();

    emulator.add_fault(fault("wrong=version")).unwrap();
    let wrong = google(&emulator, &encrypt, plaintext.clone()).await;
    assert_ne!(name(&wrong), name(&good));
    emulator.clear_faults();

    emulator.add_fault(fault("wrong=bit")).unwrap();
    let wrong = google(&emulator, &encrypt, plaintext.clone()).await;
    assert_eq!(emulator.clear_faults(), 1);
    let decrypt = format!("{RING}/r/cryptoKeys/k:decrypt");
    let opened = google(
        &emulator,
        &decrypt,
        json!({ "ciphertext": wrong.json["ciphertext"] }),
    )
    .await;
    assert_eq!(opened.status, 400, "{opened:?}");

    emulator.add_fault(fault("wrong=checksum")).unwrap();
    let wrong = google(
        &emulator,
        &decrypt,
        json!({ "ciphertext": good.json["ciphertext"] }),
    )
    .await;
    assert_eq!(wrong.json["plaintext"], "c2VjcmV0");
    let right = crate::gcp_rest::crc(b"secret").to_string();
    assert_ne!(wrong.json["plaintextCrc32c"], right);
    assert_eq!(hits(&emulator), [1]);
    // Key Vault has no checksums, and a response without bytes has nothing to flip.
    azure(&emulator, WRAP_PATH, wrap()).await;
    emulator.add_fault(fault("wrong=bit")).unwrap();
    azure(&emulator, KEY_PATH, Value::Null).await;
    assert_eq!(
        hits(&emulator),
        [1, 0],
        "a fault that changed nothing was not hit"
    );

    let wrapped = azure(&emulator, WRAP_PATH, wrap()).await;
    assert_eq!(hits(&emulator), [1, 1]);
    emulator.clear_faults();
    let body = json!({ "alg": "RSA-OAEP-256", "value": wrapped.json["value"] });
    let opened = azure(&emulator, "/keys/k/unwrapkey?api-version=7.6", body).await;
    assert_eq!(opened.status, 400, "{opened:?}");
}

#[tokio::test]
async fn aws_ciphertext_with_a_flipped_bit_does_not_decrypt() {
    let emulator = started().await;
    let key = aws_key(&emulator).await;
    let mut once = fault("wrong=bit");
    once.count = Some(1);
    emulator.add_fault(once).unwrap();
    for code in ["InvalidCiphertextException", ""] {
        let sealed = aws_encrypt(&key).send(emulator.http_addr()).await;
        let body = json!({ "CiphertextBlob": sealed.json["CiphertextBlob"] }).to_string();
        let opened = Call::new("Decrypt", body).send(emulator.http_addr()).await;
        assert_eq!(opened.code(), code);
    }
}
