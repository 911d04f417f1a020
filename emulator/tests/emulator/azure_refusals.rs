//! Requests that a vault rejects, with the recorded errors; no request makes it fail.

use kmslab_emulator::well_known::{
    AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID, AZURE_TENANT,
};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use kmslab_emulator::seed::{AzureSeed, SeedApplication, SeedPolicy, SeedRole, SeedVault};
use kmslab_emulator::{Emulator, SeedFile};
use kmslab_keycore::{Clock, ManualClock};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::azure_sdk::{create, error_message, keys_with, operation, secret};
use crate::support::{Answer, free_port, now, send};

const VERSION: &str = "api-version=7.6";

/// A token for a resource.
pub(crate) async fn token(emulator: &Emulator, client: &str, resource: &str) -> String {
    let form = format!(
        "grant_type=client_credentials&client_id={client}&client_secret={AZURE_CLIENT_SECRET}&scope={resource}/.default"
    );
    let request = http::Request::post(format!("/{AZURE_TENANT}/oauth2/v2.0/token"))
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = send(emulator.http_addr(), &request.body(form).unwrap()).await;
    answer.json["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

async fn vault_token(emulator: &Emulator) -> String {
    token(emulator, AZURE_CLIENT_ID, "https://vault.azure.net").await
}

async fn ask(
    emulator: &Emulator,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Answer {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "kmslab.vault.azure.net");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(
        emulator.http_addr(),
        &request.body(body.to_owned()).unwrap(),
    )
    .await
}

#[tokio::test]
async fn missing_token_gets_a_challenge() {
    let emulator = Emulator::builder().start().await.unwrap();
    // Rejected before anything else is checked: a path without a key, an invalid version, a body
    // that is not JSON.
    for (method, path) in [
        ("POST", "/keys/k//wrapkey?api-version=7.6"),
        ("GET", "/keys"),
        ("PUT", "/keys/k?api-version=x"),
    ] {
        let answer = ask(&emulator, method, path, None, "").await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = format!(
            "www-authenticate: bearer authorization=\"https://login.microsoftonline.com/{AZURE_TENANT}\", \
             resource=\"https://vault.azure.net\""
        );
        assert!(answer.head.contains(&challenge), "{}", answer.head);
        assert_eq!(
            answer.json,
            json!({ "error": { "code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token." } })
        );
        for header in [
            "x-ms-keyvault-region: eastus",
            "x-ms-request-id: ",
            "x-ms-keyvault-service-version: 1.9.",
            "expires: -1",
        ] {
            assert!(answer.head.contains(header), "{header} in {}", answer.head);
        }
    }
}

#[tokio::test]
async fn invalid_token_is_rejected_with_the_reason() {
    let emulator = Emulator::builder().start().await.unwrap();
    let good = vault_token(&emulator).await;
    assert_eq!(
        ask(&emulator, "GET", "/keys?api-version=7.6", Some(&good), "")
            .await
            .status,
        200
    );
    let other = Emulator::builder().start().await.unwrap();
    let (foreign, arm) = (
        vault_token(&other).await,
        token(&emulator, AZURE_CLIENT_ID, "https://management.azure.com").await,
    );
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    for (token, error_message) in [
        (
            foreign.as_str(),
            "AKV10046: Unable to resolve the key used for signature validation.",
        ),
        (unsigned.as_str(), "AKV10046: "),
        ("not-a-token", "AKV10046: "),
        (
            arm.as_str(),
            "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com.",
        ),
    ] {
        let answer = ask(&emulator, "GET", "/keys?api-version=7.6", Some(token), "").await;
        let message = answer.json["error"]["message"].as_str().unwrap();
        assert!(
            answer.status == 401 && message.starts_with(error_message),
            "{answer:?}"
        );
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{}",
            answer.head
        );
    }
}

#[tokio::test]
async fn azure_tokens_expire_by_the_wall_clock() {
    let clock = ManualClock::at(now());
    let emulator = Emulator::builder()
        .wall_clock(Arc::new(clock.clone()) as Arc<dyn Clock>)
        .azure_token_lifetime(SignedDuration::from_mins(10))
        .start()
        .await
        .unwrap();
    let token = vault_token(&emulator).await;
    clock.advance(std::time::Duration::from_secs(599)).unwrap();
    assert_eq!(
        ask(&emulator, "GET", "/keys?api-version=7.6", Some(&token), "")
            .await
            .status,
        200
    );
    clock.advance(std::time::Duration::from_secs(1)).unwrap();
    let answer = ask(&emulator, "GET", "/keys?api-version=7.6", Some(&token), "").await;
    assert_eq!(
        answer.json["error"]["message"],
        "[TokenExpired] Error validating token: 'S2S12086'."
    );
}

const OTHER: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_OBJECT: &str = "66666666-7777-4888-8999-aaaaaaaaaaaa";

/// The default application may do everything in `by-policy` and `by-role`; another one may encrypt
/// and decrypt in the first and use keys in the second.
async fn shared() -> Emulator {
    let default = AZURE_OBJECT_ID;
    let policy = |object: &str, keys: &[&str]| SeedPolicy::new(object, keys.iter().copied());
    let role = |object: &str, role: &str| SeedRole {
        object_id: object.into(),
        role: role.into(),
    };
    let vault = |name: &str| SeedVault {
        location: Some("westeurope".into()),
        retention_days: Some(7),
        ..SeedVault::new(name)
    };
    let azure = AzureSeed {
        applications: vec![SeedApplication {
            secret: Some(AZURE_CLIENT_SECRET.into()),
            ..SeedApplication::new(OTHER, OTHER_OBJECT)
        }],
        vaults: vec![
            SeedVault {
                policies: vec![
                    policy(default, &["all"]),
                    policy(OTHER_OBJECT, &["encrypt", "decrypt"]),
                ],
                ..vault("by-policy")
            },
            SeedVault {
                roles: vec![
                    role(default, "Key Vault Crypto Officer"),
                    role(OTHER_OBJECT, "Key Vault Crypto Service Encryption User"),
                ],
                ..vault("by-role")
            },
        ],
        ..AzureSeed::default()
    };
    let seed = SeedFile {
        azure,
        ..SeedFile::default()
    };
    Emulator::builder()
        .admin_listen(free_port())
        .proxy_listen(free_port())
        .seed(seed)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn access_policies_and_roles_are_enforced() {
    use azure_security_keyvault_keys::models::{CreateKeyParameters, EncryptionAlgorithm, KeyType};
    let emulator = shared().await;
    let rsa = || CreateKeyParameters {
        kty: Some(KeyType::Rsa),
        ..CreateKeyParameters::default()
    };
    let oaep = || {
        operation(EncryptionAlgorithm::RsaOaep256, b"m")
            .try_into()
            .unwrap()
    };
    for (vault, inner, words) in [
        (
            "by-policy",
            "AccessDenied",
            "does not have keys wrapKey permission on key vault 'by-policy;location=westeurope'",
        ),
        (
            "by-role",
            "ForbiddenByRbac",
            "Microsoft.KeyVault/vaults/keys/encrypt/action",
        ),
    ] {
        let url = format!("https://{vault}.vault.azure.net");
        let owner = keys_with(
            &emulator,
            &url,
            secret(&emulator, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET),
        );
        create(&owner, "k", rsa()).await;
        let other = keys_with(
            &emulator,
            &url,
            secret(&emulator, OTHER, AZURE_CLIENT_SECRET),
        );
        let (allowed, rejected) = match inner {
            "AccessDenied" => (
                other.encrypt("k", oaep(), None).await,
                other.wrap_key("k", oaep(), None).await,
            ),
            _ => (
                other.wrap_key("k", oaep(), None).await,
                other.encrypt("k", oaep(), None).await,
            ),
        };
        allowed.unwrap();
        let rejected = error_message(&rejected.unwrap_err());
        for part in [
            inner,
            words,
            &format!(
                "appid={OTHER};oid={OTHER_OBJECT};iss=https://sts.windows.net/{AZURE_TENANT}/"
            ),
        ] {
            assert!(rejected.contains(part), "{part} in {rejected}");
        }
        assert_eq!(
            other.get_key("k", None).await.is_err(),
            inner == "AccessDenied"
        );
    }
}

#[tokio::test]
async fn vaults_are_isolated_and_reachable_by_host_or_path() {
    let emulator = shared().await;
    let token = vault_token(&emulator).await;
    let created = ask(
        &emulator,
        "POST",
        "/keys/k/create?api-version=7.6",
        Some(&token),
        r#"{"kty":"EC"}"#,
    )
    .await;
    assert_eq!(created.status, 200, "{created:?}");
    let by_path = ask(
        &emulator,
        "GET",
        "/keys/k?api-version=7.6",
        Some(&token),
        "",
    )
    .await;
    assert_eq!(created.json["key"], by_path.json["key"]);
    let request = |path: &str| {
        http::Request::get(path.to_owned())
            .header("host", "localhost:7643")
            .header("authorization", format!("Bearer {token}"))
            .body(String::new())
            .unwrap()
    };
    // By path; the kid is the public one.
    let answer = send(
        emulator.http_addr(),
        &request("/kmslab/keys/K?api-version=7.6"),
    )
    .await;
    assert_eq!(
        answer.json["key"]["kid"], created.json["key"]["kid"],
        "{answer:?}"
    );
    assert!(
        answer.json["key"]["kid"]
            .as_str()
            .unwrap()
            .starts_with("https://kmslab.vault.azure.net/keys/k/")
    );
    assert_eq!(
        send(
            emulator.http_addr(),
            &request("/by-policy/keys/k?api-version=7.6")
        )
        .await
        .status,
        404
    );
    assert_eq!(
        send(
            emulator.http_addr(),
            &request("/no-such/keys/k?api-version=7.6")
        )
        .await
        .status,
        404
    );
}

#[tokio::test]
async fn invalid_vault_requests_get_the_services_errors() {
    let emulator = Emulator::builder().start().await.unwrap();
    let token = vault_token(&emulator).await;
    let rsa = ask(
        &emulator,
        "POST",
        &format!("/keys/rsa/create?{VERSION}"),
        Some(&token),
        r#"{"kty":"RSA"}"#,
    )
    .await;
    assert_eq!(rsa.status, 200, "{rsa:?}");
    let encoded = URL_SAFE_NO_PAD.encode(vec![1; 256]);
    let too_long = URL_SAFE_NO_PAD.encode(vec![1; 191]);
    for (method, path, body, status, code, error_message) in [
        (
            "GET",
            "/keys".to_owned(),
            String::new(),
            400,
            "BadParameter",
            "api-version",
        ),
        (
            "GET",
            "/keys?api-version=1999-01-01".into(),
            String::new(),
            400,
            "BadParameter",
            "(1999-01-01) is not recognized",
        ),
        (
            "GET",
            format!("/keys/none?{VERSION}"),
            String::new(),
            404,
            "KeyNotFound",
            "A key with (name/id) none was not found in this key vault.",
        ),
        (
            "GET",
            format!("/deletedkeys/none?{VERSION}"),
            String::new(),
            404,
            "KeyNotFound",
            "Deleted Key not found: none",
        ),
        (
            "GET",
            format!("/secrets/s?{VERSION}"),
            String::new(),
            404,
            "NotFound",
            "",
        ),
        (
            "DELETE",
            format!("/keys?{VERSION}"),
            String::new(),
            405,
            "MethodNotAllowed",
            "",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            "{".into(),
            400,
            "BadParameter",
            "JSON",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            "[]".into(),
            400,
            "BadParameter",
            "JSON",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            r#"{"kty":"DSA"}"#.into(),
            400,
            "BadParameter",
            "kty",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            r#"{"kty":"RSA","key_size":1024}"#.into(),
            400,
            "BadParameter",
            "key size",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            r#"{"kty":"EC","crv":"P-224"}"#.into(),
            400,
            "BadParameter",
            "P-224",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            r#"{"kty":"RSA","key_ops":["dance"]}"#.into(),
            400,
            "BadParameter",
            "key_ops",
        ),
        (
            "POST",
            format!("/keys/a_b/create?{VERSION}"),
            r#"{"kty":"RSA"}"#.into(),
            400,
            "BadParameter",
            "a_b",
        ),
        (
            "POST",
            format!("/keys/rsa//encrypt?{VERSION}"),
            r#"{"alg":"A256GCM","value":"AA"}"#.into(),
            400,
            "BadParameter",
            "A256GCM",
        ),
        (
            "POST",
            format!("/keys/rsa//encrypt?{VERSION}"),
            r#"{"alg":"ROT13","value":"AA"}"#.into(),
            400,
            "BadParameter",
            "ROT13",
        ),
        (
            "POST",
            format!("/keys/rsa//encrypt?{VERSION}"),
            format!(r#"{{"alg":"RSA-OAEP-256","value":"{too_long}"}}"#),
            400,
            "BadParameter",
            "",
        ),
        (
            "POST",
            format!("/keys/rsa//decrypt?{VERSION}"),
            format!(r#"{{"alg":"RSA-OAEP-256","value":"{encoded}"}}"#),
            400,
            "BadParameter",
            "",
        ),
        (
            "POST",
            format!("/keys/rsa//sign?{VERSION}"),
            r#"{"alg":"RS256","value":"AA"}"#.into(),
            400,
            "BadParameter",
            "digest",
        ),
        (
            "POST",
            format!("/keys/rsa//sign?{VERSION}"),
            format!(
                r#"{{"alg":"ES256","value":"{}"}}"#,
                URL_SAFE_NO_PAD.encode([1; 32])
            ),
            400,
            "BadParameter",
            "ES256",
        ),
        (
            "POST",
            format!("/keys/restore?{VERSION}"),
            r#"{"value":"AAAA"}"#.into(),
            400,
            "BadParameter",
            "Backup blob",
        ),
        (
            "POST",
            format!("/rng?{VERSION}"),
            r#"{"count":129}"#.into(),
            400,
            "BadParameter",
            "128",
        ),
        (
            "GET",
            format!("/keys?{VERSION}&maxresults=26"),
            String::new(),
            400,
            "BadParameter",
            "maxresults",
        ),
        (
            "GET",
            format!("/keys?{VERSION}&$skiptoken=x"),
            String::new(),
            400,
            "BadParameter",
            "continuation",
        ),
        (
            "PUT",
            format!("/keys/rsa/rotationpolicy?{VERSION}"),
            r#"{"attributes":{"expiryTime":"P27D"}}"#.into(),
            400,
            "BadParameter",
            "P28D",
        ),
        (
            "POST",
            format!("/keys/k/create?{VERSION}"),
            "x".repeat(1024 * 1024 + 1),
            413,
            "RequestEntityTooLarge",
            "",
        ),
    ] {
        let answer = ask(&emulator, method, &path, Some(&token), &body).await;
        assert_eq!(
            (answer.status, &answer.json["error"]["code"]),
            (status, &Value::from(code)),
            "{method} {path}: {answer:?}"
        );
        assert!(
            answer.json["error"]["message"]
                .as_str()
                .unwrap()
                .contains(error_message),
            "{error_message} in {answer:?}"
        );
    }
}

#[tokio::test]
async fn dates_and_key_ops_are_enforced_and_old_values_decrypt() {
    let emulator = Emulator::builder().start().await.unwrap();
    let token = vault_token(&emulator).await;
    let call = |method: &'static str, path: String, body: String| {
        let (emulator, token) = (&emulator, token.as_str());
        async move {
            ask(
                emulator,
                method,
                &format!("{path}?{VERSION}"),
                Some(token),
                &body,
            )
            .await
        }
    };
    let created = call("POST", "/keys/k/create".into(), r#"{"kty":"RSA"}"#.into()).await;
    let version = created.json["key"]["kid"]
        .as_str()
        .unwrap()
        .rsplit_once('/')
        .unwrap()
        .1
        .to_owned();
    let oaep = |value: &str| format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
    let encrypted = call("POST", format!("/keys/k/{version}/wrapkey"), oaep("c2VlZA")).await;
    let encrypted = encrypted.json["value"].as_str().unwrap().to_owned();
    let lab = emulator.clock();
    let seconds = |offset: i64| lab.now().as_second() + offset;
    for (attributes, inner) in [
        (
            format!(r#"{{"attributes":{{"exp":{}}}}}"#, seconds(-10)),
            "KeyExpired",
        ),
        (
            format!(
                r#"{{"attributes":{{"nbf":{},"exp":{}}}}}"#,
                seconds(1000),
                seconds(2000)
            ),
            "KeyNotYetValid",
        ),
    ] {
        assert_eq!(
            call("PATCH", format!("/keys/k/{version}"), attributes)
                .await
                .status,
            200
        );
        let rejected = call("POST", format!("/keys/k/{version}/wrapkey"), oaep("c2VlZA")).await;
        assert_eq!(
            (
                rejected.status,
                &rejected.json["error"]["innererror"]["code"]
            ),
            (403, &Value::from(inner)),
            "{rejected:?}"
        );
        let decrypted = call(
            "POST",
            format!("/keys/k/{version}/unwrapkey"),
            oaep(&encrypted),
        )
        .await;
        assert_eq!(decrypted.json["value"], "c2VlZA", "{decrypted:?}");
    }
    let ops = r#"{"key_ops":["wrapKey"],"attributes":{"nbf":0,"exp":99999999999}}"#;
    assert_eq!(
        call("PATCH", format!("/keys/k/{version}"), ops.into())
            .await
            .status,
        200
    );
    let rejected = call(
        "POST",
        format!("/keys/k/{version}/unwrapkey"),
        oaep(&encrypted),
    )
    .await;
    let error = &rejected.json["error"];
    assert_eq!(
        error["message"],
        "Operation unwrapKey is not permitted on this key."
    );
    assert_eq!(error["innererror"]["code"], "KeyOperationForbidden");
}

#[tokio::test]
async fn backup_is_encrypted_and_restores_every_version() {
    let emulator = Emulator::builder().start().await.unwrap();
    let token = vault_token(&emulator).await;
    let call = |method: &'static str, path: &'static str, body: String| {
        let (emulator, token) = (&emulator, token.as_str());
        async move {
            ask(
                emulator,
                method,
                &format!("{path}?{VERSION}"),
                Some(token),
                &body,
            )
            .await
        }
    };
    let first = call("POST", "/keys/k/create", r#"{"kty":"EC"}"#.into()).await;
    let second = call("POST", "/keys/k/rotate", String::new()).await;
    let backup = call("POST", "/keys/k/backup", String::new()).await.json["value"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        call(
            "POST",
            "/keys/restore",
            json!({ "value": backup }).to_string()
        )
        .await
        .status,
        409
    );
    call("DELETE", "/keys/k", String::new()).await;
    let taken = call(
        "POST",
        "/keys/restore",
        json!({ "value": backup }).to_string(),
    )
    .await;
    assert_eq!(
        taken.json["error"]["innererror"]["code"],
        "ObjectIsDeletedButRecoverable"
    );
    assert_eq!(
        call("DELETE", "/deletedkeys/k", String::new()).await.status,
        204
    );
    let restored = call(
        "POST",
        "/keys/restore",
        json!({ "value": backup }).to_string(),
    )
    .await;
    assert_eq!(restored.json["key"], second.json["key"]);
    let versions = call("GET", "/keys/k/versions", String::new()).await;
    let kids: Vec<&Value> = versions.json["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["kid"])
        .collect();
    assert_eq!(
        kids,
        [&first.json["key"]["kid"], &second.json["key"]["kid"]]
    );
}

/// Every request gets a JSON response other than 500, and the emulator keeps running.
#[test]
fn arbitrary_requests_never_cause_a_server_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = runtime.block_on(async { Emulator::builder().start().await.unwrap() });
    let token = runtime.block_on(vault_token(&emulator));
    runtime.block_on(async {
        let created = ask(
            &emulator,
            "POST",
            &format!("/keys/k/create?{VERSION}"),
            Some(&token),
            r#"{"kty":"EC"}"#,
        )
        .await;
        assert_eq!(created.status, 200);
    });
    let path = prop_oneof![
        Just("/keys/k/create".to_owned()),
        Just("/keys/k//encrypt".to_owned()),
        Just("/keys/k//sign".to_owned()),
        Just("/keys/k//verify".to_owned()),
        Just("/keys/k".to_owned()),
        Just("/keys/k/".to_owned()),
        Just("/keys/k/rotationpolicy".to_owned()),
        Just("/keys/restore".to_owned()),
        Just("/rng".to_owned()),
        "/[a-zA-Z0-9/._~-]{0,40}",
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("PATCH")];
    let value = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|n| json!(n)),
        "[A-Za-z0-9_-]{0,24}".prop_map(|text| json!(text)),
        any::<bool>().prop_map(|b| json!(b)),
        Just(json!([])),
        Just(json!({})),
        Just(json!({ "exp": i64::MAX, "nbf": i64::MIN, "expiryTime": "P99999Y" })),
        Just(
            json!([{ "action": { "type": "Rotate" }, "trigger": { "timeAfterCreate": "P9999999999D" } }])
        ),
    ];
    let name = prop_oneof![
        Just("kty"),
        Just("alg"),
        Just("value"),
        Just("digest"),
        Just("attributes"),
        Just("tags"),
        Just("key_ops"),
        Just("key"),
        Just("key_size"),
        Just("crv"),
        Just("iv"),
        Just("count"),
        Just("lifetimeActions"),
    ];
    let body = proptest::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: serde_json::Map<String, Value> = members
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        Value::from(members).to_string()
    });
    let body = prop_oneof![body, ".{0,60}"];
    let mut runner = TestRunner::new(Config::with_cases(300));
    let run = runner.run(&(method, path, body), |(method, path, body)| {
        let answer = runtime.block_on(ask(
            &emulator,
            method,
            &format!("{path}?{VERSION}"),
            Some(&token),
            &body,
        ));
        prop_assert!(
            (200..500).contains(&answer.status),
            "{method} {path} {body}: {answer:?}"
        );
        prop_assert!(
            answer.status == 204 || answer.json.is_object(),
            "{method} {path} {body}: {answer:?}"
        );
        Ok(())
    });
    run.unwrap();
}
