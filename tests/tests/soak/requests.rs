//! HTTP requests as clients make them, and their malicious variants.

use fastrand::Rng;

/// A well-formed HTTP request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

const AWS: &[(&str, &str)] = &[
    (
        "CreateKey",
        r#"{"KeySpec":"SYMMETRIC_DEFAULT","Tags":[{"TagKey":"a","TagValue":"b"}]}"#,
    ),
    (
        "CreateKey",
        r#"{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}"#,
    ),
    (
        "CreateAlias",
        r#"{"AliasName":"alias/a","TargetKeyId":"alias/k"}"#,
    ),
    (
        "Encrypt",
        r#"{"KeyId":"alias/k","Plaintext":"AAAA","EncryptionContext":{"a":"b"}}"#,
    ),
    ("Decrypt", r#"{"CiphertextBlob":"AQIDAHgAAAA="}"#),
    (
        "GenerateDataKey",
        r#"{"KeyId":"alias/k","NumberOfBytes":32}"#,
    ),
    ("GenerateRandom", r#"{"NumberOfBytes":16}"#),
    ("ListKeys", r#"{"Limit":5,"Marker":"x"}"#),
    (
        "PutKeyPolicy",
        r#"{"KeyId":"alias/k","Policy":"{\"Statement\":[]}"}"#,
    ),
    (
        "EnableKeyRotation",
        r#"{"KeyId":"alias/k","RotationPeriodInDays":90}"#,
    ),
    (
        "ImportKeyMaterial",
        r#"{"KeyId":"alias/k","ImportToken":"AAAA","EncryptedKeyMaterial":"AAAA"}"#,
    ),
];
const AZURE: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/kmslab/keys/k/create",
        r#"{"kty":"EC","crv":"P-256","attributes":{"exp":2000000000},"tags":{"a":"b"}}"#,
    ),
    (
        "POST",
        "/kmslab/keys/o/create",
        r#"{"kty":"oct-HSM","key_size":256}"#,
    ),
    (
        "POST",
        "/kmslab/keys/o/encrypt",
        r#"{"alg":"A256GCM","value":"AAAA","aad":"AAAA"}"#,
    ),
    (
        "POST",
        "/kmslab/keys/o//decrypt",
        r#"{"alg":"A256GCM","value":"AAAA","iv":"AAAAAAAAAAAAAAAA","tag":"AAAA"}"#,
    ),
    (
        "POST",
        "/kmslab/keys/k/sign",
        r#"{"alg":"ES256","value":"AAAA"}"#,
    ),
    (
        "PUT",
        "/kmslab/keys/i",
        r#"{"key":{"kty":"oct","k":"AAAA"},"Hsm":true}"#,
    ),
    (
        "PUT",
        "/kmslab/keys/k/rotationpolicy",
        r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Rotate"}}]}"#,
    ),
    ("POST", "/kmslab/keys/restore", r#"{"value":"AAAA"}"#),
    ("GET", "/kmslab/keys", ""),
    ("GET", "/kmslab.managedhsm/deletedkeys", ""),
    ("DELETE", "/kmslab/keys/k", ""),
    ("POST", "/kmslab/rng", r#"{"count":16}"#),
];
const GOOGLE: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/v1/projects/p/locations/global/keyRings?keyRingId=r",
        "{}",
    ),
    (
        "POST",
        "/v1/projects/p/locations/global/keyRings/r/cryptoKeys?cryptoKeyId=k",
        r#"{"purpose":"ENCRYPT_DECRYPT","rotationPeriod":"7776000s"}"#,
    ),
    (
        "POST",
        "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:encrypt",
        r#"{"plaintext":"AAAA","plaintextCrc32c":"1"}"#,
    ),
    (
        "POST",
        "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:decrypt",
        r#"{"ciphertext":"AAAA"}"#,
    ),
    (
        "PATCH",
        "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k?updateMask=labels",
        r#"{"labels":{"a":"b"}}"#,
    ),
    (
        "POST",
        "/v1/projects/p/locations/global/keyRings/r:setIamPolicy",
        r#"{"policy":{"bindings":[{"role":"roles/cloudkms.admin","members":["user:a@b.c"]}]}}"#,
    ),
    (
        "GET",
        "/v1/projects/p/locations/global/keyRings?pageSize=2&filter=name:r&orderBy=name",
        "",
    ),
    (
        "POST",
        "/v1/projects/p/serviceAccounts",
        r#"{"accountId":"abcdef","serviceAccount":{"displayName":"d"}}"#,
    ),
    ("GET", "/computeMetadata/v1/?recursive=true&alt=json", ""),
    (
        "GET",
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=a",
        "",
    ),
];
const FORMS: &[(&str, &str)] = &[
    (
        "/00000000-0000-0000-0000-000000000000/oauth2/v2.0/token",
        "grant_type=client_credentials&client_id=a&client_secret=b&scope=https://vault.azure.net/.default",
    ),
    (
        "/token",
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c",
    ),
    (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net",
        "",
    ),
];
/// Replacements of values.
const VALUES: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "0",
    "-1",
    "1e999",
    "9223372036854775808",
    "\"\"",
    "\"\\u0000\"",
    "\"\u{202e}\"",
    "\"P9999999999D\"",
    "\"alias/../..\"",
    "\"2026-02-30T25:61:61Z\"",
];

pub(crate) fn request(random: &mut Rng) -> Request {
    let mut headers = vec![("host", "localhost".to_owned())];
    let (method, path, body) = match random.u8(0..4) {
        0 => {
            let (operation, body) = AWS[random.usize(..AWS.len())];
            headers.push(("x-amz-target", format!("TrentService.{operation}")));
            headers.push(("content-type", "application/x-amz-json-1.1".to_owned()));
            headers.push(("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00".to_owned()));
            ("POST", "/", body)
        }
        1 => AZURE[random.usize(..AZURE.len())],
        2 => GOOGLE[random.usize(..GOOGLE.len())],
        _ => {
            let (path, body) = FORMS[random.usize(..FORMS.len())];
            headers.push(("metadata", "true".to_owned()));
            (if body.is_empty() { "GET" } else { "POST" }, path, body)
        }
    };
    let mut path = path.to_owned();
    if path.starts_with("/kmslab") {
        path.push_str("?api-version=7.6");
    }
    if path.starts_with("/computeMetadata") {
        headers.push(("metadata-flavor", "Google".to_owned()));
    }
    let mut body = body.as_bytes().to_vec();
    match random.u8(0..8) {
        0 => {}
        1 => headers.push(("user-agent", "x".repeat(random.usize(1..20_000)))),
        // It is counted under the name that it states.
        2 => {
            let who = name(random);
            headers.retain(|(name, _)| *name != "authorization");
            headers.push(("authorization", format!("AWS4-HMAC-SHA256 Credential={who}/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00")));
            if path.ends_with("/token") {
                body = format!("grant_type=client_credentials&client_secret=b&client_id={who}")
                    .into_bytes();
            }
        }
        3 if random.bool() => headers.push(("authorization", format!("Bearer {}", text(random)))),
        3 => path = format!("{path}{}", escaped(random)),
        4 => path = path.replace("k", &escaped(random)),
        5 => value(random, &mut body),
        _ => (0..random.usize(1..4)).for_each(|_| mutate(random, &mut body)),
    }
    Request {
        method,
        path,
        headers,
        body,
    }
}

/// Replaces a value of a JSON body.
fn value(random: &mut Rng, body: &mut Vec<u8>) {
    let places: Vec<usize> = body
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b':')
        .map(|(at, _)| at + 1)
        .collect();
    let Some(at) = random.choice(places) else {
        return;
    };
    let end = body[at..]
        .iter()
        .position(|byte| b",}]".contains(byte))
        .map_or(body.len(), |end| at + end);
    let new = match random.u8(0..8) {
        0 => "[".repeat(random.usize(1..5_000)),
        1 => format!("\"{}\"", "a".repeat(random.usize(1..100_000))),
        _ => VALUES[random.usize(..VALUES.len())].to_owned(),
    };
    body.splice(at..end, new.into_bytes());
}

/// Changes, adds, removes or repeats some bytes.
pub(crate) fn mutate(random: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let start = random.usize(..bytes.len());
    let end = (start + random.usize(1..16)).min(bytes.len());
    match random.u8(0..4) {
        0 => bytes[start..end]
            .iter_mut()
            .for_each(|byte| *byte = random.u8(..)),
        1 => drop(bytes.splice(
            start..start,
            std::iter::repeat_with(|| random.u8(..)).take(end - start),
        )),
        2 => drop(bytes.drain(start..end)),
        _ => {
            let again = bytes[start..end].to_vec();
            drop(bytes.splice(start..start, again));
        }
    }
}

fn text(random: &mut Rng) -> String {
    let length = random.usize(1..300);
    std::iter::repeat_with(|| random.char('!'..='~'))
        .take(length)
        .collect()
}

fn name(random: &mut Rng) -> String {
    let length = random.usize(1..8_000);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(length)
        .collect()
}

fn escaped(random: &mut Rng) -> String {
    let length = random.usize(1..12);
    std::iter::repeat_with(|| format!("%{:02X}", random.u8(..)))
        .take(length)
        .collect()
}
