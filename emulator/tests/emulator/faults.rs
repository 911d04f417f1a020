//! Faults, as clients of each cloud see them.

use std::io::ErrorKind;
use std::time::Duration;

use kmslab_emulator::api::{AdminClient, Cloud, Effect, Fault};
use kmslab_emulator::{Auth, Emulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Call, admin, ask, free_port, started};

const VAULT_HOST: &str = "kmslab.vault.azure.net";
const KEY_PATH: &str = "/keys/k?api-version=7.6";
const WRAP_PATH: &str = "/keys/k/wrapkey?api-version=7.6";
const RING: &str = "/v1/projects/p/locations/global/keyRings";
const GOOGLE_HOST: &str = "cloudkms.googleapis.com";

fn fault(effect: &str) -> Fault {
    Fault::new(effect.parse().unwrap())
}

fn hits(emulator: &Emulator) -> Vec<u64> {
    let table = emulator.faults();
    table.faults.iter().map(|status| status.hits).collect()
}

async fn aws_key(emulator: &Emulator) -> String {
    let created = Call::new("CreateKey", "{}")
        .send(emulator.http_addr())
        .await;
    created.json["KeyMetadata"]["Arn"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn aws_encrypt(key: &str) -> Call {
    let body = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    Call::new("Encrypt", body.to_string())
}

/// An emulator that accepts requests of Azure and Google without tokens, with a key of each.
async fn without_auth() -> Emulator {
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

async fn azure(emulator: &Emulator, path: &str, body: Value) -> Answer {
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

async fn google(emulator: &Emulator, path: &str, body: Value) -> Answer {
    ask(
        emulator.http_addr(),
        GOOGLE_HOST,
        None,
        ("POST", path),
        &body,
    )
    .await
}

fn wrap() -> Value {
    json!({ "alg": "RSA-OAEP-256", "value": "c2VjcmV0" })
}

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
async fn faults_select_by_key_version_and_caller() {
    let emulator = started().await;
    let (chosen, other) = (aws_key(&emulator).await, aws_key(&emulator).await);
    let alias = json!({ "AliasName": "alias/chosen", "TargetKeyId": chosen }).to_string();
    Call::new("CreateAlias", alias)
        .send(emulator.http_addr())
        .await;
    let sealed = aws_encrypt(&chosen).send(emulator.http_addr()).await;
    let decrypt = json!({ "CiphertextBlob": sealed.json["CiphertextBlob"] }).to_string();
    let opened = Call::new("Decrypt", decrypt.clone())
        .send(emulator.http_addr())
        .await;
    let version = opened.json["KeyMaterialId"].as_str().unwrap().to_owned();
    for (select, chosen_hit) in [
        (
            &(|fault: &mut Fault| fault.key = Some("alias/chosen".to_owned()))
                as &dyn Fn(&mut Fault),
            true,
        ),
        (
            &|fault| fault.key = chosen.rsplit('/').next().map(str::to_owned),
            true,
        ),
        (&|fault| fault.version = Some(version.clone()), true),
        (&|fault| fault.caller = Some("somebody".to_owned()), false),
        (&|fault| fault.operations = vec!["Sign".to_owned()], false),
        (&|fault| fault.cloud = Some(Cloud::Gcp), false),
    ] {
        let mut selecting = fault("throttle");
        select(&mut selecting);
        emulator.add_fault(selecting).unwrap();
        let hit = async |call: Call| {
            call.send(emulator.http_addr()).await.code() == "ThrottlingException"
        };
        // By ARN, and by nothing but the ciphertext.
        assert_eq!(hit(aws_encrypt(&chosen)).await, chosen_hit);
        assert_eq!(hit(Call::new("Decrypt", decrypt.clone())).await, chosen_hit);
        assert!(!hit(aws_encrypt(&other)).await);
        emulator.clear_faults();
    }
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

/// What a client reads until the connection ends, and how it ends.
async fn read(emulator: &Emulator, call: &Call) -> (String, Result<(), ErrorKind>) {
    let request = call.signed(emulator.http_addr());
    let mut text = format!(
        "POST / HTTP/1.1\r\ncontent-length: {}\r\n",
        request.body().len()
    );
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(emulator.http_addr()).await.unwrap();
    let bytes = format!("{text}\r\n{}", request.body());
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text, end.map(drop).map_err(|error| error.kind()))
}

#[tokio::test]
async fn connection_is_reset_before_or_in_the_middle_of_a_response() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("reset")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!((text.as_str(), end), ("", Err(ErrorKind::ConnectionReset)));
    assert_eq!(emulator.requests().outcome("Encrypt", "reset"), 1);
    emulator.clear_faults();

    emulator.add_fault(fault("reset=middle")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body.len(), length / 2);
    assert_eq!(hits(&emulator), [1]);
}

#[tokio::test]
async fn hang_ends_by_its_time_or_when_the_fault_is_removed() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("hang=200ms")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!(
        (text.as_str(), end),
        ("", Ok(())),
        "closed without a response"
    );
    assert_eq!(emulator.requests().outcome("Encrypt", "hang"), 1);
    emulator.clear_faults();

    let name = emulator.add_fault(fault("hang")).unwrap();
    let answered = tokio::join!(call.send(emulator.http_addr()), async {
        while hits(&emulator) != [1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(emulator.remove_fault(&name));
    });
    assert_eq!(answered.0.status, 200);
    assert!(!emulator.remove_fault(&name));
}

#[tokio::test]
async fn latency_delays_the_response() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("latency=150ms..200ms")).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(call.send(emulator.http_addr()).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(hits(&emulator), [1]);
}

#[tokio::test]
async fn same_seed_hits_the_same_requests() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let mut half = fault("throttle");
        half.share = Some(0.5);
        half.operations = vec!["ListKeys".to_owned()];
        let builder = Emulator::builder().faults(vec![half]).fault_seed(seed);
        let emulator = builder.admin_listen(free_port()).start().await.unwrap();
        let mut hit = Vec::new();
        for _ in 0..2 {
            for _ in 0..16 {
                hit.push(
                    Call::new("ListKeys", "{}")
                        .send(emulator.http_addr())
                        .await
                        .status,
                );
            }
            emulator.reset().await.unwrap();
        }
        assert_eq!(hit[..16], hit[16..], "a reset starts again");
        assert_eq!(emulator.faults().seed, seed);
        runs.push(hit);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn faults_that_cannot_be_used_are_refused_with_the_reason() {
    let emulator = started().await;
    let mut named = fault("hang");
    named.name = Some("mine".to_owned());
    emulator.add_fault(named.clone()).unwrap();
    assert_eq!(emulator.add_fault(fault("throttle")).unwrap(), "throttle-1");
    let mut of_azure = fault("error=UNAVAILABLE");
    of_azure.cloud = Some(Cloud::Azure);
    let mut checksum = fault("wrong=checksum");
    checksum.cloud = Some(Cloud::Aws);
    let mut share = fault("throttle");
    share.share = Some(1.5);
    let unknown = Fault::new(Effect::Error {
        code: "Nothing".to_owned(),
    });
    for (refused, reason) in [
        (named, "there is a fault mine already"),
        (
            of_azure,
            "'UNAVAILABLE' is not an error code of azure; there are BadParameter",
        ),
        (checksum, "wrong=checksum does not exist for aws"),
        (share, "share: is not above 0 and at most 1"),
        (unknown, "is not an error code of any cloud"),
    ] {
        let error = emulator.add_fault(refused).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(emulator.faults().faults.len(), 2);
    while emulator.add_fault(fault("throttle")).is_ok() {}
    assert_eq!(emulator.faults().faults.len(), 256, "the number is bounded");
}

#[tokio::test]
async fn admin_port_lists_adds_and_removes_faults() {
    let emulator = started().await;
    let url = format!("http://{}", emulator.admin_addr().unwrap());
    let client = AdminClient::new(url).unwrap();
    let mut named = fault("throttle");
    named.name = Some("a b/ä".to_owned());
    named.count = Some(1);
    let names = client
        .add_faults(vec![named.clone(), fault("hang")])
        .await
        .unwrap();
    assert_eq!(names, ["a b/ä", "hang-1"]);
    client.remove_fault("hang-1").await.unwrap();
    Call::new("ListKeys", "{}").send(emulator.http_addr()).await;
    let table = client.faults().await.unwrap();
    assert_eq!(table, emulator.faults());
    assert_eq!((table.faults[0].hits, table.never_hit().count()), (1, 0));

    // All or none.
    let error = client
        .add_faults(vec![fault("reset"), named])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("409"), "{error}");
    assert_eq!(client.faults().await.unwrap().faults.len(), 1);
    client.remove_fault("a b/ä").await.unwrap();
    let error = client.remove_fault("a b/ä").await.unwrap_err().to_string();
    assert!(
        error.contains("404") && error.contains("there is no fault"),
        "{error}"
    );
    client.add_faults(vec![fault("reset")]).await.unwrap();
    assert_eq!(client.clear_faults().await.unwrap(), 1);

    for (body, part) in [
        ("", "not a fault"),
        ("[]", "not a fault"),
        (
            r#"{"effect":"slow"}"#,
            "there is no 'slow'; there are latency",
        ),
        (r#"{"effect":"hang","shares":1}"#, "unknown field `shares`"),
        (
            r#"{"faults":[{"effect":"hang"},{"effect":"error=NOPE"}]}"#,
            "'NOPE' is not an error code",
        ),
    ] {
        let answer = admin(&emulator, "/faults", Some(body)).await;
        assert_eq!(answer.status, 400, "{body}");
        let message = answer.json["error"].as_str().unwrap();
        assert!(message.contains(part), "{body}: {message}");
    }
    assert!(
        emulator.faults().faults.is_empty(),
        "nothing is applied by halves"
    );
}
