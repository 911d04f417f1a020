//! The audit trail: an event for each request, with the keys that it used.

use aws_sdk_kms::operation::RequestId as _;
use aws_sdk_kms::primitives::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_emulator::api::{AdminClient, AuditEvent, AuditQuery, Cloud, Fault, Followed};
use kmslab_emulator::{AuditFormat, Emulator, export_audit};
use serde_json::{Value, json};

use crate::faults::{RING, azure, google, without_auth};
use crate::support::{Call, admin, free_port, sdk, started};

fn events(emulator: &Emulator) -> Vec<AuditEvent> {
    emulator.audit(&AuditQuery::default()).events
}

fn last(emulator: &Emulator) -> AuditEvent {
    events(emulator).pop().unwrap()
}

/// Key and version of an event with one key.
fn used(event: &AuditEvent) -> (&str, Option<&str>) {
    let [used] = &event.keys[..] else {
        panic!("{event:?}");
    };
    (&used.key, used.version.as_deref())
}

async fn aws(emulator: &Emulator, operation: &'static str, body: Value) -> Value {
    let call = Call::new(operation, body.to_string());
    call.send(emulator.http_addr()).await.json
}

#[tokio::test]
async fn aws_events_name_key_version_caller_and_request() {
    let emulator = started().await;
    let created = aws(&emulator, "CreateKey", json!({})).await;
    let arn = created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let event = last(&emulator);
    assert_eq!(used(&event), (arn.as_str(), None));
    assert_eq!((event.sequence, event.operation.as_str()), (1, "CreateKey"));

    let alias = json!({ "AliasName": "alias/a", "TargetKeyId": arn });
    aws(&emulator, "CreateAlias", alias).await;
    let plaintext = json!({ "KeyId": "alias/a", "Plaintext": "c2VjcmV0" });
    let call = Call::new("Encrypt", plaintext.to_string());
    let mut request = call.signed(emulator.http_addr());
    let agent = format!("agent/1 {}", "x".repeat(300));
    request
        .headers_mut()
        .insert("user-agent", agent.parse().unwrap());
    let sealed = crate::support::send(emulator.http_addr(), &request).await;
    let event = last(&emulator);
    assert_eq!(
        (event.cloud, event.code.as_str(), event.caller.as_str()),
        (Cloud::Aws, "OK", "test")
    );
    let id = format!("x-amzn-requestid: {}", event.request_id);
    assert!(sealed.head.contains(&id), "{}", sealed.head);
    assert!(event.address.as_ref().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(event.user_agent.as_deref(), Some(&agent[..256]));
    let first = used(&event).1.unwrap().to_owned();

    // After a rotation, a decrypt uses the old material and an encrypt the new one.
    aws(&emulator, "RotateKeyOnDemand", json!({ "KeyId": arn })).await;
    let body = json!({ "CiphertextBlob": sealed.json["CiphertextBlob"] });
    let opened = aws(&emulator, "Decrypt", body.clone()).await;
    assert_eq!(opened["KeyMaterialId"], first.as_str());
    assert_eq!(used(&last(&emulator)), (arn.as_str(), Some(first.as_str())));
    aws(&emulator, "Encrypt", plaintext).await;
    assert_ne!(used(&last(&emulator)).1, Some(first.as_str()));

    // Failures name the key too: the state forbids the use, or the caller is unknown.
    aws(&emulator, "DisableKey", json!({ "KeyId": arn })).await;
    aws(&emulator, "Decrypt", body.clone()).await;
    let event = last(&emulator);
    assert_eq!(event.code, "DisabledException");
    assert_eq!(used(&event), (arn.as_str(), Some(first.as_str())));
    let mut stranger = Call::new("Decrypt", body.to_string());
    stranger.secret = "wrong";
    stranger.send(emulator.http_addr()).await;
    let event = last(&emulator);
    assert_eq!(
        (event.code.as_str(), event.keys.len()),
        ("InvalidSignatureException", 0)
    );
    assert_eq!(event.sequence as usize, events(&emulator).len());
}

#[tokio::test]
async fn last_usage_of_an_aws_key_is_its_latest_successful_cryptographic_operation() {
    let emulator = started().await;
    let sdk = sdk(&emulator);
    let created = sdk.create_key().send().await.unwrap();
    let key = created.key_metadata.unwrap();
    let id = key.key_id();
    let unused = sdk.get_key_last_usage().key_id(id).send().await.unwrap();
    assert_eq!(unused.key_id(), Some(id));
    assert_eq!(unused.key_last_usage().unwrap().operation(), None);
    assert_eq!(unused.tracking_start_date(), key.creation_date());

    let plaintext = Blob::new("secret");
    let sealed = sdk.encrypt().key_id(id).plaintext(plaintext);
    let sealed = sealed.send().await.unwrap();
    let sealed = sealed.ciphertext_blob.unwrap();
    let opened = sdk.decrypt().ciphertext_blob(sealed.clone());
    let opened = opened.send().await.unwrap();
    // Neither management nor a failure is a use.
    sdk.describe_key().key_id(id).send().await.unwrap();
    sdk.disable_key().key_id(id).send().await.unwrap();
    let failed = sdk.decrypt().ciphertext_blob(sealed).send().await;
    assert!(failed.is_err());
    let used = sdk.get_key_last_usage().key_id(id).send().await.unwrap();
    let usage = used.key_last_usage().unwrap();
    assert_eq!(usage.operation().unwrap().as_str(), "Decrypt");
    assert_eq!(usage.kms_request_id(), opened.request_id());
    let query: AuditQuery = serde_json::from_value(json!({ "operation": "Decrypt" })).unwrap();
    let decrypt = &emulator.audit(&query).events[0];
    let record = export_audit(decrypt, AuditFormat::CloudTrail).unwrap();
    assert_eq!(usage.cloud_trail_event_id(), record["eventID"].as_str());
    // The SDK cuts the number of seconds off after its third digit.
    let timestamp = usage.timestamp().unwrap().to_millis().unwrap();
    let difference = decrypt.lab_time.as_millisecond() - timestamp;
    assert!((0..=1).contains(&difference), "{difference}");
}

#[tokio::test]
async fn re_encrypt_uses_two_keys() {
    let emulator = started().await;
    let mut arns = Vec::new();
    for _ in 0..2 {
        let created = aws(&emulator, "CreateKey", json!({})).await;
        arns.push(created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
    }
    let sealed = aws(
        &emulator,
        "Encrypt",
        json!({ "KeyId": arns[0], "Plaintext": "c2VjcmV0" }),
    )
    .await;
    let body = json!({ "CiphertextBlob": sealed["CiphertextBlob"], "DestinationKeyId": arns[1] });
    aws(&emulator, "ReEncrypt", body).await;
    let event = last(&emulator);
    let keys: Vec<&String> = event.keys.iter().map(|used| &used.key).collect();
    assert_eq!(keys, [&arns[0], &arns[1]]);
}

#[tokio::test]
async fn azure_and_google_events_name_key_and_version() {
    let emulator = without_auth().await;
    let wrap = json!({ "alg": "RSA-OAEP-256", "value": "c2VjcmV0" });
    let sealed = azure(&emulator, "/keys/K/wrapkey?api-version=7.6", wrap).await;
    let event = last(&emulator);
    let kid = sealed.json["kid"].as_str().unwrap();
    let (key, version) = used(&event);
    assert_eq!(format!("{key}/{}", version.unwrap()), kid);
    assert_eq!(
        (event.cloud, event.operation.as_str()),
        (Cloud::Azure, "KeyWrap")
    );
    let id = format!("x-ms-request-id: {}", event.request_id);
    assert!(sealed.head.contains(&id), "{}", sealed.head);
    azure(&emulator, "/keys/other/wrapkey?api-version=7.6", json!({})).await;
    let event = last(&emulator);
    assert_eq!(
        used(&event),
        ("https://kmslab.vault.azure.net/keys/other", None)
    );

    let key = format!("{RING}/r/cryptoKeys/k");
    let body = json!({ "plaintext": "c2VjcmV0" });
    let sealed = google(&emulator, &format!("{key}:encrypt"), body).await;
    let event = last(&emulator);
    let name = sealed.json["name"].as_str().unwrap();
    let (key, version) = used(&event);
    assert_eq!(
        format!("{key}/cryptoKeyVersions/{}", version.unwrap()),
        name
    );
    assert_eq!(
        (event.cloud, event.operation.as_str()),
        (Cloud::Gcp, "Encrypt")
    );
    let created = events(&emulator);
    let created = created
        .iter()
        .find(|event| event.operation == "CreateCryptoKey");
    assert_eq!(used(created.unwrap()), (key, None));
}

#[tokio::test]
async fn events_name_the_faults_that_were_applied() {
    let emulator = started().await;
    let created = aws(&emulator, "CreateKey", json!({})).await;
    let arn = created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    for (name, effect) in [
        ("slow", "latency=1ms"),
        ("busy", "throttle"),
        ("cut", "reset=middle"),
    ] {
        let fault = Fault {
            name: Some(name.to_owned()),
            operations: vec!["Encrypt".to_owned()],
            ..Fault::new(effect.parse().unwrap())
        };
        emulator.add_fault(fault).unwrap();
    }
    aws(
        &emulator,
        "Encrypt",
        json!({ "KeyId": arn, "Plaintext": "c2VjcmV0" }),
    )
    .await;
    let event = last(&emulator);
    assert_eq!(event.code, "ThrottlingException");
    assert_eq!(event.faults, ["slow", "busy"]);
    assert_eq!(used(&event), (arn.as_str(), None));
    emulator.remove_fault("busy");
    // Without a response there is nothing that a vendor's log would say of it.
    let hang = Fault::new("hang=1ms".parse().unwrap());
    let name = emulator.add_fault(hang).unwrap();
    aws(
        &emulator,
        "Encrypt",
        json!({ "KeyId": arn, "Plaintext": "c2VjcmV0" }),
    )
    .await;
    let event = last(&emulator);
    assert_eq!(event.code, "hang");
    // There is no response to cut, so that `cut` hit nothing.
    assert_eq!(event.faults, ["slow", name.as_str()]);
    let table = emulator.faults();
    assert_eq!(table.faults[1].fault.name.as_deref(), Some("cut"));
    assert_eq!(table.faults[1].hits, 0);
    assert_eq!(used(&event), (arn.as_str(), None));
    assert_eq!(export_audit(&event, AuditFormat::CloudTrail), None);
    emulator.remove_fault(&name);
    // A failed call is not cut.
    aws(&emulator, "Encrypt", json!({ "KeyId": arn })).await;
    assert_eq!(last(&emulator).faults, ["slow"]);
}

#[tokio::test]
async fn audit_file_has_every_event_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let emulator = Emulator::builder().audit_file(&path).audit_events(2);
    let emulator = emulator.start().await.unwrap();
    let created = aws(&emulator, "CreateKey", json!({})).await;
    let secret = STANDARD.encode("canary-plaintext");
    let body = json!({ "KeyId": created["KeyMetadata"]["Arn"], "Plaintext": secret });
    let sealed = aws(&emulator, "Encrypt", body).await;
    let blob = sealed["CiphertextBlob"].as_str().unwrap().to_owned();
    aws(&emulator, "Decrypt", json!({ "CiphertextBlob": blob })).await;

    let text = std::fs::read_to_string(&path).unwrap();
    let written: Vec<AuditEvent> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let operations: Vec<&str> = written
        .iter()
        .map(|event| event.operation.as_str())
        .collect();
    assert_eq!(operations, ["CreateKey", "Encrypt", "Decrypt"]);
    assert_eq!(events(&emulator), written[1..]);
    for secret in ["canary-plaintext", &secret, &blob] {
        assert!(!text.contains(secret), "{text}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(emulator);

    // A second emulator appends; a directory is no file.
    let second = Emulator::builder().audit_file(&path).audit_events(0);
    let second = second.start().await.unwrap();
    aws(&second, "ListKeys", json!({})).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    let failed = Emulator::builder().audit_file(dir.path()).start().await;
    let error = failed.unwrap_err().to_string();
    assert!(error.starts_with("cannot write the audit file "), "{error}");
}

#[tokio::test]
async fn stream_delivers_kept_and_new_events_until_the_emulator_stops() {
    let builder = Emulator::builder()
        .admin_listen(free_port())
        .audit_events(2);
    let emulator = builder.start().await.unwrap();
    for _ in 0..3 {
        aws(&emulator, "ListKeys", json!({})).await;
    }
    let client = AdminClient::new(format!("http://{}", emulator.admin_addr().unwrap())).unwrap();
    let mut stream = client.follow_audit(&AuditQuery::default()).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), Some(Followed::Lost(1)));
    let mut next = async || match stream.next().await.unwrap() {
        Some(Followed::Event(event)) => Some((event.sequence, event.operation)),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    assert_eq!(next().await, Some((2, "ListKeys".to_owned())));
    assert_eq!(next().await, Some((3, "ListKeys".to_owned())));
    aws(&emulator, "ListAliases", json!({})).await;
    assert_eq!(next().await, Some((4, "ListAliases".to_owned())));
    let (end, ()) = tokio::join!(next(), emulator.stop());
    assert_eq!(end, None);
}

/// Whatever a request states, its event stays small.
#[tokio::test]
async fn events_of_long_requests_are_bounded() {
    const MAX_EVENT_BYTES: usize = 8 * 1024;
    let long = "x".repeat(100_000);
    let emulator = without_auth().await;
    let mut recorded = events(&emulator).len();
    let mut check = |what: &str| {
        let event = last(&emulator);
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.len() < MAX_EVENT_BYTES, "{what}: {} bytes", json.len());
        recorded += 1;
        assert_eq!(events(&emulator).len(), recorded, "{what}");
    };
    let created = aws(&emulator, "CreateKey", json!({})).await;
    check("a key");
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap();
    let context: Value = (0..40)
        .map(|n| (n.to_string(), Value::from("y".repeat(50))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    aws(
        &emulator,
        "Encrypt",
        json!({ "KeyId": id, "Plaintext": "eA==", "EncryptionContext": context }),
    )
    .await;
    check("an encryption context");
    for member in ["KeyId", "KeySpec", "Description", "EncryptionContext"] {
        aws(
            &emulator,
            "Encrypt",
            json!({ "KeyId": id, "Plaintext": "eA==", member: long }),
        )
        .await;
        check(member);
    }
    let path = "/keys/k/encrypt?api-version=7.6";
    azure(&emulator, path, json!({ "alg": long, "value": "eA" })).await;
    check("an algorithm");
    let long_path = format!("/keys/k/{}/encrypt?api-version=7.6", &long[..20_000]);
    azure(
        &emulator,
        &long_path,
        json!({ "alg": "RSA-OAEP", "value": "eA" }),
    )
    .await;
    check("a version");
    let key = format!("{RING}/r/cryptoKeys/{}:encrypt", &long[..20_000]);
    google(&emulator, &key, json!({ "plaintext": "eA==" })).await;
    check("a resource name");
}

#[tokio::test]
async fn audit_queries_are_filtered_and_checked() {
    let emulator = started().await;
    let created = aws(&emulator, "CreateKey", json!({})).await;
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    aws(&emulator, "DescribeKey", json!({ "KeyId": id })).await;
    aws(&emulator, "DescribeKey", json!({ "KeyId": "nothing" })).await;
    let count = async |query: &str| {
        let answer = admin(&emulator, &format!("/audit?{query}"), None).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.json["events"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 3);
    assert_eq!(count(&format!("key={id}")).await, 2);
    assert_eq!(count("operation=DescribeKey&code=OK").await, 1);
    assert_eq!(count("cloud=azure").await, 0);
    assert_eq!(count("caller=test&since=1&limit=1").await, 1);
    for query in ["since=x", "colour=red", "cloud=ibm", "since=1&since=2"] {
        let answer = admin(&emulator, &format!("/audit?{query}"), None).await;
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.json["error"].as_str().unwrap();
        assert!(error.contains("there are since, limit, cloud"), "{error}");
    }
    let builder = Emulator::builder()
        .admin_listen(free_port())
        .audit_events(0);
    let off = builder.start().await.unwrap();
    for path in ["/audit", "/audit/stream"] {
        let answer = admin(&off, path, None).await;
        assert_eq!(answer.status, 409);
        assert!(answer.text.contains("--audit-events"), "{}", answer.text);
    }
}
