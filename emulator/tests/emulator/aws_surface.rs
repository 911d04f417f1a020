//! AWS: partitions, operations for other keys, other services, and the order of checks.

use serde_json::{Value, json};

use crate::support::{Answer, Call, raw, send, started};

async fn call(
    emulator: &kmslab_emulator::Emulator,
    region: &'static str,
    operation: &'static str,
    body: &Value,
) -> Answer {
    let mut call = Call::new(operation, body.to_string());
    call.region = region;
    call.send(emulator.http_addr()).await
}

#[tokio::test]
async fn key_arns_have_the_partition_of_their_region() {
    let emulator = started().await;
    for (region, partition) in [
        ("us-east-1", "aws"),
        ("us-west-2", "aws"),
        ("eu-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
    ] {
        let created = call(&emulator, region, "CreateKey", &json!({})).await;
        let arn = created.json["KeyMetadata"]["Arn"].as_str().unwrap();
        assert!(
            arn.starts_with(&format!("arn:{partition}:kms:{region}:")),
            "{arn}"
        );
        let described = call(&emulator, region, "DescribeKey", &json!({ "KeyId": arn })).await;
        assert_eq!(
            described.json["KeyMetadata"]["KeyState"], "Enabled",
            "{}",
            described.text
        );
        let wrong = arn.replacen(&format!("arn:{partition}:"), "arn:aws-other:", 1);
        let rejected = call(&emulator, region, "DescribeKey", &json!({ "KeyId": wrong })).await;
        assert_eq!(
            (rejected.code(), rejected.message()),
            ("NotFoundException", format!("Invalid arn {wrong}").as_str())
        );
    }
}

#[tokio::test]
async fn unsupported_operations_are_rejected_by_name() {
    let emulator = started().await;
    let region = "us-east-1";
    let key =
        call(&emulator, region, "CreateKey", &json!({})).await.json["KeyMetadata"]["Arn"].clone();
    let body = json!({
        "KeyId": key, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256", "MacAlgorithm": "HMAC_SHA_256",
        "KeyPairSpec": "ECC_NIST_P256", "ReplicaRegion": "eu-west-1", "GranteePrincipal": "arn:aws:iam::123456789012:role/x",
        "Operations": ["Decrypt"],
    });
    let arn = key.as_str().unwrap();
    for operation in [
        "Sign",
        "Verify",
        "GenerateMac",
        "VerifyMac",
        "DeriveSharedSecret",
        "Encapsulate",
        "Decapsulate",
    ] {
        let rejected = call(&emulator, region, operation, &body).await;
        let says =
            format!("{arn} key usage is ENCRYPT_DECRYPT which is not valid for {operation}.");
        assert_eq!(
            (rejected.code(), rejected.message()),
            ("InvalidKeyUsageException", says.as_str())
        );
    }
    for operation in [
        "ReplicateKey",
        "GenerateDataKeyPair",
        "CreateGrant",
        "ImportKeyMaterial",
        "DescribeCustomKeyStores",
    ] {
        let rejected = call(&emulator, region, operation, &body).await;
        assert_eq!(
            (rejected.status, rejected.code()),
            (400, "UnsupportedOperationException"),
            "{operation}"
        );
        assert!(rejected.message().contains(operation), "{}", rejected.text);
    }
    assert_eq!(
        call(&emulator, region, "GetPublicKey", &body).await.code(),
        "UnsupportedOperationException"
    );
    let unknown = call(&emulator, region, "MakeCoffee", &body).await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (400, "UnknownOperationException")
    );
    // An unknown caller is rejected before unsupported operations are reported.
    let mut unknown_caller = Call::new("ReplicateKey", body.to_string());
    unknown_caller.secret = "wrong";
    assert_eq!(
        unknown_caller.send(emulator.http_addr()).await.code(),
        "InvalidSignatureException"
    );
}

#[tokio::test]
async fn list_grants_is_empty() {
    let emulator = started().await;
    let key = call(&emulator, "us-east-1", "CreateKey", &json!({}))
        .await
        .json["KeyMetadata"]["KeyId"]
        .clone();
    let none = json!({ "Grants": [], "Truncated": false });
    assert_eq!(
        call(
            &emulator,
            "us-east-1",
            "ListGrants",
            &json!({ "KeyId": key })
        )
        .await
        .json,
        none
    );
    let of = json!({ "RetiringPrincipal": "arn:aws:iam::123456789012:role/x" });
    assert_eq!(
        call(&emulator, "us-east-1", "ListRetirableGrants", &of)
            .await
            .json,
        none
    );
    assert_eq!(
        call(&emulator, "us-east-1", "ListGrants", &json!({}))
            .await
            .code(),
        "ValidationException"
    );
}

#[tokio::test]
async fn sts_requests_are_rejected_in_the_query_protocol() {
    let emulator = started().await;
    let request = http::Request::post("/").header("host", "localhost");
    let request = request.header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let body = "Action=GetCallerIdentity&Version=2011-06-15".to_owned();
    let answer = send(emulator.http_addr(), &request.body(body).unwrap()).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.head.contains("content-type: text/xml"),
        "{}",
        answer.head
    );
    assert!(answer.text.starts_with("<ErrorResponse"), "{}", answer.text);
    assert!(
        answer.text.contains("<Code>InvalidAction</Code>")
            && answer.text.contains("GetCallerIdentity")
    );
    let request =
        http::Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let answer = send(
        emulator.http_addr(),
        &request
            .header("host", "x")
            .body("Action=%3Cb%3E%26".into())
            .unwrap(),
    )
    .await;
    assert!(
        answer.text.contains("the action b (version )"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn create_key_validates_usage_and_spec_before_support() {
    let emulator = started().await;
    let usage =
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.";
    for (body, code, message) in [
        (
            json!({ "KeySpec": "HMAC_256" }),
            "ValidationException",
            usage,
        ),
        (
            json!({ "KeySpec": "ML_KEM_768" }),
            "ValidationException",
            usage,
        ),
        (
            json!({ "KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT" }),
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        ),
        (
            json!({ "KeyUsage": "ENCAPSULATE_DECAPSULATE" }),
            "ValidationException",
            "KeyUsage ENCAPSULATE_DECAPSULATE is not compatible with KeySpec SYMMETRIC_DEFAULT",
        ),
        (
            json!({ "KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE" }),
            "UnsupportedOperationException",
            "",
        ),
        (
            json!({ "KeySpec": "RSA_4096", "KeyUsage": "ENCRYPT_DECRYPT" }),
            "UnsupportedOperationException",
            "",
        ),
    ] {
        let rejected = call(&emulator, "us-east-1", "CreateKey", &body).await;
        assert_eq!(
            (rejected.code(), rejected.message()),
            (code, message),
            "{body}"
        );
    }
}

#[tokio::test]
async fn alias_names_have_no_colon_and_targets_are_keys() {
    let emulator = started().await;
    let key = call(&emulator, "us-east-1", "CreateKey", &json!({}))
        .await
        .json["KeyMetadata"]["KeyId"]
        .clone();
    let created = call(
        &emulator,
        "us-east-1",
        "CreateAlias",
        &json!({ "AliasName": "alias/a", "TargetKeyId": key }),
    )
    .await;
    assert_eq!(created.status, 200, "{}", created.text);
    for (name, target, message) in [
        (
            "alias/b",
            json!("alias/a"),
            "Aliases must refer to keys. Not aliases",
        ),
        (
            "alias/b",
            json!("arn:aws:kms:us-east-1:123456789012:alias/a"),
            "Aliases must refer to keys. Not aliases",
        ),
        (
            "alias/b:c",
            key.clone(),
            "alias/b:c contains invalid characters for an alias",
        ),
    ] {
        let body = json!({ "AliasName": name, "TargetKeyId": target });
        for operation in ["CreateAlias", "UpdateAlias"] {
            let rejected = call(&emulator, "us-east-1", operation, &body).await;
            assert_eq!(
                (rejected.code(), rejected.message()),
                ("ValidationException", message),
                "{operation} {body}"
            );
        }
    }
}

#[tokio::test]
async fn dry_run_may_ignore_the_ciphertext() {
    let emulator = started().await;
    let key = call(&emulator, "us-east-1", "CreateKey", &json!({}))
        .await
        .json["KeyMetadata"]["KeyId"]
        .clone();
    let dry = |more: Value| {
        let mut body = json!({ "KeyId": key, "CiphertextBlob": "AAAA", "DryRun": true });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let ignoring = json!({ "DryRunModifiers": ["IGNORE_CIPHERTEXT"] });
    assert_eq!(
        call(&emulator, "us-east-1", "Decrypt", &dry(ignoring.clone()))
            .await
            .code(),
        "DryRunOperationException"
    );
    assert_eq!(
        call(&emulator, "us-east-1", "Decrypt", &dry(json!({})))
            .await
            .code(),
        "InvalidCiphertextException"
    );
    let unknown = call(
        &emulator,
        "us-east-1",
        "Decrypt",
        &dry(json!({ "DryRunModifiers": ["X"] })),
    )
    .await;
    assert!(
        unknown
            .message()
            .ends_with("Member must satisfy enum value set: [IGNORE_CIPHERTEXT]"),
        "{}",
        unknown.text
    );
    call(
        &emulator,
        "us-east-1",
        "DisableKey",
        &json!({ "KeyId": key }),
    )
    .await;
    assert_eq!(
        call(&emulator, "us-east-1", "Decrypt", &dry(ignoring))
            .await
            .code(),
        "DisabledException"
    );
}

#[tokio::test]
async fn rejected_request_gets_no_100_continue() {
    let emulator = started().await;
    let head = "POST /nothing HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    let rejected = raw(emulator.http_addr(), head.as_bytes()).await;
    assert_eq!(rejected.status, 404, "{}", rejected.head);
}

#[tokio::test]
async fn unknown_members_are_ignored() {
    let emulator = started().await;
    let listed = call(
        &emulator,
        "us-east-1",
        "ListKeys",
        &json!({ "ResourceOwners": ["SELF"] }),
    )
    .await;
    assert_eq!(
        (listed.status, &listed.json["Truncated"]),
        (200, &json!(false)),
        "{}",
        listed.text
    );
}
