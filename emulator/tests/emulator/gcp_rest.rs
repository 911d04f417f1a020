//! Cloud KMS by hand-written REST and gRPC requests: shapes, errors, and equality of both wires.

use bytes::Bytes;
use kmslab_emulator::Emulator;
use kmslab_googleapis::kms;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Answer, admin, free_port, send};

pub(crate) const RING: &str = "projects/p/locations/us-east1/keyRings/r";
const KEY: &str = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";

pub(crate) async fn rest(
    emulator: &Emulator,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Value,
) -> Answer {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    send(emulator.http_addr(), &request.body(body).unwrap()).await
}

/// A token of the account with all permissions, from the metadata server.
pub(crate) async fn token(emulator: &Emulator) -> String {
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let request = http::Request::get(path)
        .header("host", "metadata.google.internal")
        .header("metadata-flavor", "Google");
    let answer = send(emulator.http_addr(), &request.body(String::new()).unwrap()).await;
    answer.json["access_token"].as_str().unwrap().to_owned()
}

/// An emulator with a key ring and a symmetric key, and a token for it.
pub(crate) async fn with_key() -> (Emulator, String) {
    let emulator = Emulator::builder()
        .admin_listen(free_port())
        .start()
        .await
        .unwrap();
    let token = token(&emulator).await;
    let ring = "/v1/projects/p/locations/us-east1/keyRings?keyRingId=r";
    assert_eq!(
        rest(&emulator, Some(&token), "POST", ring, json!({}))
            .await
            .status,
        200
    );
    let key = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=k");
    assert_eq!(
        rest(
            &emulator,
            Some(&token),
            "POST",
            &key,
            json!({ "purpose": "ENCRYPT_DECRYPT" })
        )
        .await
        .status,
        200
    );
    (emulator, token)
}

/// A gRPC call.
async fn grpc<I, O>(
    emulator: &Emulator,
    token: Option<&str>,
    call: &'static str,
    message: I,
) -> Result<O, tonic::Status>
where
    I: prost::Message + Default + 'static,
    O: prost::Message + Default + 'static,
{
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", emulator.http_addr()))
            .unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static(call);
    Ok(client
        .unary(request, path, tonic_prost::ProstCodec::<I, O>::default())
        .await?
        .into_inner())
}

const ENCRYPT: &str = "/google.cloud.kms.v1.KeyManagementService/Encrypt";
const GET_KEY: &str = "/google.cloud.kms.v1.KeyManagementService/GetCryptoKey";

#[tokio::test]
async fn rest_responses_match_the_service() {
    let (emulator, token) = with_key().await;
    let key = rest(
        &emulator,
        Some(&token),
        "GET",
        &format!("/v1/{KEY}"),
        Value::Null,
    )
    .await;
    let mut displayed = key.json.clone();
    for field in ["createTime", "primary"] {
        assert!(!displayed[field].is_null(), "{displayed}");
        displayed.as_object_mut().unwrap().remove(field);
    }
    let expected = json!({
        "name": KEY,
        "purpose": "ENCRYPT_DECRYPT",
        "versionTemplate": { "protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
        "destroyScheduledDuration": "2592000s",
    });
    assert_eq!(displayed, expected);
    assert_eq!(key.json["primary"]["state"], "ENABLED");
    // Google's own clients request numbers.
    let numbers = format!("/v1/{KEY}?%24alt=json%3Benum-encoding%3Dint");
    let numbers = rest(&emulator, Some(&token), "GET", &numbers, Value::Null)
        .await
        .json;
    assert_eq!(
        (&numbers["purpose"], &numbers["primary"]["state"]),
        (&json!(1), &json!(1))
    );

    let body = json!({ "plaintext": "c2VjcmV0", "plaintextCrc32c": crc(b"secret").to_string() });
    let encrypted = rest(
        &emulator,
        Some(&token),
        "POST",
        &format!("/v1/{KEY}:encrypt"),
        body,
    )
    .await
    .json;
    assert_eq!(
        (&encrypted["name"], &encrypted["verifiedPlaintextCrc32c"]),
        (&json!(format!("{KEY}/cryptoKeyVersions/1")), &json!(true))
    );
    assert!(
        encrypted["ciphertextCrc32c"].is_string()
            && encrypted["ciphertext"]
                .as_str()
                .unwrap()
                .starts_with("CiQA")
    );
    assert_eq!(
        encrypted.get("verifiedAdditionalAuthenticatedDataCrc32c"),
        None,
        "what is false is left out"
    );

    let missing = rest(
        &emulator,
        Some(&token),
        "GET",
        &format!("/v1/{RING}/nothing"),
        Value::Null,
    )
    .await;
    assert_eq!(
        (missing.status, &missing.json["error"]["status"]),
        (404, &json!("NOT_FOUND"))
    );
}

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes)
}

#[tokio::test]
async fn rest_and_grpc_share_one_implementation() {
    let (emulator, token) = with_key().await;
    let token = Some(token.as_str());
    let message = kms::EncryptRequest {
        name: KEY.to_owned(),
        plaintext: b"secret".to_vec(),
        ..Default::default()
    };
    let encrypted: kms::EncryptResponse = grpc(&emulator, token, ENCRYPT, message).await.unwrap();
    let body = json!({ "ciphertext": base64(&encrypted.ciphertext) });
    let decrypted = rest(
        &emulator,
        token,
        "POST",
        &format!("/v1/{KEY}:decrypt"),
        body,
    )
    .await
    .json;
    assert_eq!(decrypted["plaintext"], base64(b"secret"));

    // The same error with the same message and details.
    for (name, code, status, reason) in [
        (
            format!("{RING}/cryptoKeys/none"),
            Code::NotFound,
            404,
            Value::Null,
        ),
        (
            "projects/p/locations/us-east1/keyRings/r/cryptoKeys/a.b".to_owned(),
            Code::InvalidArgument,
            400,
            Value::Null,
        ),
    ] {
        let message = kms::GetCryptoKeyRequest { name: name.clone() };
        let rejected = grpc::<_, kms::CryptoKey>(&emulator, token, GET_KEY, message)
            .await
            .unwrap_err();
        let rest = rest(&emulator, token, "GET", &format!("/v1/{name}"), Value::Null).await;
        assert_eq!((rejected.code(), rest.status), (code, status), "{name}");
        assert_eq!(rest.json["error"]["message"], rejected.message());
        assert_eq!(rest.json["error"]["details"][0]["reason"], reason);
    }
    // Details have the names of JSON, not those of the proto.
    let body = json!({ "plaintext": base64(b"x"), "plaintextCrc32c": "1" });
    let path = format!("/v1/{KEY}:encrypt");
    let wrong = rest(&emulator, token, "POST", &path, body).await;
    let detail = &wrong.json["error"]["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest");
    assert_eq!(
        detail["fieldViolations"][0]["field"], "plaintext_crc32c",
        "{wrong:?}"
    );
    let message = kms::GetCryptoKeyRequest {
        name: KEY.to_owned(),
    };
    let rejected = grpc::<_, kms::CryptoKey>(&emulator, None, GET_KEY, message)
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), Code::Unauthenticated);
    let unread = kms::EncryptRequest {
        name: KEY.to_owned(),
        plaintext: vec![0; 65 * 1024],
        ..Default::default()
    };
    let rejected = grpc::<_, kms::EncryptResponse>(&emulator, token, ENCRYPT, unread)
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), Code::InvalidArgument);
    // Bytes that do not decode as the call's message.
    let garbage = Garbage(Bytes::from_static(&[0x0a, 0xff, 0xff]));
    let rejected = grpc::<_, kms::EncryptResponse>(&emulator, token, ENCRYPT, garbage)
        .await
        .unwrap_err();
    assert!(
        matches!(rejected.code(), Code::Internal | Code::InvalidArgument),
        "{rejected:?}"
    );
}

/// A message that encodes as the given bytes.
#[derive(Debug, Default, Clone)]
struct Garbage(Bytes);

impl prost::Message for Garbage {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {}
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn invalid_requests_get_the_services_codes() {
    let (emulator, token) = with_key().await;
    let version = format!("{KEY}/cryptoKeyVersions/1");
    let post = |path: String, body: Value| ("POST", path, body);
    let patch = |query: &str, body: Value| ("PATCH", format!("/v1/{KEY}{query}"), body);
    let keys = |query: &str, body: Value| ("POST", format!("/v1/{RING}/cryptoKeys{query}"), body);
    let symmetric = || json!({ "purpose": "ENCRYPT_DECRYPT" });
    let scheduled = |period: &str, next: &str| json!({ "purpose": 1, "rotationPeriod": period, "nextRotationTime": next });
    for (status, words, (method, path, body)) in [
        (409, "already exists", keys("?cryptoKeyId=k", symmetric())),
        (
            400,
            "purpose of a CryptoKey is required",
            keys("?cryptoKeyId=a", json!({})),
        ),
        (400, "crypto_key_id", keys("?cryptoKeyId=a.b", symmetric())),
        (
            400,
            "algorithm is required",
            keys("?cryptoKeyId=a", json!({ "purpose": "ASYMMETRIC_SIGN" })),
        ),
        (
            400,
            "24 hours",
            keys("?cryptoKeyId=a", scheduled("3600s", "2099-01-01T00:00:00Z")),
        ),
        (
            400,
            "in the future",
            keys(
                "?cryptoKeyId=a",
                scheduled("86400s", "2001-01-01T00:00:00Z"),
            ),
        ),
        (
            400,
            "next_rotation_time is required",
            keys(
                "?cryptoKeyId=a",
                json!({ "purpose": 1, "rotationPeriod": "86400s" }),
            ),
        ),
        (
            400,
            "is not for keys of purpose",
            keys(
                "?cryptoKeyId=a",
                json!({ "purpose": 1, "versionTemplate": { "algorithm": "EC_SIGN_P256_SHA256" } }),
            ),
        ),
        (
            501,
            "PQ_SIGN_ML_DSA_65",
            keys(
                "?cryptoKeyId=a",
                json!({ "purpose": 5, "versionTemplate": { "algorithm": "PQ_SIGN_ML_DSA_65" } }),
            ),
        ),
        (
            400,
            "import_only",
            keys(
                "?cryptoKeyId=a",
                json!({ "purpose": 1, "importOnly": true }),
            ),
        ),
        (
            404,
            "KeyRing",
            post(
                "/v1/projects/p/locations/l/keyRings/none/cryptoKeys?cryptoKeyId=a".into(),
                symmetric(),
            ),
        ),
        (
            400,
            "update_mask is required",
            patch("", json!({ "labels": {} })),
        ),
        (
            400,
            "can not be updated",
            patch("?updateMask=purpose", json!({})),
        ),
        (
            400,
            "Unknown name",
            patch("?updateMask=labels", json!({ "label": {} })),
        ),
        (
            400,
            "Invalid label",
            patch("?updateMask=labels", json!({ "labels": { "A": "b" } })),
        ),
        (
            400,
            "crc32c",
            post(
                format!("/v1/{KEY}:encrypt"),
                json!({ "plaintext": "AAAA", "plaintextCrc32c": "1" }),
            ),
        ),
        (
            400,
            "must not be longer",
            post(
                format!("/v1/{KEY}:encrypt"),
                json!({ "plaintext": base64(&vec![0; 65 * 1024]) }),
            ),
        ),
        (
            400,
            "the ciphertext is invalid",
            post(
                format!("/v1/{KEY}:decrypt"),
                json!({ "ciphertext": "AAAA" }),
            ),
        ),
        (
            400,
            "not a valid CryptoKey name",
            post(
                format!("/v1/{KEY}:decrypt").replace("/r/", "/r.r/"),
                json!({ "ciphertext": "AAAA" }),
            ),
        ),
        (
            400,
            "must be in state DESTROY_SCHEDULED",
            post(format!("/v1/{version}:restore"), json!({})),
        ),
        (
            404,
            "CryptoKeyVersion",
            post(format!("/v1/{KEY}/cryptoKeyVersions/9:destroy"), json!({})),
        ),
        (
            400,
            "has purpose ENCRYPT_DECRYPT",
            post(
                format!("/v1/{version}:asymmetricSign"),
                json!({ "data": "AAAA" }),
            ),
        ),
        (
            501,
            "HSM only",
            post(
                "/v1/projects/p/locations/l:generateRandomBytes".into(),
                json!({ "lengthBytes": 8 }),
            ),
        ),
        (
            400,
            "has purpose ENCRYPT_DECRYPT",
            post(
                format!("/v1/{version}:decapsulate"),
                json!({ "ciphertext": "AAAA" }),
            ),
        ),
        (
            501,
            "not supported",
            (
                "GET",
                format!("/v1/{version}:exportTrustedKeyWrappedCryptoKeyVersion"),
                Value::Null,
            ),
        ),
        (
            400,
            "Invalid JSON payload",
            post(format!("/v1/{KEY}:encrypt"), json!("text")),
        ),
    ] {
        let answer = rest(&emulator, Some(&token), method, &path, body).await;
        let message = answer.json["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, status, "{method} {path}: {message}");
        assert!(message.contains(words), "{method} {path}: {message}");
    }
    let counted = emulator.requests();
    assert_eq!(
        counted.outcome("RestoreCryptoKeyVersion", "FAILED_PRECONDITION"),
        1
    );
}

#[tokio::test]
async fn lists_are_paginated_filtered_and_sorted() {
    let (emulator, token) = with_key().await;
    for n in 1..4 {
        let body = json!({ "purpose": "MAC", "versionTemplate": { "algorithm": "HMAC_SHA256" }, "labels": { "n": n.to_string() } });
        let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=mac{n}");
        assert_eq!(
            rest(&emulator, Some(&token), "POST", &path, body)
                .await
                .status,
            200
        );
    }
    let list = async |query: &str| {
        rest(
            &emulator,
            Some(&token),
            "GET",
            &format!("/v1/{RING}/cryptoKeys{query}"),
            Value::Null,
        )
        .await
        .json
    };
    let names = |page: &Value| -> Vec<String> {
        let keys = page["cryptoKeys"].as_array().unwrap().iter();
        keys.map(|key| {
            key["name"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
    };
    let first = list("?pageSize=3").await;
    assert_eq!(
        (names(&first), &first["totalSize"]),
        (vec!["k".into(), "mac1".into(), "mac2".into()], &json!(4))
    );
    let rest_of = list(&format!(
        "?pageSize=3&pageToken={}",
        first["nextPageToken"].as_str().unwrap()
    ))
    .await;
    assert_eq!(
        (names(&rest_of), rest_of.get("nextPageToken")),
        (vec!["mac3".into()], None)
    );
    assert_eq!(names(&list("?filter=labels.n%3D2").await), ["mac2"]);
    assert_eq!(names(&list("?filter=purpose%21%3DMAC").await), ["k"]);
    assert_eq!(
        names(&list("?orderBy=name%20desc&pageSize=1").await),
        ["mac3"]
    );
    assert_eq!(
        admin(&emulator, "/keys", None).await.json["keys"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    admin(&emulator, "/reset", Some("")).await;
    assert_eq!(
        rest(
            &emulator,
            Some(&token),
            "GET",
            &format!("/v1/{RING}"),
            Value::Null
        )
        .await
        .status,
        401,
        "tokens go, too"
    );
}
