//! Google's tokens: audiences of assertions, scopes and lifetimes of access tokens.

use kmslab_emulator::KeyFile;
use kmslab_emulator::api::Fault;
use kmslab_emulator::seed::GcpSeed;
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::gcp_iam::signed;
use crate::gcp_rest::{rest, token};
use crate::support::{Answer, send};

const ACCOUNT: &str = "some-one@p.iam.gserviceaccount.com";
const KEY: &str = "/v1/projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";
const EVERYTHING: &str = "https://www.googleapis.com/auth/cloud-platform";
const KMS: &str = "https://www.googleapis.com/auth/cloudkms";
const STORAGE: &str = "https://www.googleapis.com/auth/devstorage.read_only";

struct Lab {
    emulator: Emulator,
    file: KeyFile,
}

impl Lab {
    async fn start() -> Self {
        let file = KeyFile::generate(ACCOUNT).unwrap();
        let gcp = GcpSeed {
            service_accounts: vec![(&file).into()],
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
        Self { emulator, file }
    }

    fn assertion(&self, change: Value) -> String {
        let file: Value = serde_json::from_str(&self.file.json("x")).unwrap();
        let now = kmslab_keycore::Clock::now(&kmslab_keycore::SystemClock).as_second();
        let aud = "https://oauth2.googleapis.com/token";
        let mut claims = json!({ "iss": ACCOUNT, "aud": aud, "scope": EVERYTHING, "iat": now, "exp": now + 3600 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        signed(
            file["private_key"].as_str().unwrap(),
            file["private_key_id"].as_str().unwrap(),
            &claims,
        )
    }

    async fn exchange(&self, change: Value) -> Answer {
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            self.assertion(change)
        );
        let request = http::Request::post("/token").header("host", "127.0.0.1:7600");
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .unwrap();
        send(self.emulator.http_addr(), &request).await
    }

    async fn access(&self, scope: &str) -> String {
        self.exchange(json!({ "scope": scope })).await.json["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Status and reason of a call with this token.
    async fn ask(&self, token: &str, path: &str) -> (u16, Value) {
        let answer = rest(&self.emulator, Some(token), "GET", path, Value::Null).await;
        (answer.status, answer.json["error"]["details"][0].clone())
    }
}

#[tokio::test]
async fn assertion_audience_must_be_the_token_endpoint() {
    let lab = Lab::start().await;
    for audience in [
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
        // As in the emulator's own key files.
        "http://127.0.0.1:7600/token",
    ] {
        assert_eq!(
            lab.exchange(json!({ "aud": audience })).await.status,
            200,
            "{audience}"
        );
    }
    for audience in [
        json!("https://cloudkms.googleapis.com/"),
        json!("https://oauth2.googleapis.com/"),
        json!("https://oauth2.googleapis.com.evil.example/token"),
        json!("http://oauth2.googleapis.com/token"),
        json!("https://evil.example/token"),
        json!(""),
        json!(null),
    ] {
        let rejected = lab.exchange(json!({ "aud": audience })).await;
        let message = (&rejected.json["error"], &rejected.json["error_description"]);
        assert_eq!(
            (rejected.status, message),
            (
                400,
                (
                    &json!("invalid_grant"),
                    &json!("Invalid JWT: Failed audience check.")
                )
            )
        );
    }
}

#[tokio::test]
async fn assertion_subject_must_be_its_own_account() {
    let lab = Lab::start().await;
    assert_eq!(lab.exchange(json!({ "sub": ACCOUNT })).await.status, 200);
    for other in [
        "kmslab@kmslab.iam.gserviceaccount.com",
        "user@example.com",
        "",
    ] {
        let rejected = lab.exchange(json!({ "sub": other })).await;
        assert_eq!(
            (rejected.status, &rejected.json["error"]),
            (401, &json!("unauthorized_client")),
            "{other}"
        );
        // The same with a self-signed token.
        let own = lab.assertion(
            json!({ "sub": other, "aud": "https://cloudkms.googleapis.com/", "scope": null }),
        );
        assert_eq!(lab.ask(&own, KEY).await.0, 401, "{other}");
    }
}

#[tokio::test]
async fn token_is_limited_to_its_scopes() {
    let lab = Lab::start().await;
    let accounts = "/v1/projects/p/serviceAccounts";
    // Authenticated, but without any permission.
    for (scope, path) in [(EVERYTHING, KEY), (KMS, KEY), (EVERYTHING, accounts)] {
        let (status, info) = lab.ask(&lab.access(scope).await, path).await;
        assert_eq!(
            (status, &info["reason"]),
            (403, &json!("IAM_PERMISSION_DENIED")),
            "{scope} {path}"
        );
    }
    let info = |service: &str, method: &str| {
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "domain": "googleapis.com",
            "metadata": { "service": service, "method": method },
        })
    };
    let get_key = info(
        "cloudkms.googleapis.com",
        "google.cloud.kms.v1.KeyManagementService.GetCryptoKey",
    );
    let storage = lab.access(STORAGE).await;
    assert_eq!(lab.ask(&storage, KEY).await, (403, get_key.clone()));
    assert_eq!(
        lab.ask(
            &lab.assertion(json!({ "aud": null, "scope": STORAGE })),
            KEY
        )
        .await,
        (403, get_key)
    );
    let (status, rejected) = lab.ask(&lab.access(KMS).await, accounts).await;
    assert_eq!(
        (status, &rejected["reason"]),
        (403, &json!("ACCESS_TOKEN_SCOPE_INSUFFICIENT"))
    );
    assert_eq!(rejected["metadata"]["service"], "iam.googleapis.com");

    let request = http::Request::get(format!("/tokeninfo?access_token={storage}"))
        .header("host", "oauth2.googleapis.com");
    let told = send(
        lab.emulator.http_addr(),
        &request.body(String::new()).unwrap(),
    )
    .await;
    assert_eq!((told.status, &told.json["scope"]), (200, &json!(STORAGE)));
}

#[tokio::test]
async fn token_outlives_its_key_but_not_its_account() {
    let lab = Lab::start().await;
    let owner = token(&lab.emulator).await;
    let access = lab.access(EVERYTHING).await;
    let account = format!("/v1/projects/p/serviceAccounts/{ACCOUNT}");
    let delete = async |path: &str| {
        rest(&lab.emulator, Some(&owner), "DELETE", path, Value::Null)
            .await
            .status
    };

    assert_eq!(
        delete(&format!("{account}/keys/{}", lab.file.key_id)).await,
        200
    );
    assert_eq!(lab.exchange(json!({})).await.status, 400, "the key is gone");
    assert_eq!(
        lab.ask(&access, KEY).await.0,
        403,
        "let in, and without any permission"
    );

    assert_eq!(delete(&account).await, 200);
    assert_eq!(lab.ask(&access, KEY).await.0, 401);
    let again = json!({ "accountId": "some-one" });
    assert_eq!(
        rest(
            &lab.emulator,
            Some(&owner),
            "POST",
            "/v1/projects/p/serviceAccounts",
            again
        )
        .await
        .status,
        200
    );
    assert_eq!(
        lab.ask(&access, KEY).await.0,
        401,
        "an account of the same address is another account"
    );
}

#[tokio::test]
async fn metadata_server_caches_tokens_until_near_expiry() {
    let lab = Lab::start().await;
    let ask = async |query: &str| {
        let path = format!("/computeMetadata/v1/instance/service-accounts/default/token{query}");
        let request = http::Request::get(path)
            .header("host", "metadata.google.internal")
            .header("metadata-flavor", "Google");
        let answer = send(
            lab.emulator.http_addr(),
            &request.body(String::new()).unwrap(),
        )
        .await;
        answer.json["access_token"].as_str().unwrap().to_owned()
    };
    let first = ask("").await;
    assert_eq!(ask("").await, first);
    let other = lab.access(EVERYTHING).await;
    for number in 0..300 {
        let scoped = ask(&format!("?scopes={STORAGE},{number}")).await;
        assert_eq!(lab.ask(&scoped, KEY).await.0, 403);
    }
    assert_eq!(
        lab.ask(&first, KEY).await.0,
        404,
        "the owner's token holds on"
    );
    assert_eq!(
        lab.ask(&other, KEY).await.0,
        403,
        "and that of another account"
    );
}

#[tokio::test]
async fn token_endpoint_throttles_and_fails_for_one_account() {
    let lab = Lab::start().await;
    let add = |effect: &str| {
        let mut fault = Fault::new(effect.parse().unwrap());
        fault.caller = Some(ACCOUNT.to_owned());
        lab.emulator.add_fault(fault).unwrap();
    };
    for (effect, status, error, description) in [
        ("throttle", 429, "invalid_request", "Rate limit exceeded"),
        (
            "error=internal_failure",
            500,
            "internal_failure",
            "Backend Error",
        ),
        (
            "error=invalid_grant",
            400,
            "invalid_grant",
            "Invalid JWT Signature.",
        ),
    ] {
        add(effect);
        let answer = lab.exchange(json!({})).await;
        assert_eq!(answer.status, status, "{effect}");
        assert_eq!(
            (&answer.json["error"], &answer.json["error_description"]),
            (&json!(error), &json!(description)),
            "{effect}"
        );
        lab.emulator.clear_faults();
    }
    add("wrong=bit");
    let token = lab.access(EVERYTHING).await;
    let (status, detail) = lab.ask(&token, KEY).await;
    assert_eq!(
        (status, &detail["reason"]),
        (401, &json!("ACCESS_TOKEN_TYPE_UNSUPPORTED")),
        "{detail}"
    );
    assert_eq!(lab.emulator.faults().faults[0].hits, 1);
}
