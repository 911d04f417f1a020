//! The owner of one project, account or vault reaches nothing of another one, wherever path and
//! body can name different owners.

use kmslab_emulator::KeyFile;
use kmslab_emulator::seed::{GcpSeed, SeedBinding};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::gcp_iam::signed;
use crate::gcp_rest::{rest, token};
use crate::support::Call;

const MINE: &str = "projects/mine/locations/us-east1/keyRings/r";
const THEIRS: &str = "projects/theirs/locations/us-east1/keyRings/r";
const ME: &str = "some-one@mine.iam.gserviceaccount.com";
const THEM: &str = "some-one@theirs.iam.gserviceaccount.com";

/// Creates two projects with a key ring, a key and an account each, and returns a token of an
/// account that owns `mine` only.
async fn two_projects() -> (Emulator, String) {
    let file = KeyFile::generate(ME).unwrap();
    let binding = SeedBinding {
        resource: "projects/mine".into(),
        role: "roles/owner".into(),
        members: vec![format!("serviceAccount:{ME}")],
    };
    let them = KeyFile::generate(THEM).unwrap();
    let gcp = GcpSeed {
        service_accounts: vec![(&file).into(), (&them).into()],
        bindings: vec![binding],
        ..GcpSeed::default()
    };
    let emulator = Emulator::builder()
        .seed(SeedFile {
            gcp,
            ..SeedFile::default()
        })
        .start()
        .await
        .unwrap();
    let owner = token(&emulator).await;
    for ring in [MINE, THEIRS] {
        let location = ring.rsplit_once("/keyRings").unwrap().0;
        for (path, body) in [
            (format!("/v1/{location}/keyRings?keyRingId=r"), json!({})),
            (
                format!("/v1/{ring}/cryptoKeys?cryptoKeyId=k"),
                json!({ "purpose": "ENCRYPT_DECRYPT" }),
            ),
            (
                format!("/v1/{ring}/importJobs?importJobId=j"),
                json!({ "importMethod": "RSA_OAEP_3072_SHA256", "protectionLevel": "SOFTWARE" }),
            ),
        ] {
            let created = rest(&emulator, Some(&owner), "POST", &path, body).await;
            assert_eq!(created.status, 200, "{}", created.text);
        }
    }
    let now = kmslab_keycore::Clock::now(&kmslab_keycore::SystemClock).as_second();
    let json: Value =
        serde_json::from_str(&file.json("https://oauth2.googleapis.com/token")).unwrap();
    let scope = "https://www.googleapis.com/auth/cloud-platform";
    let claims = json!({ "iss": ME, "sub": ME, "scope": scope, "iat": now, "exp": now + 3600 });
    let token = signed(
        json["private_key"].as_str().unwrap(),
        json["private_key_id"].as_str().unwrap(),
        &claims,
    );
    (emulator, token)
}

/// Everything in the other project, as the owner of everything sees it.
async fn theirs(emulator: &Emulator) -> Vec<Value> {
    let owner = token(emulator).await;
    let mut seen = Vec::new();
    for path in [
        format!("/v1/{THEIRS}/cryptoKeys/k"),
        format!("/v1/{THEIRS}/cryptoKeys/k:getIamPolicy"),
        format!("/v1/{THEIRS}/cryptoKeys/k/cryptoKeyVersions"),
        format!("/v1/{THEIRS}/cryptoKeys"),
        format!("/v1/projects/theirs/serviceAccounts/{THEM}"),
        format!("/v1/projects/theirs/serviceAccounts/{THEM}/keys"),
        "/v1/projects/theirs/serviceAccounts".to_owned(),
    ] {
        let answer = rest(emulator, Some(&owner), "GET", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        seen.push(answer.json);
    }
    seen
}

#[tokio::test]
async fn google_project_owner_cannot_reach_service_accounts_of_another_project() {
    let (emulator, me) = two_projects().await;
    let before = theirs(&emulator).await;
    let key = before[5]["keys"][0]["name"]
        .as_str()
        .unwrap()
        .rsplit_once('/')
        .unwrap()
        .1;
    // The control: what is allowed in the own project, by its name and by the wildcard.
    for project in ["mine", "-"] {
        let keys = format!("/v1/projects/{project}/serviceAccounts/{ME}/keys");
        assert_eq!(
            rest(&emulator, Some(&me), "POST", &keys, json!({}))
                .await
                .status,
            200
        );
    }
    for project in ["mine", "-", "theirs"] {
        let account = format!("/v1/projects/{project}/serviceAccounts/{THEM}");
        for (method, path) in [
            ("GET", account.clone()),
            ("DELETE", account.clone()),
            ("GET", format!("{account}/keys")),
            ("POST", format!("{account}/keys")),
            ("DELETE", format!("{account}/keys/{key}")),
        ] {
            let answer = rest(&emulator, Some(&me), method, &path, json!({})).await;
            let expected = if project == "mine" { 404 } else { 403 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text);
            assert!(!answer.text.contains("privateKeyData"), "{path}");
        }
    }
    // A project whose name forms an email address of the other one.
    for project in [
        "mine.theirs",
        "theirs.iam.gserviceaccount.com",
        "..",
        "mine@theirs",
    ] {
        let path = format!("/v1/projects/{project}/serviceAccounts");
        let owner = token(&emulator).await;
        let created = rest(
            &emulator,
            Some(&owner),
            "POST",
            &path,
            json!({ "accountId": "another" }),
        )
        .await;
        assert_eq!(created.status, 400, "{project}: {}", created.text);
    }
    assert_eq!(theirs(&emulator).await, before);
}

#[tokio::test]
async fn google_project_owner_cannot_reach_keys_of_another_project() {
    let (emulator, me) = two_projects().await;
    let before = theirs(&emulator).await;
    let (my_key, their_key) = (
        format!("{MINE}/cryptoKeys/k"),
        format!("{THEIRS}/cryptoKeys/k"),
    );
    let their_version = format!("{their_key}/cryptoKeyVersions/1");
    let policy = json!({ "bindings": [{ "role": "roles/owner", "members": [format!("serviceAccount:{ME}")] }] });
    let encrypted = {
        let owner = token(&emulator).await;
        let path = format!("/v1/{their_key}:encrypt");
        rest(
            &emulator,
            Some(&owner),
            "POST",
            &path,
            json!({ "plaintext": "AAAA" }),
        )
        .await
        .json["ciphertext"]
            .clone()
    };
    for (method, path, body) in [
        (
            "PATCH",
            format!("{my_key}?updateMask=labels"),
            json!({ "name": their_key, "labels": { "a": "b" } }),
        ),
        (
            "PATCH",
            format!("{my_key}/cryptoKeyVersions/1?updateMask=state"),
            json!({ "name": their_version, "state": "DISABLED" }),
        ),
        (
            "POST",
            format!("{my_key}:updatePrimaryVersion"),
            json!({ "name": their_key, "cryptoKeyVersionId": "1" }),
        ),
        (
            "POST",
            format!("{my_key}:updatePrimaryVersion"),
            json!({ "cryptoKeyVersionId": their_version }),
        ),
        (
            "POST",
            format!("{my_key}:setIamPolicy"),
            json!({ "resource": their_key, "policy": policy }),
        ),
        (
            "POST",
            format!("{my_key}:encrypt"),
            json!({ "name": their_key, "plaintext": "AAAA" }),
        ),
        (
            "POST",
            format!("{my_key}:decrypt"),
            json!({ "name": their_key, "ciphertext": encrypted }),
        ),
        (
            "POST",
            format!("{my_key}/cryptoKeyVersions"),
            json!({ "parent": their_key, "name": their_version }),
        ),
        (
            "POST",
            format!("{my_key}/cryptoKeyVersions/1:destroy"),
            json!({ "name": their_version }),
        ),
        (
            "POST",
            format!("{my_key}/cryptoKeyVersions:import"),
            json!({ "parent": their_key, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "importJob": format!("{MINE}/importJobs/j"), "wrappedKey": "AAAA" }),
        ),
        (
            "POST",
            format!("{my_key}/cryptoKeyVersions:import"),
            json!({ "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "importJob": format!("{THEIRS}/importJobs/j"), "wrappedKey": "AAAA" }),
        ),
        (
            "POST",
            format!("{my_key}/cryptoKeyVersions:import"),
            json!({ "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "importJob": format!("{MINE}/importJobs/j"), "cryptoKeyVersion": their_version, "wrappedKey": "AAAA" }),
        ),
        (
            "POST",
            format!("{MINE}/cryptoKeys?cryptoKeyId=x"),
            json!({ "parent": THEIRS, "name": format!("{THEIRS}/cryptoKeys/x"), "purpose": "ENCRYPT_DECRYPT" }),
        ),
        (
            "POST",
            format!("{MINE}/cryptoKeys?cryptoKeyId=y&parent={THEIRS}"),
            json!({ "purpose": "ENCRYPT_DECRYPT" }),
        ),
        (
            "POST",
            format!("{my_key}:encrypt?name={their_key}"),
            json!({ "plaintext": "AAAA" }),
        ),
        ("GET", format!("{my_key}?name={their_key}"), Value::Null),
        (
            "GET",
            format!("{MINE}/cryptoKeys/../../../../../../{their_key}"),
            Value::Null,
        ),
        ("GET", format!("{MINE}%2F..%2F{their_key}"), Value::Null),
    ] {
        let answer = rest(
            &emulator,
            Some(&me),
            method,
            &format!("/v1/{path}"),
            body.clone(),
        )
        .await;
        // Additional names in the body are rejected or ignored: no response contains anything of
        // the other project.
        let named = answer.json["name"]
            .as_str()
            .is_some_and(|name| name.contains("theirs"));
        assert!(
            !(answer.status == 200 && named),
            "{method} {path} {body}: {}",
            answer.text
        );
        assert!(
            answer.json["plaintext"].is_null(),
            "{path}: {}",
            answer.text
        );
    }
    assert_eq!(theirs(&emulator).await, before);
}

/// Each operation that names a key, with the ARN of another account's key.
#[tokio::test]
async fn aws_account_cannot_reach_keys_of_another_account() {
    let emulator = Emulator::builder()
        .credential("them", "their-secret", "999988887777")
        .start()
        .await
        .unwrap();
    let call = async |theirs: bool, operation: &'static str, body: &Value| {
        let mut call = Call::new(operation, body.to_string());
        if theirs {
            (call.id, call.secret) = ("them", "their-secret");
        }
        call.send(emulator.http_addr()).await
    };
    let arn = async |theirs| {
        call(theirs, "CreateKey", &json!({})).await.json["KeyMetadata"]["Arn"].clone()
    };
    let (mine, theirs) = (arn(false).await, arn(true).await);
    let created = call(
        true,
        "CreateAlias",
        &json!({ "AliasName": "alias/k", "TargetKeyId": theirs }),
    )
    .await;
    assert_eq!(created.status, 200, "{}", created.text);
    let alias = json!("arn:aws:kms:us-east-1:999988887777:alias/k");
    let encrypted = call(
        true,
        "Encrypt",
        &json!({ "KeyId": theirs, "Plaintext": "AAAA" }),
    )
    .await
    .json["CiphertextBlob"]
        .clone();
    let before = call(true, "DescribeKey", &json!({ "KeyId": theirs }))
        .await
        .json;
    let id = theirs.as_str().unwrap().rsplit_once('/').unwrap().1;

    for key in [&theirs, &alias, &json!(id)] {
        let body = json!({
            "KeyId": key, "Plaintext": "AAAA", "CiphertextBlob": encrypted, "KeySpec": "AES_256", "Policy": r#"{"Statement":{"Effect":"Allow","Principal":"*"}}"#, "PolicyName": "default",
            "Tags": [{ "TagKey": "a", "TagValue": "b" }], "TagKeys": ["a"], "Description": "mine now", "PendingWindowInDays": 7,
            "SourceKeyId": key, "DestinationKeyId": mine,
        });
        for operation in [
            "DescribeKey",
            "Encrypt",
            "Decrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "GetKeyPolicy",
            "PutKeyPolicy",
            "ListKeyPolicies",
            "TagResource",
            "UntagResource",
            "ListResourceTags",
            "UpdateKeyDescription",
            "EnableKey",
            "DisableKey",
            "ScheduleKeyDeletion",
            "CancelKeyDeletion",
            "EnableKeyRotation",
            "DisableKeyRotation",
            "GetKeyRotationStatus",
            "RotateKeyOnDemand",
            "ListKeyRotations",
            "ReEncrypt",
        ] {
            let answer = call(false, operation, &body).await;
            assert_eq!(answer.status, 400, "{operation} {key}: {}", answer.text);
            assert!(
                ["AccessDeniedException", "NotFoundException"].contains(&answer.code()),
                "{operation}: {}",
                answer.text
            );
        }
    }
    // The permissions of ReEncrypt are those of its two keys.
    let blob = call(
        false,
        "Encrypt",
        &json!({ "KeyId": mine, "Plaintext": "AAAA" }),
    )
    .await;
    for (to, from, permission) in [
        (&theirs, &mine, "kms:ReEncryptTo"),
        (&mine, &theirs, "kms:ReEncryptFrom"),
    ] {
        let body = json!({
            "CiphertextBlob": blob.json["CiphertextBlob"], "SourceKeyId": from, "DestinationKeyId": to,
        });
        let message = call(false, "ReEncrypt", &body).await.message().to_owned();
        assert!(
            message.contains(&format!("is not authorized to perform: {permission} on")),
            "{message}"
        );
    }
    for (operation, body) in [
        (
            "CreateAlias",
            json!({ "AliasName": "alias/mine", "TargetKeyId": theirs }),
        ),
        (
            "UpdateAlias",
            json!({ "AliasName": alias, "TargetKeyId": mine }),
        ),
        ("DeleteAlias", json!({ "AliasName": alias })),
        ("Decrypt", json!({ "CiphertextBlob": encrypted })),
        (
            "Decrypt",
            json!({ "CiphertextBlob": encrypted, "KeyId": mine }),
        ),
        (
            "ReEncrypt",
            json!({ "CiphertextBlob": encrypted, "DestinationKeyId": mine }),
        ),
    ] {
        let answer = call(false, operation, &body).await;
        assert_eq!(answer.status, 400, "{operation} {body}: {}", answer.text);
    }
    assert_eq!(
        call(true, "DescribeKey", &json!({ "KeyId": theirs }))
            .await
            .json,
        before
    );
}
