//! Google's IAM: authentication, permissions, service accounts and their keys; and the other kinds
//! of keys of Cloud KMS.

use std::sync::Arc;
use std::time::Duration;

use kmslab_emulator::KeyFile;
use kmslab_emulator::seed::GcpSeed;
use kmslab_emulator::{Emulator, SeedFile};
use kmslab_keycore::ManualClock;
use serde_json::{Value, json};

use crate::gcp_rest::{RING, base64, rest, with_key};
use crate::support::{Answer, send};

const KEY: &str = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";
const ACCOUNT: &str = "some-one@p.iam.gserviceaccount.com";

/// `claims` signed with an account's key.
pub(crate) fn signed(key: &str, id: &str, claims: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let der: String = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let pair =
        aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": id });
    let signed = [&header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    pair.sign(
        &aws_lc_rs::signature::RSA_PKCS1_SHA256,
        &random,
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn exchanged(emulator: &Emulator, form: &str) -> Answer {
    let request = http::Request::post("/token").header("host", "oauth2.googleapis.com");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    send(
        emulator.http_addr(),
        &request.body(form.to_owned()).unwrap(),
    )
    .await
}

#[tokio::test]
async fn only_valid_tokens_are_accepted() {
    let file = KeyFile::generate(ACCOUNT).unwrap();
    let json: Value =
        serde_json::from_str(&file.json("https://oauth2.googleapis.com/token")).unwrap();
    let (pem, id) = (
        json["private_key"].as_str().unwrap(),
        json["private_key_id"].as_str().unwrap(),
    );
    let accounts = vec![(&file).into()];
    let gcp = GcpSeed {
        service_accounts: accounts,
        ..GcpSeed::default()
    };
    let clock = ManualClock::at("2026-11-26T12:00:00Z".parse().unwrap());
    let builder = Emulator::builder()
        .wall_clock(Arc::new(clock.clone()))
        .seed(SeedFile {
            gcp,
            ..SeedFile::default()
        });
    let emulator = builder.start().await.unwrap();
    let now = 1_795_694_400;
    let claims = |change: Value| {
        let mut claims = json!({ "iss": ACCOUNT, "sub": ACCOUNT, "aud": "https://cloudkms.googleapis.com/", "iat": now, "exp": now + 3600 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        signed(pem, id, &claims)
    };
    let ask = async |token: Option<&str>| {
        let answer = rest(&emulator, token, "GET", &format!("/v1/{KEY}"), Value::Null).await;
        let error = answer.json["error"].clone();
        (
            answer.status,
            error["details"][0]["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    // Authenticated, but it learns nothing about what it may not see.
    assert_eq!(
        ask(Some(&claims(json!({})))).await,
        (403, "IAM_PERMISSION_DENIED".into())
    );
    let scoped =
        claims(json!({ "aud": null, "scope": "https://www.googleapis.com/auth/cloudkms" }));
    assert_eq!(ask(Some(&scoped)).await.0, 403);
    let foreign = KeyFile::generate(ACCOUNT).unwrap();
    let foreign: Value = serde_json::from_str(&foreign.json("x")).unwrap();
    let foreign = signed(
        foreign["private_key"].as_str().unwrap(),
        id,
        &json!({ "iss": ACCOUNT, "aud": "https://cloudkms.googleapis.com/", "iat": now, "exp": now + 60 }),
    );
    let whole = claims(json!({}));
    let unsigned = format!("{}.", whole.rsplit_once('.').unwrap().0);
    for (token, reason) in [
        (None, "CREDENTIALS_MISSING"),
        (Some("ya29.c.unknown"), "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        (Some("a.b.c"), "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        (Some(unsigned.as_str()), "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        (Some(foreign.as_str()), "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        (
            Some(&claims(json!({ "aud": "https://storage.googleapis.com/" }))),
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        ),
        (
            Some(&claims(
                json!({ "iss": "no-one@p.iam.gserviceaccount.com" }),
            )),
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        ),
        (
            Some(&claims(json!({ "exp": now - 1, "iat": now - 3600 }))),
            "ACCESS_TOKEN_EXPIRED",
        ),
        (
            Some(&claims(json!({ "exp": now + 86_400 }))),
            "ACCESS_TOKEN_EXPIRED",
        ),
        (
            Some(&claims(json!({ "iat": i64::MIN, "exp": i64::MAX }))),
            "ACCESS_TOKEN_EXPIRED",
        ),
    ] {
        assert_eq!(ask(token).await, (401, reason.to_owned()), "{token:?}");
    }

    // Exchanged for an access token, which expires after an hour of real time.
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let assertion = claims(
        json!({ "aud": "https://oauth2.googleapis.com/token", "scope": "https://www.googleapis.com/auth/cloud-platform" }),
    );
    let given = exchanged(&emulator, &format!("{grant}&assertion={assertion}")).await;
    let access = given.json["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            given.status,
            &given.json["token_type"],
            ask(Some(&access)).await.0
        ),
        (200, &json!("Bearer"), 403)
    );
    for (form, error, words) in [
        (
            "grant_type=password".to_owned(),
            "unsupported_grant_type",
            "Invalid grant_type: password",
        ),
        (
            format!("{grant}&assertion=x"),
            "invalid_request",
            "Bad Request",
        ),
        (
            format!("{grant}&assertion={foreign}"),
            "invalid_grant",
            "Invalid JWT Signature.",
        ),
        (
            format!("{grant}&assertion={}", claims(json!({ "iss": "no-one@p" }))),
            "invalid_grant",
            "Invalid grant: account not found",
        ),
        (
            format!(
                "{grant}&assertion={}",
                claims(json!({ "aud": "https://oauth2.googleapis.com/token" }))
            ),
            "invalid_scope",
            "Invalid OAuth scope or ID token audience provided.",
        ),
    ] {
        let rejected = exchanged(&emulator, &form).await;
        assert_eq!(
            (
                rejected.status,
                &rejected.json["error"],
                &rejected.json["error_description"]
            ),
            (400, &json!(error), &json!(words))
        );
    }
    clock.advance(Duration::from_secs(3600)).unwrap();
    assert_eq!(
        ask(Some(&access)).await,
        (401, "ACCESS_TOKEN_EXPIRED".into())
    );
}

#[tokio::test]
async fn metadata_server_issues_tokens_with_its_header_only() {
    let emulator = Emulator::builder().start().await.unwrap();
    let ask = async |path: &str, flavor: Option<&str>| {
        let mut request = http::Request::get(path).header("host", "metadata.google.internal");
        if let Some(flavor) = flavor {
            request = request.header("metadata-flavor", flavor);
        }
        send(emulator.http_addr(), &request.body(String::new()).unwrap()).await
    };
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(ask(token, None).await.status, 403);
    let given = ask(token, Some("Google")).await;
    assert_eq!(
        (given.status, given.head.contains("metadata-flavor: google")),
        (200, true)
    );
}

#[tokio::test]
async fn iam_policies_are_read_set_and_tested_as_in_the_service() {
    let (emulator, token) = with_key().await;
    let owner = Some(token.as_str());
    let policy = rest(
        &emulator,
        owner,
        "GET",
        &format!("/v1/{KEY}:getIamPolicy"),
        Value::Null,
    )
    .await
    .json;
    let mut changed = policy.clone();
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    changed["bindings"] =
        json!([{ "role": role, "members": [format!("serviceAccount:{ACCOUNT}")] }]);
    let set = async |policy: &Value| {
        rest(
            &emulator,
            owner,
            "POST",
            &format!("/v1/{KEY}:setIamPolicy"),
            json!({ "policy": policy }),
        )
        .await
    };
    let kept = set(&changed).await;
    assert_eq!(
        (kept.status, &kept.json["bindings"]),
        (200, &changed["bindings"])
    );
    let conflict = set(&changed).await;
    assert_eq!(
        (conflict.status, &conflict.json["error"]["status"]),
        (409, &json!("ABORTED"))
    );
    assert!(
        conflict.json["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("There were concurrent policy changes.")
    );
    for bindings in [
        json!([{ "role": "roles/none", "members": ["allUsers"] }]),
        json!([{ "role": role, "members": ["someone"] }]),
    ] {
        assert_eq!(set(&json!({ "bindings": bindings })).await.status, 400);
    }
    // The account of the guide: created, given a key and a role.
    let account =
        json!({ "accountId": "some-one", "serviceAccount": { "displayName": "Kubernetes" } });
    let created = rest(
        &emulator,
        owner,
        "POST",
        "/v1/projects/p/serviceAccounts",
        account.clone(),
    )
    .await;
    assert_eq!(
        (created.status, &created.json["email"]),
        (200, &json!(ACCOUNT))
    );
    assert_eq!(
        rest(
            &emulator,
            owner,
            "POST",
            "/v1/projects/p/serviceAccounts",
            account
        )
        .await
        .status,
        409
    );
    let keys = format!("/v1/projects/p/serviceAccounts/{ACCOUNT}/keys");
    let created = rest(&emulator, owner, "POST", &keys, json!({})).await.json;
    let file: Value = {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(created["privateKeyData"].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let now = kmslab_keycore::Clock::now(&kmslab_keycore::SystemClock).as_second();
    let scope = "https://www.googleapis.com/auth/cloud-platform";
    let claims =
        json!({ "iss": ACCOUNT, "sub": ACCOUNT, "scope": scope, "iat": now, "exp": now + 3600 });
    let its = signed(
        file["private_key"].as_str().unwrap(),
        file["private_key_id"].as_str().unwrap(),
        &claims,
    );
    let its = Some(its.as_str());
    assert_eq!(
        rest(
            &emulator,
            its,
            "POST",
            &format!("/v1/{KEY}:encrypt"),
            json!({ "plaintext": "AAAA" })
        )
        .await
        .status,
        200
    );
    let requested = json!({ "permissions": ["cloudkms.cryptoKeys.get", "cloudkms.cryptoKeyVersions.useToDecrypt"] });
    let tested = rest(
        &emulator,
        its,
        "POST",
        &format!("/v1/{KEY}:testIamPermissions"),
        requested,
    )
    .await
    .json;
    assert_eq!(
        tested,
        json!({ "permissions": ["cloudkms.cryptoKeyVersions.useToDecrypt"] })
    );
    assert_eq!(
        rest(
            &emulator,
            its,
            "POST",
            "/v1/projects/p/serviceAccounts",
            json!({ "accountId": "another" })
        )
        .await
        .status,
        403
    );
    // A deleted key does not authenticate.
    let id = file["private_key_id"].as_str().unwrap();
    assert_eq!(
        rest(
            &emulator,
            owner,
            "DELETE",
            &format!("{keys}/{id}"),
            Value::Null
        )
        .await
        .status,
        200
    );
    assert_eq!(
        rest(
            &emulator,
            its,
            "POST",
            &format!("/v1/{KEY}:encrypt"),
            json!({ "plaintext": "AAAA" })
        )
        .await
        .status,
        401
    );
}

/// Creates a key of a purpose and an algorithm and returns the name of its first version once it is
/// enabled.
pub(crate) async fn version(
    emulator: &Emulator,
    token: Option<&str>,
    purpose: &str,
    algorithm: &str,
) -> String {
    let id = algorithm.to_ascii_lowercase();
    let body = json!({ "purpose": purpose, "versionTemplate": { "algorithm": algorithm } });
    let created = rest(
        emulator,
        token,
        "POST",
        &format!("/v1/{RING}/cryptoKeys?cryptoKeyId={id}"),
        body,
    )
    .await;
    assert_eq!(created.status, 200, "{}", created.text);
    let version = format!("{RING}/cryptoKeys/{id}/cryptoKeyVersions/1");
    until(emulator, token, &version, "ENABLED").await;
    version
}

pub(crate) async fn until(
    emulator: &Emulator,
    token: Option<&str>,
    name: &str,
    state: &str,
) -> Value {
    let path = format!("/v1/{name}");
    let reached = async {
        loop {
            let displayed = rest(emulator, token, "GET", &path, Value::Null).await.json;
            if displayed["state"] == state {
                return displayed;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached)
        .await
        .unwrap_or_else(|_| panic!("{name} is never {state}"))
}

#[tokio::test]
async fn every_algorithm_supports_its_operations() {
    let (emulator, token) = with_key().await;
    let token = Some(token.as_str());
    let post = async |path: String, body: Value| {
        rest(&emulator, token, "POST", &format!("/v1/{path}"), body).await
    };
    for algorithm in ["AES_128_GCM", "AES_256_CBC", "AES_256_CTR"] {
        let version = version(&emulator, token, "RAW_ENCRYPT_DECRYPT", algorithm).await;
        let encrypted = post(
            format!("{version}:rawEncrypt"),
            json!({ "plaintext": base64(&[7; 32]) }),
        )
        .await
        .json;
        let body = json!({ "ciphertext": encrypted["ciphertext"], "initializationVector": encrypted["initializationVector"] });
        assert_eq!(
            post(format!("{version}:rawDecrypt"), body).await.json["plaintext"],
            base64(&[7; 32]),
            "{algorithm}"
        );
    }
    for algorithm in ["HMAC_SHA1", "HMAC_SHA256"] {
        let version = version(&emulator, token, "MAC", algorithm).await;
        let created = post(format!("{version}:macSign"), json!({ "data": "AAAA" }))
            .await
            .json;
        let held = post(
            format!("{version}:macVerify"),
            json!({ "data": "AAAA", "mac": created["mac"] }),
        )
        .await
        .json;
        let not = post(
            format!("{version}:macVerify"),
            json!({ "data": "AAAB", "mac": created["mac"] }),
        )
        .await
        .json;
        assert_eq!(
            (&held["success"], not.get("success")),
            (&json!(true), None),
            "{algorithm}"
        );
    }
    let ed25519 = version(&emulator, token, "ASYMMETRIC_SIGN", "EC_SIGN_ED25519").await;
    assert_eq!(
        post(
            format!("{ed25519}:asymmetricSign"),
            json!({ "data": "AAAA" })
        )
        .await
        .status,
        200
    );
    assert_eq!(
        post(
            format!("{ed25519}:asymmetricSign"),
            json!({ "digest": { "sha256": base64(&[0; 32]) } })
        )
        .await
        .status,
        400
    );
    let oaep = version(
        &emulator,
        token,
        "ASYMMETRIC_DECRYPT",
        "RSA_DECRYPT_OAEP_2048_SHA256",
    )
    .await;
    let public = rest(
        &emulator,
        token,
        "GET",
        &format!("/v1/{oaep}/publicKey"),
        Value::Null,
    )
    .await
    .json;
    let wrapped = encrypted_to(public["pem"].as_str().unwrap(), b"secret");
    assert_eq!(
        post(
            format!("{oaep}:asymmetricDecrypt"),
            json!({ "ciphertext": base64(&wrapped) })
        )
        .await
        .json["plaintext"],
        base64(b"secret")
    );
    let random = json!({ "lengthBytes": 16, "protectionLevel": "HSM" });
    let random = post(
        "projects/p/locations/us-east1:generateRandomBytes".into(),
        random,
    )
    .await
    .json;
    assert_eq!(random["data"].as_str().unwrap().len(), 24);
}

/// RSA-OAEP with SHA-256 to a public key.
fn encrypted_to(pem: &str, plaintext: &[u8]) -> Vec<u8> {
    let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let key = aws_lc_rs::rsa::PublicEncryptingKey::from_der(&der.contents).unwrap();
    let key = aws_lc_rs::rsa::OaepPublicEncryptingKey::new(key).unwrap();
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(
        &aws_lc_rs::rsa::OAEP_SHA256_MGF1SHA256,
        plaintext,
        &mut out,
        None,
    )
    .unwrap();
    out
}

#[tokio::test]
async fn import_job_imports_key_material() {
    let (emulator, token) = with_key().await;
    let token = Some(token.as_str());
    let job = json!({ "importMethod": "RSA_OAEP_3072_SHA256", "protectionLevel": "SOFTWARE" });
    let created = rest(
        &emulator,
        token,
        "POST",
        &format!("/v1/{RING}/importJobs?importJobId=j"),
        job,
    )
    .await;
    assert_eq!(created.status, 200, "{}", created.text);
    let job = format!("{RING}/importJobs/j");
    let active = until(&emulator, token, &job, "ACTIVE").await;
    let wrapped = encrypted_to(active["publicKey"]["pem"].as_str().unwrap(), &[9; 32]);
    let key = json!({ "purpose": "ENCRYPT_DECRYPT", "importOnly": true });
    let key = rest(
        &emulator,
        token,
        "POST",
        &format!("/v1/{RING}/cryptoKeys?cryptoKeyId=mine&skipInitialVersionCreation=true"),
        key,
    )
    .await;
    assert_eq!((key.status, key.json.get("primary")), (200, None));
    let path = format!("/v1/{RING}/cryptoKeys/mine/cryptoKeyVersions:import");
    let import = |wrapped: &[u8]| json!({ "importJob": job, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "wrappedKey": base64(wrapped) });
    assert_eq!(
        rest(&emulator, token, "POST", &path, import(&wrapped[1..]))
            .await
            .status,
        400
    );
    let imported = rest(&emulator, token, "POST", &path, import(&wrapped)).await;
    assert_eq!(
        (
            imported.status,
            &imported.json["importJob"],
            &imported.json["state"]
        ),
        (200, &json!(job), &json!("ENABLED"))
    );
    let encrypt = format!("/v1/{RING}/cryptoKeys/mine:encrypt");
    let rejected = rest(
        &emulator,
        token,
        "POST",
        &encrypt,
        json!({ "plaintext": "AAAA" }),
    )
    .await;
    assert_eq!(
        rejected.status, 400,
        "an imported version is not the primary by itself"
    );
    let primary = format!("/v1/{RING}/cryptoKeys/mine:updatePrimaryVersion");
    assert_eq!(
        rest(
            &emulator,
            token,
            "POST",
            &primary,
            json!({ "cryptoKeyVersionId": "1" })
        )
        .await
        .status,
        200
    );
    assert_eq!(
        rest(
            &emulator,
            token,
            "POST",
            &encrypt,
            json!({ "plaintext": "AAAA" })
        )
        .await
        .status,
        200
    );

    // A version made by a schedule was not imported.
    let created = imported.json["createTime"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    let next = created + jiff::SignedDuration::from_hours(48);
    let scheduled = json!({ "rotationPeriod": "172800s", "nextRotationTime": next.to_string() });
    let patch = format!("/v1/{RING}/cryptoKeys/mine?updateMask=rotationPeriod,nextRotationTime");
    assert_eq!(
        rest(&emulator, token, "PATCH", &patch, scheduled)
            .await
            .status,
        200
    );
    emulator
        .clock()
        .advance(Duration::from_hours(49))
        .await
        .unwrap();
    let second = format!("/v1/{RING}/cryptoKeys/mine/cryptoKeyVersions/2");
    let second = rest(&emulator, token, "GET", &second, Value::Null).await;
    assert_eq!((second.status, second.json.get("importJob")), (200, None));
    assert!(!second.json["generateTime"].is_null());
    for (number, reason) in [(1, "was imported"), (2, "current state is: ENABLED")] {
        let version = format!("/v1/{RING}/cryptoKeys/mine/cryptoKeyVersions/{number}");
        let rejected = rest(&emulator, token, "DELETE", &version, Value::Null).await;
        assert_eq!(rejected.status, 400);
        assert!(rejected.text.contains(reason), "{}", rejected.text);
    }
}
